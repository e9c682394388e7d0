package outbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// OldestEnd is at or after the time of everything that Oldest gives.
func TestOldestEnd(t *testing.T) {
	at := time.Unix(1700000000, 0)
	o := testOptions(newMemFS())
	o.Now = func() time.Time { return at }
	l := mustOpen(t, o)
	when := map[uint64]time.Time{}
	_, ok := l.OldestEnd()
	assert.False(t, ok)
	for id := uint64(1); len(l.segs) < 3; id++ {
		at = at.Add(time.Minute)
		when[appendIDs(t, l, id, id, 1000)[id]] = at
		if len(l.segs) == 1 {
			_, ok := l.OldestEnd()
			require.False(t, ok, "nothing would be given up")
		}
	}
	end, ok := l.OldestEnd()
	require.True(t, ok)
	var last uint64
	_, err := l.Oldest(func(e Entry) error { last = e.Position; return nil })
	require.NoError(t, err)
	assert.True(t, end.After(when[last]))
	assert.Equal(t, when[last+1], end)
	require.NoError(t, l.Free(last))
	end, ok = l.OldestEnd()
	require.True(t, ok, "the next one")
	assert.True(t, end.After(when[last+1]))
	require.NoError(t, l.Close())
}
