package dtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair"
)

func TestSend(t *testing.T) {
	s := newSink(t, nil)
	u := uplink(t, s.config())
	require.Zero(t, u.Connections())
	for from := 1; from <= 1000; from += 200 {
		n, err := u.Send(t.Context(), messages(from, from+199, 300))
		require.NoError(t, err)
		require.Equal(t, 200, n)
	}
	n, err := u.Send(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 1, u.Connections())
	require.Equal(t, upTo(1000), s.sequences())
}

func TestSendOfEverySize(t *testing.T) {
	s := newSink(t, nil)
	u := uplink(t, s.config())
	var batch []envelope.Message
	for i, size := range []int{0, 1, 900, 1000, 1100, 1200, 5000, 65_535, envelope.MaxBody, 0} {
		batch = append(batch, message(i+1, size))
	}
	for range 40 { // more than WindowBytes
		batch = append(batch, message(len(batch)+1, envelope.MaxBody))
	}
	n, err := u.Send(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, 50, n)
	require.Equal(t, upTo(50), s.sequences())
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		require.Len(t, s.stored[i].Body, len(batch[i].Body))
	}
}

func TestConfig(t *testing.T) {
	s := newSink(t, nil)
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Servers = nil }, "no server"},
		{func(c *Config) { c.Servers = []string{"relay.example"} }, "write host:port"},
		{func(c *Config) { c.Gateway = "" }, "gateway's name"},
		{func(c *Config) { c.TLS = nil }, "no authority"},
		{func(c *Config) { c.TLS.RootCAs = nil }, "no authority"},
		{func(c *Config) { c.TLS.Certificates = nil }, "no client certificate"},
		{func(c *Config) { c.MinCwnd = 1 }, "congestion window"},
		{func(c *Config) { c.RTOMax = time.Hour }, "timeout"},
	} {
		cfg := s.config()
		c.change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, c.want)
	}
}

func TestNobodyThere(t *testing.T) {
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer deaf.Close()
	require.NoError(t, gone.Close())
	s := newSink(t, nil)
	var wg sync.WaitGroup
	for _, c := range []struct{ server, want string }{
		{gone.LocalAddr().String(), "connection refused"},
		{deaf.LocalAddr().String(), "no answer"},
		{"does-not-exist.invalid:5684", "does-not-exist.invalid"},
	} {
		cfg := s.config()
		cfg.Servers = []string{c.server}
		u := uplink(t, cfg)
		wg.Go(func() {
			t.Run(c.want, func(t *testing.T) {
				began := time.Now()
				n, err := u.Send(t.Context(), messages(1, 3, 10))
				require.Zero(t, n)
				requireTransient(t, err, c.want)
				require.Less(t, time.Since(began), 5*time.Second)
			})
		})
	}
	wg.Wait()
	// The one that works is found.
	cfg := s.config()
	cfg.Servers = append(cfg.Servers, gone.LocalAddr().String())
	n, err := uplink(t, cfg).Send(t.Context(), messages(1, 3, 10))
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func TestSendEndsWithContext(t *testing.T) {
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.take = func(*Peer, uint64, *envelope.Message) bool { return false } // says nothing
	})
	u := uplink(t, s.config())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	n, err := u.Send(ctx, messages(1, 3, 10))
	require.Zero(t, n)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	closed := make(chan error)
	go func() {
		_, err := u.Send(t.Context(), messages(1, 3, 10))
		closed <- err
	}()
	require.NoError(t, u.Close())
	require.ErrorIs(t, <-closed, errClosed)
	_, err = u.Send(t.Context(), messages(1, 3, 10))
	require.ErrorIs(t, err, errClosed)
}

// What a Send was given up for is not sent again by the next one on the same
// connection, and counts when the hub stores it.
func TestSendGoesOn(t *testing.T) {
	release := make(chan struct{})
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.take = func(_ *Peer, number uint64, _ *envelope.Message) bool {
			if number == 5 {
				<-release
			}
			return true
		}
	})
	u := uplink(t, s.config())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	n, err := u.Send(ctx, messages(1, 20, 10))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 4, n)
	close(release)
	n, err = u.Send(t.Context(), messages(5, 30, 10))
	require.NoError(t, err)
	require.Equal(t, 26, n)
	n, err = u.Send(t.Context(), messages(3, 40, 10)) // what is stored already counts
	require.NoError(t, err)
	require.Equal(t, 38, n)
	require.Equal(t, upTo(40), s.sequences())
	require.EqualValues(t, 1, u.Connections())
}

// The hub grants a smaller window, and it is kept.
func TestWindow(t *testing.T) {
	var most atomic.Int64
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.welcome.Messages = 4
		var waiting []uint64
		s.take = func(p *Peer, number uint64, _ *envelope.Message) bool {
			waiting = append(waiting, number)
			most.Store(max(most.Load(), int64(len(waiting))))
			if len(waiting) == 4 {
				waiting = nil
				_ = p.Stored(number)
			}
			return false
		}
	})
	n, err := uplink(t, s.config()).Send(t.Context(), messages(1, 40, 10))
	require.NoError(t, err)
	require.Equal(t, 40, n)
	require.EqualValues(t, 4, most.Load())
}

