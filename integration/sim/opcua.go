package sim

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
)

// The user that the simulated server is made for. gopcua's server does not look
// at the password: what depends on it is tested with another server.
const (
	OPCUAUser      = "fieldseal"
	OPCUAPassword  = "kneading-trough-17"
	OPCUANamespace = "http://fieldseal.example/simulated/mixer"
)

// OPCUAOptions may be left zero.
type OPCUAOptions struct {
	Machines     int              // behind the one endpoint; default 1
	Name         string           // machines are called Name-1, Name-2, …; default "mixer"
	PayloadEvery time.Duration    // a new payload; default 5 s, negative: only by NextPayload
	CounterEvery time.Duration    // the counters move; default 500 ms, negative: only by Count
	Now          func() time.Time // default time.Now
	Load         int              // that many more nodes s=Load.0 …, which change every second, for benchmarks
	Record       int              // values that History keeps of each point; default none
}

// OPCUA is a simulated OPC UA endpoint with machines behind it. It offers
// Basic256Sha256 and Aes256_Sha256_RsaPss, signed and encrypted, to users with a
// password and to anonymous ones.
//
// The server behind it is gopcua's, but for the subscriptions. They send every
// value that a node had while it was looked at, four times a second.
type OPCUA struct {
	options OPCUAOptions
	now     func() time.Time
	own     *OPCUAIdentity
	address string // that clients connect to; the server is behind a relay

	mu       sync.Mutex // guards all below, and what belongs to machines
	machines []*machine
	nodes    map[string]*simNode
	front    net.Listener
	relayed  map[net.Conn]net.Conn
	frozen   bool
	still    bool
	writes   int
	mood     OPCUAMood
	numbers  uint32 // of subscriptions and items
	subs     map[uint32]*subscription
	requests map[string][]publishRequest // session → for news, in order

	server *server.Server
	space  *server.NodeNameSpace
	back   string             // the server's own address
	stop   context.CancelFunc // ends the machines' life
	end    context.CancelFunc // ends the server, which has to be closed before
	wg     sync.WaitGroup
	feeds  sync.WaitGroup // subscriptions
}

// StartOPCUA starts the simulator on a free port of the loopback interface.
func StartOPCUA(o OPCUAOptions) (*OPCUA, error) {
	o.Machines = max(o.Machines, 1)
	if o.Name == "" {
		o.Name = "mixer"
	}
	if o.PayloadEvery == 0 {
		o.PayloadEvery = 5 * time.Second
	}
	if o.CounterEvery == 0 {
		o.CounterEvery = 500 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &OPCUA{
		options: o, now: o.Now, own: NewOPCUAIdentity(o.Name+"-server", 2048), address: "127.0.0.1:0",
		nodes: map[string]*simNode{}, relayed: map[net.Conn]net.Conn{},
		subs: map[uint32]*subscription{}, requests: map[string][]publishRequest{},
	}
	for i := range o.Machines {
		m := newMachine(fmt.Sprintf("%s-%d", o.Name, i+1), i+1, o.Now(), o.PayloadEvery, o.Record)
		m.mixer = true
		p.machines = append(p.machines, m)
		p.populate(m)
	}
	for i := range o.Load {
		p.load(i)
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// Endpoint is what a mapping file connects to. It stays the same over Stop and
// Start.
func (p *OPCUA) Endpoint() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "opc.tcp://" + p.address
}

// Server is the server's identity.
func (p *OPCUA) Server() *OPCUAIdentity { return p.own }

// Start starts the server again after Stop.
func (p *OPCUA) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	front, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("cannot start simulator: %w", err)
	}
	p.front, p.address = front, front.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	lasting, end := context.WithCancel(context.Background())
	p.end = end
	if err := p.serve(lasting, ctx); err != nil {
		cancel()
		end()
		_ = front.Close()
		return fmt.Errorf("cannot start simulator: %w", err)
	}
	p.wg.Go(func() { p.accept(front) })
	p.wg.Go(func() { p.live(ctx) })
	return nil
}

