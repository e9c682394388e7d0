package bridge

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// served compares what a counter gave out with what arrived. The answer to the
// last request may have come too late.
func served(t testing.TB, p *plant, got *received, point string) {
	t.Helper()
	var gave []uint64
	for _, n := range p.sim.Served("press-1", point) {
		gave = append(gave, uint64(n))
	}
	numbers := got.numbers("press-1/" + point)
	require.GreaterOrEqual(t, len(numbers), len(gave)-1)
	require.Equal(t, gave[:len(numbers)], numbers)
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		text := p.files["machines/press-1.yaml"]
		text = strings.Replace(text, "poll: fast, sensitivity: restricted}\n  - {name: program", "poll: fast}\n  - {name: program", 1) // counter: unlabelled
		p.files["machines/press-1.yaml"] = text
	})
	r := p.start()
	p.sim.NextPayload("press-1")
	r.until("samples", func(s status.Gateway) bool {
		return s.Machines[0].Samples.Taken > 60 && s.Machines[0].Samples.Passthrough > 0
	})
	assert.Less(t, r.stop(), 8*time.Second)

	got := p.read()
	got.lossless(t)
	served(t, p, got, "counter")
	served(t, p, got, "public-counter")
	clear, sealed := 0, 0
	for _, d := range got.deliveries {
		switch {
		case d.Kind == envelope.Passthrough:
			assert.Contains(t, p.sim.Payloads("press-1"), d.Payload)
		case d.Stream.Level == "public":
			clear++
			assert.False(t, d.Sealed)
		default:
			sealed++
			assert.True(t, d.Sealed)
		}
	}
	assert.NotZero(t, clear)
	assert.NotZero(t, sealed)
	raw := p.raw()
	for _, c := range p.sim.Canaries() {
		assert.False(t, bytes.Contains(raw, c))
	}
	for _, c := range p.sim.PublicCanaries() {
		assert.True(t, bytes.Contains(raw, c))
	}
	assert.NotContains(t, string(raw), `"n":"counter"`)
	for fc := range p.sim.FunctionCodes() {
		assert.LessOrEqual(t, fc, byte(4))
	}

	t.Run("nothing readable in the state folder", func(t *testing.T) {
		require.NoError(t, filepath.WalkDir(p.path("state"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			for _, c := range append(p.sim.Canaries(), p.sim.PublicCanaries()...) {
				assert.False(t, bytes.Contains(b, c), path)
			}
			return err
		}))
	})
	t.Run("started again, all goes on", func(t *testing.T) {
		r := p.start()
		assert.EqualValues(t, 2, r.Status().Start)
		r.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 20 })
		r.stop()
		got := p.read()
		got.lossless(t)
		for _, s := range got.report {
			assert.Len(t, s.Epochs, 2)
		}
	})
}

func TestNotReleasedDoesNotLeaveClear(t *testing.T) {
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		p.files["policy.yaml"] = strings.Replace(p.files["policy.yaml"], `, "*/nameplate"`, "", 1)
	})
	r := p.start()
	r.until("all points", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 20 })
	r.stop()
	got := p.read()
	got.lossless(t)
	assert.NotEmpty(t, got.samples["press-1/nameplate"])
	raw := p.raw()
	assert.Contains(t, string(raw), `"n":"state"`)
	assert.NotContains(t, string(raw), `"n":"nameplate"`)
	for _, c := range p.sim.PublicCanaries() {
		assert.False(t, bytes.Contains(raw, c))
	}
}

func TestMachineThatIsAbsent(t *testing.T) {
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		text := strings.Replace(p.files["machines/press-1.yaml"], p.sim.URL(), "tcp://127.0.0.1:1", 1)
		p.files["machines/press-2.yaml"] = strings.Replace(text, "machine: press-1", "machine: press-2", 1)
		p.files["machines/press-3.yaml"] = "fieldseal: machine/v1\nmachine: press-3\nnonsense: true\n"
	})
	r := p.start()
	r.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 20 && s.Machines[1].Samples.Bad > 0 })
	s := r.Status()
	assert.Equal(t, "up", s.Machines[0].State)
	assert.Equal(t, "down", s.Machines[1].State)
	assert.NotEmpty(t, s.Machines[1].Error)
	require.NotEmpty(t, s.LeftOut)
	assert.Equal(t, "press-3", s.LeftOut[0].Machine)
	r.stop()
	got := p.read()
	got.lossless(t)
	served(t, p, got, "counter")
	assert.NotEmpty(t, p.events("machine-left-out"))
}

func TestOneStateFolderOneGateway(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	_, err := open(p.dir, p.change)
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, p.path("state"))
	require.ErrorContains(t, err, "stop it, or give this one a folder of its own")
	require.NoError(t, g.Close())

	g = p.open()
	assert.EqualValues(t, 2, g.Status().Start, "a start that was refused uses no number")
	require.NoError(t, g.Close())
	require.NoError(t, os.WriteFile(p.path("state", "start"), []byte("many"), 0o600))
	_, err = open(p.dir, p.change)
	require.ErrorContains(t, err, "holds no number; write into it")
	require.NoError(t, os.WriteFile(p.path("state", "start"), []byte("41"), 0o600))
	g = p.open()
	assert.EqualValues(t, 42, g.Status().Start)
	require.NoError(t, g.Close())
}