func TestRefusedAndFault(t *testing.T) {
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.take = func(p *Peer, number uint64, m *envelope.Message) bool {
			switch m.Sequence {
			case 3, 4:
				_ = p.Refuse(number, "no such machine")
				return false
			case 9:
				_ = p.Fault("the stream is gone", "create it")
				_ = p.Close()
				return false
			}
			return true
		}
	})
	u := uplink(t, s.config())
	var refused *envelope.Refused
	n, err := u.Send(t.Context(), messages(1, 8, 10))
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 2, n)
	n, err = u.Send(t.Context(), messages(4, 8, 10))
	require.ErrorAs(t, err, &refused)
	require.Zero(t, n)
	require.Equal(t, "no such machine", refused.Reason)
	n, err = u.Send(t.Context(), messages(5, 8, 10))
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Equal(t, []uint64{1, 2, 5, 6, 7, 8}, s.sequences(), "what was under way is not sent again")
	n, err = u.Send(t.Context(), messages(3, 3, 10)) // somebody asked for it again
	require.ErrorAs(t, err, &refused)
	require.Zero(t, n)
	n, err = u.Send(t.Context(), messages(9, 10, 10))
	require.Zero(t, n)
	requireFault(t, err, "the stream is gone; create it")
	n, err = u.Send(t.Context(), messages(10, 10, 10))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 2, u.Connections())
}

// A hub that acknowledges what it was never sent would make messages vanish.
func TestHubThatMiscounts(t *testing.T) {
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.take = func(p *Peer, number uint64, _ *envelope.Message) bool {
			_ = p.Stored(number + 100)
			return false
		}
	})
	u := uplink(t, s.config())
	n, err := u.Send(t.Context(), messages(1, 3, 10))
	require.Zero(t, n)
	requireTransient(t, err, "no hub that can be trusted to count")
}

// A hub that cannot store says so, and keeps its gateway.
func TestBusy(t *testing.T) {
	s := newSink(t, func(s *sink, _ *ListenConfig) {
		s.take = func(p *Peer, _ uint64, _ *envelope.Message) bool {
			for tick := time.Tick(500 * time.Millisecond); p.Busy("no room") == nil; {
				<-tick
			}
			return false
		}
	})
	u := uplink(t, s.config())
	began := time.Now()
	n, err := u.Send(t.Context(), messages(1, 1, 10))
	require.Zero(t, n)
	requireTransient(t, err, "cannot store: no room")
	require.Less(t, time.Since(began), 5*time.Second)
	require.False(t, u.link.ended())
}

// A hub that disappears is noticed within the time that Send has, and another
// connection is made from another port.
func TestSilence(t *testing.T) {
	s := newSink(t, nil)
	x, err := impair.Listen(impair.Config{Target: s.Addr().String()})
	require.NoError(t, err)
	defer x.Close()
	cfg := s.config()
	cfg.Servers = []string{x.Addr()}
	u := uplink(t, cfg)
	n, err := u.Send(t.Context(), messages(1, 3, 10))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	x.BlackHole(true)
	began := time.Now()
	n, err = u.Send(t.Context(), messages(4, 6, 10))
	require.Zero(t, n)
	requireTransient(t, err, "nothing from")
	require.Less(t, time.Since(began), 5*time.Second)
	x.BlackHole(false)
	for n = 0; n < 3; {
		stored, err := u.Send(t.Context(), messages(4+n, 6, 10))
		n += stored
		require.True(t, err == nil || !errors.Is(err, errClosed), "%v", err)
	}
	require.Equal(t, upTo(6), s.sequences())
	require.EqualValues(t, 2, u.Connections())
	require.NotEqual(t, s.peer(0).Remote(), s.peer(1).Remote())
	require.EqualValues(t, 4, s.peer(1).Hello().First)
}

// The certificate may change between two connections.
func TestCertificateRotates(t *testing.T) {
	s := newSink(t, nil)
	cfg := s.config()
	first, second := s.client().Certificates[0], s.client().Certificates[0]
	asked := 0
	cfg.TLS.Certificates = nil
	cfg.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if asked++; asked == 1 {
			return &first, nil
		}
		return &second, nil
	}
	u := uplink(t, cfg)
	_, err := u.Send(t.Context(), messages(1, 1, 10))
	require.NoError(t, err)
	s.peer(0).closeNow()
	require.Eventually(t, func() bool {
		n, err := u.Send(t.Context(), messages(2, 2, 10))
		return n == 1 && err == nil
	}, long, time.Millisecond)
	require.Equal(t, first.Leaf.SerialNumber, s.peer(0).Certificates()[0].SerialNumber)
	require.Equal(t, second.Leaf.SerialNumber, s.peer(1).Certificates()[0].SerialNumber)
}

func BenchmarkSend(b *testing.B) {
	s := newSink(b, func(s *sink, _ *ListenConfig) {
		s.take = func(p *Peer, number uint64, _ *envelope.Message) bool {
			if number%8 == 0 {
				_ = p.Stored(number)
			}
			return false
		}
	})
	u := uplink(b, s.config())
	batch := messages(1, 256, 1000)
	next := 0
	b.SetBytes(256 * 1000)
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch {
			next++
			m := message(next, 0)
			batch[i].ID, batch[i].Sequence = m.ID, m.Sequence
		}
		n, err := u.Send(b.Context(), batch)
		require.NoError(b, err)
		require.Equal(b, 256, n)
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "msg/s")
}
