package bridge

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	benchMachines = 20
	benchPoints   = 350
)

// benchSink is a sink of a machine whose points are all sealed.
func benchSink(name string, in *intake) (*sink, []point.Sample) {
	points := make([]stream.Point, benchPoints)
	named := make([]policy.Point, benchPoints)
	samples := make([]point.Sample, benchPoints)
	for i := range points {
		points[i].Name = fmt.Sprintf("point-%03d", i)
		named[i].Name = points[i].Name
		samples[i] = point.Sample{Point: uint32(i), Value: point.OfFloat(float64(float32(i) * 1.7))}
	}
	s := &sink{
		machine: name, points: named, now: time.Now, deciding: func() (time.Time, uint64) { return time.Now(), 0 }, intake: in, events: func(stream.Event) {},
		policy:  &policy.Policy{Levels: []policy.Level{{Name: "restricted"}}, Default: "restricted"},
		pending: stream.NewMachine(name, points), meta: make([]point.Meta, benchPoints),
	}
	s.decide()
	return s, samples
}

// BenchmarkTake is the sink's side: decision table, filter, copy.
func BenchmarkTake(b *testing.B) {
	s, samples := benchSink("press-1", newIntake())
	var pending []stream.Pending
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Take(context.Background(), samples); err != nil {
			b.Fatal(err)
		}
		pending = s.drain(pending[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchPoints, "ns/point")
}

// BenchmarkCommit seals and writes what 20 machines with 350 points each have
// pending, in one commit and one flush. cpu-ns/point leaves the disk out.
func BenchmarkCommit(b *testing.B) {
	log, err := outbox.Open(outbox.Options{Dir: b.TempDir(), Key: make([]byte, 32), MaxSize: 64 << 20})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	id, err := envelope.NewIdentity(envelope.MLKEM768X25519, "reader")
	require.NoError(b, err)
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(b, err)
	in := newIntake()
	sinks := make([]*sink, benchMachines)
	var samples []point.Sample
	for i := range sinks {
		sinks[i], samples = benchSink(fmt.Sprintf("press-%d", i+1), in)
	}
	c := &committer{
		log: log, intake: in, sinks: func() []*sink { return sinks }, logger: slog.New(slog.DiscardHandler),
		events: func(stream.Event) {}, now: time.Now, segment: 4 << 20, damage: damage{log: log}, signed: make(map[envelope.Stream]uint64),
		set: stream.NewSet(stream.Config{
			Gateway: testGateway, Signer: envelope.Signer{Gateway: testGateway, Key: key}, Start: 1, IDKey: make([]byte, 32),
			Levels: []stream.Level{{Name: "restricted", Readers: []stream.Reader{{Key: id.Recipient()}}}},
		}, stream.Heads{}),
	}
	log.SetPreamble(c.preamble)
	var cpu time.Duration
	var bytes uint64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for _, s := range sinks {
			require.NoError(b, s.Take(b.Context(), samples))
		}
		require.NoError(b, log.Free(log.Stats().LastPosition))
		before := cpuTime()
		b.StartTimer()
		if err := c.commit(b.Context(), c.build); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cpu += cpuTime() - before
		bytes += log.Stats().Bytes
		b.StartTimer()
	}
	n := float64(b.N) * benchMachines * benchPoints
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/point")
	b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/point")
	b.ReportMetric(float64(bytes)/n, "B/point")
}

// BenchmarkModbusEndToEnd polls 20 simulated devices with 350 points each,
// seals, signs and writes to the outbox. The gateway is a process of its own, so
// that neither simulators nor broker count. One iteration is one period:
//
//	go test -run '^$' -bench ModbusEndToEnd/1s -benchtime 20x ./bridge
func BenchmarkModbusEndToEnd(b *testing.B) {
	for _, c := range []struct {
		name   string
		period time.Duration
		broker bool
	}{
		{"1s/outbox", time.Second, false},
		{"1s/delivered", time.Second, true},
		{"100ms/outbox", 100 * time.Millisecond, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			urls := simulators(b, benchMachines, 2*benchPoints)
			p := newPlant(b, natstest.Options{}, func(p *plant) {
				delete(p.files, "machines/press-1.yaml")
				for i, url := range urls {
					p.files[fmt.Sprintf("machines/load-%d.yaml", i+1)] = loadYAML(fmt.Sprintf("load-%d", i+1), url, c.period)
				}
			})
			if !c.broker {
				p.nats.Stop()
			}
			kill, ask := p.childToAsk()
			defer kill()
			const each = benchMachines * benchPoints
			var before usage
			eventually(b, "the first polls", func() bool { before = ask(); return before.Taken >= 2*each })
			period := time.NewTicker(c.period)
			defer period.Stop()
			before = ask()
			for b.Loop() {
				<-period.C
			}
			after := ask()
			points := float64(after.Taken - before.Taken)
			b.ReportMetric(float64((after.CPU-before.CPU).Nanoseconds())/1e3/points, "cpu-µs/point")
			b.ReportMetric(points/b.Elapsed().Seconds(), "points/s")
			b.ReportMetric(float64(after.RSS)/(1<<20), "RSS-MiB")
			b.ReportMetric(float64(after.Bytes-before.Bytes)/points, "B/point")
		})
	}
}

func loadYAML(name, url string, period time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `fieldseal: machine/v1
machine: %s
modbus: {connect: %q, unit_id: 1, order: ABCD, timeout: 1s, reads: {max_registers: 125, max_gap: 0}}
poll: {normal: %s}
points:
`, name, url, period)
	for i := range benchPoints {
		fmt.Fprintf(&b, "  - {name: point-%03d, at: holding/%d, type: float32}\n", i, 1000+2*i)
	}
	return b.String()
}
