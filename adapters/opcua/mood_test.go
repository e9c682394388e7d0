package opcua_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// readTwo starts a source with two machines.
func readTwo(t *testing.T, pool *opcua.Pool, plant *sim.OPCUA) (s *opcua.Source, r1, r2 *sinktest.Recorder) {
	t.Helper()
	s, err := pool.Source(specOf(plant))
	require.NoError(t, err)
	r1, r2 = sinktest.New(), sinktest.New()
	require.NoError(t, s.Attach(point.Machine{Name: "mixer-1", Spec: mixer(t, "mixer-1")}, r1))
	require.NoError(t, s.Attach(point.Machine{Name: "mixer-2", Spec: mixer(t, "mixer-2")}, r2))
	run(t, s, r1, r2)
	return s, r1, r2
}

// TestRefusedItems: a server that refuses a whole call because of some items
// costs those items, and neither the others nor another machine.
func TestRefusedItems(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{Machines: 2})
	plant.Be(sim.OPCUAMood{Refuse: func(node string) ua.StatusCode {
		switch node {
		case "mixer-2.Force":
			return ua.StatusBadTooManyMonitoredItems
		case "mixer-2.PumpOn":
			return 0xC0070000 // a severity that there is not
		case "clock":
			return ua.StatusBadUserAccessDenied
		}
		return ua.StatusOK
	}})
	pool := newPool(t)
	pool.Patient()
	s, r1, r2 := readTwo(t, pool, plant)
	r2.Until(t, "the reasons", func() bool { return r2.Metas[force].Status != "" && r2.Metas[pump].Status != "" })
	for _, r := range []*sinktest.Recorder{r1, r2} {
		mark := r.Mark()
		r.Until(t, "samples of the others", func() bool { return r.Good(counter, mark) >= 4 && r.Good(program, 0) == 1 })
	}
	r2.Look(func() {
		assert.Equal(t, "node s=mixer-2.Force: BadTooManyMonitoredItems", r2.Metas[force].Status)
		forces := r2.Of(force, 0)
		bad := slices.IndexFunc(forces, func(s point.Sample) bool { return s.Quality.IsBad() })
		for _, s := range forces[bad:] { // no good value between two tries
			assert.Equal(t, point.Quality(ua.StatusBadTooManyMonitoredItems), s.Quality)
		}
		pumps := r2.Of(pump, 0)
		assert.Equal(t, point.Bad, pumps[len(pumps)-1].Quality)
		assert.Empty(t, r2.Metas[counter].Status)
		assert.Len(t, r2.Links, 1)
	})
	r1.Look(func() { assert.Len(t, r1.Links, 1) })
	assert.Equal(t, uint64(2), s.Stats().Connections, "one for each machine")
	assert.Zero(t, s.Stats().Deaths)

	plant.Be(sim.OPCUAMood{})
	mark := r2.Mark()
	r2.Until(t, "the points that were refused", func() bool {
		return r2.Metas[force].Status == "" && r2.Metas[pump].Status == "" && r2.Good(force, mark) >= 3
	})
}

// TestRefusedSubscription: so it is with a whole subscription.
func TestRefusedSubscription(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	plant.Be(sim.OPCUAMood{Subscribe: 0x40010000}) // not even a refusal
	s, r := read(t, newPool(t), specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "the reason", func() bool { return strings.HasPrefix(r.Metas[counter].Status, "node s=mixer-1.Counter: ") })
	plant.Be(sim.OPCUAMood{})
	r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 4 && r.Metas[counter].Status == "" })
	assert.Equal(t, uint64(1), s.Stats().Connections)
	assert.Zero(t, s.Stats().Deaths)
}

// TestSlowServer: what a server gives more rarely than it was asked to, people are
// told.
func TestSlowServer(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	plant.Be(sim.OPCUAMood{Publishing: 1500 * time.Millisecond, Queue: 1})
	s, r := read(t, newPool(t), specOf(plant), mixer(t, "mixer-1"))
	const why = "the server looks at counter, force every 100ms and tells of it every 1.5s, and 100ms was asked for; it keeps 1 of the values in between and drops the others; " +
		"the server looks at state, program-name, pump-on, energy, temperature, and 1 more every 1s and tells of it every 1.5s, and 1s was asked for; it keeps 1 of the values in between and drops the others"
	r.Until(t, why, func() bool { return r.Last().Err == why })
	r.Look(func() {
		assert.Equal(t, point.LinkUp, r.Last().State)
		assert.Equal(t, r.Links[0].Since, r.Last().Since, "it is the same connection")
	})
	got := s.Stats().Machines[0].Revised
	require.Len(t, got, 8)
	assert.Equal(t, opcua.Revision{Point: counter, Sampling: 100 * time.Millisecond, Publishing: 1500 * time.Millisecond, Queue: 1}, got[0])

	plant.Be(sim.OPCUAMood{})
	plant.DropConnections()
	r.Until(t, "nothing to tell", func() bool { return r.Last().State == point.LinkUp && r.Last().Err == "" })
	assert.Empty(t, s.Stats().Machines[0].Revised)
}

