package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestReloadOfTheUplinkThatFilledTheOutbox holds that a reload can mend what it is
// needed for: it does not wait for an outbox that waits for it.
func TestReloadOfTheUplinkThatFilledTheOutbox(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		p.files["gateway.yaml"] = strings.Replace(p.files["gateway.yaml"], "drop-oldest", "stop-polling", 1)
		p.files["gateway.yaml"] = strings.Replace(p.files["gateway.yaml"], "prefix: "+testPrefix, "prefix: wrong", 1)
	})
	g := p.open()
	accept := g.committer.append
	g.committer.append = func(r []outbox.Record) (uint64, error) {
		if n := g.log.Stats().Messages; n > 20 {
			return 0, outbox.ErrFull
		}
		return accept(r)
	}
	r := p.run(g)
	r.until("stall", func(status.Gateway) bool { return len(p.events("outbox-stalled")) > 0 })
	p.edit("gateway.yaml", "prefix: wrong", "prefix: "+testPrefix)
	require.NoError(t, p.reload(r))
	r.more(20)
	r.stop()
	p.read().lossless(t)
}

// TestReloadThatStallsAtTheEnd holds that what is decided by a new policy is not
// sent by the levels of the one before, whatever comes between.
func TestReloadThatStallsAtTheEnd(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	s, before := g.sinks[0], g.sinks[0].policy
	swapped := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.policy != before
	}
	var room atomic.Bool
	accept := g.committer.append
	g.committer.append = func(r []outbox.Record) (uint64, error) {
		if !room.Load() && swapped() {
			return 0, errors.New("input/output error")
		}
		return accept(r)
	}
	(&fake{size: 40, every: time.Millisecond}).use(g)
	r := p.run(g)
	r.more(20)
	require.NotContains(t, string(p.raw()), "aaaaaaaaaa", "the text is sealed")

	// What was public is sealed from now on, and the text comes into it.
	p.edit("policy.yaml", "name: public, send: clear", "name: public, send: sealed, to: [process-engineering]")
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	b, err := os.ReadFile(p.path("policy.yaml"))
	require.NoError(t, err)
	text, rest, _ := strings.Cut(string(b), "released:")
	_, rest, _ = strings.Cut(rest, "passthrough:")
	require.NoError(t, os.WriteFile(p.path("policy.yaml"), []byte(text+"passthrough:"+rest), 0o600))
	y := strings.NewReplacer("sensitivity: restricted", "sensitivity: public", "sensitivity: internal", "sensitivity: public").Replace(p.sim.YAML("press-1"))
	require.NoError(t, os.WriteFile(p.path("machines/press-1.yaml"), []byte(y), 0o600))
	p.sign(p.anna)
	done := make(chan error, 1)
	go func() { done <- p.reload(r) }()
	eventually(t, "the swap, and samples behind it", swapped)
	taken := r.Status().Machines[0].Samples.Taken
	r.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > taken+20 })
	room.Store(true)
	r.end()
	if err := <-done; err != nil {
		require.ErrorIs(t, err, ErrRefused)
	}
	require.NoError(t, r.wait())
	require.NotContains(t, string(p.raw()), "aaaaaaaaaa")
}

func TestReloadOfATimeZone(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	r := p.start()
	r.more(5)
	was := r.configuration().Policy.Exceptions[0].Until
	p.edit("gateway.yaml", "state: state", "time_zone: Pacific/Kiritimati\nstate: state")
	require.NoError(t, p.reload(r))
	assert.NotEqual(t, was, r.configuration().Policy.Exceptions[0].Until)
	r.stop()
}

// dying is a source that ends at once.
type dying struct{ sharing }

func (d *dying) Run(context.Context) error { return errors.New("dead") }

// TestReloadRevives holds that a machine whose endpoint has ended for good is read
// again after a reload, also where nothing in the files has changed.
func TestReloadRevives(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, three)
	g := p.open()
	g.firstPause = time.Millisecond
	e := g.endpoints[0]
	e.source = &dying{e.source.(sharing)}
	e.again = func() (Source, error) { return nil, errors.New("the password cannot be read") }
	r := p.run(g)
	eventually(t, "the end", func() bool {
		g.reloading.Lock()
		defer g.reloading.Unlock()
		return e.isOver()
	})
	require.NoError(t, p.reload(r))
	r.more(10)
	r.stop()
	p.read().lossless(t)
}

// refusing is a source that takes no machine.
type refusing struct{ running atomic.Bool }

