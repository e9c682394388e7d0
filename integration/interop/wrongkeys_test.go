//go:build interop

package interop

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWrongKeys shows what the wrong people get, and what becomes of messages
// that the gateway did not send as they are.
func TestWrongKeys(t *testing.T) {
	p := newPlant(t, "200ms", 1, 2)
	p.site.start()
	p.enough(t, 15)
	p.server.Stop()
	p.site.drained(20 * time.Second)
	p.site.stop()
	right := p.site.open()
	complete(t, right)
	everyCounter(t, right, p.units)
	trust := p.site.path("trust.yaml")
	messages := all(t, p.broker, streamName)

	t.Run("no recipient", func(t *testing.T) {
		home := t.TempDir()
		must(t, "keys", "recipient", "stranger", "-o", home)
		o := p.site.openAs(filepath.Join(home, "stranger.identity"), "--trust", trust)
		p.nothingSealed(t, o)
		assert.Equal(t, 1, o.code)
		assert.Contains(t, o.stderr, "wrong-recipient")
		assert.Regexp(t, `sealed messages? (is|are) not for the identities given`, o.stderr)
		assert.Contains(t, o.stderr, "not everything is in order")
		assert.Equal(t, map[string]int{"signed": len(o.samples)}, o.proofs(), "what is public is signed for him too")
		for _, s := range o.streams {
			assert.Equal(t, !strings.HasSuffix(s.Stream, "/public"), s.Unopened > 0, "%s: %d unopened", s.Stream, s.Unopened)
		}
	})
	t.Run("no identity", func(t *testing.T) {
		o := p.site.openAs("", "--trust", trust, "--clear")
		p.nothingSealed(t, o)
		assert.Zero(t, o.code, "an audit of what is in order: %s", o.stderr)
	})
	t.Run("no trust file", func(t *testing.T) {
		o := p.site.openAs(p.site.identity(engineering))
		assert.Equal(t, 1, o.code)
		assert.Contains(t, o.stderr, "nothing was verified")
		assert.Equal(t, map[string]int{"unverified": len(right.samples)}, o.proofs())
	})
	t.Run("flipped bits", func(t *testing.T) { p.flippedBits(t, right, messages) })
	t.Run("trust file with another key", func(t *testing.T) {
		other := p.otherTrust(t)
		o := p.site.openAs(p.site.identity(engineering), "--trust", other)
		assert.Empty(t, o.lines, "nothing is signed by that key")
		assert.Equal(t, 1, o.code)
		assert.Contains(t, o.stderr, "bad-signature")
		assert.Contains(t, o.stderr, "not everything is in order")
	})
	t.Run("impostor", func(t *testing.T) { p.impostor(t, right) })
}

// nothingSealed shows that only what is public was opened.
func (p *plant) nothingSealed(t *testing.T, o *opened) {
	t.Helper()
	assert.NotEmpty(t, o.samples)
	for _, s := range o.samples {
		assert.False(t, s.Sealed)
		assert.Contains(t, []string{"nameplate", "state"}, s.Point)
	}
	for _, secret := range []string{p.secret, p.unlabelled, p.unreleased} {
		assert.False(t, sees([]byte(o.stdout+o.stderr), secret))
	}
}

