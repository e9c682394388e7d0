package coap

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
	"github.com/fieldseal/fieldseal/bridge/point"
)

// forged are datagrams that anybody can send who knows addresses, and that the
// library ends a session over.
func forged() map[string][]byte {
	rec := func(kind byte, body ...byte) []byte {
		return append([]byte{kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(body))}, body...)
	}
	return map[string][]byte{
		"data in clear":         rec(record.Data, 'x'),
		"alert in clear":        rec(record.Alert, 2, 40),
		"close in clear":        rec(record.Alert, 1, 0),
		"half an alert":         rec(record.Alert, 2),
		"unknown type in clear": rec(99, 1, 2, 3),
		"behind another record": append([]byte{record.Data, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 9, 0, 1, 0}, rec(record.Data, 'x')...),
		// 13 bytes of header and 8 of body to the library, which gave the device no id;
		// one record to whoever expects an id of 8 bytes in it.
		"behind an id": append([]byte{record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 14}, rec(record.Data, 'x')...),
		"behind data and an id": append([]byte{
			record.Data, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 9, 0, 1, 0,
			record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 14,
		}, rec(record.Data, 'x')...),
		"handshake in clear": rec(record.Handshake, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	}
}

// TestForgedDatagrams shows that what pretends to come from a device does not end
// its session.
func TestForgedDatagrams(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	to, err := net.ResolveUDPAddr("udp", s.address)
	require.NoError(t, err)
	d := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, d.post("/vibration", "x"))
	for name, b := range forged() {
		_, err := d.socket.WriteTo(b, to)
		require.NoError(t, err)
		assert.Equal(t, codes.Changed, d.post("/vibration", name))
	}
	assert.Equal(t, MachineStats{Machine: "keyed", Sessions: 1, Joined: 1, Samples: uint64(1 + len(forged()))}, s.stats("keyed"))
}

// TestLibraryEndsSessionsOverForgedDatagrams fails once the library does not any
// more: then fits in record.go can go.
func TestLibraryEndsSessionsOverForgedDatagrams(t *testing.T) {
	for _, name := range []string{"data in clear", "unknown type in clear"} {
		t.Run(name, func(t *testing.T) {
			here, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(t, err)
			there, err := net.ListenPacket("udp4", "127.0.0.1:0")
			require.NoError(t, err)
			key := dtls.WithPSK(func([]byte) ([]byte, error) { return []byte(theKey), nil })
			suite, quiet := dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8), dtls.WithLoggerFactory(quiet())
			server, err := dtls.ServerWithOptions(here, there.LocalAddr(), key, suite, quiet)
			require.NoError(t, err)
			client, err := dtls.ClientWithOptions(there, here.LocalAddr(), key, suite, quiet, dtls.WithPSKIdentityHint([]byte("x")))
			require.NoError(t, err)
			var both sync.WaitGroup
			for _, c := range []*dtls.Conn{server, client} {
				both.Go(func() { assert.NoError(t, c.HandshakeContext(t.Context())) })
			}
			both.Wait()
			_, err = there.WriteTo(forged()[name], here.LocalAddr())
			require.NoError(t, err)
			require.NoError(t, server.SetReadDeadline(time.Now().Add(patience)))
			_, err = server.Read(make([]byte, 100))
			require.Error(t, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded, "the library is mended")
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestNoisyCoAP shows that a device that is let in and sends noise harms nobody.
func TestNoisyCoAP(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"), sensor("calm"))
	d, calm := s.connect(byKey("keyed", theKey)...), s.connect(byKey("calm", theKey)...)
	go func() { // answers are read, or the session waits
		buf := make([]byte, maxDatagram)
		for {
			if _, err := d.Read(buf); err != nil {
				return
			}
		}
	}()
	for i := range 20_000 {
		b := make([]byte, i%1200+1)
		_, _ = rand.Read(b)
		b[0] = 0x40 | b[0]&0x18 // most are messages
		if len(b) > 1 {
			b[1] &= 7
		}
		_, err := d.Write(b)
		require.NoError(t, err)
		if i%2000 == 0 {
			require.Equal(t, codes.Changed, calm.post("/vibration", "x"))
		}
	}
	m := s.stats("keyed")
	assert.Positive(t, m.Senseless+m.Refused)
	assert.Zero(t, m.Samples)
}

// heap gives the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) + int64(m.StackInuse)
}

// TestFloods has thousands of addresses send garbage, and hellos without end,
// while a device sends its samples.
func TestFloods(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"), sensor("late"))
	d := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, d.post("/vibration", "x"))
	hello := captureHello(t)
	before := heap()
	to, err := net.ResolveUDPAddr("udp", s.address)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	var sent atomic.Uint64
	for w := range 2 {
		flood.Go(func() { // 20,000 a second: this machine has to answer meanwhile, too
			noise := make([]byte, 300)
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				from, err := net.ListenPacket("udp4", "127.0.0.1:0")
				if err != nil {
					continue
				}
				for i := range 20 {
					b := hello
					if (i+w)%2 == 0 {
						_, _ = rand.Read(noise)
						noise[0], noise[1] = byte(20+i%7), 0xfe
						b = noise
					}
					_, _ = from.WriteTo(b, to)
					sent.Add(1)
				}
				_ = from.Close()
			}
		})
	}
	begin, posts, slowest := time.Now(), 0, time.Duration(0)
	for time.Since(begin) < 3*time.Second {
		one := time.Now()
		d.id++
		b := encode(t, 0, d.id, codes.POST, "/vibration", []byte(cipher(posts)))
		for answered := false; !answered; { // again, as a device does
			_, err := d.Write(b)
			require.NoError(t, err)
			require.NoError(t, d.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
			_, err = d.Read(make([]byte, 200))
			answered = err == nil
			require.Less(t, time.Since(one), patience)
		}
		slowest = max(slowest, time.Since(one))
		posts++
	}
	during := heap()
	cancel()
	flood.Wait()
	st := s.Stats()
	t.Logf("%d datagrams; %d posts answered meanwhile, the slowest in %v; heap and stacks %d kB more; %+v",
		sent.Load(), posts, slowest.Round(time.Millisecond), (during-before)>>10, st)
	assert.Less(t, during-before, int64(32<<20))
	assert.Positive(t, st.Evicted)
	assert.Greater(t, posts, 5)
	// A device that comes then gets in.
	late, err := s.dial(byKey("late", theKey)...)
	require.NoError(t, err)
	assert.Equal(t, codes.Changed, late.post("/vibration", "x"))
}

// captureHello gives the first datagram of a handshake.
func captureHello(t *testing.T) []byte {
	t.Helper()
	here, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	there, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = here.Close() }()
	client, err := dtls.ClientWithOptions(there, here.LocalAddr(), byKey("x", theKey)...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = client.HandshakeContext(ctx)
		_ = client.Close()
	}()
	b := make([]byte, maxDatagram)
	n, _, err := here.ReadFrom(b)
	require.NoError(t, err)
	cancel()
	<-done
	require.True(t, record.IsClientHello(b[:n]))
	return b[:n]
}

