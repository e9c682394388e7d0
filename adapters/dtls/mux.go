package dtls

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

// mux shares one UDP socket among the connections of a listener. What is known
// by its connection id goes where the id says, wherever it comes from; what is
// in a handshake goes by its address; of the rest, only what begins a handshake
// gets anywhere.
type mux struct {
	socket  *net.UDPConn
	limits  ListenLimits
	begin   func(*path)   // starts a handshake; called with a new path, which has its first datagram
	buffers sync.Pool     // of *datagram
	dropped atomic.Uint64 // datagrams that belong to nothing, or for which there is no room
	evicted atomic.Uint64 // half-open paths that made place for newer ones
	crowded atomic.Uint64 // handshakes over the limits

	mu     sync.Mutex // guards what follows
	byAddr map[netip.AddrPort]*path
	byID   map[record.ID]*path
	// half are the paths that have not returned a cookie, oldest first from next
	// on: a ring, in which a free place is nil.
	half   []*path
	next   int
	closed bool
	// handshakes counts the paths that returned a cookie and are not through.
	handshakes int
	ofHost     map[netip.Prefix]int
}

func newMux(socket *net.UDPConn, limits ListenLimits, begin func(*path)) *mux {
	return &mux{
		socket: socket, limits: limits, begin: begin,
		buffers: sync.Pool{New: func() any { return new(datagram) }},
		byAddr:  make(map[netip.AddrPort]*path), byID: make(map[record.ID]*path),
		half: make([]*path, limits.HalfOpen), ofHost: make(map[netip.Prefix]int),
	}
}

func (m *mux) recycle(d *datagram) {
	d.from = nil
	m.buffers.Put(d)
}

// maxFailures is how many reads in a row may fail. One can: somebody's ICMP, or a
// network that is down for a moment.
const maxFailures = 1000

// run reads the socket until it is closed, or of no use any more.
func (m *mux) run() error {
	var last error
	for failures := 0; failures < maxFailures; {
		d := m.buffers.Get().(*datagram) //nolint:forcetypeassert // the pool holds nothing else
		n, from, err := m.socket.ReadFromUDPAddrPort(d.buf[:])
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			last = err
			failures++
			m.recycle(d)
			continue
		}
		failures = 0
		if n == 0 || n == len(d.buf) { // one too long is cut off, and worth nothing
			m.dropped.Add(1)
			m.recycle(d)
			continue
		}
		d.n = n
		m.deliver(d, from)
	}
	return fmt.Errorf("cannot read from the socket any more: %w", last)
}

// deliver hands a datagram to the path that it belongs to, or makes one.
func (m *mux) deliver(d *datagram, from netip.AddrPort) {
	p, evict, fresh := m.route(d.buf[:d.n], from)
	if evict != nil {
		m.evicted.Add(1)
		_ = evict.Close()
	}
	if p == nil {
		m.dropped.Add(1)
		m.recycle(d)
		return
	}
	// Only this goroutine touches the address that the path last heard from.
	if d.from = p.heard; d.from == nil || d.from.AddrPort != from {
		d.from = &address{from}
		p.heard = d.from
	}
	select {
	case p.in <- d:
	default:
		m.dropped.Add(1)
		m.recycle(d)
	}
	if fresh {
		m.begin(p)
	}
}

// route finds the path for a datagram. Where it begins a handshake it makes one,
// and gives the oldest that has to go for it.
func (m *mux) route(b []byte, from netip.AddrPort) (p, evict *path, fresh bool) {
	id, isID := record.IDOf(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, nil, false
	case isID:
		p = m.byID[id]
	default:
		p = m.byAddr[from]
	}
	switch {
	case p != nil && !p.wants(b):
		return nil, nil, false
	case p != nil || isID:
		return p, nil, false
	}
	if !record.IsClientHello(b) {
		return nil, nil, false
	}
	p = newPath(m, from)
	p.taken = len(b)
	m.byAddr[from] = p
	evict = m.half[m.next]
	p.half, m.half[m.next] = m.next, p
	m.next = (m.next + 1) % len(m.half)
	if evict != nil {
		evict.half = -1
	}
	return p, evict, true
}

// wants tells whether the path has any use for a datagram. Under the mutex.
func (p *path) wants(b []byte) bool {
	if p.settled {
		return record.Fits(b, p.hasID, record.Nothing)
	}
	p.taken += len(b)
	return p.taken <= maxHandshake && record.Fits(b, p.hasID, record.AnyFlight)
}

// proven takes a path off the half-open ones: its peer is where it says it is.
// It returns false where there are too many such already.
func (m *mux) proven(p *path) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(p)
	host := hostOf(p.from)
	if m.handshakes >= m.limits.Handshakes || m.ofHost[host] >= m.limits.HandshakesPerHost {
		m.crowded.Add(1)
		return false
	}
	p.counted = true
	m.handshakes++
	m.ofHost[host]++
	return true
}

// through ends the handshake of a path, well or not.
func (m *mux) through(p *path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.counted {
		return
	}
	p.counted = false
	m.handshakes--
	host := hostOf(p.from)
	if m.ofHost[host]--; m.ofHost[host] == 0 {
		delete(m.ofHost, host)
	}
}

// hostOf gives what one host has at its disposal: an IPv4 address, or 64 bits of
// an IPv6 one.
func hostOf(a netip.AddrPort) netip.Prefix {
	ip := a.Addr().Unmap()
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // never fails: the address has so many bits
	return p
}

func (m *mux) release(p *path) {
	if p.half >= 0 {
		m.half[p.half], p.half = nil, -1
	}
}

// identify routes an id to a path, instead of the one that it had before.
func (m *mux) identify(p *path, id record.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.hasID {
		delete(m.byID, p.id)
	}
	p.id, p.hasID = id, true
	m.byID[id] = p
}

// settle routes a path by its id alone, if it has one, and lets nothing through to
// it that is not encrypted. From then on nothing that merely pretends to come from
// its address reaches it, and a new handshake from that address is a new
// connection.
func (m *mux) settle(p *path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.settled = true
	if p.hasID && m.byAddr[p.from] == p {
		delete(m.byAddr, p.from)
	}
}

// forget takes a path out.
func (m *mux) forget(p *path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(p)
	if m.byAddr[p.from] == p {
		delete(m.byAddr, p.from)
	}
	if p.hasID && m.byID[p.id] == p {
		delete(m.byID, p.id)
	}
}

// close ends all paths and the socket.
func (m *mux) close() error {
	m.mu.Lock()
	m.closed = true
	paths := make(map[*path]struct{}, len(m.byAddr)+len(m.byID))
	for _, p := range m.byAddr {
		paths[p] = struct{}{}
	}
	for _, p := range m.byID {
		paths[p] = struct{}{}
	}
	m.mu.Unlock()
	for p := range paths {
		_ = p.Close()
	}
	return m.socket.Close()
}
