package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// lookEvery is how often the files of authorities and revocations are read, and
// the certificates of those inside looked at again.
const lookEvery = 10 * time.Second

// Upstream stores the messages of one gateway. relay.Uplink says what Send
// promises.
type Upstream interface {
	Send(ctx context.Context, batch []envelope.Message) (n int, err error)
	Close() error
}

// Limits bounds what gateways may take. Zero values mean the defaults.
type Limits struct {
	dtls.ListenLimits

	Sessions           int           // connections of gateways at once, 1 to 65536; 1024
	SessionsPerGateway int           // of one gateway, 1 to 16; 2. The oldest goes for a new one
	MessagesPerSecond  int           // from one connection, 1 to 1,000,000; 50,000. What is over waits
	BytesPerSecond     int           // of frames, from one connection, 128 KiB to 1 GiB; 64 MiB. What is over waits
	Idle               time.Duration // without any datagram before a connection is closed, 5 s to 1 h; 2 min
}

func (l Limits) check() (Limits, error) {
	for _, v := range []struct {
		name                string
		value               *int
		usual, least, upper int
	}{
		{"sessions", &l.Sessions, 1024, 1, 65536},
		{"sessions per gateway", &l.SessionsPerGateway, 2, 1, 16},
		{"messages per second", &l.MessagesPerSecond, 50_000, 1, 1_000_000},
		{"bytes per second", &l.BytesPerSecond, 64 << 20, dtls.MaxFrame, 1 << 30},
	} {
		if *v.value == 0 {
			*v.value = v.usual
		}
		if *v.value < v.least || *v.value > v.upper {
			return l, fmt.Errorf("%d %s; write %d to %d", *v.value, v.name, v.least, v.upper)
		}
	}
	if l.Idle == 0 {
		l.Idle = 2 * time.Minute
	}
	if l.Idle < 5*time.Second || l.Idle > time.Hour {
		return l, fmt.Errorf("idle after %v; write 5s to 1h", l.Idle)
	}
	return l, nil
}

// Config says where to listen, whom to let in and where to publish.
type Config struct {
	Listen      string          // host:port for UDP; port 0 takes a free one
	Certificate tls.Certificate // the hub's, ECDSA, for the names that gateways connect to
	Authorities string          // PEM file of the authorities that issue the gateways' certificates, or of those themselves where they are self-signed (without CA:TRUE)
	Revoked     []string        // files of their revocation lists, PEM or DER; may be empty
	// NATS says where to publish; its Gateway is not used. The server must let this
	// hub's user publish to {prefix}.>.
	NATS   nats.Config
	Limits Limits
	Logger *slog.Logger // nil: none

	// Upstream stores the messages of a gateway instead of NATS, which then only
	// names prefix and stream, and is not looked at. It may be nil.
	Upstream func(gateway string) (Upstream, error)
}

// Hub receives from gateways. Its methods may be called concurrently, Run once.
type Hub struct {
	cfg      Config
	listener *dtls.Listener
	trust    atomic.Pointer[trust]
	tls      atomic.Pointer[tls.Config] // for NATS
	began    time.Time
	count    counters
	ready    readiness

	changing    sync.Mutex // held from reading files until they are in force; guards what follows
	authorities string     // as in Config, or as renewed
	revoked     []string

	mu       sync.Mutex // guards what follows
	sessions map[*session]struct{}
	order    uint64 // of the newest session
	problem  string // why the files that are there now are not in force
	loaded   time.Time
}

// New begins to listen. An error is one of the configuration, or of its files.
// Close or Run the hub.
func New(cfg Config) (*Hub, error) {
	var err error
	if cfg.Limits, err = cfg.Limits.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{began: time.Now(), sessions: make(map[*session]struct{})}
	h.tls.Store(cfg.NATS.TLS)
	if cfg.Upstream == nil {
		upstream := cfg.NATS
		cfg.Upstream = func(gateway string) (Upstream, error) {
			c := upstream
			c.Gateway, c.TLS = gateway, h.atNATS()
			return nats.New(c)
		}
		probe, err := cfg.Upstream("probe") // checks the configuration, and does not connect
		if err != nil {
			return nil, err
		}
		_ = probe.Close()
		h.ready.probe = h.askNATS
	}
	h.cfg, h.authorities, h.revoked = cfg, cfg.Authorities, slices.Clone(cfg.Revoked)
	t, err := loadTrust(nil, cfg.Authorities, cfg.Revoked)
	if err != nil {
		return nil, err
	}
	h.trust.Store(t)
	h.loaded = h.began
	h.listener, err = dtls.Listen(dtls.ListenConfig{
		Address: cfg.Listen, Certificate: cfg.Certificate, Limits: cfg.Limits.ListenLimits, Logger: cfg.Logger,
		Authorities: func() *x509.CertPool { return h.trust.Load().pool },
		Verify: func(chain []*x509.Certificate) error {
			_, err := h.trust.Load().check(chain)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Addr gives the address that the hub listens at.
func (h *Hub) Addr() net.Addr { return h.listener.Addr() }

// Close ends a hub that does not run.
func (h *Hub) Close() error { return h.listener.Close() }

// Run serves gateways until ctx ends, and then closes their connections and
// returns nil.
func (h *Hub) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { h.watch(ctx) })
	wg.Go(func() { h.ready.watch(ctx, h.cfg.Logger) })
	for {
		peer, err := h.listener.Accept(ctx)
		if err != nil {
			cancel()
			wg.Wait()
			err := h.listener.Close()
			return err
		}
		wg.Go(func() { h.serve(ctx, peer) })
	}
}

// watch reads the files again, and closes the connections of those who are no
// longer trusted.
func (h *Hub) watch(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			_ = h.Reload() // says so in the log and in the status
		case <-ctx.Done():
			return
		}
	}
}

