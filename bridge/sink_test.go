package bridge

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// A machine whose sink panics is withdrawn; its source, the committer, the
// status and the other machines go on.
func TestSinkThatPanics(t *testing.T) {
	t.Parallel()
	for name, panics := range map[string]func(s *sink){
		"in Take":  func(s *sink) { s.now = func() time.Time { panic("force 182.4 kN") } },
		"in drain": func(s *sink) { s.pending = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, natstest.Options{}, nil)
			g := p.open()
			m := g.config.Machines[0]
			m.Name = "press-2"
			good, bad := g.sinks[0], g.newSink(&m)
			g.sinks = append(g.sinks, bad)
			both := &fake{most: 200, every: time.Millisecond, sink: pair{good, bad}}
			g.endpoints = []*endpoint{always("both", both)}
			bad.Link(up())
			require.NoError(t, bad.Take(t.Context(), both.one(1)))
			bad.mu.Lock()
			panics(bad)
			bad.mu.Unlock()
			r := p.run(g)
			r.until("withdrawal", func(s status.Gateway) bool { return len(s.LeftOut) == 1 })
			eventually(t, "the other machine's samples", func() bool { return both.n.Load() == 200 })
			s := r.Status()
			assert.Equal(t, "press-2", s.LeftOut[0].Machine)
			assert.Len(t, s.Machines, 2)
			assert.Less(t, r.stop(), 8*time.Second)
			got := p.read()
			got.lossless(t)
			assert.Len(t, got.numbers("press-1/counter"), 200)
			events := p.events("machine-withdrawn")
			require.Len(t, events, 1)
			assert.Equal(t, "press-2", events[0].Machine)
			assert.NotContains(t, events[0].Text, "182.4")
		})
	}
}

// pair gives everything to two sinks.
type pair [2]point.Sink

func (p pair) Take(ctx context.Context, s []point.Sample) error {
	if err := p[1].Take(ctx, s); err != nil {
		return err
	}
	return p[0].Take(ctx, s)
}
func (p pair) Link(l point.Link)               { p[0].Link(l); p[1].Link(l) }
func (p pair) Describe(i uint32, m point.Meta) { p[0].Describe(i, m); p[1].Describe(i, m) }

// Events are written, and flushed, without the lock that the committer needs.
func TestEventsAreWrittenWithoutTheLock(t *testing.T) {
	t.Parallel()
	g := newPlant(t, natstest.Options{}, nil).open()
	s, n := g.sinks[0], 0
	s.events = func(stream.Event) {
		n++
		if assert.True(t, s.mu.TryLock(), "an event is written under the lock") {
			s.mu.Unlock()
		}
	}
	s.policy.Exceptions = nil
	s.Link(up())
	assert.NotZero(t, n)
	require.NoError(t, g.Close())
}

func TestEventRate(t *testing.T) {
	t.Parallel()
	var r eventRate
	at := time.Unix(1_785_000_000, 0)
	e := func(point string) []stream.Event {
		return []stream.Event{{Name: "passthrough-not-ciphertext", Point: point, Text: "said"}}
	}
	assert.Len(t, r.limit(nil, e("a"), at), 1)
	for range 100 {
		at = at.Add(time.Millisecond)
		assert.Empty(t, r.limit(nil, e("a"), at))
	}
	assert.Len(t, r.limit(nil, e("b"), at), 1, "another point")
	assert.Empty(t, r.limit(nil, nil, at))
	got := r.limit(nil, nil, at.Add(eventEvery))
	require.Len(t, got, 1)
	assert.Equal(t, "said (99 more like it since the one before)", got[0].Text)
	assert.Empty(t, r.limit(nil, nil, at.Add(2*eventEvery)))
	got = r.limit(nil, e("a"), at.Add(3*eventEvery))
	require.Len(t, got, 1)
	assert.Equal(t, "said", got[0].Text)
}
