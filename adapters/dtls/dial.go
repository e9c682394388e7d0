package dtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/pion/dtls/v3"
	"github.com/pion/sctp"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	dialTime   = 10 * time.Second       // for one server: DTLS, SCTP and its welcome; six round trips
	answerTime = 2 * time.Second        // for its first datagram
	flightTime = 500 * time.Millisecond // until a flight of the handshake is sent again
	wantedFor  = 10 * time.Second       // after the last Send, connecting is given up
)

// dialing is an attempt to connect that outlives a Send: a handshake over a
// satellite takes longer than Send may. It tries the servers in turn, each time
// from a fresh port, until one works, something is a fault, or nobody has wanted
// it for a while.
type dialing struct {
	uplink *Uplink
	first  uint64
	cancel context.CancelFunc
	wanted atomic.Int64 // Unix nanoseconds of the last Send

	done chan struct{} // closed when link and err are there
	link *link
	err  error

	mu   sync.Mutex
	last error
}

func (d *dialing) wantedNow() { d.wanted.Store(time.Now().UnixNano()) }

func (d *dialing) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return errors.New("no answer yet")
	}
	return d.last
}

func (d *dialing) run(ctx context.Context) (*link, error) {
	pause := backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, MaxInterval: 2 * time.Second, Multiplier: 2, RandomizationFactor: 0.5,
	}
	servers := d.uplink.cfg.Servers
	for {
		var fault *envelope.Fault
		for _, i := range rand.Perm(len(servers)) { //nolint:gosec // spreads load, hides nothing
			l, err := d.uplink.dialOne(ctx, servers[i], d.first)
			if err == nil {
				return l, nil
			}
			if ctx.Err() != nil {
				return nil, errClosed
			}
			err = fmt.Errorf("cannot connect to %s: %w", servers[i], err)
			d.mu.Lock()
			d.last = err
			d.mu.Unlock()
			var f *envelope.Fault
			if errors.As(err, &f) && fault == nil {
				fault = f
			}
		}
		if fault != nil {
			return nil, fault
		}
		if time.Since(time.Unix(0, d.wanted.Load())) > wantedFor {
			return nil, d.lastError()
		}
		t := time.NewTimer(pause.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errClosed
		}
	}
}

// socket is a connected UDP socket for pion, which wants to name the address of
// each datagram. Connected, it takes datagrams from the hub only, and tells when
// nobody listens there.
type socket struct {
	*net.UDPConn
	began time.Time
	// The two first exchanges of the handshake, in nanoseconds: each from the first
	// datagram that went out to the next that came in.
	asked, took atomic.Int64
	answers     atomic.Int32
	settled     atomic.Bool // the handshake is over at both ends
}

// ReadFrom implements net.PacketConn. The hub has no id for us to know it by: our
// generator is one that only takes the other's.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := s.Read(b)
	for lost(err) || err == nil && s.settled.Load() && !record.Fits(b[:n], false, record.Nothing) {
		n, err = s.Read(b)
	}
	if err == nil && s.answers.Load() < 2 {
		if at := s.asked.Swap(0); at != 0 {
			took := int64(time.Since(s.began)) - at
			if least := s.took.Load(); least == 0 || took < least {
				s.took.Store(took)
			}
			s.answers.Add(1)
		}
	}
	return n, s.RemoteAddr(), err
}

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(b []byte, _ net.Addr) (int, error) {
	if s.answers.Load() < 2 {
		s.asked.CompareAndSwap(0, int64(time.Since(s.began))|1)
	}
	n, err := s.Write(b)
	if lost(err) {
		return len(b), nil
	}
	return n, err
}

// lost tells whether an error of a UDP socket says only that a datagram did not
// get through. That nobody listens at the hub's port is another matter.
func lost(err error) bool {
	return errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EPERM)
}

// dialOne connects to one hub. first is the number of the first message.
func (u *Uplink) dialOne(ctx context.Context, server string, first uint64) (*link, error) {
	certificate, err := u.certificate()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	s := &socket{UDPConn: raw.(*net.UDPConn), began: time.Now()} //nolint:forcetypeassert // the network is udp
	_ = s.SetReadBuffer(socketBuffer)
	conn, err := u.handshake(ctx, s, server, certificate)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	l, err := u.associate(ctx, conn, s, server, first)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return l, nil
}