// TestCrowdOfHandshakes has more peers stop in the middle of their handshake than
// there is room for.
func TestCrowdOfHandshakes(t *testing.T) {
	s := newSite(t, func(s *site) { s.limits.perHost = 4 }, sensor("keyed"))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if !assert.NoError(t, err) {
				return
			}
			to, _ := net.ResolveUDPAddr("udp", s.address)
			wait := func([]byte) ([]byte, error) { // has returned its cookie by then
				<-ctx.Done()
				return nil, fmt.Errorf("peer %d had enough", i)
			}
			conn, err := dtls.ClientWithOptions(socket, to, dtls.WithPSK(wait), dtls.WithPSKIdentityHint([]byte("x")),
				dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8), dtls.WithLoggerFactory(quiet()))
			if assert.NoError(t, err) {
				assert.Error(t, conn.HandshakeContext(ctx))
				_ = conn.Close()
			}
		})
	}
	assert.Eventually(t, func() bool { return s.Stats().TurnedAway >= 30 }, patience, 5*time.Millisecond)
	cancel()
	all.Wait()
}

// TestOneHandshakeIsBounded sends pieces of a message that never ends.
func TestOneHandshakeIsBounded(t *testing.T) {
	var p path
	piece := append([]byte{record.Handshake, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0xe8}, make([]byte, 1000)...)
	taken := 0
	for range 10 * maxHandshake / len(piece) {
		if p.wants(piece) {
			taken += len(piece)
		}
	}
	assert.Equal(t, maxHandshake/len(piece)*len(piece), taken)
}

