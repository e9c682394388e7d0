package dtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// patience is for how long Send goes on without a message stored.
const patience = 3500 * time.Millisecond

// Config says where to deliver. Zero values mean the defaults.
type Config struct {
	Servers []string // host:port of hubs, tried in random order
	Gateway string   // this gateway's name, as in its certificate
	// Prefix and Stream are what the hub must publish under and into; empty takes
	// what the hub has. With other uplinks configured, all must lead to one place.
	Prefix string
	Stream string
	// TLS gives the authorities to trust (RootCAs, needed), the client certificate
	// (Certificates or GetClientCertificate, needed, ECDSA) and the name of the hub
	// (ServerName; else the host of the server). The rest of it is not used.
	TLS    *tls.Config
	Logger *slog.Logger // nil: none

	// MinCwnd is how many bytes may be under way whatever is lost, 4 KiB to 4 MiB;
	// 128 KiB where it is 0. It switches SCTP's congestion control off below
	// itself: keep it at bandwidth times delay plus what the path queues.
	MinCwnd int
	// RTOMax bounds the retransmission timeout, 50 ms to 60 s. It must be above the
	// round trip. Where it is 0, it is four round trips of the handshake, 200 ms to
	// 3 s.
	RTOMax time.Duration
}

func (c *Config) check() error {
	if len(c.Servers) == 0 {
		return errors.New("no server; write host:port of a hub")
	}
	for _, s := range c.Servers {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			return fmt.Errorf("server %q; write host:port, such as relay.example:5684", s)
		}
	}
	switch {
	case c.Gateway == "" || len(c.Gateway) > envelope.MaxName:
		return fmt.Errorf("the gateway's name %q; write 1 to %d characters", c.Gateway, envelope.MaxName)
	case c.TLS == nil || c.TLS.RootCAs == nil:
		return errors.New("no authority to trust; name the one that signed the hub's certificate")
	case len(c.TLS.Certificates) == 0 && c.TLS.GetClientCertificate == nil:
		return errors.New("no client certificate; a hub lets nobody in without one")
	case c.MinCwnd != 0 && (c.MinCwnd < 4<<10 || c.MinCwnd > 4<<20):
		return fmt.Errorf("a least congestion window of %d bytes; write 4096 to 4194304", c.MinCwnd)
	case c.RTOMax != 0 && (c.RTOMax < 50*time.Millisecond || c.RTOMax > time.Minute):
		return fmt.Errorf("a retransmission timeout of %v; write 50ms to 60s", c.RTOMax)
	}
	return nil
}

// Uplink delivers messages to a hub. It connects when there is something to
// send. Send is not called concurrently; the other methods may be.
type Uplink struct {
	cfg         Config
	connections atomic.Uint64

	mu      sync.Mutex // guards what follows
	link    *link
	dialing *dialing
	closed  bool
	first   uint64 // number of the first message on the next association
	wg      sync.WaitGroup
}

// New makes an uplink. It does not connect; an error is one of the configuration.
func New(cfg Config) (*Uplink, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.MinCwnd == 0 {
		cfg.MinCwnd = defaultMinCwnd
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Uplink{cfg: cfg, first: 1}, nil
}

// Connections counts the connections made so far.
func (u *Uplink) Connections() uint64 { return u.connections.Load() }

// Close ends the connection. A Send under way returns with an error.
func (u *Uplink) Close() error {
	u.mu.Lock()
	l, d := u.link, u.dialing
	u.link, u.closed = nil, true
	if d != nil {
		d.cancel()
	}
	u.mu.Unlock()
	if l != nil {
		l.close(errClosed)
	}
	u.wg.Wait()
	return nil
}

var errClosed = errors.New("the uplink is closed")

// Send delivers the batch and waits until the hub has said that it is stored. n
// messages from its front are; n < len(batch) only with an error:
// *envelope.Refused, *envelope.Fault, ctx's, or one that is transient. Without
// progress it returns within 5 s.
//
// After a transient error the hub may still have messages of the batch, and goes
// on storing them. The next Send with the same messages counts them, and does
// not send them again on a connection that stands.
func (u *Uplink) Send(ctx context.Context, batch []envelope.Message) (n int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	idle := time.NewTimer(patience)
	defer idle.Stop()
	l, err := u.connected(ctx, idle.C)
	if err != nil {
		return 0, err
	}
	n, err = l.send(ctx, batch, idle)
	if n == len(batch) {
		return n, nil
	}
	if l.ended() {
		u.drop(l)
		if f := (*envelope.Fault)(nil); ctx.Err() == nil && !errors.As(err, &f) {
			u.redial() // while the caller thinks it over
		}
	}
	return n, err
}

// connected gives the connection that is there, or waits for one.
func (u *Uplink) connected(ctx context.Context, idle <-chan time.Time) (*link, error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, errClosed
	}
	if l := u.link; l != nil && !l.ended() {
		u.mu.Unlock()
		return l, nil
	} else if l != nil {
		u.cfg.Logger.Warn("connection lost", "server", l.server, "error", l.reason())
		u.forget(l)
	}
	d := u.dial()
	u.mu.Unlock()
	select {
	case <-d.done:
		return d.link, d.err
	case <-idle:
		return nil, fmt.Errorf("not connected: %w", d.lastError())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// redial begins to connect again.
func (u *Uplink) redial() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed && u.link == nil {
		u.dial()
	}
}

// dial gives the attempt to connect that is under way, or begins one. The caller
// holds the mutex.
func (u *Uplink) dial() *dialing {
	if d := u.dialing; d != nil {
		d.wantedNow()
		return d
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialing{uplink: u, first: u.first, cancel: cancel, done: make(chan struct{})}
	d.wantedNow()
	u.dialing = d
	u.wg.Go(func() {
		defer cancel()
		l, err := d.run(ctx)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.dialing = nil
		if l != nil && u.closed {
			l.close(errClosed)
			l, err = nil, errClosed
		}
		if l != nil {
			u.link = l
			u.connections.Add(1)
			u.cfg.Logger.Info("connected", "server", l.server, "stream", l.welcome.Stream, "prefix", l.welcome.Prefix, "round_trip", l.roundTrip)
		}
		d.link, d.err = l, err
		close(d.done)
	})
	return d
}

// drop forgets a connection that has ended.
func (u *Uplink) drop(l *link) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == l {
		u.forget(l)
	}
}

// forget is drop for who holds the mutex.
func (u *Uplink) forget(l *link) {
	u.link = nil
	u.first = l.unacknowledged()
}