// serve starts a fresh server with the nodes, and subscriptions that end with
// life.
func (p *OPCUA) serve(ctx, life context.Context) error {
	log.SetOutput(io.Discard) //nolint:forbidigo // the library's server writes to the global logger, and to no other
	port := 0
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the library does not tell which port it got
		if err != nil {
			return err
		}
		port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		front := p.front.Addr().(*net.TCPAddr).Port
		s := server.New(
			server.EndPoint("127.0.0.1", port), server.EndPoint("127.0.0.1", front),
			server.Certificate(p.own.Certificate), server.PrivateKey(p.own.Key),
			server.EnableSecurity("Basic256Sha256", ua.MessageSecurityModeSignAndEncrypt),
			server.EnableSecurity("Basic256Sha256", ua.MessageSecurityModeSign),
			server.EnableSecurity("Aes256_Sha256_RsaPss", ua.MessageSecurityModeSignAndEncrypt),
			server.EnableSecurity("Aes256_Sha256_RsaPss", ua.MessageSecurityModeSign),
			server.EnableAuthMode(ua.UserTokenTypeAnonymous), server.EnableAuthMode(ua.UserTokenTypeUserName),
		)
		space := server.NewNodeNameSpace(s, OPCUANamespace)
		for name, n := range p.nodes {
			n.id = ua.NewStringNodeID(space.ID(), name)
			space.AddNode(server.NewVariableNode(n.id, name, func() *ua.DataValue { return p.give(n) }))
		}
		p.handleSubscriptions(life, s)
		p.handleWrites(s)
		if err := s.Start(ctx); err != nil {
			if try < 5 {
				continue // somebody took the port
			}
			return err
		}
		p.server, p.space, p.back = s, space, fmt.Sprintf("127.0.0.1:%d", port)
		return nil
	}
}

// Stop ends server and connections, and waits for their end. The machines live
// on.
func (p *OPCUA) Stop() {
	p.mu.Lock()
	if p.front != nil {
		_ = p.front.Close()
		p.front = nil
		p.stop()
	}
	s := p.server
	p.server = nil
	p.mu.Unlock()
	p.DropConnections()
	p.wg.Wait()
	if s == nil {
		return
	}
	_ = s.Close()
	p.end()
	p.forget(nil)
	p.feeds.Wait()
}

// live moves the machines.
func (p *OPCUA) live(ctx context.Context) {
	const beat = 250 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	counted := p.now()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if every := p.options.CounterEvery; every > 0 && p.now().Sub(counted) >= every-beat/2 {
			counted = p.now()
			for _, m := range p.machines {
				p.Count(m.name)
			}
		}
		p.move(n%4 == 0)
	}
}

// accept relays connections to the server, so that tests can cut them.
func (p *OPCUA) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		back := p.back
		ended := p.front != l
		p.mu.Unlock()
		if ended {
			_ = c.Close()
			return
		}
		s, err := net.Dial("tcp", back)
		if err != nil {
			_ = c.Close()
			continue
		}
		p.mu.Lock()
		p.relayed[c] = s
		p.mu.Unlock()
		p.wg.Go(func() { p.relay(s, c, true) })
		p.wg.Go(func() { p.relay(c, s, false) })
	}
}

func (p *OPCUA) relay(to, from net.Conn, up bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if err == nil && !frozen {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			p.mu.Lock()
			if up {
				delete(p.relayed, from)
			}
			p.mu.Unlock()
			if up {
				p.forget(to.LocalAddr())
			}
			return
		}
	}
}

// DropConnections resets the connections and goes on listening.
func (p *OPCUA) DropConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, s := range p.relayed {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
		_ = s.Close()
	}
}

// Freeze keeps connections open over which nothing comes any more, as a network
// does that loses its way.
func (p *OPCUA) Freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = on
}
