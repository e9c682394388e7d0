package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// holes sends with so many messages missing, and gives the places of those.
func (s *site) holes(n int) (missing []int) {
	f := s.feeds["press-1/public"]
	for range n {
		missing = append(missing, len(s.sent))
		f.clear(f.sample("state"))
		f.clear(f.sample("state"))
	}
	s.checkpoints()
	return missing
}

// Each gap that is new counts, however many were told already. Only the lines are
// limited.
func TestOpenManyGaps(t *testing.T) {
	alone(t)
	for _, who := range []string{"engineering", ""} {
		s := newSite(t)
		s.usual()
		missing := s.holes(25)
		state := s.path("state")
		a := s.open(who, "--state", state, s.folder(missing...))
		require.Equal(t, 1, a.code)
		assert.Equal(t, 20, strings.Count(a.stderr, "nobody says why"), a.stderr)
		assert.Contains(t, a.stderr, "gw-1/press-1/public: and 5 ranges more are missing\n")
		a = s.open(who, "--state", state, s.folder(missing...))
		require.Zero(t, a.code, a.stderr)
		assert.Contains(t, a.stderr, "25 things not in order, told by an earlier run, are still so")
		missing = append(missing, s.holes(30)...)
		a = s.open(who, "--state", state, s.folder(missing...))
		require.Equal(t, 1, a.code)
		assert.Equal(t, 20, strings.Count(a.stderr, "nobody says why"), a.stderr)
		assert.Contains(t, a.stderr, "and 10 ranges more are missing")
		missing = append(missing, s.holes(1)...)
		a = s.open(who, "--state", state, s.folder(missing...))
		require.Equal(t, 1, a.code, "one more")
		assert.Contains(t, a.stderr, "55 things not in order")
		assert.Equal(t, 1, strings.Count(a.stderr, "nobody says why"), a.stderr)
	}
}

// While a stream is followed a gap behind many others is told as well.
func TestOpenFollowsManyGaps(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	cut := func(n int) {
		missing := s.holes(n)
		for i := len(missing) - 1; i >= 0; i-- {
			s.sent = append(s.sent[:missing[i]], s.sent[missing[i]+1:]...)
		}
		s.publish(server)
	}
	cut(25)
	f := follow(t, s.args("engineering", append(flags, "--state", s.path("state"))...))
	f.until("gw-1/press-1/public: and 5 ranges more are missing")
	cut(1)
	f.until(fmt.Sprintf("messages %d are missing", s.feeds["press-1/public"].head.Sequence-2))
	a := f.stop()
	require.Equal(t, 1, a.code)
	a = s.open("engineering", append(flags, "--state", s.path("state"), "--end")...)
	require.Zero(t, a.code, a.stderr)
	require.Contains(t, a.stderr, "26 things not in order, told by an earlier run, are still so")
}

// A forgery that was told is none of the next run.
func TestOpenForgeryToldOnce(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	f := s.feeds["press-1/public"]
	forge := func() {
		m := s.sent[2]
		m.Body = envelope.AppendClear(nil, f.base(), []envelope.Sample{f.sample("state")})
		m.ID = m.Digest()
		s.sent = append([]envelope.Message{m}, s.sent...)
	}
	forge()
	s.publish(server)
	run := func() answer { return s.open("engineering", append(flags, "--end", "--state", s.path("state"))...) }
	a := run()
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stderr, "forged: another message has this number")
	for range 2 {
		a = run()
		require.Zero(t, a.code, a.stderr)
		require.Contains(t, a.stderr, "1 thing not in order, told by an earlier run, is still so")
	}
	for range 3 {
		f.clear(f.sample("state"))
	}
	s.checkpoints()
	forge()
	s.publish(server)
	a = run()
	require.Equal(t, 1, a.code, "another one is new")
	require.Contains(t, a.stderr, "forged: another message has this number")
	a = run()
	require.Zero(t, a.code, a.stderr)
}

// Where nothing came that a gateway signed, nothing is in order.
func TestOpenNothing(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	empty := t.TempDir()
	for _, a := range []answer{
		s.open("", "--policy", s.path("policy.yaml"), empty),
		s.open("engineering", empty),
		s.open("engineering", append(flags, "--end")...),
	} {
		require.Equal(t, 1, a.code, a.stdout)
		require.Contains(t, a.stderr, "nothing came that a gateway of the trust file signed; look whether ")
	}
	s.publish(server)
	wrong := append([]string{}, flags...)
	wrong[5] = "plant.tset"
	a := s.open("engineering", append(wrong, "--end")...)
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stderr, "look whether --stream and --prefix are those of the gateways")

	// Who goes on and finds nothing new has what came before.
	for range 2 {
		a = s.open("engineering", append(flags, "--end", "--state", s.path("state"))...)
		require.Zero(t, a.code, a.stderr)
	}
}

