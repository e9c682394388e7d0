// Package impair is a UDP proxy that does to datagrams what bad networks do:
// loses, repeats, reorders, delays and throttles them, swallows them all, and
// lets the client appear at another port.
//
// What happens to the nth datagram of a flow in one direction depends on the
// seed and the rule only, so that a run can be repeated as far as the peers send
// the same again.
package impair

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Rule is what happens to the datagrams of one direction. The zero value passes
// them on.
type Rule struct {
	Loss      float64       // probability that one is lost, 0 to 1
	Duplicate float64       // that one comes twice
	Reorder   float64       // that one comes late by ReorderBy, behind later ones
	ReorderBy time.Duration // 10 ms where it is 0
	Delay     time.Duration // of each
	Jitter    time.Duration // at most, on top of Delay, even; it reorders too
	Bandwidth int           // bytes per second; 0: any
	Queue     int           // bytes that wait for bandwidth before more are lost; 64 KiB where it is 0
}

// Config says what to put between a client and a server.
type Config struct {
	Target string        // host:port of the server
	Seed   uint64        // of all decisions
	Up     Rule          // client to server
	Down   Rule          // server to client
	Rebind time.Duration // the server sees each client at a new port every so often; 0: never
}

// Stats counts datagrams, both directions together.
type Stats struct {
	Passed, Lost, Duplicated, Delayed, Swallowed, Rebound uint64
}

// Proxy passes datagrams between clients and one server. Its methods may be
// called concurrently.
type Proxy struct {
	socket *net.UDPConn
	seed   uint64
	hole   atomic.Bool
	wg     sync.WaitGroup
	done   chan struct{}

	passed, lost, duplicated, delayed, swallowed, rebound atomic.Uint64

	mu       sync.Mutex // guards what follows
	target   netip.AddrPort
	up, down Rule
	flows    map[netip.AddrPort]*flow
	made     uint64 // flows
}

// flow is one client.
type flow struct {
	proxy  *Proxy
	client netip.AddrPort
	up     *pipe
	down   *pipe

	mu     sync.Mutex
	server *net.UDPConn // what the server sees; replaced by Rebind
	closed bool
}

// Listen starts a proxy at a free loopback port. Close it.
func Listen(cfg Config) (*Proxy, error) {
	target, err := resolve(cfg.Target)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = socket.SetReadBuffer(4 << 20)
	p := &Proxy{
		socket: socket, seed: cfg.Seed, done: make(chan struct{}),
		target: target, up: cfg.Up, down: cfg.Down, flows: make(map[netip.AddrPort]*flow),
	}
	p.wg.Go(p.run)
	if cfg.Rebind > 0 {
		p.wg.Go(func() { p.rebindEvery(cfg.Rebind) })
	}
	return p, nil
}

func resolve(target string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp4", target)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// Addr gives host:port for clients.
func (p *Proxy) Addr() string { return p.socket.LocalAddr().String() }

// Set changes the rules, for datagrams that arrive from now on.
func (p *Proxy) Set(up, down Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
}

// BlackHole swallows everything, or no longer.
func (p *Proxy) BlackHole(on bool) { p.hole.Store(on) }

// Stats gives the counters.
func (p *Proxy) Stats() Stats {
	return Stats{
		Passed: p.passed.Load(), Lost: p.lost.Load(), Duplicated: p.duplicated.Load(),
		Delayed: p.delayed.Load(), Swallowed: p.swallowed.Load(), Rebound: p.rebound.Load(),
	}
}

// Rebind gives each client a new port, as a NAT does that has forgotten it. What
// the server still sends to the old one is lost.
func (p *Proxy) Rebind() error {
	p.mu.Lock()
	flows := make([]*flow, 0, len(p.flows))
	for _, f := range p.flows {
		flows = append(flows, f)
	}
	target := p.target
	p.mu.Unlock()
	for _, f := range flows {
		if err := f.connect(target); err != nil {
			return err
		}
		p.rebound.Add(1)
	}
	return nil
}

// Inject sends a datagram to the server in the name of each client, or to each
// client in the name of the server: spoofed, as they see it.
func (p *Proxy) Inject(toServer bool, datagram []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, f := range p.flows {
		if toServer {
			f.toServer(datagram)
		} else {
			_, _ = p.socket.WriteToUDPAddrPort(datagram, client)
		}
	}
}

func (p *Proxy) rebindEvery(d time.Duration) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = p.Rebind()
		case <-p.done:
			return
		}
	}
}

// Close ends the proxy. What is delayed is lost.
func (p *Proxy) Close() error {
	close(p.done)
	err := p.socket.Close()
	p.mu.Lock()
	for _, f := range p.flows {
		f.close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// run takes what clients send.
func (p *Proxy) run() {
	b := make([]byte, 64<<10)
	for {
		n, from, err := p.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			return // closed; ICMP errors do not come to a socket that is not connected
		}
		f := p.flow(from)
		if f == nil {
			return
		}
		p.mu.Lock()
		rule := p.up
		p.mu.Unlock()
		f.up.put(b[:n], rule)
	}
}

// flow gives a client's, and makes one for a new client.
func (p *Proxy) flow(client netip.AddrPort) *flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return nil
	default:
	}
	if f := p.flows[client]; f != nil {
		return f
	}
	f := &flow{proxy: p, client: client}
	p.made++
	f.up = newPipe(p, rand.New(rand.NewPCG(p.seed, 2*p.made)), f.toServer)
	f.down = newPipe(p, rand.New(rand.NewPCG(p.seed, 2*p.made+1)), func(b []byte) {
		_, _ = p.socket.WriteToUDPAddrPort(b, client)
	})
	if f.connect(p.target) != nil {
		return nil
	}
	p.flows[client] = f
	return f
}

// connect gives the flow a new socket toward the server.
func (f *flow) connect(target netip.AddrPort) error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		return err
	}
	_ = c.SetReadBuffer(4 << 20)
	f.mu.Lock()
	old, closed := f.server, f.closed
	if !closed {
		f.server = c
	}
	f.mu.Unlock()
	if closed {
		return c.Close()
	}
	if old != nil {
		_ = old.Close()
	}
	f.proxy.wg.Go(func() { f.read(c) })
	return nil
}

// read takes what the server sends, until the socket is replaced.
func (f *flow) read(c *net.UDPConn) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			f.mu.Lock()
			current := f.server == c && !f.closed
			f.mu.Unlock()
			if current {
				continue // nobody listens there right now
			}
			return
		}
		f.proxy.mu.Lock()
		rule := f.proxy.down
		f.proxy.mu.Unlock()
		f.down.put(b[:n], rule)
	}
}

func (f *flow) toServer(b []byte) {
	f.mu.Lock()
	c := f.server
	f.mu.Unlock()
	_, _ = c.Write(b)
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	_ = f.server.Close()
}