// Reload reads the authorities and revocation lists again, and closes the
// connections of gateways that they no longer let in, or whose certificates have
// expired. On an error what was in force stays.
func (h *Hub) Reload() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	t, err := loadTrust(h.trust.Load(), h.authorities, h.revoked)
	h.take(t, err)
	return err
}

// Renewal is what a hub may take into use while it runs. All of it is needed.
type Renewal struct {
	Certificate tls.Certificate // the hub's own, for handshakes from now on
	NATS        *tls.Config     // what the hub shows and trusts there, for connections from now on
	Authorities string          // as in [Config]
	Revoked     []string
}

// Renew takes other certificates into use, and does what [Hub.Reload] does with
// the files that are named now. On an error all that was in use stays.
func (h *Hub) Renew(r Renewal) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	t, err := loadTrust(h.trust.Load(), r.Authorities, r.Revoked)
	if err != nil {
		return err
	}
	if err := h.listener.Renew(r.Certificate); err != nil {
		return err
	}
	h.tls.Store(r.NATS)
	h.authorities, h.revoked = r.Authorities, slices.Clone(r.Revoked)
	h.take(t, nil)
	return nil
}

// take puts t in force, or says why what was in force stays, and looks at all
// sessions again. h.changing is held.
func (h *Hub) take(t *trust, err error) {
	old := h.trust.Load()
	h.mu.Lock()
	if err != nil {
		if h.problem != err.Error() {
			h.problem = err.Error()
			h.cfg.Logger.Error("the files that say whom to trust are not taken over; what was in force stays", "error", err)
		}
		t = old
	} else if h.problem = ""; t != old {
		h.loaded = time.Now()
		h.cfg.Logger.Info("trust is read again", "authorities", len(t.authorities), "revoked", len(t.revoked))
	}
	h.trust.Store(t)
	sessions := make([]*session, 0, len(h.sessions))
	for s := range h.sessions {
		sessions = append(sessions, s)
	}
	h.mu.Unlock()
	now := time.Now()
	for _, s := range sessions {
		if err := t.recheck(s.peer.Certificates(), now); err != nil {
			h.count.distrusted.Add(1)
			s.end("this gateway's certificate is not accepted any more", "import a certificate that is neither expired nor revoked", err)
		}
	}
}

// atNATS is the TLS configuration for the connections of one gateway, which may
// outlive a certificate.
func (h *Hub) atNATS() *tls.Config {
	c := h.tls.Load().Clone()
	if c != nil && len(c.Certificates) > 0 {
		c.Certificates = nil
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			now := h.tls.Load()
			if now == nil || len(now.Certificates) == 0 {
				return nil, errors.New("there is no certificate for NATS any more")
			}
			return &now.Certificates[0], nil
		}
	}
	return c
}

// serve takes one gateway from its hello to its end.
func (h *Hub) serve(ctx context.Context, peer *dtls.Peer) {
	defer peer.Close()
	gateway, err := h.trust.Load().check(peer.Certificates())
	if err != nil { // revoked since the handshake
		h.count.distrusted.Add(1)
		_ = peer.Fault("this gateway's certificate is not accepted: "+err.Error(), "import a certificate that is neither expired nor revoked")
		return
	}
	logger := h.cfg.Logger.With("gateway", gateway, "remote", peer.Remote())
	if said := peer.Hello().Gateway; said != gateway {
		h.count.impostors.Add(1)
		logger.Warn("a gateway says that it is another", "said", said)
		_ = peer.Fault(fmt.Sprintf("this gateway calls itself %q, its certificate says %q", said, gateway),
			"have a certificate issued for the name in gateway.yaml")
		return
	}
	upstream, err := h.cfg.Upstream(gateway)
	if err != nil {
		logger.Error("cannot publish for a gateway", "error", err)
		_ = peer.Fault("the hub cannot publish: "+err.Error(), "see the hub's configuration")
		return
	}
	defer upstream.Close()
	s := newSession(ctx, h, peer, gateway, upstream, logger)
	defer s.cancel(nil)
	oldest, err := h.enter(s)
	if err != nil {
		logger.Warn("no room for a gateway", "error", err)
		_ = peer.Busy(err.Error())
		return
	}
	defer h.leave(s)
	if oldest != nil {
		h.count.superseded.Add(1)
		oldest.cancel(errors.New("a newer connection of this gateway has taken over"))
	}
	if err := peer.Welcome(dtls.Welcome{
		Prefix: h.cfg.NATS.Prefix, Stream: h.cfg.NATS.Stream, Messages: dtls.WindowMessages, Bytes: dtls.WindowBytes,
	}); err != nil {
		return
	}
	logger.Info("a gateway is connected")
	err = s.run()
	logger.Info("a gateway is gone", "error", err, "received", s.received.Load(), "stored", s.stored.Load())
}

// enter takes a session in, and gives the oldest of the same gateway if it has
// to go.
func (h *Hub) enter(s *session) (oldest *session, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	same := 0
	for other := range h.sessions {
		if other.gateway != s.gateway {
			continue
		}
		same++
		if oldest == nil || other.order < oldest.order {
			oldest = other
		}
	}
	if same < h.cfg.Limits.SessionsPerGateway {
		oldest = nil
	}
	if oldest == nil && len(h.sessions) >= h.cfg.Limits.Sessions {
		h.count.full.Add(1)
		return nil, fmt.Errorf("the hub has %d connections, and takes no more", len(h.sessions))
	}
	h.order++
	s.order = h.order
	if oldest != nil {
		delete(h.sessions, oldest)
	}
	h.sessions[s] = struct{}{}
	return oldest, nil
}

func (h *Hub) leave(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
}
