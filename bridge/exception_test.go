package bridge

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/clock"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	oneDay   = 24 * time.Hour
	tenYears = 10 * 365 * oneDay
)

// movable is a gateway's clock that a test sets.
type movable struct {
	ahead atomic.Int64
	is    atomic.Bool // synchronised
}

func (m *movable) set(ahead time.Duration, synchronised bool) {
	m.ahead.Store(int64(ahead))
	m.is.Store(synchronised)
}

func (m *movable) options(o *Options) {
	o.Now = func() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }
	o.Synchronised = func() (bool, error) { return m.is.Load(), nil }
}

// excepted is a policy's exceptions: of restricted, force has one that ends in 20
// days, and counter one that lasts for some months more.
func excepted(p *plant) {
	const all = `  - {allow: connection-not-encrypted, points: ["*/*"], why: "simulated", until: `
	before, _, found := strings.Cut(p.files["policy.yaml"], all)
	require.True(p.t, found)
	p.files["policy.yaml"] = before +
		strings.Replace(all, "*/*", "*/force", 1) + time.Now().AddDate(0, 0, 20).Format(time.DateOnly) + "}\n" +
		strings.Replace(all, "*/*", "*/counter", 1) + time.Now().AddDate(0, 0, 200).Format(time.DateOnly) + "}\n"
}

// lasting lets receivers accept what the gateway signs in ten years. A key that
// ended is refused by them, whatever made the clock say so.
func lasting(p *plant) {
	p.files["trust.yaml"] = strings.Replace(p.files["trust.yaml"], fmt.Sprintf("until: %d-", time.Now().Year()+1), "until: 2099-", 1)
}

// withheld is which of the two points do not leave now.
func withheld(m *status.Machine) (points []string) {
	for _, w := range m.Withheld {
		if w.Point == "force" || w.Point == "counter" {
			points = append(points, w.Point)
		}
	}
	return points
}

// TestExceptionEndsWithinOneSample: what an exception covered is not sent from
// the first sample on that is read after its end.
func TestExceptionEndsWithinOneSample(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, excepted)
	m := &movable{}
	m.set(0, true)
	p.change = m.options
	r := p.start()
	r.flows(40, "press-1")
	end := r.config.Policy.Exceptions[0].Until
	soon := p.events("exception-ends-soon")
	require.Len(t, soon, 1, "the other one lasts longer than a month")
	assert.Contains(t, soon[0].Text, "connection-not-encrypted (policy.yaml:")
	assert.Contains(t, soon[0].Text, "20 days are left")

	// A second before the end nothing has happened; a second later it has.
	m.set(time.Until(end)-time.Second, true)
	moved := time.Now()
	eventually(t, "the end", func() bool { return len(p.events("exception-ended")) == 1 })
	assert.GreaterOrEqual(t, time.Since(moved), time.Second)
	r.flows(40, "press-1")
	assert.Equal(t, []string{"force"}, withheld(new(r.machine("press-1"))))
	stopped := p.events("points-stopped")
	assert.Equal(t, "force", stopped[len(stopped)-1].Point)
	assert.Contains(t, p.events("exception-ended")[0].Text, "the points that it covered stop")
	var kept struct{ Mark time.Time }
	b, err := os.ReadFile(p.path("state", "clock"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &kept))
	assert.False(t, kept.Mark.Before(end), "on disk at once: a power cut does not bring it back")
	r.stop()

	got := p.read()
	got.lossless(t)
	served(t, p, got, "counter")
	served(t, p, got, "public-counter")
	last := got.samples["press-1/force"]
	require.NotEmpty(t, last)
	for _, s := range last {
		assert.Less(t, s.Time, moved.Add(time.Second).UnixNano(), "read after the end")
	}

	t.Run("and at a start", func(t *testing.T) {
		r := p.start()
		r.flows(40, "press-1")
		assert.Equal(t, []string{"force"}, withheld(new(r.machine("press-1"))))
		assert.Len(t, p.events("exception-ended"), 2)
		s := r.Status()
		assert.Equal(t, []bool{true, false}, []bool{s.Exceptions[0].Over, s.Exceptions[1].Over})
		r.stop()
		assert.Len(t, p.read().samples["press-1/force"], len(last))
	})
}

