package coap

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

// limits bound what peers cost before they are known.
type limits struct {
	halfOpen   int // addresses that have not returned a cookie; the oldest goes for a new one
	handshakes int // addresses that have, and are not through; more are turned away
	perHost    int // the same for one IPv4 address or IPv6 /64
	hellos     int // addresses that begin a handshake, a second: each costs more than to drop it
}

// totals are the figures of a source over all its sockets.
type totals struct {
	rejected, crowded, evicted, dropped atomic.Uint64
}

// mux shares one UDP socket among the sessions of a listener. What has a
// connection id goes where the id says, wherever it comes from. Else an address
// has at most one session, and one handshake that would take its place: a device
// that was switched off comes again from the same port, and what merely pretends
// to come from there must not disturb it.
type mux struct {
	socket *net.UDPConn
	limits limits
	begin  func(*path) // starts a handshake; called with a new path, which has its first datagram
	totals *totals

	mu       sync.Mutex // guards what follows
	sessions map[netip.AddrPort]*path
	pending  map[netip.AddrPort]*path
	byID     map[record.ID]*path
	// half are the paths that have not returned a cookie, oldest first from next
	// on: a ring, in which a free place is nil.
	half   []*path
	next   int
	hellos allowance
	closed bool
	// handshakes counts the paths that returned a cookie and are not through.
	handshakes int
	ofHost     map[netip.Prefix]int
}

func newMux(socket *net.UDPConn, limits limits, totals *totals, begin func(*path)) *mux {
	return &mux{
		socket: socket, limits: limits, totals: totals, begin: begin,
		sessions: make(map[netip.AddrPort]*path), pending: make(map[netip.AddrPort]*path),
		byID: make(map[record.ID]*path), half: make([]*path, limits.halfOpen), ofHost: make(map[netip.Prefix]int),
		hellos: allowance{rate: float64(limits.hellos), burst: float64(limits.hellos)},
	}
}

// maxFailures is how many reads in a row may fail. One can: somebody's ICMP, or a
// network that is down for a moment.
const maxFailures = 1000

// run reads the socket until it is closed, or of no use any more.
func (m *mux) run() error {
	buf := make([]byte, maxDatagram)
	for failures := 0; failures < maxFailures; {
		n, from, err := m.socket.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			failures++
		case n == len(buf): // it is cut off, and worth nothing
			failures = 0
			m.totals.dropped.Add(1)
		default:
			failures = 0
			m.deliver(buf[:n], from)
		}
	}
	return errors.New("cannot read from the socket")
}

// deliver hands a copy of a datagram to the path that it belongs to, or makes
// one.
func (m *mux) deliver(b []byte, from netip.AddrPort) {
	p, evict, begins := m.route(b, from)
	if evict != nil {
		m.totals.evicted.Add(1)
		_ = evict.Close()
	}
	if p == nil {
		m.totals.dropped.Add(1)
		return
	}
	// Only this goroutine touches the address that the path last heard from.
	d := datagram{bytes.Clone(b), p.heard}
	if d.from == nil || d.from.AddrPort != from {
		d.from = &address{from}
		p.heard = d.from
	}
	select {
	case p.in <- d:
	default:
		m.totals.dropped.Add(1)
	}
	if begins {
		m.begin(p)
	}
}

// route finds the path for a datagram. Where it begins a handshake it makes one,
// and gives the oldest that has to go for it.
func (m *mux) route(b []byte, from netip.AddrPort) (p, evict *path, begins bool) {
	id, hasID := record.IDOf(b)
	kind, epoch, ok := record.First(b)
	if !ok {
		return nil, nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch session, pending := m.sessions[from], m.pending[from]; {
	case m.closed:
		return nil, nil, false
	case hasID:
		p = m.byID[id]
	case pending != nil && (session == nil || epoch == 0 || kind == record.Handshake || pending.finished.Load()):
		p = pending
	case session != nil && !record.IsClientHello(b):
		p = session
	case !record.IsClientHello(b), !m.hellos.take(time.Now()):
		return nil, nil, false
	default:
		p, evict = m.open(from)
		begins = true
	}
	if p != nil && !p.wants(b) {
		return nil, evict, false
	}
	return p, evict, begins
}

// wants tells whether the path has any use for a datagram. Under the mutex.
func (p *path) wants(b []byte) bool {
	switch {
	case p.settled && p.confirmed.Load():
		return record.Fits(b, p.hasID, record.Nothing)
	case p.settled: // the last flight again, whose answer was lost
		return record.Fits(b, p.hasID, record.LastFlight)
	}
	p.taken += len(b)
	return p.taken <= maxHandshake && record.Fits(b, p.hasID, record.AnyFlight)
}

// open makes a path for an address. Under the mutex.
func (m *mux) open(from netip.AddrPort) (p, evict *path) {
	p = newPath(m, from)
	m.pending[from] = p
	evict = m.half[m.next]
	p.half, m.half[m.next] = m.next, p
	m.next = (m.next + 1) % len(m.half)
	if evict != nil {
		evict.half = -1
	}
	return p, evict
}

// proven takes a path off the half-open ones: its peer is where it says it is.
// It returns false where there are too many such already.
func (m *mux) proven(p *path) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(p)
	host := hostOf(p.from)
	if m.handshakes >= m.limits.handshakes || m.ofHost[host] >= m.limits.perHost {
		m.totals.crowded.Add(1)
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

// settle makes a path its address's session. It gives the one that was there,
// which nothing can reach any more; none where that goes by its id.
func (m *mux) settle(p *path) (old *path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.settled = true
	if m.pending[p.from] != p { // closed meanwhile
		return nil
	}
	delete(m.pending, p.from)
	if old = m.sessions[p.from]; old != nil && old.hasID {
		old = nil
	}
	m.sessions[p.from] = p
	return old
}

// forget takes a path out.
func (m *mux) forget(p *path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(p)
	for _, table := range []map[netip.AddrPort]*path{m.pending, m.sessions} {
		if table[p.from] == p {
			delete(table, p.from)
		}
	}
	if p.hasID && m.byID[p.id] == p {
		delete(m.byID, p.id)
	}
}

// close ends all paths and the socket.
func (m *mux) close() error {
	m.mu.Lock()
	m.closed = true
	paths := make(map[*path]struct{})
	for _, table := range []map[netip.AddrPort]*path{m.pending, m.sessions} {
		for _, p := range table {
			paths[p] = struct{}{}
		}
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
