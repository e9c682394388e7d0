package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	dialTimeout  = 2 * time.Second         // for one server: connection, TLS and its first word
	writeTimeout = 1500 * time.Millisecond // for one write to the connection; with patience not over 5 s
	pingInterval = 20 * time.Second        // while nothing else is said
)

// conn is one connection. It never reconnects by itself: what was written before
// a break and what is written after it would otherwise look alike, and a message
// lost in the break would be stored after its successor.
type conn struct {
	*nats.Conn
	server   string
	raw      net.Conn
	problems chan error    // what the server says about us besides acknowledgements
	gone     chan struct{} // closed when the connection has ended
}

// closeNow ends the connection without waiting for a peer that does not read.
func (c *conn) closeNow() {
	_ = c.raw.Close()
	c.Conn.Close()
	<-c.gone
}

// reason gives why the connection ended.
func (c *conn) reason() error {
	for {
		select {
		case err := <-c.problems:
			if f := fault(err); f != nil {
				return f
			}
		default:
			err := c.LastError()
			if err == nil {
				err = io.EOF
			}
			return fmt.Errorf("connection to %s lost: %w", c.server, err)
		}
	}
}

// where is what both ends of this package need to know to connect.
type where struct {
	servers []string
	tls     *tls.Config
	name    string // of this client, shown by the server
}

// check refuses what would connect insecurely, and returns a copy that cannot be
// changed from outside.
func (w where) check() (where, error) {
	if len(w.servers) == 0 {
		return w, errors.New("no server; name at least one as tls://host:4222")
	}
	servers := make([]string, len(w.servers))
	for i, s := range w.servers {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "tls" || u.Hostname() == "" {
			return w, fmt.Errorf("server %q: write tls://host:port; connections without TLS are not made", redact(s))
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
			return w, fmt.Errorf("server %q: write tls://host:port only; a client certificate proves who this is", u.Redacted())
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "4222")
		}
		servers[i] = "tls://" + u.Host
	}
	if w.tls == nil {
		return w, errors.New("no TLS configuration; it needs the roots to trust and a client certificate")
	}
	if w.tls.InsecureSkipVerify && w.tls.VerifyConnection == nil && w.tls.VerifyPeerCertificate == nil {
		return w, errors.New("the TLS configuration verifies no server certificate; trust its CA, or pin it")
	}
	w.servers, w.tls = servers, w.tls.Clone()
	w.tls.MinVersion = max(w.tls.MinVersion, tls.VersionTLS12)
	return w, nil
}

// redact drops what may be a password from text that is no URL.
func redact(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// dial connects to one of the servers, in random order, until ctx ends. A
// *envelope.Fault among the answers outweighs servers that do not answer.
func (w where) dial(ctx context.Context) (*conn, error) {
	var errs []error
	for _, i := range rand.Perm(len(w.servers)) { //nolint:gosec // spreads load, hides nothing
		c, err := w.dialOne(ctx, w.servers[i])
		if errors.Is(err, errClosedAfterHandshake) && ctx.Err() == nil {
			// Either the server is going down, or it rejects the certificate and
			// its alert was lost behind the reset. A second time tells.
			if c, err = w.dialOne(ctx, w.servers[i]); errors.Is(err, errClosedAfterHandshake) {
				err = rejected(err)
			}
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer in time: %w", err)
		}
		errs = append(errs, fmt.Errorf("cannot connect to %s: %w", w.servers[i], err))
	}
	for _, err := range errs {
		if f := fault(err); f != nil {
			return nil, f
		}
	}
	return nil, errors.Join(errs...)
}

func (w where) dialOne(ctx context.Context, server string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := &dialer{ctx: ctx}
	c := &conn{server: server, problems: make(chan error, 16), gone: make(chan struct{})}
	nc, err := nats.Connect(server,
		nats.Name(w.name),
		nats.Secure(w.tls),
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // the dialer does it, within ctx
		nats.IgnoreDiscoveredServers(),
		nats.NoReconnect(),
		nats.Timeout(dialTimeout),
		nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case c.problems <- err:
			default: // the first ones are enough
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(c.gone) }),
	)
	if d.release != nil && !d.release() && err == nil {
		nc.Close()
		err = ctx.Err()
	}
	if err != nil {
		if d.raw != nil {
			_ = d.raw.Close()
		}
		switch {
		case d.err != nil: // nats.go leaves out "connection refused"
			err = d.err
		case errors.Is(err, nats.ErrTLS) && strings.Contains(err.Error(), "after TLS handshake"):
			err = fmt.Errorf("%w: %w", errClosedAfterHandshake, err)
		}
		return nil, err
	}
	c.Conn, c.raw = nc, d.raw
	return c, nil
}

var errClosedAfterHandshake = errors.New("closed by the server after the TLS handshake")

// dialer makes one TCP connection that ends with ctx until it is released.
type dialer struct {
	ctx     context.Context
	raw     net.Conn
	release func() bool
	err     error
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	var nd net.Dialer
	d.raw, d.err = nd.DialContext(d.ctx, network, address)
	if d.err != nil {
		return nil, d.err
	}
	raw := d.raw
	d.release = context.AfterFunc(d.ctx, func() { _ = raw.Close() })
	return raw, nil
}
