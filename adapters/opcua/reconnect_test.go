package opcua_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// TestReconnect: whatever ends a connection, data flows again, and every point is
// read anew.
func TestReconnect(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	s, r := read(t, newPool(t), specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 2 })
	for _, c := range []struct {
		name string
		cut  func()
		mend func()
		why  string
	}{
		{"reset", plant.DropConnections, func() {}, "the server closed the connection"},
		{"restart", plant.Stop, func() { require.NoError(t, plant.Start()) }, "cannot connect: connection refused"},
		{"silence", func() { plant.Freeze(true) }, func() { plant.Freeze(false) }, "the subscription fell silent: nothing came for 900ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.Stats().Connections
			var from int
			r.Look(func() { from = len(r.Links) })
			c.cut()
			r.Until(t, c.why, func() bool {
				for _, l := range r.Links[from:] {
					if l.Err == c.why {
						return true
					}
				}
				return false
			})
			c.mend()
			r.Until(t, "up again", func() bool { return r.Last().State == point.LinkUp && len(r.Links) > from+1 })
			mark := r.Mark()
			r.Until(t, "samples again", func() bool { return r.Good(counter, mark) >= 3 })
			assert.Greater(t, s.Stats().Connections, before)
			r.Look(func() { assert.NotZero(t, r.Good(program, 0)) })
		})
	}
	assert.Zero(t, s.Stats().Deaths)
}

// TestAttachDetach: machines come and go without a new connection.
func TestAttachDetach(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{Machines: 2})
	pool := newPool(t)
	pool.Patient()
	s, r1 := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	r1.Until(t, "samples of the first", func() bool { return r1.Good(counter, 0) >= 2 })
	r2 := sinktest.New()
	require.NoError(t, s.Attach(point.Machine{Name: "mixer-2", Spec: mixer(t, "mixer-2")}, r2))
	var config *point.ConfigError
	require.ErrorAs(t, s.Attach(point.Machine{Name: "mixer-2", Spec: mixer(t, "mixer-2")}, r2), &config)
	require.ErrorAs(t, s.Attach(point.Machine{Name: "mixer-3", Spec: 7}, r2), &config)
	require.ErrorAs(t, s.Attach(point.Machine{Name: "mixer-3", Spec: &opcua.Machine{Points: []opcua.Point{{}}}}, r2), &config)
	r2.Until(t, "samples of the second", func() bool { return r2.Good(counter, 0) >= 2 && r2.Good(program, 0) == 1 })
	require.NoError(t, s.Detach("mixer-2"))
	r2.Close()
	assert.Error(t, s.Detach("mixer-2"))
	mark := r1.Mark()
	r1.Until(t, "samples of the first, later", func() bool { return r1.Good(counter, mark) >= 3 })
	assert.Empty(t, r2.Breaches)

	again := sinktest.New()
	require.NoError(t, s.Attach(point.Machine{Name: "mixer-2", Spec: mixer(t, "mixer-2")}, again))
	again.Until(t, "samples of the second, again", func() bool { return again.Good(counter, 0) >= 2 && again.Good(program, 0) == 1 })
	assert.Equal(t, uint64(3), s.Stats().Connections, "one for each machine that came up, and no other")
	r1.Lock()
	defer r1.Unlock()
	assert.Len(t, r1.Links, 1)
}

// TestSlowSink: a sink that blocks holds up nobody else. What it missed is
// counted and told, and all its points are read anew.
func TestSlowSink(t *testing.T) {
	const load = 4000
	plant := startPlant(t, sim.OPCUAOptions{Load: load})
	s, err := newPool(t).Source(specOf(plant))
	require.NoError(t, err)
	m := &opcua.Machine{Name: "load", Namespace: sim.OPCUANamespace}
	for i := range load {
		m.Points = append(m.Points, opcua.Point{Name: "p" + itoa(i), Node: node(t, "s=Load."+itoa(i)), Type: opcua.Int32, Period: 100 * time.Millisecond})
	}
	blocked, free, open := sinktest.New(), sinktest.New(), make(chan struct{})
	blocked.Gate = func(ctx context.Context) error {
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	require.NoError(t, s.Attach(point.Machine{Name: "load", Spec: m}, blocked))
	require.NoError(t, s.Attach(point.Machine{Name: "mixer-1", Spec: mixer(t, "mixer-1")}, free))
	run(t, s, blocked, free)
	require.Eventually(t, func() bool { return s.Stats().Machines[0].Dropped > 0 }, 30*time.Second, 20*time.Millisecond)
	mark := free.Mark()
	free.Until(t, "samples of the other", func() bool { return free.Good(counter, mark) >= 3 })
	close(open)
	var told point.Link
	blocked.Until(t, "word of what was left out", func() bool {
		told = blocked.Last()
		return told.State == point.LinkUp && told.Err != ""
	})
	assert.Regexp(t, `^\d+ samples were left out because what takes them was too slow; all points are read anew$`, told.Err)
	mark = blocked.Mark()
	blocked.Until(t, "all points anew", func() bool { return len(blocked.Samples) >= mark+load })
	assert.Less(t, uint64(opcua.MaxWaiting/2), s.Stats().Machines[0].Samples)
}
