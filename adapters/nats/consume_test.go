package nats

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func consumeConfig(cfg Config) ConsumeConfig {
	return ConsumeConfig{Servers: cfg.Servers, Stream: cfg.Stream, Prefix: cfg.Prefix, TLS: cfg.TLS}
}

// A consumer that is there all the time gets each message once, in order, while
// the server is restarted.
func TestConsumeOverRestarts(t *testing.T) {
	const each, restarts = 300, 3
	s := plant(t, natstest.Options{})
	u := uplink(t, config(t, s))
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var got []uint64
	seen := make(chan uint64, 1)
	done := make(chan error, 1)
	cc := consumeConfig(u.cfg)
	cc.FromStart = true
	go func() {
		done <- Consume(ctx, cc, func(m envelope.Message) error {
			got = append(got, m.Sequence)
			if m.Sequence%each == 0 {
				seen <- m.Sequence
			}
			return nil
		})
	}()
	for i := range restarts + 1 {
		batch := messages(i*each+1, (i+1)*each, 100)
		for len(batch) > 0 {
			n, err := u.Send(ctx, batch)
			if err != nil {
				requireTransient(t, err, "")
			}
			batch = batch[n:]
		}
		require.EqualValues(t, (i+1)*each, <-seen)
		if i < restarts {
			require.NoError(t, s.Restart())
		}
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, upTo((restarts+1)*each), got)
}

func TestConsume(t *testing.T) {
	s := plant(t, natstest.Options{})
	u := uplink(t, config(t, s))
	cc := consumeConfig(u.cfg)
	cc.FromStart, cc.UntilEnd = true, true
	var got []envelope.Message
	keep := func(m envelope.Message) error {
		got = append(got, m)
		return nil
	}
	require.NoError(t, Consume(t.Context(), cc, keep), "an empty stream has an end")
	require.Empty(t, got)

	batch := messages(1, 5, 20)
	_, err := u.Send(t.Context(), batch)
	require.NoError(t, err)
	require.NoError(t, s.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.Publish(ctx, testPrefix+".gw-1.press-3.restricted", []byte("not ours"))
		return err
	}))
	var foreign []error
	cc.Foreign = func(err error) { foreign = append(foreign, err) }
	require.NoError(t, Consume(t.Context(), cc, keep))
	require.Equal(t, batch, got)
	require.Len(t, foreign, 1)
	require.ErrorContains(t, foreign[0], "Fieldseal-Kind is there 0 times")

	enough := errors.New("enough")
	require.Equal(t, enough, Consume(t.Context(), cc, func(envelope.Message) error { return enough }))

	other := cc
	other.Prefix = "plant.berlin"
	require.NoError(t, Consume(t.Context(), other, func(envelope.Message) error { return enough }), "nothing is under this prefix")

	cc.FromStart = false
	require.NoError(t, Consume(t.Context(), cc, func(envelope.Message) error { return enough }), "only what comes, and until now")

	purge(t, s)
	cc.FromStart = true
	require.NoError(t, Consume(t.Context(), cc, func(envelope.Message) error { return enough }), "purged")
}

func TestConsumeFaults(t *testing.T) {
	s := plant(t, natstest.Options{})
	cfg := config(t, s)
	never := func(envelope.Message) error { panic("a message") }
	cc := consumeConfig(cfg)
	cc.Stream = "OTHER"
	requireFault(t, Consume(t.Context(), cc, never), "the stream does not exist")

	other, err := natstest.NewCA("other")
	require.NoError(t, err)
	cc = consumeConfig(cfg)
	cc.TLS.RootCAs = other.Pool()
	requireFault(t, Consume(t.Context(), cc, never), "not accepted")

	cc.Servers = []string{"nats://127.0.0.1:4222"}
	require.ErrorContains(t, Consume(t.Context(), cc, never), "tls://")
	cc = consumeConfig(cfg)
	cc.Prefix = ""
	require.ErrorContains(t, Consume(t.Context(), cc, never), "prefix")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cc = consumeConfig(cfg)
	cc.Servers = []string{"tls://127.0.0.1:1"}
	require.ErrorIs(t, Consume(ctx, cc, never), context.Canceled)
}

