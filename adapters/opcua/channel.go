package opcua

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/gopcua/opcua/uapolicy"
	"github.com/gopcua/opcua/uasc"
)

// channel is one secure channel over one connection. It is used once: what goes
// wrong with it ends it. The library's own client is not used: it makes up for a
// lost connection in ways that leave subscriptions dead, and passes over a server
// signature that is wrong.
type channel struct {
	sc      *uasc.SecureChannel
	conn    *uacp.Conn
	gate    *gate
	peer    string
	timeout time.Duration
	token   *ua.NodeID // of the session; nil before there is one
	errs    chan error // the library's word that the channel broke
}

// dial opens a secure channel, whose keys are renewed before the token's time is
// over. With cert nil it has no security, and serves to
// ask for the endpoints only.
func dial(ctx context.Context, s *Spec, cert []byte, token time.Duration) (*channel, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	u, _ := s.address() // was checked
	cfg := &uasc.Config{
		SecurityPolicyURI: ua.SecurityPolicyURINone,
		SecurityMode:      ua.MessageSecurityModeNone,
		Lifetime:          uint32(token / time.Millisecond),
		RequestTimeout:    s.Timeout,
		RequestIDSeed:     rand.Uint32(), //nolint:gosec // a number to begin counting at
	}
	if cert != nil {
		key, err := s.key()
		if err != nil {
			return nil, errors.New("cannot read the private key")
		}
		cfg.SecurityPolicyURI = ua.FormatSecurityPolicyURI(s.Policy)
		cfg.SecurityMode = ua.MessageSecurityModeFromString(s.Mode)
		cfg.Certificate, cfg.LocalKey = s.Certificate, key
		cfg.RemoteCertificate, cfg.Thumbprint = cert, uapolicy.Thumbprint(cert)
	}
	gate, near, err := openGate(ctx, u.Host, cfg.SecurityPolicyURI, cert, min(token, minToken)/2)
	if err != nil {
		return nil, dialError(err)
	}
	defer context.AfterFunc(ctx, func() { gate.end(ctx.Err()) })() // the library's handshake does not look at ctx
	c := &channel{gate: gate, peer: u.Host, timeout: s.Timeout, errs: make(chan error, 1)}
	c.conn, err = uacp.NewConn(near, &uacp.Acknowledge{
		ReceiveBufSize: maxChunk, SendBufSize: maxChunk, MaxMessageSize: maxMessage, MaxChunkCount: maxChunks,
	})
	if err == nil {
		err = c.conn.Handshake(ctx, s.Endpoint)
	}
	if err == nil {
		c.sc, err = uasc.NewSecureChannel(s.Endpoint, c.conn, cfg, c.errs)
	}
	if err == nil {
		err = c.sc.Open(ctx)
	}
	if err == nil && (cfg.SecurityPolicyURI != gate.policy || cert != nil && string(leaf(cfg.RemoteCertificate)) != string(cert)) {
		err = errors.New("the secure channel is not the one that was asked for") // never: the gate ended it
	}
	if err != nil {
		err = c.cause(err)
		c.drop()
		return nil, err
	}
	return c, nil
}

// room is how much of an answer fits into one chunk, besides what surrounds it.
func (c *channel) room() int {
	return int(min(max(c.conn.ReceiveBufSize(), minChunk), maxChunk)) - 1024
}

// cause prefers the reason of the gate, and what the dispatcher saw, to the
// library's "EOF".
func (c *channel) cause(err error) error {
	var status ua.StatusCode
	var r *refusal
	if errors.As(err, &status) || errors.As(err, &r) {
		return err
	}
	select {
	case seen := <-c.errs:
		if final(seen) {
			return seen
		}
	default:
	}
	if why := c.gate.reason(); why != nil && !errors.Is(why, io.EOF) && !errors.Is(why, net.ErrClosed) {
		return why
	}
	return err
}

// final tells whether what the dispatcher saw means the end: the server's word
// why it closes the connection, or a message that bears no signature.
func final(err error) bool {
	var closed *uacp.Error
	return errors.As(err, &closed) || errors.Is(err, ua.StatusBadSecurityChecksFailed)
}

// call sends a request and waits for the answer of that type.
func call[A ua.Response](ctx context.Context, c *channel, request ua.Request) (A, error) {
	return callFor[A](ctx, c, request, c.timeout)
}

func callFor[A ua.Response](ctx context.Context, c *channel, request ua.Request, timeout time.Duration) (answer A, err error) {
	err = c.sc.SendRequestWithTimeout(ctx, request, c.token, timeout, func(r ua.Response) error {
		a, ok := r.(A)
		if !ok {
			return fmt.Errorf("the server answered %T to %T", r, request)
		}
		answer = a
		return nil
	})
	return answer, err
}

// broken tells whether the error means that the channel is of no use any more. A
// fault of one service does not break it.
func broken(err error) bool {
	var status ua.StatusCode
	if !errors.As(err, &status) {
		return true
	}
	switch status {
	case ua.StatusBadSecurityChecksFailed, ua.StatusBadSecureChannelIDInvalid, ua.StatusBadSecureChannelClosed,
		ua.StatusBadSecureChannelTokenUnknown, ua.StatusBadSessionIDInvalid, ua.StatusBadSessionClosed,
		ua.StatusBadSessionNotActivated, ua.StatusBadConnectionClosed, ua.StatusBadShutdown, ua.StatusBadServerHalted,
		ua.StatusBadTCPInternalError:
		return true
	}
	return false
}

// bye closes session and channel in good order, as far as the server takes part.
func (c *channel) bye() {
	ctx, cancel := context.WithTimeout(context.Background(), byeTimeout)
	defer cancel()
	if c.token != nil && c.gate.reason() == nil {
		_, _ = callFor[*ua.CloseSessionResponse](ctx, c, &ua.CloseSessionRequest{DeleteSubscriptions: true}, byeTimeout)
	}
	c.drop()
}

// byeTimeout leaves time for the rest of the two seconds that Run has to end.
const byeTimeout = 500 * time.Millisecond

// drop ends the connection.
func (c *channel) drop() {
	if c.sc != nil {
		if c.gate.reason() == nil {
			_ = c.conn.SetWriteDeadline(time.Now().Add(byeTimeout))
		} else {
			_ = c.conn.Close()
		}
		_ = c.sc.Close()
	}
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.gate.close()
}
