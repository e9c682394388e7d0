package hub

import (
	"context"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

// flowingFrom sends for a gateway, of which so many are stored, until stop is called, which gives how many were
// stored.
func flowingFrom(t *testing.T, u *dtls.Uplink, gateway string, stored int) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	total := make(chan int, 1)
	go func() {
		n, _ := pace(t, ctx, u, gateway, stored)
		total <- n
	}()
	return func() int {
		cancel()
		return <-total
	}
}

func dial(t *testing.T, to net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", to.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// clientHello gives the first datagram of a handshake with the hub.
func clientHello(t *testing.T, p *plant) []byte {
	t.Helper()
	catch, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer catch.Close()
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan struct{})
	u := p.uplink("gw-hello", catch.LocalAddr().String())
	go func() {
		defer close(sent)
		_, _ = u.Send(ctx, messages("gw-hello", 1, 1, 10))
	}()
	b := make([]byte, 2048)
	require.NoError(t, catch.SetReadDeadline(time.Now().Add(long)))
	n, _, err := catch.ReadFrom(b)
	require.NoError(t, err)
	cancel()
	<-sent
	require.NoError(t, u.Close())
	return b[:n]
}

// spoofed are datagrams that somebody sends in another's name.
func spoofed(hello []byte) [][]byte {
	draws := rand.New(rand.NewPCG(1, 2))
	all := [][]byte{
		{},
		{22},
		{25},
		make([]byte, 13), make([]byte, 2047), make([]byte, 9000), hello,
		{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40},      // fatal alert, in clear
		{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 1, 0},       // close_notify, in clear
		{21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},       // the same, of the next epoch
		{23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4, 1, 2, 3, 4}, // data, in clear
		{23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 9, 0, 3, 0, 1, 1},          // the same, with a number that never came
		{99, 0xfe, 0xfd, 0, 0, 0, 0, 0, 9, 0, 4, 0, 1, 1},          // of no type that there is
		{99, 0xfe, 0xfd, 0, 1, 0, 0, 0, 9, 0, 4, 0, 1, 1},
		// Two records to whoever gave no id, the second in clear; one to whoever expects an id of 8 bytes.
		{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 14, 23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 7, 7, 7, 0, 1, 'x'},
		{20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 1},                                // ChangeCipherSpec
		{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 9, 9, 9},  // an unknown connection id
		{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // HelloRequest
	}
	for i := 1; i < len(hello); i += 7 { // truncated
		all = append(all, hello[:i])
	}
	for range 300 { // changed
		b := append([]byte(nil), hello...)
		for range 1 + draws.IntN(4) {
			b[draws.IntN(len(b))] = byte(draws.Uint32())
		}
		all = append(all, b)
	}
	for range 300 { // noise
		b := make([]byte, 1+draws.IntN(1500))
		for i := range b {
			b[i] = byte(draws.Uint32())
		}
		b[0] = byte(20 + draws.IntN(6))
		all = append(all, b)
	}
	return all
}

// Garbage, truncated records and spoofed alerts, from strangers and in the name
// of the gateway and of the hub, end nothing.
func TestSpoofedDatagrams(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	x := proxy(t, impair.Config{Target: h.Addr().String()})
	u := p.uplink("gw-1", x.Addr())
	_, err := deliver(t.Context(), u, "gw-1", 1, 1, 10)
	require.NoError(t, err)
	all := spoofed(clientHello(t, p))
	stranger := dial(t, h.Addr())
	stop := flowingFrom(t, u, "gw-1", 1)
	for _, b := range all {
		_, _ = stranger.Write(b)
		x.Inject(true, b)
		x.Inject(false, b)
	}
	total := stop()
	_, err = deliver(t.Context(), u, "gw-1", total+1, total+500, 100)
	require.NoError(t, err)
	p.requireOnce(t, "gw-1", total+500)
	require.EqualValues(t, 1, u.Connections())
}

// A flood of handshakes from 1000 ports: who is connected goes on, a new gateway
// gets in, and memory stays bounded.
func TestHandshakeFlood(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	u := p.uplink("gw-1", h.Addr().String())
	_, err := deliver(t.Context(), u, "gw-1", 1, 5, 1000)
	require.NoError(t, err)
	hello := clientHello(t, p)
	var ports []net.Conn
	for range 1000 {
		ports = append(ports, dial(t, h.Addr()))
	}
	before := heap()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var most uint64
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond) // 2000/s, but for the machine
		defer tick.Stop()
		for i := 0; ; i += 4 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for j := range 4 {
				_, _ = ports[(i+j)%len(ports)].Write(hello)
			}
			if i%400 == 0 {
				most = max(most, heap())
			}
		}
	})
	stop := flowingFrom(t, u, "gw-1", 5)
	require.Eventually(t, func() bool { return h.Status().Evicted > 1000 }, long, 10*time.Millisecond)
	late := p.uplink("gw-2", h.Addr().String())
	began := time.Now()
	for {
		n, err := late.Send(t.Context(), messages("gw-2", 1, 1, 100))
		if n == 1 {
			break
		}
		require.Less(t, time.Since(began), long, "%v", err)
	}
	t.Logf("a new gateway got in after %v", time.Since(began))
	total := stop()
	cancel()
	wg.Wait()
	p.requireOnce(t, "gw-1", total)
	require.EqualValues(t, 1, u.Connections())
	t.Logf("heap %d MB before, at most %d MB; %+v", before>>20, most>>20, h.Status())
	require.Less(t, most, before+96<<20)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// What a gateway with a valid certificate sends against the protocol costs it