// TestClockMoved: an exception that ended does not come back, one that lasts is
// not gone for good, and everything that needs none flows, wherever the clock
// stands: at a start and while the gateway runs, synchronised and not.
func TestClockMoved(t *testing.T) {
	t.Parallel()
	const truth = 30 * oneDay // from now: the first exception is over
	unset := -time.Duration(time.Now().UnixNano())
	both := []string{"force", "counter"}
	for name, c := range map[string]struct {
		ahead    time.Duration
		is       bool
		withheld []string // while it stands there
		later    []string // when it is right again
		how      string
		event    string
	}{
		"10 years on, synchronised":       {truth + tenYears, true, both, both, "synchronised", "exception-ended"},
		"10 years on, not synchronised":   {truth + tenYears, false, both, both[:1], "plausible", "exception-ended"},
		"10 years back, synchronised":     {truth - tenYears, true, both[:1], both[:1], "synchronised", "clock-behind"},
		"10 years back, not synchronised": {truth - tenYears, false, both, both[:1], "unknown", "clock-untrusted"},
		"not set, synchronised":           {unset, true, both[:1], both[:1], "synchronised", "clock-behind"},
		"not set, not synchronised":       {unset, false, both, both[:1], "unknown", "clock-untrusted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, natstest.Options{}, func(p *plant) { excepted(p); lasting(p) })
			m := &movable{}
			p.change = m.options
			var r *running
			is := func(what string, want []string) {
				t.Helper()
				r.until(what, func(s status.Gateway) bool { return slices.Equal(withheld(&s.Machines[0]), want) })
				flow := r.machine("press-1").Samples
				eventually(t, "the rest", func() bool {
					s := r.machine("press-1").Samples
					return s.Clear >= flow.Clear+8 && s.Sealed >= flow.Sealed+2
				})
				assert.Equal(t, want, withheld(new(r.machine("press-1"))), what)
			}
			m.set(truth, true)
			r = p.start()
			is("right, synchronised", both[:1])
			r.stop()
			counted := len(p.read().numbers("press-1/counter"))
			require.NotZero(t, counted)

			m.set(c.ahead, c.is)
			r = p.start()
			is("moved at the start", c.withheld)
			assert.Equal(t, c.how, r.Status().Clock.How)
			assert.Equal(t, c.how != "unknown", r.Status().Clock.Trusted)
			assert.NotEmpty(t, p.events(c.event))
			m.set(truth, c.is) // as it had been before
			is("right again", c.later)
			if len(c.later) == 2 { // a time server was ten years ahead: only approvers mend that
				assert.Contains(t, p.events("clock-behind")[0].Text, "sign the policy again with the next revision")
				p.edit("policy.yaml", "revision: 1", "revision: 2")
				p.sign(p.anna)
				require.NoError(t, p.reload(r))
				is("signed", both[:1])
			}
			events := len(p.events(c.event))
			m.set(c.ahead, c.is)
			is("moved while running", c.withheld)
			assert.Greater(t, len(p.events(c.event)), events)
			r.stop()

			got := p.read()
			unharmed(t, got)
			served(t, p, got, "public-counter")
			assert.Empty(t, got.samples["press-1/force"], "it had ended before all this")
			assert.Greater(t, len(got.numbers("press-1/counter")), counted)
		})
	}
}

// TestNeverSynchronised: in a gateway whose clock was never synchronised no
// exception counts; all else flows.
func TestNeverSynchronised(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	m := &movable{}
	p.change = m.options
	r := p.start()
	r.flows(40, "press-1")
	s := r.Status()
	assert.Equal(t, status.Clock{How: "unknown", Why: s.Clock.Why}, s.Clock)
	assert.Contains(t, s.Clock.Why, "let NTP or PTP synchronise the clock")
	assert.True(t, s.Exceptions[0].Over)
	assert.Equal(t, []string{"force", "counter"}, withheld(&s.Machines[0]))
	require.Len(t, p.events("clock-untrusted"), 1)
	assert.Empty(t, p.events("exception-ended"), "it did not")
	m.is.Store(true)
	r.until("trust", func(s status.Gateway) bool { return s.Clock.Trusted && len(withheld(&s.Machines[0])) == 0 })
	r.flows(40, "press-1")
	assert.Len(t, p.events("clock-trusted"), 1)
	r.stop()
	got := p.read()
	got.lossless(t)
	assert.NotEmpty(t, got.samples["press-1/force"])
}

// TestMarkIsDamaged: a mark that nobody can read stops what needs an exception
// until the clock is synchronised, and not the gateway.
func TestMarkIsDamaged(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	m := &movable{}
	p.change = m.options
	require.NoError(t, os.WriteFile(p.path("state", "clock"), []byte("yesterday"), 0o600))
	r := p.start()
	r.flows(40, "press-1")
	assert.False(t, r.Status().Clock.Trusted)
	require.Len(t, p.events("clock-mark-unreadable"), 1)
	m.is.Store(true)
	r.until("trust", func(s status.Gateway) bool { return s.Clock.Trusted })
	r.stop()
	assert.Len(t, p.events("clock-mark-unreadable"), 1)
	m.is.Store(false)
	r = p.start()
	assert.Equal(t, "plausible", r.Status().Clock.How)
	r.stop()
}

