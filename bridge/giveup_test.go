package bridge

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// What is younger than max_age stays, though it stands in one segment with what
// is older.
func TestExpiryKeepsWhatIsYounger(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, true)
	var ahead atomic.Int64
	before, started := p.change, time.Now()
	p.change = func(o *Options) {
		before(o)
		o.Now = func() time.Time { return started.Add(time.Duration(ahead.Load())) }
		o.Config.Outbox.MaxAge = 200 * time.Minute
	}
	g := p.open()
	for i := range uint64(400) {
		ahead.Add(int64(time.Minute))
		fill(t, g, i+1, 1)
		require.GreaterOrEqual(t, g.log.Stats().Messages+8, 3*min(i+1, 198)/2, "two minutes give two data frames and a checkpoint")
	}
	assert.NotEmpty(t, p.events("outbox-expired"))
	require.NoError(t, g.Close())
}

// A disk that is full before the outbox is makes room by the overflow rule too.
func TestDiskFullDropsOldest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		polling bool
	}{{syscall.ENOSPC, true}, {syscall.EDQUOT, true}, {syscall.ENOSPC, false}} {
		t.Run(fmt.Sprint(c.err, c.polling), func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, natstest.Options{}, nil)
			small(p, !c.polling)
			g := p.open()
			fill(t, g, 1, 200)
			refusals := 2
			g.committer.append = func(r []outbox.Record) (uint64, error) {
				if refusals > 0 {
					refusals--
					return 0, fmt.Errorf("cannot write: %w", c.err)
				}
				return g.log.Append(r)
			}
			fill(t, g, 201, 10)
			events := p.events("outbox-disk-full")
			if c.polling {
				require.NotEmpty(t, events)
				assert.Contains(t, events[0].Text, "make room on it")
			} else {
				assert.Empty(t, events)
				assert.Len(t, p.events("outbox-stalled"), 1)
			}
			assert.Empty(t, g.committer.intake.why())
			require.NoError(t, g.Close())
		})
	}
}