// whole is an output that tells when something is written.
type whole struct {
	strings.Builder
	first func()
}

func (w *whole) Write(b []byte) (int, error) {
	if do := w.first; do != nil {
		w.first = nil
		do()
	}
	return w.Builder.Write(b)
}

// Others write into the stream while it is read up to an end: who is silent is so
// all the same.
func TestOpenSilenceInABusyStream(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.now = time.Now().Add(-time.Hour)
	s.usual()
	f := s.feeds["press-1/public"]
	long := envelope.OfText(make([]byte, 20_000))
	for range 400 { // more than is on its way to a reader at once
		f.clear(envelope.Sample{Name: "state", Time: s.now.UnixNano(), Value: long})
		f.checkpoint(false)
	}
	s.state(nil)
	s.publish(server)
	stdout := &whole{first: func() {
		s.feeds["press-1/public"].checkpoint(false)
		s.publish(server)
	}}
	var stderr strings.Builder
	code := run(t.Context(), s.args("", append(flags, "--end", "--clear")...), strings.NewReader(""), stdout, &stderr)
	require.Equal(t, 1, code, stderr.String())
	require.Contains(t, stderr.String(), "gateway gw-1 is silent")
	require.Contains(t, stdout.String(), "SILENT")
}

// Who was ended before anything came could not look.
func TestOpenEndedAtOnce(t *testing.T) {
	alone(t)
	s := newSite(t)
	_, flags := s.broker()
	flags[1] = "tls://127.0.0.1:1"
	f := follow(t, s.args("engineering", flags...))
	f.until("127.0.0.1:1")
	a := f.stop()
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "ended before anything could be read")
}

// A broker that always says that something is left hides a silence no longer than
// the reader's own clock allows.
func TestSilenceByTheOwnClock(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, c := range []struct {
		name     string
		r        *receiver
		heard    time.Duration // ago
		interval time.Duration
		silent   bool
	}{
		{name: "nothing is left", r: &receiver{live: true, began: ago(0)}, heard: time.Hour, interval: time.Second, silent: true},
		{name: "just begun", r: &receiver{live: true, left: 1, began: ago(time.Second)}, heard: time.Hour, interval: time.Second},
		{name: "three intervals", r: &receiver{live: true, left: 1, began: ago(4 * time.Second)}, heard: time.Hour, interval: time.Second, silent: true},
		{name: "heard since", r: &receiver{live: true, left: 1, began: ago(time.Hour)}, heard: time.Second, interval: time.Second},
		{name: "what is old is being read", r: &receiver{live: true, left: 1, began: ago(30 * time.Second), position: 5, goal: 6}, heard: time.Hour, interval: time.Second},
		{name: "it is being read for too long", r: &receiver{live: true, left: 1, began: ago(2 * time.Minute), position: 5, goal: 6}, heard: time.Hour, interval: time.Second, silent: true},
		{name: "no statement at all", r: &receiver{live: true, left: 1, began: ago(2 * time.Minute)}, heard: time.Hour, silent: true},
		{name: "ended before the end", r: &receiver{left: 1, began: ago(time.Hour)}, heard: time.Hour, interval: time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.broker = true
			g := envelope.GatewayReport{Gateway: "gw-1", Silent: true, Heard: ago(c.heard), Statement: envelope.GatewayState{Interval: c.interval}}
			assert.Equal(t, c.silent, c.r.silent(&g))
			c.r.broker = false
			assert.False(t, c.r.silent(&g), "in files nobody is heard later")
		})
	}
}

// What anybody can make up fills the memory of what was told only until the next
// look.
func TestWatchForgetsWhatIsOver(t *testing.T) {
	var w watch
	var r receiver
	for i := range 2 * maxTold {
		w.know(&note{key: fmt.Sprint("forged ", i)})
		w.know(&note{key: fmt.Sprint("gap ", i)})
	}
	require.Len(t, w.fakes, maxTold)
	still := note{key: "gap 1", bad: true}
	w.retain([]note{still}, &r, true)
	require.True(t, w.knows(&still))
	require.Empty(t, w.fakes)
	require.Len(t, w.told, 1)
	require.Equal(t, []string{"gap 1"}, w.list())
	fresh := note{key: "forged again"}
	w.know(&fresh)
	require.True(t, w.knows(&fresh))
	w.retain(nil, &r, true)
	require.Empty(t, w.list(), "and a later run is told of what is so again")
}
