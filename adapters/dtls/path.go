package dtls

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
	// pathQueue is how many datagrams wait for one connection; more are lost, as
	// in a network. SCTP's window keeps a peer that behaves below it.
	pathQueue   = 1024
	maxDatagram = 2048 // bytes; longer ones are none of this protocol
	// maxHandshake is how many bytes are read until a connection stands: a flight
	// with a chain of certificates, a few times over. pion keeps pieces of messages,
	// and so keeps no more than this.
	maxHandshake = 32 << 10
)

var errCrowded = errors.New("too many handshakes at once")

// address is a peer's address. pion compares addresses by identity, so that
// there is one for as long as it stays the same.
type address struct{ netip.AddrPort }

// Network implements net.Addr.
func (*address) Network() string { return "udp" }

// path is one connection's share of the listener's socket. It implements
// net.PacketConn for pion.
type path struct {
	mux *mux
	in  chan *datagram

	closing sync.Once
	closed  chan struct{}
	read    *deadline.Deadline

	answered atomic.Bool // a ServerHello went out: the peer has returned its cookie

	heard *address // where the last datagram came from; the mux's reader's

	// Owned by the mux, under its mutex.
	from    netip.AddrPort // where the handshake comes from
	id      record.ID
	hasID   bool
	settled bool // its connection stands
	taken   int  // bytes until it did
	half    int  // place among the half-open ones; -1 when it is none of them
	counted bool // among the handshakes
}

// datagram is one that arrived. Its buffer goes back to the mux's pool.
type datagram struct {
	buf  [maxDatagram]byte
	n    int
	from *address
}

func newPath(m *mux, from netip.AddrPort) *path {
	return &path{mux: m, in: make(chan *datagram, pathQueue), closed: make(chan struct{}), read: deadline.New(), from: from, half: -1}
}

// ReadFrom gives the next datagram and where it came from.
func (p *path) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		n, from := copy(b, d.buf[:d.n]), d.from
		p.mux.recycle(d)
		return n, from, nil
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
	// What the kernel has no room or no route for is lost, as in a network: an
	// error would end the connection.
	if _, err := p.mux.socket.WriteToUDPAddrPort(b, a.AddrPort); errors.Is(err, net.ErrClosed) {
		return 0, err
	}
	return len(b), nil
}

// Close ends the connection's share.
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
