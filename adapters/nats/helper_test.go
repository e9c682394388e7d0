package nats

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testPrefix = "plant.augsburg"
	testStream = "PLANT"
)

// message makes message number i of a stream, with a body of size bytes.
func message(i, size int) envelope.Message {
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
		Epoch:       envelope.Epoch{Start: 7, Instance: [8]byte{1, 2, 3}, Number: 1},
		Sequence:    uint64(i),
		ContentType: envelope.TypeSealed,
		Time:        1_700_000_000_000_000_000 + int64(i),
		Body:        make([]byte, size),
	}
	binary.BigEndian.PutUint64(m.ID[:], uint64(i))
	m.ID[15] = 0xa5
	return m
}

// messages makes messages from to to.
func messages(from, to, size int) []envelope.Message {
	var all []envelope.Message
	for i := from; i <= to; i++ {
		all = append(all, message(i, size))
	}
	return all
}

// plant starts a server with the stream.
func plant(t testing.TB, o natstest.Options) *natstest.Server {
	t.Helper()
	s := natstest.Start(t, o)
	if !o.NoJetStream && o.Users == nil {
		require.NoError(t, s.AddStream(testStream, nil, testPrefix+".>"))
	}
	return s
}

func config(t testing.TB, s *natstest.Server) Config {
	t.Helper()
	client, err := s.Client("gw-1")
	require.NoError(t, err)
	return Config{Servers: []string{s.URL()}, Stream: testStream, Prefix: testPrefix, Gateway: "gw-1", TLS: client}
}

func uplink(t testing.TB, cfg Config) *Uplink {
	t.Helper()
	u, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

// sequences reads the stream to its end.
func sequences(t testing.TB, s *natstest.Server, client *tls.Config) []uint64 {
	t.Helper()
	var all []uint64
	err := Consume(t.Context(), ConsumeConfig{
		Servers: []string{s.URL()}, Stream: testStream, Prefix: testPrefix, TLS: client,
		FromStart: true, UntilEnd: true,
	}, func(m envelope.Message) error {
		all = append(all, m.Sequence)
		return nil
	})
	require.NoError(t, err)
	return all
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

func purge(t testing.TB, s *natstest.Server) {
	t.Helper()
	require.NoError(t, s.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, testStream)
		if err != nil {
			return err
		}
		return stream.Purge(ctx)
	}))
}

func requireFault(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	require.ErrorAs(t, err, &f)
	require.Contains(t, f.Error(), words)
	require.NotEmpty(t, f.Instead)
}

func requireRefused(t testing.TB, err error, words string) {
	t.Helper()
	var r *envelope.Refused
	require.ErrorAs(t, err, &r)
	require.Contains(t, r.Reason, words)
}

func requireTransient(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	var r *envelope.Refused
	require.Error(t, err)
	require.False(t, errors.As(err, &f) || errors.As(err, &r), "%T: %v", err, err)
	require.Contains(t, err.Error(), words)
}

// proxy forwards TCP to a server, until it is told to lose what comes back.
type proxy struct {
	listener net.Listener
	deaf     atomic.Bool   // nothing more comes back
	passed   chan struct{} // one for each piece that came back
	wg       sync.WaitGroup
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, passed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = down.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { _ = down.Close(); _ = up.Close() })
			p.wg.Go(func() { _, _ = io.Copy(up, down); _ = up.Close() })
			p.wg.Go(func() { p.back(down, up); _ = down.Close(); stop() })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); p.wg.Wait() })
	return p
}

func (p *proxy) back(down, up net.Conn) {
	b := make([]byte, 1<<10)
	for {
		n, err := up.Read(b)
		if err != nil {
			return
		}
		if p.deaf.Load() {
			continue
		}
		if _, err := down.Write(b[:n]); err != nil {
			return
		}
		select {
		case p.passed <- struct{}{}:
		default:
		}
	}
}

func (p *proxy) url() string { return "tls://" + p.listener.Addr().String() }

const long = 30 * time.Second // no test waits for so long unless it fails

var discard = slog.New(slog.DiscardHandler)

func plain(o *server.Options) { o.TLS, o.TLSVerify, o.TLSConfig = false, false, nil }