// its connection, and nobody else anything.
func TestRogueGateway(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	u := p.uplink("gw-1", h.Addr().String())
	_, err := deliver(t.Context(), u, "gw-1", 1, 5, 1000)
	require.NoError(t, err)
	stop := flowingFrom(t, u, "gw-1", 5)
	certificate := p.issue("gw-bad", authority.Gateway)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, r *rogue)
	}{
		{"no hello", func(_ *testing.T, r *rogue) { r.send(r.out, frame(1, message("gw-bad", 1, 10))) }},
		{"another's hello", func(t *testing.T, r *rogue) {
			r.send(r.out, hello("gw-1"))
			require.Contains(t, string(r.heard()), "calls itself")
		}},
		{"two hellos", func(_ *testing.T, r *rogue) { r.send(r.out, hello("gw-bad")); r.send(r.out, hello("gw-bad")) }},
		{"a frame of noise", func(_ *testing.T, r *rogue) { r.send(r.out, hello("gw-bad")); r.send(r.out, []byte{0xff, 0, 1, 2}) }},
		{"a wrong number", func(_ *testing.T, r *rogue) {
			r.send(r.out, hello("gw-bad"))
			r.send(r.out, frame(2, message("gw-bad", 1, 10)))
		}},
		{"an oversized frame", func(_ *testing.T, r *rogue) { r.send(r.out, hello("gw-bad")); r.send(r.out, make([]byte, 200<<10)) }},
		{"foreign streams", func(_ *testing.T, r *rogue) {
			r.send(r.out, hello("gw-bad"))
			for id := range uint16(100) {
				r.send(r.stream(100+id), []byte("x"))
			}
		}},
		{"an oversized frame on a foreign stream", func(_ *testing.T, r *rogue) {
			r.send(r.out, hello("gw-bad"))
			r.send(r.stream(7), make([]byte, 200<<10))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := p.rogue(h.Addr().String(), certificate)
			c.do(t, r)
			r.requireClosed()
		})
	}
	t.Run("a foreign stream is ignored", func(t *testing.T) {
		r := p.rogue(h.Addr().String(), certificate)
		r.send(r.stream(9), []byte("x"))
		r.send(r.out, hello("gw-bad"))
		require.Equal(t, byte(0x85), r.heard()[0])
		r.send(r.stream(9), []byte("y"))
		r.send(r.out, frame(1, message("gw-bad", 1, 10)))
		require.Equal(t, []byte{0x82, 1, 1}, r.heard())
	})
	t.Run("unreadable messages are refused", func(t *testing.T) {
		r := p.rogue(h.Addr().String(), certificate)
		r.send(r.out, hello("gw-bad"))
		r.heard()
		r.send(r.out, []byte{0x82, 1, 0xf6})
		require.Equal(t, []byte{0x83, 2, 1}, r.heard()[:3])
		r.send(r.out, frame(2, message("gw-bad", 2, 10)))
		require.Equal(t, []byte{0x82, 1, 2}, r.heard())
	})
	t.Run("a message that never ends", func(t *testing.T) { // its own window fills, nobody else's
		r := p.rogue(h.Addr().String(), certificate)
		r.send(r.out, hello("gw-bad"))
		r.heard()
		r.send(r.out, make([]byte, 4<<20))
	})
	total := stop()
	p.requireOnce(t, "gw-1", total)
	require.EqualValues(t, 1, u.Connections())
	require.Equal(t, []uint64{1, 2}, p.sequences()["gw-bad"])
}