func TestBrokerIsDown(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	r := p.start()
	r.until("deliveries", func(s status.Gateway) bool { return s.Uplinks[0].Messages > 0 })
	p.nats.Stop()
	taken := r.Status().Machines[0].Samples.Taken
	r.until("samples meanwhile", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > taken+40 })
	require.NoError(t, p.nats.Restart())
	r.until("all delivered", func(s status.Gateway) bool { return s.Outbox.Messages == 0 })
	r.stop()
	got := p.read()
	got.lossless(t)
	served(t, p, got, "counter")
}

func TestRunEndsInTime(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	p.nats.Stop()
	r := p.start()
	r.until("commits", func(s status.Gateway) bool { return s.Commits.Messages > 10 })
	assert.Less(t, r.stop(), 8*time.Second)
	t.Run("in a hurry", func(t *testing.T) {
		r := p.start()
		r.until("commits", func(s status.Gateway) bool { return s.Commits.Messages > 10 })
		close(r.hurry)
		assert.Less(t, r.stop(), 4*time.Second)
	})
	require.NoError(t, p.nats.Restart())
	r = p.start()
	r.until("all delivered", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Uplinks[0].Messages > 0 })
	r.stop()
	got := p.read()
	got.lossless(t)
	served(t, p, got, "counter")
}

func TestCrash(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open() // so that there is a status to look at
	require.NoError(t, g.Close())
	for round := range 3 {
		kill := p.child()
		had := len(p.sim.Served("press-1", "counter"))
		eventually(t, "polls", func() bool { return len(p.sim.Served("press-1", "counter")) > had+6 })
		if round == 1 {
			p.nats.Stop()
			had = len(p.sim.Served("press-1", "counter"))
			eventually(t, "polls", func() bool { return len(p.sim.Served("press-1", "counter")) > had+6 })
		}
		kill()
		if round == 1 {
			require.NoError(t, p.nats.Restart())
		}
	}
	r := p.start()
	assert.EqualValues(t, 5, r.Status().Start)
	r.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 20 })
	r.stop()
	got := p.read()
	got.lossless(t)
	// What was read and not accepted before a kill is not there; nothing else is
	// missing, and nothing is there twice.
	numbers := got.numbers("press-1/counter")
	assert.Equal(t, uniq(numbers), numbers)
	assert.GreaterOrEqual(t, len(numbers), len(p.sim.Served("press-1", "counter"))-1-3*3)
	for _, s := range got.report {
		assert.Len(t, s.Epochs, 4, s.Stream)
		for _, e := range s.Epochs {
			assert.True(t, e.Closed)
		}
	}
}

func TestExceptionEnds(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, func(p *plant) { // of restricted, force alone has one
		p.files["policy.yaml"] = strings.Replace(p.files["policy.yaml"], `points: ["*/*"]`, `points: ["*/force"]`, 1)
	})
	var ahead atomic.Int64
	p.change = func(o *Options) { o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } }
	r := p.start()
	r.until("samples", func(s status.Gateway) bool {
		return s.Machines[0].Samples.Taken > 30 && s.Machines[0].Points["sealed"] == 4
	})
	require.Len(t, p.events("points-stopped"), 1, "those without an exception, at the start")
	assert.NotContains(t, p.events("points-stopped")[0].Point, "force")
	ahead.Store(int64(25 * 24 * time.Hour))
	r.until("the end of the exception", func(s status.Gateway) bool { return s.Machines[0].Points["sealed"] == 3 })
	taken := r.Status().Machines[0].Samples
	r.until("the others go on", func(s status.Gateway) bool {
		return s.Machines[0].Samples.Sealed > taken.Sealed+2 && s.Machines[0].Samples.Clear > taken.Clear+10
	})
	assert.True(t, r.Status().Exceptions[0].Over)
	stopped := p.events("points-stopped")
	require.Len(t, stopped, 2)
	assert.Equal(t, "force", stopped[1].Point)
	assert.Contains(t, stopped[1].Text, "asks for a connection that is encrypted")
	r.stop()
	got := p.read()
	got.complete(t)
	assert.NotEmpty(t, got.samples["press-1/force"])
	assert.Less(t, len(got.samples["press-1/force"]), len(got.samples["press-1/public-counter"])-4)
}

func TestSourceThatPanics(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	g.firstPause = time.Millisecond
	bad := (&fake{panic: func(int32) bool { return true }}).use(g)
	other := &fake{sink: g.sinks[0], every: 10 * time.Millisecond, most: 20}
	config := &broken{}
	g.endpoints = append(g.endpoints,
		always("other", other),
		always("config", config))
	r := p.run(g)
	eventually(t, "several panics", func() bool { return bad.ran.Load() > 4 })
	eventually(t, "the other source", func() bool { return other.n.Load() == 20 })
	assert.EqualValues(t, 1, other.ran.Load())
	r.stop()
	assert.EqualValues(t, 1, config.ran.Load(), "its configuration is what is wrong")
	got := p.read()
	got.lossless(t)
	assert.Len(t, got.numbers("press-1/counter"), 20)
	events := p.events("source-ended")
	require.NotEmpty(t, events)
	for _, e := range events {
		assert.NotContains(t, e.Text, "182.4", "an event has a value in it")
		assert.NotContains(t, e.Text, "0x", "nor has it what a stack trace shows of arguments")
	}
	assert.Contains(t, events[0].Text+events[1].Text, "panic of type string at")
}

type broken struct{ ran atomic.Int32 }

func (b *broken) Run(context.Context) error {
	b.ran.Add(1)
	return &point.ConfigError{What: "no such machine"}
}
