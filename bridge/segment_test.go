package bridge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// With many streams segments are larger, or the start is refused: the heads and
// key frames of all of them must leave room for data.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	const n = 400
	var max int64
	before := p.change
	p.change = func(o *Options) {
		before(o)
		one := o.Config.Machines[0]
		for i := range n {
			one.Name = fmt.Sprintf("press-%d", i+1000)
			o.Config.Machines = append(o.Config.Machines, one)
		}
		o.Config.Outbox.MaxSize = max
	}
	max = 8 << 20
	_, err := open(p.dir, p.change)
	require.ErrorContains(t, err, "max_size of 8 MiB is too small for ")
	require.ErrorContains(t, err, "streams")
	at := strings.Index(err.Error(), "make it ")
	require.Positive(t, at)
	_, scanned := fmt.Sscanf(err.Error()[at:], "make it %d MiB", &max)
	require.NoError(t, scanned)
	max <<= 20 // what the error asks for is enough
	g := p.open()
	f := (&fake{size: 2000}).use(g)
	for round := range uint64(40) {
		for _, s := range g.sinks {
			s.Link(up())
			require.NoError(t, s.Take(t.Context(), f.one(round+1)))
		}
		require.NoError(t, g.committer.commit(t.Context(), g.committer.build))
	}
	require.NoError(t, g.committer.finish())
	assert.Greater(t, g.log.Stats().Segments, 2)
	assert.Empty(t, p.events("outbox-too-small"))
	require.NoError(t, g.Close())
}

func TestWhatNeverFitsIsNotTriedForEver(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, false)
	g := p.open()
	fill(t, g, 1, 200)
	t.Run("what is carried on is given up", func(t *testing.T) {
		require.NoError(t, g.sinks[0].Take(t.Context(), (&fake{}).one(201)))
		g.committer.mu.Lock()
		_, err := g.committer.build(g.now())
		g.committer.mu.Unlock()
		require.NoError(t, err)
		g.committer.doomed = &doomed{reason: reasonOverflow, messages: 1, carried: []outbox.Record{{Tag: tagAgain, Data: make([]byte, 600<<10)}}}
		require.NoError(t, g.committer.flush(t.Context()))
		assert.Len(t, p.events("outbox-too-small"), 1)
	})
	t.Run("the gateway ends", func(t *testing.T) {
		g.log.SetPreamble(func() []outbox.Record { return []outbox.Record{{Tag: tagHead, Data: make([]byte, 600<<10)}} })
		var err error
		for i := uint64(202); err == nil && i < 1000; i++ {
			require.NoError(t, g.sinks[0].Take(t.Context(), (&fake{size: 4000}).one(i)))
			err = g.committer.commit(t.Context(), g.committer.build)
		}
		require.ErrorIs(t, err, outbox.ErrTooLarge)
		require.ErrorContains(t, err, "make max_size")
		assert.Len(t, p.events("outbox-too-small"), 2)
	})
	require.NoError(t, g.Close())
}