// flippedBits copies the stream into others, with one bit of one message
// flipped in each.
func (p *plant) flippedBits(t *testing.T, right *opened, messages []stored) {
	body := func(b []byte) int { return len(b) / 2 }
	// A bit that makes another digit of a value.
	digit := func(b []byte) int { return bytes.Index(b, []byte(`"v":`)) + 4 }
	for _, c := range []struct {
		name, kind, level string
		at                func([]byte) int
		says              []string // one of them on stderr
	}{
		{"NOTHING", "", "", nil, nil},
		{"SEALED", "data", "restricted", body, []string{"tampered"}},
		{"TAIL", "data", "internal", func(b []byte) int { return len(b) - 1 }, []string{"tampered"}},
		{"CLEAR", "data", "public", digit, []string{"forged"}},
		{"KEY", "key-frame", "restricted", body, []string{"bad-signature", "malformed"}},
		{"CHECKPOINT", "checkpoint", "internal", body, []string{"bad-signature", "malformed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			prefix := "copy." + strings.ToLower(c.name)
			flipped := p.copyStream(t, c.name, prefix, messages, func(m stored) int {
				if c.at == nil || m.Header.Get("Fieldseal-Kind") != c.kind || m.Header.Get("Fieldseal-Level") != c.level {
					return -1
				}
				if n, _ := strconv.Atoi(m.Header.Get("Fieldseal-Sequence")); c.kind == "data" && n < 3 {
					return -1 // a catalogue, which holds no sample
				}
				return c.at(m.Data)
			})
			o := p.site.openCopy(c.name, prefix, p.site.identity(engineering), "--trust", p.site.path("trust.yaml"))
			if c.at == nil {
				complete(t, o)
				assert.Equal(t, right.lines, o.lines, "a copy without a flipped bit is as good")
				return
			}
			require.True(t, flipped, "no such message")
			assert.Equal(t, 1, o.code)
			assert.True(t, slices.ContainsFunc(c.says, func(s string) bool { return strings.Contains(o.stderr, s) }), "%s:\n%s", c.says, o.stderr)
			assert.Less(t, len(o.lines), len(right.lines))
			for _, line := range o.lines {
				assert.Contains(t, right.stdout, line, "a line that the gateway did not send")
			}
			assert.Equal(t, map[string]int{"signed": len(o.lines)}, o.proofs())
			t.Logf("%d of %d samples; %s", len(o.lines), len(right.lines), strings.Split(o.stderr, "\n")[0])
		})
	}
}

// copyStream publishes the messages under another prefix, and flips the lowest
// bit of one byte in the first message for which flip gives an index.
func (p *plant) copyStream(t *testing.T, name, to string, messages []stored, flip func(stored) int) (flipped bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.broker.CreateStream(name, to+".>")
	js, err := jetstream.New(p.broker.Connect("copier"))
	require.NoError(t, err)
	for _, m := range messages {
		header := nats.Header{}
		for k, v := range m.Header {
			if k == "Nats-Msg-Id" || !strings.HasPrefix(k, "Nats-") {
				header[k] = v
			}
		}
		data := bytes.Clone(m.Data)
		if !flipped {
			if i := flip(m); i >= 0 {
				data[i] ^= 1
				flipped = true
			}
		}
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: to + strings.TrimPrefix(m.Subject, prefix), Header: header, Data: data})
		require.NoError(t, err)
	}
	return flipped
}

// otherTrust is the trust file with the signing key of somebody else's keystore.
func (p *plant) otherTrust(t *testing.T) string {
	t.Helper()
	o := &site{dir: p.site.path("other"), broker: p.broker, t: t}
	require.NoError(t, os.MkdirAll(o.dir, 0o700))
	gateway, err := os.ReadFile(p.site.path("gateway.yaml"))
	require.NoError(t, err)
	o.write("gateway.yaml", string(gateway))
	must(t, "keys", "init", "-c", o.path("gateway.yaml"), "--approver", p.site.path("people", "anna", "anna.approver.pub"))
	key := strings.TrimSpace(must(t, "keys", "export", "signing", "-c", o.path("gateway.yaml")))
	trust, err := os.ReadFile(p.site.path("trust.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(trust), p.site.signing)
	p.site.write("other-trust.yaml", strings.ReplaceAll(string(trust), p.site.signing, key))
	p.site.signTrust("other-trust.yaml")
	return p.site.path("other-trust.yaml")
}

// impostor runs a gateway of the same name with keys of its own, which the
// broker lets in.
func (p *plant) impostor(t *testing.T, right *opened) {
	lies := StartLibmodbus(t, LibmodbusOptions{Units: []byte{1}, Canary: canary(), Texts: [3]string{canary(), canary(), canary()}})
	s := p.newSite(t, "impostor", "200ms", unit{"press-1", lies, 1})
	s.start()
	until(t, time.Minute, "5 values of the impostor's counter", func() bool { return len(lies.Truth(1)) >= 5 })
	lies.Stop()
	s.drained(20 * time.Second)
	s.stop()
	own := s.open() // who trusts the impostor
	for _, u := range own.counters(t, "press-1") {
		assert.Contains(t, lies.Truth(1), u)
	}

	o := p.site.open()
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.stderr, "bad-signature")
	assert.Contains(t, o.stderr, "not everything is in order")
	assert.Equal(t, right.lines, o.lines, "what the true gateway sent, and nothing else")
	for _, text := range append(lies.Texts[:], lies.Canary) {
		assert.NotContains(t, o.stdout, text)
	}
	t.Logf("impostor: %s", o.stderr)
}
