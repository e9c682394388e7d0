package coap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

const (
	cookieTime    = 5 * time.Second  // for a hello to come back with its cookie
	handshakeTime = 20 * time.Second // for the rest: a radio takes its time
	// replayWindow is how many records back one may come late (RFC 6347, 4.1.2.6).
	replayWindow = 64
	socketBuffer = 1 << 20 // bytes in the kernel
	// maxFlight is how long our datagrams are in a handshake: what gets through
	// tunnels and IPv6.
	maxFlight = 1200
)

// listener is one socket and the sessions over it.
type listener struct {
	source *Source
	mux    *mux
	ctx    context.Context //nolint:containedctx // the life of the listener, which its goroutines share
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// listen opens the socket.
func (s *Source) listen(ctx context.Context) (*listener, error) {
	addr, err := net.ResolveUDPAddr("udp", s.spec.Listen)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(socketBuffer) // the kernel gives what it has
	l := &listener{source: s}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.mux = newMux(socket, s.limits, &s.counts, func(p *path) { l.wg.Go(func() { l.welcome(p) }) })
	s.tell("")
	return l, nil
}

// serve takes what comes until ctx ends.
func (l *listener) serve(ctx context.Context) error {
	s := l.source
	s.mu.Lock()
	if s.opened != nil {
		s.opened <- l.mux.socket.LocalAddr().String()
	}
	s.mu.Unlock()
	broken := make(chan error, 1)
	l.wg.Go(func() { broken <- l.mux.run() })
	var err error
	select {
	case <-ctx.Done():
	case err = <-broken:
	}
	l.cancel()
	_ = l.mux.close()
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	return err
}

// cause gives the reason in an error without addresses.
func cause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return "the socket is closed"
}

// guard makes a panic the end of one session. Its text may hold what the device
// sent.
func (l *listener) guard(p *path) {
	if r := recover(); r != nil {
		_ = p.Close()
		l.source.log.Error("internal error", "panic", fmt.Sprintf("%T", r), "stack", frames())
	}
}

// frames names the functions on the stack above a panic.
func frames() string {
	var pc [16]uintptr
	var out []string
	next := runtime.CallersFrames(pc[:runtime.Callers(3, pc[:])])
	for {
		f, more := next.Next()
		out = append(out, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return strings.Join(out, " ")
		}
	}
}

// welcome takes one address through the handshake, and serves the session.
func (l *listener) welcome(p *path) {
	defer l.guard(p)
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTime)
	late := time.AfterFunc(cookieTime, func() {
		if !p.answered.Load() {
			_ = p.Close()
		}
	})
	s, err := l.through(ctx, p)
	late.Stop()
	cancel()
	if err != nil {
		_ = p.Close()
		if p.answered.Load() { // what has not returned a cookie may be anybody's invention
			l.reject(p, err)
		}
		return
	}
	defer func() { _ = s.conn.Close() }()
	stop := context.AfterFunc(l.ctx, func() { _ = s.conn.Close() })
	defer stop()
	if old := l.mux.settle(p); old != nil {
		_ = old.Close()
	}
	oldest, ok := s.machine.join(s)
	if !ok {
		return
	}
	if oldest != nil {
		_ = oldest.conn.Close()
	}
	why := "internal error"
	defer func() { s.machine.leave(s, why) }()
	why = s.serve(l.ctx)
}

// reject notes that somebody was not let in.
func (l *listener) reject(p *path, err error) {
	s := l.source
	s.counts.rejected.Add(1)
	if kept, ok := s.said.may(s.now()); ok {
		s.log.Info("a device is not let in", "from", p.from, "error", err, "more", kept)
	}
}

// quiet drops what pion has to say: it comes back as errors.
func quiet() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
}

// The suites: AEAD, all of them. pion's default list has CBC. Devices with a
// pre-shared key often have AES-128-CCM-8 alone (RFC 7925, 4.2); it comes last,
// and what keeps past sessions secret if the key gets out comes first.
func certificateSuites() []dtls.CipherSuiteID {
	return []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	}
}

func keySuites() []dtls.CipherSuiteID {
	return []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
		dtls.TLS_PSK_WITH_AES_128_GCM_SHA256,
		dtls.TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
		dtls.TLS_PSK_WITH_AES_128_CCM,
		dtls.TLS_PSK_WITH_AES_128_CCM_8,
	}
}

// options are those of one handshake. known gets the machine whose device it is.
func (l *listener) options(p *path, known func(*machine)) ([]dtls.ServerOption, error) {
	s := l.source
	var suites []dtls.CipherSuiteID
	options := []dtls.ServerOption{
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(replayWindow),
		dtls.WithLoggerFactory(quiet()),
		dtls.WithMTU(maxFlight),
		dtls.WithConnectionIDGenerator(func() []byte {
			id := dtls.RandomCIDGenerator(record.IDSize)()
			l.mux.identify(p, record.ID(id))
			return id
		}),
	}
	if s.spec.Certificate != nil && s.found(func(d *Device) bool { return d.Identity == "" }) != nil {
		suites = append(suites, certificateSuites()...)
		options = append(options,
			dtls.WithCertificates(*s.spec.Certificate),
			// The library verifies that the device has the key; who it is, we do.
			dtls.WithClientAuth(dtls.RequireAnyClientCert),
			dtls.WithVerifyPeerCertificate(verifier(s, known)),
		)
	}
	if s.found(func(d *Device) bool { return d.Identity != "" }) != nil {
		suites = append(suites, keySuites()...)
		options = append(options, dtls.WithPSK(keyOf(s, known)))
	}
	if len(suites) == 0 {
		return nil, errors.New("there is no device to expect")
	}
	return append(options, dtls.WithCipherSuites(suites...)), nil
}

// through is a handshake, counted for as long as it takes.
func (l *listener) through(ctx context.Context, p *path) (*session, error) {
	defer l.mux.through(p)
	return l.handshake(ctx, p)
}

func (l *listener) handshake(ctx context.Context, p *path) (*session, error) {
	var m *machine
	options, err := l.options(p, func(found *machine) { m = found })
	if err != nil {
		return nil, err
	}
	conn, err := dtls.ServerWithOptions(p, p.heard, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot begin DTLS: %w", err)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("DTLS: %w", err)
	}
	state, ok := conn.ConnectionState()
	if !ok || m == nil {
		_ = conn.Close()
		return nil, errors.New("DTLS: no verified device")
	}
	return &session{
		machine: m, conn: conn, path: p, now: l.source.now, since: l.source.now(),
		suite: dtls.CipherSuiteName(state.CipherSuiteID),
	}, nil
}
