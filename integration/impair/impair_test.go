package impair

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDecisionsRepeat(t *testing.T) {
	rule := Rule{Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, Delay: time.Millisecond, Jitter: time.Millisecond}
	a, b := rand.New(rand.NewPCG(7, 1)), rand.New(rand.NewPCG(7, 1))
	lost, twice, late := 0, 0, 0
	for range 10_000 {
		f := decide(a, rule)
		require.Equal(t, f, decide(b, rule))
		if f.lost {
			lost++
			continue
		}
		if len(f.delays) == 2 {
			twice++
		}
		if f.delays[0] >= 10*time.Millisecond {
			late++
		}
	}
	require.InDelta(t, 1000, lost, 100)
	require.InDelta(t, 900, twice, 100)
	require.InDelta(t, 1800, late, 150)
	require.Equal(t, fate{delays: []time.Duration{0}}, decide(a, Rule{}))
}

// Which datagrams are lost depends on the seed, not on the other rules.
func TestLossIsIndependent(t *testing.T) {
	a, b := rand.New(rand.NewPCG(7, 1)), rand.New(rand.NewPCG(7, 1))
	for range 1000 {
		require.Equal(t, decide(a, Rule{Loss: 0.3}).lost, decide(b, Rule{Loss: 0.3, Duplicate: 1, Reorder: 0.5, Jitter: time.Second}).lost)
	}
}

// echo is a server that answers with the port that it sees and what it got.
func echo(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b[2:])
			if err != nil {
				return
			}
			binary.BigEndian.PutUint16(b, from.Port())
			_, _ = c.WriteToUDPAddrPort(b[:n+2], from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c
}

func start(t *testing.T, cfg Config) (*Proxy, *net.UDPConn) {
	t.Helper()
	cfg.Target = echo(t).LocalAddr().String()
	p, err := Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	a, err := net.ResolveUDPAddr("udp4", p.Addr())
	require.NoError(t, err)
	c, err := net.DialUDP("udp4", nil, a)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

func ask(t *testing.T, c *net.UDPConn, words string) {
	t.Helper()
	_, err := c.Write([]byte(words))
	require.NoError(t, err)
}

// answer gives the port that the server saw, and the words; "" if none came.
func answer(t *testing.T, c *net.UDPConn, within time.Duration) (port uint16, words string) {
	t.Helper()
	b := make([]byte, 2048)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(within)))
	n, err := c.Read(b)
	if err != nil {
		return 0, ""
	}
	return binary.BigEndian.Uint16(b), string(b[2:n])
}

const soon = 5 * time.Second

func TestPassRebindAndBlackHole(t *testing.T) {
	p, c := start(t, Config{})
	ask(t, c, "a")
	first, words := answer(t, c, soon)
	require.Equal(t, "a", words)
	require.NoError(t, p.Rebind())
	ask(t, c, "b")
	second, words := answer(t, c, soon)
	require.Equal(t, "b", words)
	require.NotEqual(t, first, second)
	p.BlackHole(true)
	ask(t, c, "c")
	_, words = answer(t, c, 50*time.Millisecond)
	require.Empty(t, words)
	p.BlackHole(false)
	ask(t, c, "d")
	_, words = answer(t, c, soon)
	require.Equal(t, "d", words)
	require.EqualValues(t, 1, p.Stats().Swallowed)
}

func TestDelayAndDuplicate(t *testing.T) {
	p, c := start(t, Config{Up: Rule{Delay: 40 * time.Millisecond}, Down: Rule{Delay: 40 * time.Millisecond, Duplicate: 1}})
	began := time.Now()
	ask(t, c, "a")
	for range 2 {
		_, words := answer(t, c, soon)
		require.Equal(t, "a", words)
	}
	require.GreaterOrEqual(t, time.Since(began), 80*time.Millisecond)
	p.Set(Rule{Loss: 1}, Rule{})
	ask(t, c, "b")
	_, words := answer(t, c, 50*time.Millisecond)
	require.Empty(t, words)
}

func TestReorder(t *testing.T) {
	p, c := start(t, Config{Up: Rule{Reorder: 1, ReorderBy: 50 * time.Millisecond}})
	ask(t, c, "a")
	require.Eventually(t, func() bool { return p.Stats().Delayed == 1 }, soon, time.Millisecond)
	p.Set(Rule{}, Rule{})
	ask(t, c, "b")
	_, words := answer(t, c, soon)
	require.Equal(t, "b", words)
	_, words = answer(t, c, soon)
	require.Equal(t, "a", words)
}

func TestBandwidth(t *testing.T) {
	p, c := start(t, Config{Up: Rule{Bandwidth: 10_000, Queue: 1000}})
	began := time.Now()
	for range 20 { // 2 kB: a tenth of a second's worth waits, the rest is lost
		ask(t, c, string(make([]byte, 100)))
	}
	n := 0
	for {
		if _, words := answer(t, c, 300*time.Millisecond); words == "" {
			break
		}
		n++
	}
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
	require.InDelta(t, 11, n, 2)
	require.EqualValues(t, 20-n, p.Stats().Lost)
}