// TestInClear shows what passes in clear, at each stage of a session.
func TestInClear(t *testing.T) {
	rec := func(kind byte, epoch byte) []byte {
		return []byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 1, 0}
	}
	both := func(a, b []byte) []byte { return append(bytes.Clone(a), b...) }
	change, handshake, data, alert := rec(record.Change, 0), rec(record.Handshake, 0), rec(record.Data, 0), rec(record.Alert, 0)
	last := both(both(handshake, change), rec(record.Handshake, 1)) // as one datagram: devices do that
	withID := append(append([]byte{record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1}, make([]byte, record.IDSize)...), 0, 1, 0)
	confirmed := path{settled: true}
	confirmed.confirmed.Store(true)
	for _, c := range []struct {
		name                  string
		b                     []byte
		early, lost, standing bool
	}{
		{"the last flight", last, true, true, false},
		{"an alert", alert, true, false, false},
		{"an alert behind a handshake", both(handshake, alert), true, false, false},
		{"data", data, false, false, false},
		{"data behind a handshake", both(handshake, data), false, false, false},
		{"data behind what is encrypted", both(rec(record.Data, 1), data), false, false, false},
		{"unknown", rec(99, 0), false, false, false},
		{"unknown behind a handshake", both(handshake, rec(99, 0)), false, false, false},
		{"encrypted", both(rec(record.Data, 1), rec(record.Alert, 1)), true, true, true},
		{"an id that there is not", withID, false, false, false},
		{"cut off", last[:len(last)-1], false, false, false},
	} {
		assert.Equal(t, c.early, (&path{}).wants(c.b), "%s, in the handshake", c.name)
		assert.Equal(t, c.lost, (&path{settled: true}).wants(c.b), "%s, before the device sent data", c.name)
		assert.Equal(t, c.standing, confirmed.wants(c.b), "%s, later", c.name)
	}
	assert.True(t, (&path{settled: true, hasID: true}).wants(withID))
}

// TestPanicIsOneSessions shows that what goes wrong with one device is not the
// end of the others.
func TestPanicIsOneSessions(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	require.NoError(t, s.Attach(point.Machine{Name: "bad", Spec: sensor("bad")}, &panics{}))
	d, bad := s.connect(byKey("keyed", theKey)...), s.connect(byKey("bad", theKey)...)
	_, err := bad.Write(encode(t, 0, 7, codes.POST, "/vibration", []byte("x")))
	require.NoError(t, err)
	_, err = bad.Read(make([]byte, 100))
	require.Error(t, err)
	assert.Equal(t, codes.Changed, d.post("/vibration", "x"))
	assert.Eventually(t, func() bool { return s.stats("bad").Sessions == 0 }, patience, time.Millisecond)
}

// panics is a Sink that cannot take anything.
type panics struct{}

func (*panics) Take(context.Context, []point.Sample) error { panic("a value") }

func (*panics) Link(point.Link) {}

func (*panics) Describe(uint32, point.Meta) {}

// TestDamagedHandshakes has somebody on the way damage what a device and the
// gateway say to each other before they trust each other.
func TestDamagedHandshakes(t *testing.T) {
	s := newSite(t, func(s *site) { s.limits.perHost = 64 }, sensor("keyed"))
	c := s.issue("anything", nil)
	s.attach(pinned("pinned", c))
	for i := range 150 {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		options := byKey("keyed", theKey)
		if i%2 == 0 {
			options = byCertificate(c)
		}
		to, err := net.ResolveUDPAddr("udp", s.address)
		require.NoError(t, err)
		conn, err := dtls.ClientWithOptions(&damaging{socket, mathrand.New(mathrand.NewPCG(uint64(i), 0))}, to,
			append(options, dtls.WithLoggerFactory(quiet()), dtls.WithFlightInterval(5*time.Millisecond))...)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_ = conn.HandshakeContext(ctx)
		cancel()
		_ = conn.Close()
		_ = socket.Close()
	}
	assert.Equal(t, codes.Changed, s.connect(byKey("keyed", theKey)...).post("/vibration", "x"))
	assert.Equal(t, codes.Changed, s.connect(byCertificate(c)...).post("/vibration", "x"))
}

// damaging sends most datagrams damaged: bytes are others, there are fewer or
// more of them.
type damaging struct {
	net.PacketConn
	random *mathrand.Rand
}

func (d *damaging) WriteTo(b []byte, to net.Addr) (int, error) {
	out := bytes.Clone(b)
	// A hello that is damaged at once is no hello, and gets nowhere.
	switch first := len(b) > record.Header && b[record.Header] == record.HelloClient; {
	case first && d.random.IntN(4) > 0:
	case d.random.IntN(3) == 0:
		out = out[:d.random.IntN(len(out))+1]
	case d.random.IntN(3) == 0:
		out = append(out, out...)
		fallthrough
	default:
		for range d.random.IntN(4) + 1 {
			out[record.Header+d.random.IntN(len(out)-record.Header)] ^= byte(1 << d.random.IntN(8))
		}
	}
	_, err := d.PacketConn.WriteTo(out, to)
	return len(b), err
}
