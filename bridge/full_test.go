package bridge

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// small makes the outbox small.
func small(p *plant, stopPolling bool) {
	before := p.change
	p.change = func(o *Options) {
		before(o)
		o.Config.Outbox.MaxSize = 2 << 20
		o.Config.Outbox.StopPolling = stopPolling
	}
}

// lossesOf gives the numbers of all loss records of a reason.
func (r *received) lossesOf(reason string) (n uint64) {
	for _, s := range r.report {
		for _, l := range s.Losses {
			if strings.Contains(l.Reason, reason) {
				n += l.Last - l.First + 1
			}
		}
	}
	return n
}

func TestOverflowDropsOldest(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, false)
	g := p.open()
	f := (&fake{size: 2000, every: 200 * time.Microsecond}).use(g)
	r := p.run(g)
	r.until("deliveries", func(s status.Gateway) bool { return s.Uplinks[0].Messages > 10 })
	p.nats.Stop() // some frames are delivered, and their checkpoint is not
	delivered := f.n.Load()
	// More than once around the outbox, so that what was carried on is doomed in its turn.
	r.until("overflow", func(s status.Gateway) bool { return len(p.events("outbox-overflow")) > 8 && s.Outbox.Lost > 0 })
	assert.LessOrEqual(t, r.Status().Outbox.Size, int64(2<<20))
	assert.Empty(t, r.Status().Commits.Stalled)
	require.NoError(t, p.nats.Restart())
	last := f.n.Load()
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages < 20 && f.n.Load() > last+10 })
	r.stop()

	got := p.read()
	got.complete(t)
	for _, s := range got.report {
		assert.Zero(t, s.Pending, "the checkpoint of what was delivered arrived too")
		assert.Equal(t, s.Highest, s.SignedThrough)
	}
	numbers := got.numbers("press-1/counter")
	// What was delivered before the outage, and whose checkpoint was given up, is
	// signed anew by a later one: then it is read later than what came after it.
	slices.Sort(numbers)
	assert.Equal(t, uniq(numbers), numbers, "each once")
	assert.Less(t, len(numbers), int(f.n.Load()), "something was lost")
	assert.NotZero(t, got.lossesOf("overflow"))
	assert.Contains(t, numbers, uint64(1))
	assert.Contains(t, numbers, delivered/2)
	assert.Contains(t, numbers, f.n.Load())
}

func TestOverflowAfterACrash(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	p.nats.Stop()
	kill := p.child()
	eventually(t, "polls", func() bool { return len(p.sim.Served("press-1", "counter")) > 6 })
	kill()
	small(p, false)
	g := p.open()
	(&fake{size: 60_000}).use(g)
	r := p.run(g)
	r.until("overflow", func(status.Gateway) bool { return len(p.events("outbox-overflow")) > 2 })
	r.hurryUp()
	small(p, false)
	require.NoError(t, p.nats.Restart())
	r = p.start()
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Machines[0].Samples.Taken > 5 })
	r.stop()
	got := p.read()
	got.complete(t)
	assert.NotZero(t, got.lossesOf("overflow"))
}

func (r *running) hurryUp() { close(r.hurry); r.stop() }

func TestStopPolling(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, true)
	g := p.open()
	f := (&fake{size: 2000, every: 100 * time.Microsecond}).use(g)
	p.nats.Stop()
	r := p.run(g)
	r.until("stall", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	n := f.n.Load()
	require.NoError(t, p.nats.Restart())
	r.until("resumption", func(s status.Gateway) bool { return s.Commits.Stalled == "" && f.n.Load() > n+10 })
	assert.Len(t, p.events("outbox-stalled"), 1)
	assert.Len(t, p.events("outbox-resumed"), 1)
	p.nats.Stop()
	r.until("stall again", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	n = f.n.Load()
	eventually(t, "time to pass without polls", func() bool { return time.Since(lastEvent(p)) > time.Second })
	assert.LessOrEqual(t, f.n.Load(), n+1)
	require.NoError(t, p.nats.Restart())
	r.until("resumption", func(s status.Gateway) bool { return s.Commits.Stalled == "" })
	r.stop()
	got := p.read()
	got.lossless(t)
	numbers := got.numbers("press-1/counter")
	assert.Len(t, numbers, int(f.n.Load()))
	assert.Equal(t, uniq(numbers), numbers)
}

func lastEvent(p *plant) time.Time { e := p.events(""); return e[len(e)-1].Time }

// A gateway that is ended while its outbox is full ends in time, and without an
// error: it ended as it should.
func TestEndsWhileStalled(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, true)
	p.nats.Stop()
	g := p.open()
	f := (&fake{size: 20_000}).use(g)
	r := p.run(g)
	r.until("stall", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	assert.Less(t, r.stop(), 8*time.Second)
	require.NoError(t, p.nats.Restart())
	g = p.open()
	(&fake{most: 1}).use(g)
	r = p.run(g)
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Uplinks[0].Messages > 0 })
	r.stop()
	got := p.read()
	got.lossless(t)
	assert.LessOrEqual(t, len(got.numbers("press-1/counter")), int(f.n.Load())+1)
}

