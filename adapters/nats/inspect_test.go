package nats

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// expected is what a gateway with one machine needs.
func expected() Expect {
	stream := envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "internal"}
	return Expect{
		Addresses: []envelope.Address{
			{Stream: stream, Kind: envelope.Data},
			{Stream: stream, Kind: envelope.KeyFrame},
			{Stream: stream, Kind: envelope.Checkpoint},
			{Stream: stream, Kind: envelope.Passthrough, Point: "*"},
			{Stream: envelope.Stream{Gateway: "gw-1"}, Kind: envelope.Statement},
		},
		MaxAge: 7 * 24 * time.Hour, MaxSize: 64 << 20, KeyLife: time.Hour,
	}
}

// safe is a stream that keeps what it is given.
func safe(c *jetstream.StreamConfig) {
	c.DenyDelete, c.DenyPurge, c.Duplicates = true, true, 2*time.Minute
}

func inspect(t *testing.T, cfg Config) (problems, notes []string) {
	t.Helper()
	found, err := Inspect(t.Context(), cfg, expected())
	require.NoError(t, err)
	for _, f := range found {
		text := f.What + "; " + f.Instead
		assert.NotEmpty(t, f.Instead, text)
		switch {
		case f.Unseen:
			notes = append(notes, "UNSEEN "+text)
		case f.Note:
			notes = append(notes, text)
		default:
			problems = append(problems, text)
		}
	}
	return problems, notes
}

// Each thing that makes a stream lose, hide or rewrite what a gateway was told is
// stored.
func TestInspectStream(t *testing.T) {
	s := natstest.Start(t, natstest.Options{})
	// With the last stream its folder goes too, perhaps while the next one is made.
	require.NoError(t, s.AddStream("STAYS", nil, "stays.>"))
	cfg := config(t, s)
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		want   string // part of the only problem; empty: there is none
	}{
		{"safe", func(*jetstream.StreamConfig) {}, ""},
		{"rollup", func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, "allow_rollup_hdrs"},
		{"ttl", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl"},
		{"delete", func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "set deny_delete: true"},
		{"purge", func(c *jetstream.StreamConfig) { c.DenyPurge = false }, "set deny_purge: true"},
		{"age", func(c *jetstream.StreamConfig) { c.MaxAge = 7 * 24 * time.Hour }, "set max_age to 169h0m0s or more"},
		{"age enough", func(c *jetstream.StreamConfig) { c.MaxAge = 30 * 24 * time.Hour }, ""},
		{"bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "set max_bytes to 67108864"},
		{"bytes, refusing", func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1<<20, jetstream.DiscardNew }, ""},
		{"messages", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }, "set max_msgs: -1"},
		{"per subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "set max_msgs_per_subject: -1"},
		{"duplicates", func(c *jetstream.StreamConfig) { c.Duplicates = 10 * time.Second }, "duplicate_window"},
		{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage: file"},
		{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention: limits"},
		{"no acknowledgement", func(c *jetstream.StreamConfig) { c.NoAck, c.Storage = true, jetstream.MemoryStorage }, "no_ack"},
		{"small messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 16 }, "max_msg_size"},
		{"renamed", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: testPrefix + ".>", Destination: "other.>"}
		}, "subject_transform"},
		{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{testPrefix + ".gw-1.*.internal"} }, "add plant.augsburg.gw-1.> to its subjects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "S-" + strings.ReplaceAll(strings.ReplaceAll(c.name, " ", "-"), ",", "")
			require.NoError(t, s.AddStream(name, func(sc *jetstream.StreamConfig) {
				safe(sc)
				c.change(sc)
			}, testPrefix+".>"))
			defer remove(t, s, name)
			cfg := cfg
			cfg.Stream = name
			problems, notes := inspect(t, cfg)
			switch c.name { // the server allows both only with another mistake
			case "rollup":
				problems = without(problems, "deny_purge")
			case "no acknowledgement":
				problems = without(problems, "storage: file")
			}
			if c.want == "" {
				assert.Empty(t, problems)
			} else if assert.Len(t, problems, 1, problems) {
				assert.Contains(t, problems[0], c.want)
			}
			assert.Contains(t, strings.Join(notes, "\n"), "was not tried")
		})
	}
}

