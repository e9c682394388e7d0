package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// follower is a fieldseal open that follows a stream, in this process.
type follower struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	answer answer
	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
	news   chan struct{}
}

type followed struct {
	f *follower
	b *bytes.Buffer
}

func (w followed) Write(b []byte) (int, error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	select {
	case w.f.news <- struct{}{}:
	default:
	}
	return w.b.Write(b)
}

func follow(t testing.TB, args []string) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: t, cancel: cancel, done: make(chan struct{}), news: make(chan struct{}, 1)}
	go func() {
		defer close(f.done)
		f.answer.code = run(ctx, args, strings.NewReader(""), followed{f, &f.stdout}, followed{f, &f.stderr})
	}()
	t.Cleanup(func() { cancel(); <-f.done })
	return f
}

// until waits until a text was printed, on either output.
func (f *follower) until(text string) {
	f.t.Helper()
	end := time.After(deadline)
	for {
		f.mu.Lock()
		found := strings.Contains(f.stdout.String(), text) || strings.Contains(f.stderr.String(), text)
		all := f.stdout.String() + f.stderr.String()
		f.mu.Unlock()
		if found {
			return
		}
		select {
		case <-f.news:
		case <-f.done:
			f.t.Fatalf("%q was not printed before the end:\n%s", text, all)
		case <-end:
			f.t.Fatalf("%q was not printed within %v:\n%s", text, deadline, all)
		}
	}
}

func (f *follower) stop() answer {
	f.cancel()
	<-f.done
	f.answer.stdout, f.answer.stderr = f.stdout.String(), f.stderr.String()
	return f.answer
}

// While a stream is followed, samples come at once, and each thing that is not in
// order is told once, before the end.
func TestOpenFollows(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.usual()
	s.publish(server)
	state := s.path("state")
	f := follow(t, s.args("engineering", append(flags, "--state", state, "--stats")...))
	f.until(`"point":"program-name","level":"restricted","value":6,`)

	r := s.feeds["press-1/restricted"]
	r.sealed(r.sample("force"))
	r.sealed(r.sample("force"))
	s.sent = s.sent[1:] // a broker loses one
	r.checkpoint(false)
	r.sealed(r.sample("force"))
	s.state(func(g *envelope.GatewayState) { g.Interval = 500 * time.Millisecond })
	s.sent = append(s.sent[:len(s.sent)-2], s.sent[len(s.sent)-1]) // and the tail
	s.publish(server)
	f.until("messages 8 are missing, and nobody says why")
	f.until("messages 11 were sent by ")
	f.until("gateway gw-1 is silent: its last statement is of ")
	s.now = time.Now()
	s.state(nil)
	s.publish(server)
	f.until("gateway gw-1 is heard again")
	a := f.stop()
	require.Equal(t, 1, a.code)
	live, end, _ := strings.Cut(a.stderr, "heard again")
	assert.Equal(t, 1, strings.Count(live, "are missing"), a.stderr)
	assert.Equal(t, 1, strings.Count(live, "were sent by"), a.stderr)
	assert.Contains(t, end, "messages 8 are missing", "and at the end")
	assert.NotContains(t, end, "silent")
	assert.Equal(t, []string{"8"}, a.stats(t).Streams[2].Gaps)

	// It goes on behind what was printed, and says no more of what it told.
	b := s.open("engineering", append(flags, "--state", state, "--end")...)
	assert.Empty(t, b.stdout)
	assert.Contains(t, b.stderr, "1 thing not in order, told by an earlier run, is still so")
	assert.Equal(t, 1, b.code, "the tail is still withheld")

	// A stream that was made again is another one.
	require.NoError(t, server.JetStream(func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, "PLANT") }))
	require.NoError(t, server.AddStream("PLANT", nil, "plant.test.>"))
	b = s.open("engineering", append(flags, "--state", state, "--end")...)
	require.Equal(t, 2, b.code)
	require.Contains(t, b.stderr, "stream PLANT was made again since")
}