// TestClockAheadExpiresNothing: a clock that is not synchronised makes nothing in
// the outbox too old, wherever it stands.
func TestClockAheadExpiresNothing(t *testing.T) {
	p := newPlant(t, natstest.Options{}, lasting)
	small(p, true)
	m := &movable{}
	m.set(0, true)
	before := p.change
	p.change = func(o *Options) { before(o); m.options(o) }
	p.nats.Stop()
	g := p.open()
	f := (&fake{size: 2000, every: 100 * time.Microsecond}).use(g)
	r := p.run(g)
	r.until("stall", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	n, waiting := f.n.Load(), r.Status().Outbox.Messages
	m.set(tenYears, false)
	r.until("that it is noticed", func(s status.Gateway) bool {
		return s.Clock.How == "plausible" && len(p.events("exception-ended")) == 1
	})
	for range 3 {
		_, err := g.committer.expire()
		require.NoError(t, err)
	}
	assert.Equal(t, []uint64{n, waiting}, []uint64{f.n.Load(), r.Status().Outbox.Messages})
	assert.Empty(t, p.events("outbox-expired"))
	require.NoError(t, p.nats.Restart())
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages < 20 && s.Uplinks[0].Messages > 0 })
	r.stop()
	unharmed(t, p.read())
}

// TestUnsetClockExpiresNothing: what came after a power cut, while the clock
// stood in 1970, is not too old when the clock is right again.
func TestUnsetClockExpiresNothing(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, func(p *plant) { // nothing needs an exception
		text, _, _ := strings.Cut(p.files["policy.yaml"], "exceptions:")
		p.files["policy.yaml"] = strings.Replace(text, "connection: encrypted", "connection: any", 1)
	})
	small(p, true)
	m := &movable{}
	m.set(0, true)
	before := p.change
	p.change = func(o *Options) { before(o); m.options(o) }
	require.NoError(t, p.open().Close())
	m.set(-time.Duration(time.Now().UnixNano()), false)
	p.nats.Stop()
	g := p.open()
	(&fake{size: 2000, every: 100 * time.Microsecond}).use(g)
	r := p.run(g)
	r.until("stall", func(s status.Gateway) bool { return s.Commits.Stalled != "" })
	assert.Equal(t, "unknown", r.Status().Clock.How)
	waiting := r.Status().Outbox.Messages
	m.set(0, true)
	r.until("trust", func(s status.Gateway) bool {
		return s.Clock.How == "synchronised" && len(p.events("clock-trusted")) == 1
	})
	_, err := g.committer.expire()
	require.NoError(t, err)
	assert.Equal(t, waiting, r.Status().Outbox.Messages)
	assert.Empty(t, p.events("outbox-expired"))
	require.NoError(t, p.nats.Restart())
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages < 20 && s.Uplinks[0].Messages > 0 })
	r.stop()
	unharmed(t, p.read())
}

// unharmed checks that nothing was given up.
func unharmed(t testing.TB, got *received) {
	t.Helper()
	got.complete(t)
	for _, s := range got.report {
		assert.Empty(t, s.Losses, "%s", s.Stream)
	}
}

// TestClockEvents: each change is said once, and what ends soon once a day.
func TestClockEvents(t *testing.T) {
	t.Parallel()
	w := clockWatch{told: make(map[exceptionID]*toldException)}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	e := []policy.Exception{{Allow: policy.ConnectionNotEncrypted, Where: "policy.yaml:26", Until: now.AddDate(0, 0, 32)}}
	look := func(r clock.Reading) (names []string) {
		for _, e := range w.look(&r, e) {
			assert.NotEmpty(t, e.Text)
			names = append(names, e.Name)
		}
		return names
	}
	at := func(hours int) clock.Reading {
		at := now.Add(time.Duration(hours) * time.Hour)
		return clock.Reading{Now: at, Deciding: at, Trust: clock.Synchronised}
	}
	var got [][]string
	for hour := range 33 * 24 {
		if names := look(at(hour)); names != nil {
			got = append(got, names)
		}
	}
	require.Len(t, got, 31)
	for _, names := range got[:30] {
		assert.Equal(t, []string{"exception-ends-soon"}, names)
	}
	assert.Equal(t, []string{"exception-ended"}, got[30])
	lost := clock.Reading{Now: now, Deciding: clock.PastAllDays(), Why: "not synchronised"}
	assert.Equal(t, []string{"clock-untrusted"}, look(lost))
	assert.Empty(t, look(lost))
	assert.Equal(t, []string{"clock-trusted", "exception-counts-again"}, look(at(0)))
	behind := at(1)
	behind.Why = "it was later already"
	assert.Equal(t, []string{"clock-behind"}, look(behind))
	assert.Empty(t, look(behind))
	assert.Equal(t, []string{"clock-trusted"}, func() []string { look(lost); return look(at(2)) }())
}

// TestClockGrade: what receivers are told of the clock.
func TestClockGrade(t *testing.T) {
	t.Parallel()
	for trust, grade := range map[clock.Trust]envelope.Clock{
		clock.Untrusted: envelope.ClockUnknown, clock.BeyondMark: envelope.ClockPlausible, clock.Synchronised: envelope.ClockSynchronised,
	} {
		assert.Equal(t, grade, clockGrade(trust))
	}
}