func remove(t *testing.T, s *natstest.Server, name string) {
	t.Helper()
	require.NoError(t, s.JetStream(func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, name) }))
}

func without(all []string, word string) (out []string) {
	for _, s := range all {
		if !strings.Contains(s, word) {
			out = append(out, s)
		}
	}
	return out
}

// A server that is not there, does not let us in, has no such stream, or does not
// tell.
func TestInspectServer(t *testing.T) {
	s := natstest.Start(t, natstest.Options{})
	require.NoError(t, s.AddStream(testStream, safe, testPrefix+".>"))
	cfg := config(t, s)

	cfg.Servers = append(cfg.Servers, "tls://127.0.0.1:1")
	problems, _ := inspect(t, cfg)
	if assert.Len(t, problems, 1) {
		assert.Contains(t, problems[0], "127.0.0.1:1")
		assert.Contains(t, problems[0], "see that it runs")
	}

	// The other one has a stream of that name, but it is not the same.
	other := natstest.Start(t, natstest.Options{})
	require.NoError(t, other.AddStream(testStream, safe, testPrefix+".>"))
	both := config(t, s)
	both.Servers = append(both.Servers, other.URL())
	both.TLS.RootCAs = s.CA.Pool()
	problems, _ = inspect(t, both)
	if assert.Len(t, problems, 1) {
		assert.Contains(t, problems[0], "the server's certificate is not accepted")
	}

	missing := config(t, s)
	missing.Stream = "NONE"
	problems, _ = inspect(t, missing)
	if assert.Len(t, problems, 1) {
		assert.Contains(t, problems[0], "the stream does not exist")
	}

	_, err := Inspect(t.Context(), Config{}, Expect{})
	require.Error(t, err)
}

// Permission to publish samples is not permission to ask about the stream.
func TestInspectNotPermitted(t *testing.T) {
	s := natstest.Start(t, natstest.Options{Users: map[string]natstest.UserMay{
		"gw-1": {Publish: []string{testPrefix + ".gw-1.>"}, Subscribe: []string{"_INBOX.>"}},
	}})
	problems, notes := inspect(t, config(t, s))
	assert.Empty(t, problems)
	if assert.Len(t, notes, 1) {
		assert.Contains(t, notes[0], "UNSEEN ")
		assert.Contains(t, notes[0], "$JS.API.STREAM.INFO.PLANT")
	}
}

func TestInspectPayload(t *testing.T) {
	s := natstest.Start(t, natstest.Options{MaxPayload: 64 << 10})
	require.NoError(t, s.AddStream(testStream, safe, testPrefix+".>"))
	problems, _ := inspect(t, config(t, s))
	if assert.Len(t, problems, 1) {
		assert.Contains(t, problems[0], "max_payload")
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{"a.*.c", "a.b.c", true},
		{"a.*", "a.b.c", false},
		{"a.b.c.d", "a.b.c", false},
		{"a.b.*", "a.b.*", true},
		{"a.b.c", "a.b.*", false},
		{">", "a", true},
	} {
		assert.Equal(t, c.want, covers(c.pattern, c.subject), "%s %s", c.pattern, c.subject)
	}
}

// A server that takes the connection and says nothing: the answer says so, and not
// what became of the connection here.
func TestInspectSilent(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	cfg := config(t, natstest.Start(t, natstest.Options{}))
	cfg.Servers = []string{"tls://" + silent.Addr().String()}
	problems, notes := inspect(t, cfg)
	assert.Empty(t, notes)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], cfg.Servers[0]+" did not answer within 2s; ")
}
