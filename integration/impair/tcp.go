package impair

import (
	"io"
	"net"
	"sync"
)

// TCP passes connections on to one server, until it is told to cut or to stall
// them. Its methods may be called concurrently.
type TCP struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu      sync.Mutex // guards what follows
	state   state
	mended  chan struct{} // closed while nothing is stalled
	pairs   map[*pair]struct{}
	closing bool
}

type state int

const (
	passing state = iota
	cut           // there is nobody: connections end at once
	stalled       // connections stand, and nothing gets through
)

// pair is one connection of a client, and the one to the server behind it.
type pair struct{ client, server net.Conn }

func (p *pair) close() {
	// Without the linger a client learns of it with the next packet, as from a
	// machine that has just started.
	if c, ok := p.client.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = p.client.Close()
	if p.server != nil {
		_ = p.server.Close()
	}
}

// ListenTCP starts one at a free loopback port. Close it.
func ListenTCP(target string) (*TCP, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &TCP{listener: l, target: target, mended: make(chan struct{}), pairs: make(map[*pair]struct{})}
	close(t.mended)
	t.wg.Go(t.accept)
	return t, nil
}

// Addr gives host:port for clients.
func (t *TCP) Addr() string { return t.listener.Addr().String() }

// Cut ends all connections, and new ones at once, until Mend.
func (t *TCP) Cut() { t.change(cut) }

// Stall keeps connections, and lets nothing through, until Mend or Cut.
func (t *TCP) Stall() { t.change(stalled) }

// Mend passes on again, also what was stalled.
func (t *TCP) Mend() { t.change(passing) }

func (t *TCP) change(to state) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.state == stalled && to != stalled:
		close(t.mended)
	case t.state != stalled && to == stalled:
		t.mended = make(chan struct{})
	}
	if t.state = to; to == cut {
		for p := range t.pairs {
			p.close()
		}
	}
}

// Close ends it with all its connections.
func (t *TCP) Close() error {
	t.mu.Lock()
	t.closing = true
	t.mu.Unlock()
	err := t.listener.Close()
	t.Cut()
	t.wg.Wait()
	return err
}

func (t *TCP) accept() {
	for {
		c, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.wg.Go(func() { t.serve(&pair{client: c}) })
	}
}

func (t *TCP) serve(p *pair) {
	server, err := net.Dial("tcp", t.target)
	if err != nil {
		p.close()
		return
	}
	p.server = server
	t.mu.Lock()
	if t.state == cut || t.closing {
		t.mu.Unlock()
		p.close()
		return
	}
	t.pairs[p] = struct{}{}
	t.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{p.client, p.server}, {p.server, p.client}} {
		both.Go(func() {
			defer p.close()
			t.pass(way[1], way[0])
		})
	}
	both.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pairs, p)
}

// pass copies until one side ends, and holds back what it has while it is told
// to.
func (t *TCP) pass(to io.Writer, from io.Reader) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		t.mu.Lock()
		mended := t.mended
		t.mu.Unlock()
		<-mended
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