func (u *Uplink) handshake(ctx context.Context, s *socket, server string, certificate *tls.Certificate) (*dtls.Conn, error) {
	name := u.cfg.TLS.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(server) // checked by New
	}
	options := make([]dtls.ClientOption, 0, 12)
	for _, o := range both() {
		options = append(options, o)
	}
	options = append(options,
		// Not WithCertificates, which keeps one back whose authority the hub does not
		// list: the hub's log should say whose it was.
		dtls.WithGetClientCertificate(func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }),
		dtls.WithRootCAs(u.cfg.TLS.RootCAs),
		dtls.WithServerName(name),
		dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()),
		dtls.WithFlightInterval(flightTime),
		dtls.WithDisableRetransmitBackoff(true), // a link that comes back is not waited for
	)
	conn, err := dtls.ClientWithOptions(s, s.RemoteAddr(), options...)
	if err != nil {
		return nil, &envelope.Fault{What: "DTLS cannot be set up", Err: err, Instead: "check the certificate and key of this uplink"}
	}
	answer, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(answerTime, func() {
		if s.answers.Load() == 0 {
			cancel(errNoAnswer)
		}
	})
	defer late.Stop()
	if err := conn.HandshakeContext(answer); err != nil {
		cause := context.Cause(answer)
		_ = conn.Close()
		switch {
		case errors.Is(cause, errNoAnswer):
			return nil, errNoAnswer
		case ctx.Err() != nil:
			return nil, fmt.Errorf("the DTLS handshake takes too long: %w", ctx.Err())
		}
		return nil, judge(err)
	}
	return conn, nil
}

var errNoAnswer = errors.New("no answer; is a hub there, and UDP let through both ways?")

// associate sets up SCTP over conn and says hello.
func (u *Uplink) associate(ctx context.Context, conn *dtls.Conn, s *socket, server string, first uint64) (*link, error) {
	roundTrip := time.Duration(s.took.Load())
	rtoMax := u.cfg.RTOMax
	if rtoMax == 0 {
		rtoMax = min(max(4*roundTrip, leastRTO), mostRTO)
	}
	shared := associationOptions(conn, u.cfg.MinCwnd, rtoMax)
	options := make([]sctp.ClientOption, len(shared))
	for i, o := range shared {
		options[i] = o
	}
	association, err := sctp.ClientContext(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("SCTP: %w", err)
	}
	s.settled.Store(true)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	l := &link{
		server: server, association: association, roundTrip: roundTrip,
		gone: make(chan struct{}), moved: make(chan struct{}, 1),
		acked: first - 1, freed: first - 1, base: first, next: first, refused: make(map[uint64]string),
	}
	if err = l.greet(u.cfg.Gateway, first); err == nil {
		err = u.agree(l.welcome)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = association.Close()
		return nil, err
	}
	l.heardAt = time.Now()
	u.wg.Go(l.read)
	return l, nil
}

// greet opens the streams, says hello and reads the welcome.
func (l *link) greet(gateway string, first uint64) (err error) {
	if l.out, err = l.association.OpenStream(streamMessages, sctp.PayloadTypeUnknown); err == nil {
		l.in, err = l.association.OpenStream(streamWords, sctp.PayloadTypeUnknown)
	}
	if err != nil {
		return fmt.Errorf("SCTP: %w", err)
	}
	if _, err := l.out.Write(appendHello(nil, Hello{Gateway: gateway, First: first})); err != nil {
		return fmt.Errorf("cannot say hello: %w", err)
	}
	b := make([]byte, maxWord)
	n, err := l.in.Read(b)
	if err != nil {
		return fmt.Errorf("no welcome: %w", err)
	}
	w, err := parseWord(b[:n])
	switch {
	case err != nil:
		return &envelope.Fault{What: "what answers is no hub of this version", Err: err, Instead: "run a hub that speaks " + Version}
	case w.kind == wordFault:
		return hubFault(w)
	case w.kind == wordBusy:
		return fmt.Errorf("the hub is busy: %s", w.text)
	case w.kind != 0:
		return fmt.Errorf("word %d instead of a welcome: %w", w.kind, errFrame)
	}
	l.welcome = w.welcome
	return nil
}

// agree compares where the hub puts messages with where they should go.
func (u *Uplink) agree(w Welcome) error {
	if u.cfg.Prefix != "" && u.cfg.Prefix != w.Prefix {
		return &envelope.Fault{
			What:    fmt.Sprintf("the hub publishes under the prefix %q instead of %q", w.Prefix, u.cfg.Prefix),
			Instead: "give the hub and the other uplinks of this gateway the same prefix",
		}
	}
	if u.cfg.Stream != "" && u.cfg.Stream != w.Stream {
		return &envelope.Fault{
			What:    fmt.Sprintf("the hub stores in the stream %q instead of %q", w.Stream, u.cfg.Stream),
			Instead: "give the hub and the other uplinks of this gateway the same stream",
		}
	}
	return nil
}
