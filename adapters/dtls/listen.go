package dtls

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

const (
	cookieTime    = 3 * time.Second  // for a hello to come back with its cookie
	handshakeTime = 10 * time.Second // for DTLS, SCTP and the gateway's hello; five round trips
)

// ListenLimits bounds what peers cost before they are known. Zero values mean
// the defaults.
type ListenLimits struct {
	HalfOpen          int // addresses that have not returned a cookie, 1 to 65536; 256. The oldest goes for a new one
	Handshakes        int // addresses that have, and are not through, 1 to 65536; 128. More are turned away
	HandshakesPerHost int // the same for one IPv4 address or IPv6 /64, 1 to 65536; 32
}

func (l ListenLimits) check() (ListenLimits, error) {
	for _, v := range []struct {
		name  string
		value *int
		usual int
	}{
		{"half-open handshakes", &l.HalfOpen, 256},
		{"handshakes", &l.Handshakes, 128},
		{"handshakes per host", &l.HandshakesPerHost, 32},
	} {
		if *v.value == 0 {
			*v.value = v.usual
		}
		if *v.value < 1 || *v.value > 65536 {
			return l, fmt.Errorf("%d %s; write 1 to 65536", *v.value, v.name)
		}
	}
	return l, nil
}

// ListenConfig says where and for whom to listen.
type ListenConfig struct {
	Address     string          // host:port for UDP; port 0 takes a free one
	Certificate tls.Certificate // the hub's, ECDSA, for server authentication
	// Authorities gives those whose client certificates are let in; asked for each
	// handshake, by several goroutines.
	Authorities func() *x509.CertPool
	// Verify has the last word about a client certificate, within the handshake:
	// chain is verified, leaf first. It is called by several goroutines.
	Verify func(chain []*x509.Certificate) error
	Limits ListenLimits
	Logger *slog.Logger // nil: none
}

// ListenStats counts what happened at a listener since it began.
type ListenStats struct {
	Accepted   uint64 // gateways that got through to their hello
	Rejected   uint64 // handshakes that failed: certificate, cipher suite, time, garbage
	TurnedAway uint64 // handshakes over the limits
	Evicted    uint64 // half-open handshakes that made place for newer ones
	Dropped    uint64 // datagrams that belonged to nothing, or for which there was no room
}

// Listener accepts gateways. Its methods may be called concurrently.
type Listener struct {
	cfg         ListenConfig
	certificate atomic.Pointer[tls.Certificate]
	mux         *mux

	ctx    context.Context //nolint:containedctx // the life of the listener, which its goroutines share
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	ready  chan *Peer

	accepted atomic.Uint64
	rejected atomic.Uint64
	said     said // of what is rejected
}

// said keeps what anybody can cause from filling the log: one line a second, as a
// mean over half a minute, so that who looks why one gateway is not let in finds
// it.
type said struct {
	mu    sync.Mutex
	since time.Time // of the half minute
	lines int       // in it
	kept  uint64    // to itself, and not told yet
}

const (
	saidIn   = 30 * time.Second
	saidMost = 30
)

// may tells whether a line may be written, and how many were not.
func (s *said) may(now time.Time) (kept uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) >= saidIn {
		s.since, s.lines = now, 0
	}
	if s.lines >= saidMost {
		s.kept++
		return 0, false
	}
	s.lines++
	kept, s.kept = s.kept, 0
	return kept, true
}

// Listen opens the socket and begins to accept.
func Listen(cfg ListenConfig) (*Listener, error) {
	if err := checkCertificate(&cfg.Certificate); err != nil {
		return nil, fmt.Errorf("the hub's certificate: %w", err)
	}
	if cfg.Authorities == nil || cfg.Verify == nil {
		return nil, errors.New("a listener needs authorities and a check of client certificates")
	}
	var err error
	if cfg.Limits, err = cfg.Limits.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	addr, err := net.ResolveUDPAddr("udp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen at %q; write host:port: %w", cfg.Address, err)
	}
	socket, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	_ = socket.SetReadBuffer(socketBuffer) // the kernel gives what it has
	l := &Listener{cfg: cfg, ready: make(chan *Peer)}
	l.certificate.Store(&cfg.Certificate)
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.mux = newMux(socket, cfg.Limits, func(p *path) { l.wg.Go(func() { l.welcome(p) }) })
	l.wg.Go(func() { l.cancel(l.mux.run()) })
	return l, nil
}

// checkCertificate refuses what no handshake of this protocol can use.
func checkCertificate(c *tls.Certificate) error {
	if len(c.Certificate) == 0 || c.PrivateKey == nil {
		return errors.New("there is none")
	}
	if c.Leaf == nil {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return fmt.Errorf("cannot read it: %w", err)
		}
		c.Leaf = leaf
	}
	if _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		return fmt.Errorf("its key is %s; DTLS takes ECDSA only", c.Leaf.PublicKeyAlgorithm)
	}
	return nil
}