func (s *refusing) Attach(point.Machine, point.Sink) error { return errors.New("no") }
func (s *refusing) Detach(string) error                    { return nil }
func (s *refusing) Run(ctx context.Context) error {
	s.running.Store(true)
	<-ctx.Done()
	s.running.Store(false)
	return nil
}

// TestReloadEndsEmptyEndpoints holds that a source without machines does not keep
// its device's connection.
func TestReloadEndsEmptyEndpoints(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, three)
	g := p.open()
	s := &refusing{}
	other := *g.endpoints[0].of.machines[0]
	spec := *other.Modbus
	other.Modbus = &spec
	spec.Endpoint.URL = "tcp://127.0.0.1:1"
	lone, err := (&wiring{}).endpoint(&group{
		machines: append(g.endpoints[0].of.machines[:0:0], &other), connect: func() (sharing, error) { return s, nil },
	})
	require.NoError(t, err)
	g.endpoints = append(g.endpoints, lone)
	r := p.run(g)
	eventually(t, "the start", s.running.Load)
	p.edit("machines/press-1.yaml", "unit: kN", "unit: N")
	require.NoError(t, p.reload(r))
	assert.False(t, s.running.Load())
	r.stop()
}

// TestRefusedReloadSaysNothingElse holds that no event tells of what never was in
// force.
func TestRefusedReloadSaysNothingElse(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, three)
	r := p.start()
	r.more(10)
	stopped := len(p.events("points-stopped"))
	for _, name := range p.sim.Names() {
		p.edit("machines/"+name+".yaml", "poll: {fast: 250ms", "poll: {fast: 300ms")
	}
	b, err := os.ReadFile(p.path("policy.yaml"))
	require.NoError(t, err)
	text, _, _ := strings.Cut(string(b), "exceptions:")
	require.NoError(t, os.WriteFile(p.path("policy.yaml"), []byte(strings.Replace(text, "revision: 1", "revision: 2", 1)), 0o600))
	p.sign(p.anna)
	p.edit("gateway.yaml", "keystore:uplink", "keystore:nope")
	require.Error(t, p.reload(r))
	assert.Len(t, p.events("points-stopped"), stopped)
	p.edit("gateway.yaml", "keystore:nope", "keystore:uplink")
	require.NoError(t, p.reload(r))
	assert.Greater(t, len(p.events("points-stopped")), stopped)
	r.stop()
}

// TestEventThatIsTooLong holds that an event goes upstream whatever its size.
func TestEventThatIsTooLong(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	g.events.upstream()
	g.events.write(stream.Event{Name: "points-stopped", Point: strings.Repeat("ram-force-12345,", 5000), Text: strings.Repeat("x", 1<<17)})
	assert.Len(t, g.events.upstream(), 1)
	require.NoError(t, g.Close())
}

// TestRenamedGateway holds that a gateway starts under another name, with an
// outbox that knows the one before.
func TestRenamedGateway(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	r := p.start()
	r.more(10)
	r.stop()
	p.edit("gateway.yaml", "gateway: "+testGateway, "gateway: other")
	p.edit("trust.yaml", testGateway+":", "other:")
	p.edit("trust.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna)
	g, err := open(p.dir, p.change)
	require.NoError(t, err)
	r = p.run(g)
	r.more(10)
	r.until("commits", func(s status.Gateway) bool { return s.Commits.Commits > 3 }) // with a statement in the first
	r.stop()
	assert.Contains(t, fmt.Sprint(r.Status().Streams), "press-1")
}

// TestReloadOfAPassword holds that another password, of which no file of the
// configuration says anything, is shown to the server after a reload.
func TestReloadOfAPassword(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	r := p.start()
	r.flows(5, "mixer-1")
	r.flows(5, "press-1")
	mixer, press := r.machine("mixer-1").Since, r.machine("press-1").Since
	require.NoError(t, p.reload(r))
	require.Equal(t, mixer, r.machine("mixer-1").Since)
	require.NoError(t, os.WriteFile(p.path("state/credentials/opcua-password"), []byte("another one\n"), 0o600)) // the simulator takes any
	require.NoError(t, p.reload(r))
	r.until("a new session", func(s status.Gateway) bool { return r.machine("mixer-1").Since.After(mixer) })
	r.flows(5, "mixer-1")
	assert.Equal(t, press, r.machine("press-1").Since, "nobody else is interrupted")
	r.stop()
}