// TestLostMessage: a message that gets lost is counted and told, all points are
// read anew, and the connection stays. After a while it is no news any more.
func TestLostMessage(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{CounterEvery: -1})
	pool := newPool(t)
	pool.Forget(time.Second)
	s, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "a value of each", func() bool { return r.Good(counter, 0) == 1 && r.Good(temperature, 0) >= 1 })
	plant.Be(sim.OPCUAMood{Swallow: 1})
	plant.Count("mixer-1")
	r.Until(t, "word of it", func() bool { return r.Last().Err == "1 values or messages were lost on the way from the server" })
	assert.Equal(t, uint64(1), s.Stats().Machines[0].Gaps)
	r.Until(t, "what was lost", func() bool {
		last := r.Of(counter, 0)
		return last[len(last)-1].Value.Uint() == 2
	})
	r.Until(t, "no word of it", func() bool { return r.Last().Err == "" })
	assert.Equal(t, uint64(1), s.Stats().Connections)
	r.Lock()
	defer r.Unlock()
	for _, l := range r.Links {
		assert.Equal(t, point.LinkUp, l.State)
	}
}

// TestDeadClock: a clock that can be subscribed to and stands still says nothing
// of the connection, however long the server's own silence.
func TestDeadClock(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	plant.Be(sim.OPCUAMood{DeadClock: true, KeepAlive: 25})
	m := &opcua.Machine{Name: "quiet", Namespace: sim.OPCUANamespace, Points: []opcua.Point{
		{Name: "program", Node: node(t, "s=mixer-1.ProgramName"), Type: opcua.String, Period: 100 * time.Millisecond},
	}}
	s, r := read(t, newPool(t), specOf(plant), m)
	r.Until(t, "the value", func() bool { return r.Good(0, 0) == 1 })
	assert.Never(t, func() bool { return s.Stats().Connections > 1 || !s.Stats().Machines[0].Up }, 2*time.Second, 20*time.Millisecond)
}

// TestParole: an endpoint whose worker died alone goes back when none died under
// it for long enough; the second time that takes longer.
func TestParole(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	pool := newPool(t)
	pool.Innocence(700 * time.Millisecond)
	s, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	var terms []time.Duration
	for range 2 {
		r.Until(t, "up", func() bool { return r.Last().State == point.LinkUp })
		began := time.Now()
		require.NoError(t, syscall.Kill(s.Worker(), syscall.SIGKILL))
		require.Eventually(t, func() bool { return s.Stats().Alone }, sinktest.Patience, 5*time.Millisecond)
		require.Eventually(t, func() bool { return !s.Stats().Alone }, sinktest.Patience, 5*time.Millisecond)
		terms = append(terms, time.Since(began))
		mark := r.Mark()
		r.Until(t, "samples", func() bool { return r.Good(counter, mark) >= 2 })
	}
	assert.GreaterOrEqual(t, terms[0], 700*time.Millisecond)
	assert.GreaterOrEqual(t, terms[1], 1400*time.Millisecond)
}

// TestFewWorkers: the endpoints of a worker that died do not become as many
// processes.
func TestFewWorkers(t *testing.T) {
	const endpoints = 3 * opcua.MaxCells
	plant := startPlant(t, sim.OPCUAOptions{})
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	o := opcua.Options{Executable: "/bin/sh", Args: []string{"-c", "exec 3>&1; exec " + cat + " >/dev/null"}}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	pool := opcua.NewPool(o)
	pool.Hasten()
	t.Cleanup(pool.Wait)
	var sources []*opcua.Source
	workers := func() map[int]int {
		out := map[int]int{}
		for _, s := range sources {
			out[s.Worker()]++
		}
		return out
	}
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	t.Cleanup(func() { // all at once: this worker answers nothing
		cancel()
		runs.Wait()
	})
	for range endpoints {
		s, err := pool.Source(specOf(plant))
		require.NoError(t, err)
		sources = append(sources, s)
		runs.Go(func() { assert.NoError(t, s.Run(ctx)) })
	}
	settled := func(n int) func() bool {
		return func() bool { w := workers(); return len(w) == n && w[0] == 0 }
	}
	require.Eventually(t, settled(1), sinktest.Patience, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(sources[0].Worker(), syscall.SIGKILL))
	require.Eventually(t, settled(opcua.MaxCells), sinktest.Patience, 5*time.Millisecond)
	// The ones that share the cell of the guilty one are divided further.
	require.NoError(t, syscall.Kill(sources[0].Worker(), syscall.SIGKILL))
	require.Eventually(t, settled(1+3), sinktest.Patience, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(sources[0].Worker(), syscall.SIGKILL))
	require.Eventually(t, func() bool { return settled(2)() && sources[0].Stats().Alone }, sinktest.Patience, 5*time.Millisecond)
}
