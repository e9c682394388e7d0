package coap

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5/deadline"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

const (
	// pathQueue is how many datagrams wait for one session; more are lost, as in a
	// network. A device has one or a few under way (RFC 7252, 4.7).
	pathQueue = 64
	// maxDatagram is the longest in bytes; more is sent block-wise.
	maxDatagram = 2048
	// maxHandshake is how many bytes of a handshake are read: a flight with a chain
	// of certificates, a few times over. The library keeps pieces of messages, and
	// so keeps no more than this.
	maxHandshake = 32 << 10
)

var errCrowded = errors.New("too many handshakes at once")

// address is a peer's address. pion compares addresses by identity, so that
// there is one for as long as it stays the same.
type address struct{ netip.AddrPort }

// Network implements net.Addr.
func (*address) Network() string { return "udp" }

// path is one session's share of the listener's socket. It implements
// net.PacketConn for pion.
type path struct {
	mux *mux
	in  chan datagram

	closing sync.Once
	closed  chan struct{}
	read    *deadline.Deadline

	answered  atomic.Bool // a ServerHello went out: the peer has returned its cookie
	finished  atomic.Bool // our last flight went out: what comes encrypted may be the session's
	confirmed atomic.Bool // the peer has sent data: nothing of its handshake is missing any more

	heard *address // where the last datagram came from; the mux's reader's
	taken int      // bytes of the handshake; the mux's reader's

	// Owned by the mux, under its mutex.
	from    netip.AddrPort // where the handshake comes from
	id      record.ID
	hasID   bool
	settled bool // the handshake is through
	half    int  // place among the half-open ones; -1 when it is none of them
	counted bool // among the handshakes
}

// datagram is one that arrived.
type datagram struct {
	b    []byte
	from *address
}

func newPath(m *mux, from netip.AddrPort) *path {
	return &path{mux: m, in: make(chan datagram, pathQueue), closed: make(chan struct{}), read: deadline.New(), from: from, half: -1}
}

// ReadFrom gives the next datagram and where it came from.
func (p *path) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d.b), d.from, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	case <-p.read.Done():
		return 0, nil, p.read.Err()
	}
}

// WriteTo sends a datagram.
func (p *path) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*address)
	if !ok {
		return 0, &net.AddrError{Err: "not an address of this listener", Addr: to.String()}
	}
	if !p.answered.Load() && record.IsServerHello(b) {
		p.answered.Store(true)
		if !p.mux.proven(p) {
			return 0, errCrowded
		}
	}
	if kind, epoch, ok := record.First(b); ok && (kind == record.Change || epoch > 0) && !p.finished.Load() {
		p.finished.Store(true)
	}
	// What the kernel has no room or no route for is lost, as in a network: an
	// error would end the session.
	if _, err := p.mux.socket.WriteToUDPAddrPort(b, a.AddrPort); errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(b), nil
}

// Close ends the session's share.
func (p *path) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		p.mux.forget(p)
	})
	return nil
}

// LocalAddr gives the listener's address.
func (p *path) LocalAddr() net.Addr { return p.mux.socket.LocalAddr() }

// SetDeadline implements net.PacketConn.
func (p *path) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *path) SetReadDeadline(t time.Time) error {
	p.read.Set(t)
	return nil
}

// SetWriteDeadline does nothing: the socket is everybody's, and writing to it
// does not wait.
func (p *path) SetWriteDeadline(time.Time) error { return nil }