// A gateway whose statements ended is told as silent, and one that made none.
func TestOpenSilence(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	s.now = time.Now().Add(-time.Hour)
	s.usual()
	statement := s.sent[len(s.sent)-1]
	s.sent = s.sent[:len(s.sent)-1]
	s.publish(server)
	a := s.open("engineering", append(flags, "--end")...)
	require.Zero(t, a.code, a.stderr)
	require.Contains(t, a.stderr, "gateway gw-1 has made no statement")
	s.sent = append(s.sent, statement)
	s.publish(server)
	a = s.open("engineering", append(flags, "--end", "--stats")...)
	require.Contains(t, a.stderr, "gateway gw-1 is silent")
	require.Zero(t, a.code, "up to an end, nobody has to be there: %s", a.stderr)
	require.True(t, a.stats(t).Gateways[0].Silent)
	a = s.open("", append(flags, "--end")...)
	require.Equal(t, 1, a.code, "in an audit it counts")
	require.Contains(t, a.stdout, "SILENT")
}

// purge takes away what is before a sequence of the stream.
func (s *site) purge(server *natstest.Server, before uint64) {
	require.NoError(s, server.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, "PLANT")
		if err != nil {
			return err
		}
		return stream.Purge(ctx, jetstream.WithPurgeSequence(before))
	}))
}

// What a stream no longer keeps is no gap.
func TestOpenTrimmed(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	f := s.feed("press-1", "public")
	for range 6 {
		f.clear(f.sample("state"))
	}
	s.checkpoints()
	s.publish(server)
	s.purge(server, 4)
	a := s.open("engineering", append(flags, "--end", "--stats")...)
	require.Zero(t, a.code, a.stderr)
	require.Contains(t, a.stderr, "messages up to 3 are no longer in the stream")
	require.EqualValues(t, 3, a.stats(t).Streams[0].Trimmed)
	require.Len(t, a.printed(t), 3)
}

// A process that is killed at any time leaves nothing out, and repeats no more
// than what came since it kept its state.
func TestOpenKilled(t *testing.T) {
	alone(t)
	s := newSite(t)
	server, flags := s.broker()
	program := s.path("fieldseal")
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, program))
	out, err := os.OpenFile(s.path("out.json"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer out.Close()
	state := filepath.Join(s.dir, "state")
	args := s.args("engineering", append(flags, "--state", state)...)
	f := s.feed("press-1", "restricted", "engineering")
	sent, rounds := map[string]bool{}, 5
	for round := range rounds + 1 {
		if round == rounds {
			args = append(args, "--end")
		}
		c := exec.CommandContext(t.Context(), program, args...)
		var stderr bytes.Buffer
		c.Stdout, c.Stderr = out, &stderr
		require.NoError(t, c.Start())
		if round == rounds {
			require.NoError(t, c.Wait(), stderr.String())
			break
		}
		for range 200 {
			sent[fmt.Sprint(f.head.Sequence+1)] = true
			f.sealed(f.sample("force"))
			if f.head.Sequence%17 == 0 {
				f.checkpoint(false)
			}
			if f.head.Sequence%500 == 0 { // a new key
				f.checkpoint(true)
				f = s.feed("press-1", "restricted", "engineering")
			}
		}
		s.publish(server)
		s.grows(out.Name(), func(b []byte) bool { return bytes.Count(b, []byte("\n")) > 200*round+50*(round%4) })
		if round%2 == 1 {
			before, _ := os.ReadFile(state)
			s.grows(state, func(b []byte) bool { return !bytes.Equal(b, before) })
		}
		require.NoError(t, c.Process.Signal(syscall.SIGKILL))
		_ = c.Wait()
	}
	b, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	got := map[string]int{}
	repeats := 0
	for line := range strings.Lines(string(b)) {
		var l printedLine
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		if got[string(l.Value)]++; got[string(l.Value)] > 1 {
			repeats++
		}
	}
	f.checkpoint(false)
	missing := 0
	for n := range sent {
		if got[n] == 0 {
			missing++
		}
	}
	require.LessOrEqual(t, missing, 17, "those that were not signed yet")
	for n := range got {
		require.True(t, sent[n], n)
	}
	t.Logf("%d samples, %d repeated over %d kills, %d not signed yet", len(got), repeats, rounds, missing)
	require.Less(t, repeats, 200*rounds/2+100, "it does not begin anew")

	// The rest is signed now.
	s.publish(server)
	a := s.open("engineering", append(flags, "--state", state, "--end")...)
	require.Zero(t, a.code, a.stderr)
	require.Len(t, a.printed(t), missing)
}

// grows waits until a file is as it should be.
func (s *site) grows(name string, enough func([]byte) bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(deadline)
	for {
		if b, err := os.ReadFile(name); err == nil && enough(b) {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			s.Fatalf("%s is not as it should be after %v", name, deadline)
		}
	}
}
