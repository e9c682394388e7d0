package hub

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/integration/impair"
)

func proxy(t testing.TB, cfg impair.Config) *impair.Proxy {
	t.Helper()
	x, err := impair.Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.Close()) })
	return x
}

// Whatever the network and the hubs do, the stream has each message once and in
// order. Some cases run at once: they wait more than they work.
func TestBadNetworks(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	var wg sync.WaitGroup
	turns := make(chan struct{}, 6)
	run := func(name string, test func(t *testing.T, gateway string)) {
		gateway := "gw-" + strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(name)
		turns <- struct{}{}
		wg.Go(func() {
			t.Run(name, func(t *testing.T) { test(t, gateway) })
			<-turns
		})
	}
	run("black hole", func(t *testing.T, gateway string) { blackHole(t, p, h, gateway) }) // the long ones first
	run("port changes", func(t *testing.T, gateway string) { portChanges(t, p, h, gateway) })
	run("hub dies and restarts", func(t *testing.T, gateway string) { hubRestarts(t, p, gateway) })
	run("one of two hubs dies", func(t *testing.T, gateway string) { twoHubs(t, p, gateway) })
	run("gateway falls silent", func(t *testing.T, gateway string) { silent(t, p, gateway) })
	for _, c := range badNetworks {
		run(c.name, func(t *testing.T, gateway string) { badNetwork(t, p, h, gateway, c) })
	}
	wg.Wait()
}

type badPath struct {
	name  string
	rule  impair.Rule // each way
	total int
}

var badNetworks = []badPath{
	{"600 ms each way", impair.Rule{Delay: 600 * time.Millisecond}, 100},
	{"600 ms away, 5 percent lost", impair.Rule{Delay: 300 * time.Millisecond, Loss: 0.05}, 50},
	{"256 kbit/s", impair.Rule{Bandwidth: 32 << 10}, 60},
	{"1 percent lost", impair.Rule{Loss: 0.01}, 1000},
	{"5 percent lost", impair.Rule{Loss: 0.05}, 400},
	{"20 percent lost", impair.Rule{Loss: 0.2}, 150},
	{"repeated", impair.Rule{Duplicate: 0.3}, 300},
	{"reordered", impair.Rule{Reorder: 0.2, ReorderBy: 5 * time.Millisecond}, 300},
	{"lost, repeated and reordered", impair.Rule{Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, ReorderBy: 5 * time.Millisecond}, 150},
	{"50 ms away, 5 percent lost", impair.Rule{Delay: 25 * time.Millisecond, Loss: 0.05}, 200},
	{"jitter", impair.Rule{Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond}, 300},
}

