package hub

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/sctp"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// rogue is a gateway with a valid certificate that does what it likes.
type rogue struct {
	t           testing.TB
	association *sctp.Association
	out, in     *sctp.Stream
}

// connected lets pion write to a connected socket.
type connected struct{ *net.UDPConn }

func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}
func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// handshake is DTLS with a hub, with any certificate or none.
func (p *plant) handshake(hub string, options ...piondtls.ClientOption) (*piondtls.Conn, error) {
	p.t.Helper()
	a, err := net.ResolveUDPAddr("udp", hub)
	require.NoError(p.t, err)
	raw, err := net.DialUDP("udp", nil, a)
	require.NoError(p.t, err)
	conn, err := piondtls.ClientWithOptions(connected{raw}, a, append([]piondtls.ClientOption{
		piondtls.WithRootCAs(p.authority.Pool()), piondtls.WithServerName("localhost"),
		piondtls.WithConnectionIDGenerator(piondtls.OnlySendCIDGenerator()),
		piondtls.WithCipherSuites(piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
	}, options...)...)
	require.NoError(p.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn, nil
}

func (p *plant) rogue(hub string, certificate tls.Certificate) *rogue {
	p.t.Helper()
	conn, err := p.handshake(hub, piondtls.WithCertificates(certificate))
	require.NoError(p.t, err)
	r := &rogue{t: p.t}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	r.association, err = sctp.ClientContext(ctx, sctp.WithNetConn(conn), sctp.WithMaxMessageSize(8<<20), sctp.WithEnableZeroChecksum(true))
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = r.association.Close() })
	r.out = r.stream(1)
	r.in = r.stream(2)
	return r
}

func (r *rogue) stream(id uint16) *sctp.Stream {
	s, _ := r.association.OpenStream(id, sctp.PayloadTypeUnknown)
	return s
}

// send sends if the hub has not closed yet.
func (r *rogue) send(s *sctp.Stream, b []byte) {
	if s != nil {
		_, _ = s.Write(b)
	}
}

// hello is ["fieldseal dtls 1", gateway, 1].
func hello(gateway string) []byte {
	b := append([]byte{0x83, 0x70}, "fieldseal dtls 1"...)
	b = append(b, 0x60+byte(len(gateway)))
	return append(append(b, gateway...), 1)
}

// frame is [number, message], for numbers below 24.
func frame(number byte, m envelope.Message) []byte {
	return envelope.AppendMessage([]byte{0x82, number}, &m)
}

// heard gives the next frame from the hub; nil where it closed.
func (r *rogue) heard() []byte {
	r.t.Helper()
	b := make([]byte, 4096)
	late := time.AfterFunc(long, func() { panic("the hub neither answers nor closes") })
	defer late.Stop()
	n, err := r.in.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// requireClosed waits until the hub has closed the connection.
func (r *rogue) requireClosed() {
	r.t.Helper()
	for r.heard() != nil {
	}
}
