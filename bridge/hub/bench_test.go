package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/integration/impair"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

// BenchmarkThroughHub empties an outbox over loopback into a hub, which stores to
// a JetStream stream in memory, and compares with the same straight to NATS. They
// take turns in one run; the budget is a ratio of at least 0.35 at 1000 bytes.
func BenchmarkThroughHub(b *testing.B) {
	for _, size := range []int{200, 1000, 8000, 64000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { benchmarkThroughHub(b, size) })
	}
}

func benchmarkThroughHub(b *testing.B, size int) {
	p := newPlant(b)
	h := p.hub(p.config())
	over := p.uplink("gw-1", h.Addr().String())
	client, err := p.server.Client("gw-2")
	require.NoError(b, err)
	straight, err := nats.New(nats.Config{Servers: []string{p.server.URL()}, Stream: stream, Prefix: prefix, Gateway: "gw-2", TLS: client})
	require.NoError(b, err)
	defer straight.Close()
	round := min(8192, 32<<20/size)
	drains := map[string]*drain{"gw-1": newDrain(b, "gw-1", over), "gw-2": newDrain(b, "gw-2", straight)}
	for _, d := range drains {
		d.run(b, 100, size) // connects
	}
	var dtlsTime, natsTime, dtlsCPU, natsCPU time.Duration
	for b.Loop() {
		took, worked := drains["gw-1"].run(b, round, size)
		dtlsTime, dtlsCPU = dtlsTime+took, dtlsCPU+worked
		took, worked = drains["gw-2"].run(b, round, size)
		natsTime, natsCPU = natsTime+took, natsCPU+worked
		require.NoError(b, p.server.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, stream)
			if err != nil {
				return err
			}
			return s.Purge(ctx)
		}))
	}
	total := float64(b.N * round)
	b.ReportMetric(total/dtlsTime.Seconds(), "dtls-msg/s")
	b.ReportMetric(total/natsTime.Seconds(), "nats-msg/s")
	b.ReportMetric(natsTime.Seconds()/dtlsTime.Seconds(), "ratio")
	b.ReportMetric(float64(dtlsCPU.Microseconds())/total, "dtls-cpu-us/msg")
	b.ReportMetric(float64(natsCPU.Microseconds())/total, "nats-cpu-us/msg")
}

// drain is an outbox that is filled and emptied.
type drain struct {
	gateway string
	log     *outbox.Log
	uplink  relay.Uplink
	next    int
}

func newDrain(b *testing.B, gateway string, u relay.Uplink) *drain {
	b.Helper()
	log, err := outbox.Open(outbox.Options{Dir: b.TempDir(), Key: make([]byte, 32), MaxSize: 256 << 20})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, log.Close()) })
	return &drain{gateway: gateway, log: log, uplink: u}
}

// run fills the outbox with n messages, and gives how long it takes to empty it
// and how long this process works for that.
func (d *drain) run(b *testing.B, n, size int) (took, worked time.Duration) {
	b.Helper()
	for range n / 64 {
		var records []outbox.Record
		for range 64 {
			d.next++
			m := message(d.gateway, d.next, size)
			records = append(records, outbox.Record{Tag: 1, Data: envelope.AppendMessage(nil, &m)})
		}
		_, err := d.log.Append(records)
		require.NoError(b, err)
	}
	r, err := relay.New(relay.Config{
		Queue: relay.Outbox(d.log), Uplinks: []relay.Named{{Name: "one", Uplink: d.uplink}},
		Quarantine: func(envelope.Message, string) error { return errors.New("nothing is refused here") },
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	before, began := cpu(b), time.Now()
	go func() { ended <- r.Run(ctx) }()
	require.NoError(b, r.Drain(ctx))
	took, worked = time.Since(began), cpu(b)-before
	cancel()
	require.NoError(b, <-ended)
	return took, worked
}

// cpu gives the time that this process has worked: gateway, hub and server
// together.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkBadNetworks sends messages of 1000 bytes through what networks do, in
// both directions alike. The budget is 850 messages/s at 50 ms round trip and 1 %
// loss.
func BenchmarkBadNetworks(b *testing.B) {
	for _, c := range []struct {
		name    string
		rule    impair.Rule
		minCwnd int
	}{
		{"loss=1", impair.Rule{Loss: 0.01}, 0},
		{"loss=5", impair.Rule{Loss: 0.05}, 0},
		{"loss=20", impair.Rule{Loss: 0.2}, 0},
		{"chaos", impair.Rule{Loss: 0.1, Duplicate: 0.1, Reorder: 0.2, ReorderBy: 2 * time.Millisecond}, 0},
		{"50ms,loss=1", impair.Rule{Delay: 25 * time.Millisecond, Loss: 0.01}, 0},
		{"50ms,loss=5", impair.Rule{Delay: 25 * time.Millisecond, Loss: 0.05}, 0},
		{"600ms", impair.Rule{Delay: 300 * time.Millisecond}, 0},
		{"600ms,loss=1", impair.Rule{Delay: 300 * time.Millisecond, Loss: 0.01}, 0},
		{"50ms,loss=1,cwnd=64k", impair.Rule{Delay: 25 * time.Millisecond, Loss: 0.01}, 64 << 10},
		{"50ms,loss=1,cwnd=256k", impair.Rule{Delay: 25 * time.Millisecond, Loss: 0.01}, 256 << 10},
		{"1Mbit,cwnd=64k", impair.Rule{Delay: 25 * time.Millisecond, Bandwidth: 128 << 10}, 64 << 10},
		{"1Mbit", impair.Rule{Delay: 25 * time.Millisecond, Bandwidth: 128 << 10}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newPlant(b)
			h := p.hub(p.config())
			x, err := impair.Listen(impair.Config{Seed: 42, Target: h.Addr().String(), Up: c.rule, Down: c.rule})
			require.NoError(b, err)
			defer x.Close()
			u, err := dtls.New(dtls.Config{
				Servers: []string{x.Addr()}, Gateway: "gw-1", MinCwnd: c.minCwnd,
				TLS: &tls.Config{RootCAs: p.authority.Pool(), Certificates: []tls.Certificate{p.issue("gw-1", authority.Gateway)}},
			})
			require.NoError(b, err)
			defer u.Close()
			_, err = deliver(b.Context(), u, "gw-1", 1, 1, 1000)
			require.NoError(b, err)
			const round = 2048
			next := 2
			for b.Loop() {
				_, err := deliver(b.Context(), u, "gw-1", next, next+round-1, 1000)
				require.NoError(b, err)
				next += round
			}
			b.ReportMetric(float64(b.N*round)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(u.Connections()), "connections")
		})
	}
}