// Renew takes another certificate into use, for handshakes from now on.
func (l *Listener) Renew(certificate tls.Certificate) error {
	if err := checkCertificate(&certificate); err != nil {
		return fmt.Errorf("the hub's certificate: %w", err)
	}
	l.certificate.Store(&certificate)
	return nil
}

// Addr gives the address that the listener has.
func (l *Listener) Addr() net.Addr { return l.mux.socket.LocalAddr() }

// Stats gives the counters.
func (l *Listener) Stats() ListenStats {
	return ListenStats{
		Accepted: l.accepted.Load(), Rejected: l.rejected.Load(), TurnedAway: l.mux.crowded.Load(),
		Evicted: l.mux.evicted.Load(), Dropped: l.mux.dropped.Load(),
	}
}

// Accept gives the next gateway that has said hello. An error is ctx's, or says
// that the listener is closed or its socket broken.
func (l *Listener) Accept(ctx context.Context) (*Peer, error) {
	select {
	case p := <-l.ready:
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	}
}

// Close ends the listener and every connection of it, and waits for its
// goroutines. Peers that were accepted are closed too. Where the socket broke
// before, the error says so.
func (l *Listener) Close() error {
	l.cancel(net.ErrClosed)
	err := l.mux.close()
	l.wg.Wait()
	if broken := context.Cause(l.ctx); !errors.Is(broken, net.ErrClosed) {
		return broken
	}
	return err
}

// welcome takes one address through DTLS, SCTP and its hello.
func (l *Listener) welcome(p *path) {
	defer l.mux.through(p)
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTime)
	defer cancel()
	late := time.AfterFunc(cookieTime, func() {
		if !p.answered.Load() {
			_ = p.Close()
		}
	})
	defer late.Stop()
	peer, err := l.handshake(ctx, p)
	if err != nil {
		_ = p.Close()
		if p.answered.Load() { // what has not returned a cookie may be anybody's invention
			l.rejected.Add(1)
			if kept, ok := l.said.may(time.Now()); ok {
				l.cfg.Logger.Info("a gateway is not let in", "from", p.from, "error", err, "more", kept)
			}
		}
		return
	}
	select {
	case l.ready <- peer:
		l.accepted.Add(1)
	case <-ctx.Done():
		_ = peer.Close()
	}
}

func (l *Listener) handshake(ctx context.Context, p *path) (*Peer, error) {
	peer := &Peer{path: p}
	options := make([]dtls.ServerOption, 0, 12)
	for _, o := range both() {
		options = append(options, o)
	}
	options = append(options,
		dtls.WithCertificates(*l.certificate.Load()),
		dtls.WithClientAuth(dtls.RequireAndVerifyClientCert),
		dtls.WithClientCAs(l.cfg.Authorities()),
		dtls.WithVerifyPeerCertificate(func(_ [][]byte, chains [][]*x509.Certificate) error {
			err := errors.New("no certificate")
			for _, chain := range chains {
				if err = l.cfg.Verify(chain); err == nil {
					peer.chain = chain
					return nil
				}
			}
			return err
		}),
		dtls.WithConnectionIDGenerator(func() []byte {
			id := dtls.RandomCIDGenerator(record.IDSize)()
			p.mux.identify(p, record.ID(id))
			return id
		}),
	)
	conn, err := dtls.ServerWithOptions(p, p.heard, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot begin DTLS: %w", err)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("DTLS: %w", err)
	}
	if len(peer.chain) == 0 { // Verify was not asked: never happens with RequireAndVerifyClientCert
		_ = conn.Close()
		return nil, errors.New("DTLS: no verified certificate")
	}
	// pion's SCTP server takes no context.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := peer.open(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if !stop() {
		_ = peer.Close()
		return nil, ctx.Err()
	}
	l.mux.settle(p)
	return peer, nil
}

// open sets up SCTP and reads the hello.
func (p *Peer) open(conn *dtls.Conn) error {
	shared := associationOptions(&gathered{Conn: conn}, defaultMinCwnd, time.Second)
	options := make([]sctp.ServerOption, len(shared))
	for i, o := range shared {
		options[i] = o
	}
	var err error
	if p.association, err = sctp.ServerWithOptions(options...); err != nil {
		return fmt.Errorf("SCTP: %w", err)
	}
	if p.messages, err = p.association.OpenStream(streamMessages, sctp.PayloadTypeUnknown); err == nil {
		p.words, err = p.association.OpenStream(streamWords, sctp.PayloadTypeUnknown)
	}
	if err != nil {
		_ = p.association.Close()
		return fmt.Errorf("SCTP: %w", err)
	}
	p.background.Go(p.ignore)
	hello := make([]byte, maxWord)
	n, err := p.messages.Read(hello)
	if err == nil {
		p.hello, err = parseHello(hello[:n])
	}
	if err != nil {
		if n > 0 {
			_ = p.Fault("the hub does not understand this gateway: "+err.Error(), "run versions that speak the same protocol")
		}
		_ = p.Close()
		return fmt.Errorf("hello: %w", err)
	}
	p.next = p.hello.First
	return nil
}
