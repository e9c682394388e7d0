package natstest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	natsuplink "github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ relay.Uplink = (*natsuplink.Uplink)(nil)

const prefix, stream = "plant.augsburg", "PLANT"

// fill appends messages from to to, the first of which is a key frame.
func fill(t testing.TB, log *outbox.Log, from, to, size int) {
	t.Helper()
	body := bytes.Repeat([]byte{0xa5}, size)
	for from <= to {
		var records []outbox.Record
		for ; from <= to && len(records) < 100; from++ {
			m := message(from, body)
			records = append(records, outbox.Record{Tag: 1, Data: envelope.AppendMessage(nil, &m)})
		}
		_, err := log.Append(records)
		require.NoError(t, err)
	}
}

func message(i int, body []byte) envelope.Message {
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
		Epoch:       envelope.Epoch{Start: 1, Number: 1},
		Sequence:    uint64(i),
		ContentType: envelope.TypeSealed,
		Body:        body,
	}
	if i == 1 {
		m.Address.Kind = envelope.KeyFrame
	}
	binary.BigEndian.PutUint64(m.ID[:], uint64(i))
	return m
}

func open(t testing.TB, size int64) *outbox.Log {
	t.Helper()
	log, err := outbox.Open(outbox.Options{Dir: t.TempDir(), Key: make([]byte, 32), MaxSize: size})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

func uplink(t testing.TB, s *natstest.Server) *natsuplink.Uplink {
	t.Helper()
	client, err := s.Client("gw-1")
	require.NoError(t, err)
	u, err := natsuplink.New(natsuplink.Config{Servers: []string{s.URL()}, Stream: stream, Prefix: prefix, Gateway: "gw-1", TLS: client})
	require.NoError(t, err)
	return u
}

func newRelay(t testing.TB, log *outbox.Log, u relay.Uplink) *relay.Relay {
	t.Helper()
	r, err := relay.New(relay.Config{
		Queue: relay.Outbox(log), Uplinks: []relay.Named{{Name: "nats", Uplink: u}},
		Quarantine: func(envelope.Message, string) error { return errors.New("nothing is refused here") },
	})
	require.NoError(t, err)
	return r
}

// Outbox, relay and uplink together: the server goes away and comes back while a
// backlog is delivered, and all of it is there, once and in order.
func TestRelayOverRestarts(t *testing.T) {
	const total, restarts = 8_000, 3
	s := natstest.Start(t, natstest.Options{})
	require.NoError(t, s.AddStream(stream, nil, prefix+".>"))
	log, u := open(t, 64<<20), uplink(t, s)
	fill(t, log, 1, total, 300)
	r := newRelay(t, log, u)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()

	client, err := s.Client("reader")
	require.NoError(t, err)
	var stored atomic.Int64
	reached := make(chan struct{}, restarts)
	var order []uint64
	consumed := make(chan error, 1)
	go func() {
		consumed <- natsuplink.Consume(ctx, natsuplink.ConsumeConfig{
			Servers: []string{s.URL()}, Stream: stream, Prefix: prefix,
			TLS: client, FromStart: true,
		}, func(m envelope.Message) error {
			if m.Address.Kind == envelope.KeyFrame && len(order) > 0 {
				return errors.New("a key frame sent again is not dropped by its id")
			}
			order = append(order, m.Sequence)
			if n := stored.Add(1); n%(total/(restarts+1)) == 0 && n < total {
				reached <- struct{}{}
			}
			if len(order) == total {
				return errEnough
			}
			return nil
		})
	}()
	for range restarts {
		select {
		case <-reached:
			require.NoError(t, s.Restart())
		case err := <-consumed:
			t.Fatal(err)
		}
	}
	require.NoError(t, r.Drain(ctx))
	require.ErrorIs(t, <-consumed, errEnough)
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, r.Close())
	for i, n := range order {
		require.EqualValues(t, i+1, n)
	}
	require.Greater(t, u.Connections(), uint64(1))
	require.NotZero(t, r.Status()[0].Resent, "the key frame, at least")
}

var errEnough = errors.New("enough")

// BenchmarkDrain empties an outbox over NATS, and compares with nats.go's own
// asynchronous publisher of the same messages from memory, in the same run. The
// budget is a ratio of at least 0.8.
func BenchmarkDrain(b *testing.B) {
	for _, size := range []int{200, 1000, 8000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { benchmarkDrain(b, size) })
	}
}

func benchmarkDrain(b *testing.B, size int) {
	const round = 8192
	s := natstest.Start(b, natstest.Options{})
	require.NoError(b, s.AddStream(stream, nil, prefix+".>"))
	client, err := s.Client("bare")
	require.NoError(b, err)
	nc, err := nats.Connect(s.URL(), nats.Secure(client))
	require.NoError(b, err)
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	require.NoError(b, err)
	log := open(b, 256<<20)
	r := newRelay(b, log, uplink(b, s))
	defer func() { require.NoError(b, r.Close()) }()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	next := 2
	ended := make(chan error, 1)
	var running bool
	var ours, bare time.Duration
	b.SetBytes(round * int64(size))
	for b.Loop() {
		b.StopTimer()
		body := bytes.Repeat([]byte{0xa5}, size)
		start := time.Now()
		for range round {
			m := message(next, body)
			msg := nats.Msg{Subject: natsuplink.Subject(prefix, m.Address), Header: natsuplink.Header(&m), Data: body}
			_, err := js.PublishMsgAsync(&msg, jetstream.WithStallWait(time.Minute))
			require.NoError(b, err)
			next++
		}
		<-js.PublishAsyncComplete()
		bare += time.Since(start)
		if !running { // begin with the first message, so that it waits for no commit
			fill(b, log, next, next+round-1, size)
			next += round
		}
		b.StartTimer()
		start = time.Now()
		if !running {
			running = true
			go func() { ended <- r.Run(ctx) }()
		} else {
			fill(b, log, next, next+round-1, size)
			next += round
		}
		require.NoError(b, r.Drain(ctx))
		ours += time.Since(start)
	}
	cancel()
	require.NoError(b, <-ended)
	b.ReportMetric(float64(b.N*round)/ours.Seconds(), "msg/s")
	b.ReportMetric(float64(b.N*round)/bare.Seconds(), "bare-msg/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
}