func TestQuarantine(t *testing.T) {
	p := newPlant(t, natstest.Options{MaxPayload: 16 << 10}, nil)
	g := p.open()
	f := (&fake{size: 20_000, most: 3, every: 300 * time.Millisecond}).use(g)
	r := p.run(g)
	r.until("quarantine", func(s status.Gateway) bool { return s.Uplinks[0].Quarantined == 3 })
	eventually(t, "its loss records", func() bool { return p.allExplained() == 3 })
	r.stop()
	assert.EqualValues(t, 3, f.n.Load())
	g = p.open()
	assert.Empty(t, g.committer.extra, "they are explained")
	(&fake{most: 50}).use(g)
	r = p.run(g)
	r.until("deliveries", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken == 50 })
	r.stop()
	got := p.read()
	got.complete(t)
	assert.EqualValues(t, 3, got.lossesOf("quarantined: "))
	assert.Len(t, got.numbers("press-1/counter"), 50)
	assert.Len(t, p.events("message-quarantined"), 3)
}

// allExplained counts the messages in quarantine whose loss records are accepted.
func (p *plant) allExplained() (n int) {
	files, err := filepath.Glob(p.path("state", "quarantine", "*.json"))
	require.NoError(p.t, err)
	for _, f := range files {
		q, err := readQuarantined(f)
		require.NoError(p.t, err)
		if q.Explained {
			n++
		}
	}
	return n
}

// The loss record of a message in quarantine is written after the next start
// where a crash prevented it before.
func TestQuarantineBeforeACrash(t *testing.T) {
	p := newPlant(t, natstest.Options{MaxPayload: 16 << 10}, nil)
	g := p.open()
	(&fake{size: 20_000, most: 1}).use(g)
	r := p.run(g)
	r.until("quarantine", func(s status.Gateway) bool { return s.Uplinks[0].Quarantined == 1 })
	r.stop()
	files, err := filepath.Glob(p.path("state", "quarantine", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], []byte(strings.Replace(string(b), `"explained":true`, `"explained":false`, 1)), 0o600))
	g = p.open()
	(&fake{most: 1}).use(g)
	r = p.run(g)
	eventually(t, "explanation", func() bool { return p.allExplained() == 1 })
	r.stop()
	p.read().complete(t)
}

func TestExpiry(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	small(p, true) // with a full outbox that stops polling: age goes on
	var ahead atomic.Int64
	before := p.change
	p.change = func(o *Options) {
		before(o)
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}
	p.nats.Stop()
	g := p.open()
	f := (&fake{size: 2000, every: 100 * time.Microsecond}).use(g)
	r := p.run(g)
	r.until("stall", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	n := f.n.Load()
	ahead.Store(int64(8 * 24 * time.Hour))
	r.until("expiry", func(s status.Gateway) bool { return s.Commits.Stalled == "" && f.n.Load() > n })
	require.NoError(t, p.nats.Restart())
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages < 20 && s.Uplinks[0].Messages > 0 })
	r.stop()
	got := p.read()
	got.complete(t)
	assert.NotZero(t, got.lossesOf("expired"))
	numbers := got.numbers("press-1/counter")
	assert.Equal(t, uniq(numbers), numbers)
	assert.Contains(t, numbers, f.n.Load())
}

// TestLongOutage goes around a small outbox many times with little data and many
// checkpoints: what is carried on must not fill it.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	small(p, false)
	p.nats.Stop()
	g := p.open()
	g.committer.set.CheckpointMessages = 1
	f := (&fake{size: 500}).use(g)
	f.every = time.Hour
	f.sink.Link(up())
	c := g.committer
	for i := range 7_000 {
		require.NoError(t, g.sinks[0].Take(t.Context(), f.one(uint64(i+1))))
		require.NoError(t, c.commit(t.Context(), c.build))
	}
	assert.Empty(t, c.intake.why())
	require.NoError(t, g.committer.finish())
	require.NoError(t, g.Close())
	assert.Greater(t, len(p.events("outbox-overflow")), 12)

	require.NoError(t, p.nats.Restart())
	g = p.open()
	(&fake{most: 1}).use(g)
	r := p.run(g)
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Uplinks[0].Messages > 0 })
	r.stop()
	got := p.read()
	got.complete(t)
	numbers := got.numbers("press-1/counter")
	i := slices.Index(numbers, 7_000)
	require.Positive(t, i)
	assert.Greater(t, i, 300, "the newest are there")
	for _, d := range got.deliveries {
		require.Equal(t, envelope.Signed, d.Proof)
	}
}