func badNetwork(t *testing.T, p *plant, h *running, gateway string, c badPath) {
	x := proxy(t, impair.Config{Seed: 42, Target: h.Addr().String(), Up: c.rule, Down: c.rule})
	u := p.uplink(gateway, x.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	began := time.Now()
	failures, err := deliver(ctx, u, gateway, 1, c.total, 1000)
	require.NoError(t, err)
	t.Logf("%.0f messages/s, %d failures, %d connections, %+v",
		float64(c.total)/time.Since(began).Seconds(), failures, u.Connections(), x.Stats())
	p.requireOnce(t, gateway, c.total)
}

// connectWith is how many messages connect sends.
const connectWith = 5

// connect makes the first connection, before anything happens to it.
func connect(t *testing.T, u *dtls.Uplink, gateway string) {
	t.Helper()
	_, err := deliver(t.Context(), u, gateway, 1, connectWith, 1000)
	require.NoError(t, err)
}

// pace sends at 100 messages/s until ctx ends, and gives how many there were and
// the longest time between two Sends that stored all they had.
func pace(t *testing.T, ctx context.Context, u *dtls.Uplink, gateway string, stored ...int) (total int, gap time.Duration) { //nolint:revive // ctx is not the test's
	t.Helper()
	const each = 5
	tick := time.NewTicker(each * 10 * time.Millisecond)
	defer tick.Stop()
	for _, n := range stored { // before
		total += n
	}
	last, due := time.Now(), total
	for ctx.Err() == nil || total < due {
		if ctx.Err() == nil {
			<-tick.C
			due += each
		}
		n, err := u.Send(t.Context(), messages(gateway, total+1, min(due, total+256), 1000))
		total += n
		if err != nil {
			t.Logf("%v after the last that was stored: %v", time.Since(last).Round(time.Millisecond), err)
			continue
		}
		gap = max(gap, time.Since(last))
		last = time.Now()
	}
	t.Logf("%d messages, longest gap %v, %d connections", total, gap, u.Connections())
	return total, gap
}

func blackHole(t *testing.T, p *plant, h *running, gateway string) {
	x := proxy(t, impair.Config{Target: h.Addr().String()})
	u := p.uplink(gateway, x.Addr())
	connect(t, u, gateway)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	begin := time.AfterFunc(time.Second, func() { x.BlackHole(true) })
	end := time.AfterFunc(11*time.Second, func() { x.BlackHole(false) })
	defer begin.Stop()
	defer end.Stop()
	total, gap := pace(t, ctx, u, gateway, connectWith)
	p.requireOnce(t, gateway, total)
	require.Greater(t, gap, 9*time.Second)
}

// A NAT that forgets goes unnoticed: the connection id tells who it is.
func portChanges(t *testing.T, p *plant, h *running, gateway string) {
	x := proxy(t, impair.Config{Target: h.Addr().String()})
	u := p.uplink(gateway, x.Addr())
	connect(t, u, gateway) // in a handshake, the address has to stay
	ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.Tick(time.Second); ; {
			select {
			case <-tick:
				_ = x.Rebind()
			case <-ctx.Done():
				return
			}
		}
	})
	total, _ := pace(t, ctx, u, gateway, connectWith)
	wg.Wait()
	p.requireOnce(t, gateway, total)
	require.GreaterOrEqual(t, x.Stats().Rebound, uint64(4))
	require.Less(t, u.Connections(), uint64(3), "one, unless the machine is too slow for the rest")
}

// A hub dies without a word and comes back at the same address, where nobody
// knows the gateway any more.
func hubRestarts(t *testing.T, p *plant, gateway string) {
	h := p.hub(p.config())
	x := proxy(t, impair.Config{Target: h.Addr().String()})
	u := p.uplink(gateway, x.Addr())
	connect(t, u, gateway)
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	restarted := make(chan struct{})
	again := p.config()
	again.Listen = h.Addr().String()
	die := time.AfterFunc(time.Second, func() {
		defer close(restarted)
		x.BlackHole(true) // so that it cannot say goodbye
		h.stop()
		p.hub(again)
		<-time.After(100 * time.Millisecond) // for its goodbye to be swallowed
		x.BlackHole(false)
	})
	defer die.Stop()
	total, _ := pace(t, ctx, u, gateway, connectWith)
	<-restarted
	p.requireOnce(t, gateway, total)
	require.Greater(t, u.Connections(), uint64(1))
}

// Of two hubs one dies without a word, and the other one takes over.
func twoHubs(t *testing.T, p *plant, gateway string) {
	hubs := []*running{p.hub(p.config()), p.hub(p.config())}
	paths := []*impair.Proxy{proxy(t, impair.Config{Target: hubs[0].Addr().String()}), proxy(t, impair.Config{Target: hubs[1].Addr().String()})}
	u := p.uplink(gateway, paths[0].Addr(), paths[1].Addr())
	connect(t, u, gateway)
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	died := make(chan struct{})
	die := time.AfterFunc(time.Second, func() {
		defer close(died)
		for i, h := range hubs {
			if len(h.Status().Sessions) == 1 {
				paths[i].BlackHole(true)
				h.stop()
			}
		}
	})
	defer die.Stop()
	total, _ := pace(t, ctx, u, gateway, connectWith)
	<-died
	p.requireOnce(t, gateway, total)
	require.Greater(t, u.Connections(), uint64(1))
}

// A gateway that goes away without a word takes up no place for ever.
func silent(t *testing.T, p *plant, gateway string) {
	cfg := p.config()
	cfg.Limits.Idle = 5 * time.Second
	h := p.hub(cfg)
	x := proxy(t, impair.Config{Target: h.Addr().String()})
	connect(t, p.uplink(gateway, x.Addr()), gateway)
	x.BlackHole(true)
	require.Eventually(t, func() bool { return h.Status().Reaped == 1 && len(h.Status().Sessions) == 0 }, long, 50*time.Millisecond)
}