// More connections of one gateway than it may have: the newest wins.
func TestTooManyConnections(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	cfg.Limits.Sessions = 3
	h := p.hub(cfg)
	certificate := p.issue("gw-1", authority.Gateway)
	var all []*rogue
	for range 4 {
		r := p.rogue(h.Addr().String(), certificate)
		r.send(r.out, hello("gw-1"))
		require.Equal(t, byte(0x85), r.heard()[0])
		all = append(all, r)
	}
	all[0].requireClosed()
	all[1].requireClosed()
	require.Eventually(t, func() bool { return len(h.Status().Sessions) == 2 }, long, time.Millisecond)
	_, err := deliver(t.Context(), p.uplink("gw-2", h.Addr().String()), "gw-2", 1, 1, 10)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error)
	third := p.uplink("gw-3", h.Addr().String())
	go func() {
		_, err := third.Send(ctx, messages("gw-3", 1, 1, 10))
		sent <- err
	}()
	require.Eventually(t, func() bool { return h.Status().Full > 0 }, long, time.Millisecond)
	cancel()
	require.Error(t, <-sent)
	require.EqualValues(t, 2, h.Status().Superseded)
}

// A gateway over its rate is slowed down, not refused.
func TestRate(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	cfg.Limits.MessagesPerSecond = 200
	h := p.hub(cfg)
	began := time.Now()
	_, err := deliver(t.Context(), p.uplink("gw-1", h.Addr().String()), "gw-1", 1, 250, 10)
	require.NoError(t, err)
	require.Greater(t, time.Since(began), 900*time.Millisecond) // 50 at once
	p.requireOnce(t, "gw-1", 250)
}

// A window that is overrun ends the connection; a gateway that does not read what
// it is told is not kept for ever.
func TestOverrun(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	block := make(chan struct{})
	cfg.Upstream = func(string) (Upstream, error) { return stuck(block), nil }
	h := p.hub(cfg)
	r := p.rogue(h.Addr().String(), p.issue("gw-1", authority.Gateway))
	r.send(r.out, hello("gw-1"))
	r.heard()
	for i := range 258 {
		m := message("gw-1", i+1, 10)
		b := []byte{0x82, byte(i + 1)}
		switch {
		case i+1 >= 256:
			b = []byte{0x82, 0x19, byte((i + 1) >> 8), byte(i + 1)}
		case i+1 >= 24:
			b = []byte{0x82, 0x18, byte(i + 1)}
		}
		r.send(r.out, envelope.AppendMessage(b, &m))
	}
	r.requireClosed()
	close(block)
}

// stuck stores nothing until it is closed.
type stuck chan struct{}

func (s stuck) Send(ctx context.Context, _ []envelope.Message) (int, error) {
	select {
	case <-s:
	case <-ctx.Done():
	}
	return 0, context.Canceled
}
func (s stuck) Close() error { return nil }
