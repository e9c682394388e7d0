package dtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func newAuthority(t testing.TB) *authority.Authority {
	t.Helper()
	a, err := authority.New("plant")
	require.NoError(t, err)
	return a
}

func issue(t testing.TB, a *authority.Authority, name string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	c, err := a.Issue(name, change)
	require.NoError(t, err)
	return c
}

// sink is a hub that stores in memory.
type sink struct {
	*Listener
	t         testing.TB
	authority *authority.Authority
	welcome   Welcome
	// take decides about one message; nil stores all. It may say things itself, and
	// then returns false.
	take func(p *Peer, number uint64, m *envelope.Message) bool

	wg     sync.WaitGroup
	mu     sync.Mutex
	stored []envelope.Message
	peers  []*Peer
}

func newSink(t testing.TB, change func(*sink, *ListenConfig)) *sink {
	t.Helper()
	s := &sink{t: t, authority: newAuthority(t), welcome: Welcome{Prefix: "plant", Stream: "PLANT", Messages: WindowMessages, Bytes: WindowBytes}}
	cfg := ListenConfig{
		Address: "127.0.0.1:0", Certificate: issue(t, s.authority, "hub", authority.Hub),
		Authorities: s.authority.Pool,
		Verify:      func([]*x509.Certificate) error { return nil },
	}
	if change != nil {
		change(s, &cfg)
	}
	l, err := Listen(cfg)
	require.NoError(t, err)
	s.Listener = l
	s.wg.Go(s.run)
	t.Cleanup(func() { _ = l.Close(); s.wg.Wait() })
	return s
}

func (s *sink) run() {
	for {
		p, err := s.Accept(context.Background())
		if err != nil {
			return
		}
		s.mu.Lock()
		s.peers = append(s.peers, p)
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(p) })
	}
}

func (s *sink) serve(p *Peer) {
	defer p.Close()
	if p.Welcome(s.welcome) != nil {
		return
	}
	for {
		number, m, err := p.Receive()
		var u *Unreadable
		switch {
		case errors.As(err, &u):
			_ = p.Refuse(number, err.Error())
			continue
		case err != nil:
			return
		}
		if s.take != nil && !s.take(p, number, &m) {
			continue
		}
		s.mu.Lock()
		s.stored = append(s.stored, m)
		s.mu.Unlock()
		if p.Stored(number) != nil {
			return
		}
	}
}

func (s *sink) sequences() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []uint64
	for i := range s.stored {
		all = append(all, s.stored[i].Sequence)
	}
	return all
}

func (s *sink) peer(i int) *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[i]
}

// client is the TLS configuration of gateway gw-1.
func (s *sink) client() *tls.Config {
	s.t.Helper()
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: s.authority.Pool(),
		Certificates: []tls.Certificate{issue(s.t, s.authority, "gw-1", authority.Gateway)},
	}
}

func (s *sink) config() Config {
	s.t.Helper()
	return Config{Servers: []string{s.Addr().String()}, Gateway: "gw-1", TLS: s.client()}
}

func uplink(t testing.TB, cfg Config) *Uplink {
	t.Helper()
	u, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

func requireFault(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	require.ErrorAs(t, err, &f)
	require.Contains(t, f.Error(), words)
	require.NotEmpty(t, f.Instead)
}

func requireTransient(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	var r *envelope.Refused
	require.Error(t, err)
	require.False(t, errors.As(err, &f) || errors.As(err, &r), "%T: %v", err, err)
	require.Contains(t, err.Error(), words)
}

const long = 30 * time.Second // no test waits for so long unless it fails