// A stream that was made again has other sequences: it is read from its start.
func TestConsumeStreamMadeAgain(t *testing.T) {
	c := consumer{ConsumeConfig: ConsumeConfig{Logger: discard, FromStart: true}}
	c.position(jetstream.StreamState{FirstSeq: 3, LastSeq: 9})
	require.EqualValues(t, 3, c.next)
	require.EqualValues(t, 9, c.end)
	c.next = 10
	c.position(jetstream.StreamState{FirstSeq: 5, LastSeq: 20})
	require.EqualValues(t, 10, c.next)
	c.position(jetstream.StreamState{FirstSeq: 15, LastSeq: 20})
	require.EqualValues(t, 15, c.next)
	c.position(jetstream.StreamState{FirstSeq: 1, LastSeq: 2})
	require.EqualValues(t, 1, c.next)
}

// Whoever reads up to the end and finds no server is told so; the others wait.
func TestConsumeCannotBegin(t *testing.T) {
	s := plant(t, natstest.Options{})
	cc := consumeConfig(config(t, s))
	s.Close()
	cc.FromStart, cc.UntilEnd = true, true
	err := Consume(t.Context(), cc, func(envelope.Message) error { return nil })
	require.ErrorContains(t, err, "cannot connect to "+cc.Servers[0])
	require.ErrorContains(t, err, "connection refused")
}

// A consumer goes on at the sequence that it is given, and is told where each
// message stands; what the stream no longer has is left out.
func TestConsumeFrom(t *testing.T) {
	s := plant(t, natstest.Options{})
	u := uplink(t, config(t, s))
	_, err := u.Send(t.Context(), messages(1, 9, 20))
	require.NoError(t, err)
	cc := consumeConfig(u.cfg)
	cc.UntilEnd = true
	var extents []Extent
	cc.Begin = func(e Extent) error { extents = append(extents, e); return nil }
	var at []Position
	cc.At = func(p Position) { at = append(at, p) }
	var got []uint64
	keep := func(m envelope.Message) error { got = append(got, m.Sequence); return nil }
	for _, from := range []uint64{7, 9} {
		cc.From = from
		require.NoError(t, Consume(t.Context(), cc, keep))
	}
	require.Equal(t, []uint64{7, 8, 9, 9}, got)
	require.Equal(t, []Position{{7, 2}, {8, 1}, {9, 0}, {9, 0}}, at)
	require.Len(t, extents, 2)
	require.Equal(t, extents[0], extents[1])
	require.Equal(t, [2]uint64{1, 9}, [2]uint64{extents[0].First, extents[0].Last})
	require.False(t, extents[0].Created.IsZero())

	purge(t, s)
	cc.From, got = 7, nil
	require.NoError(t, Consume(t.Context(), cc, keep), "nothing is left")
	require.Empty(t, got)
	require.Equal(t, [2]uint64{10, 9}, [2]uint64{extents[2].First, extents[2].Last})

	enough := errors.New("enough")
	cc.Begin = func(Extent) error { return enough }
	require.Equal(t, enough, Consume(t.Context(), cc, keep))
}

func TestExtentStores(t *testing.T) {
	for _, c := range []struct {
		subjects string
		stores   bool
	}{
		{"plant.a.>", true},
		{"plant.>", true},
		{">", true},
		{"other.> plant.a.gw-1.>", true},
		{"*.*.gw-1.>", true},
		{"plant.b.>", false},
		{"plant.a", false},
		{"plant.*", false},
		{"plant", false},
		{"", false},
	} {
		e := Extent{Subjects: strings.Fields(c.subjects)}
		require.Equal(t, c.stores, e.Stores("plant.a"), c.subjects)
	}
}
