package opcua_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// simulatorProcess makes the test program a simulator and nothing else, so that
// a benchmark can tell the client's CPU time from the server's.
const simulatorProcess = "FIELDSEAL_TEST_SIMULATOR"

const benchNodes = 10_000

// simulate is the life of the test program as a simulator.
func simulate(load string) int {
	n, _ := strconv.Atoi(load)
	plant, err := sim.StartOPCUA(sim.OPCUAOptions{Load: n})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("%s %x\n", plant.Endpoint(), plant.Server().Fingerprint())
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the benchmark ends
	return 0
}

// counting counts samples.
type counting struct{ n atomic.Int64 }

func (c *counting) Take(_ context.Context, s []point.Sample) error {
	c.n.Add(int64(len(s)))
	return nil
}
func (*counting) Link(point.Link)             {}
func (*counting) Describe(uint32, point.Meta) {}

// cpu is the CPU time of a process in seconds, and its memory in MB.
func cpu(b *testing.B, pid int) (seconds, rss float64) {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	number := func(i int) float64 {
		n, _ := strconv.ParseFloat(fields[i], 64)
		return n
	}
	return (number(11) + number(12)) / 100, number(21) * 4096 / 1e6
}

// startSimulator starts the test program as a simulator with so many nodes, and
// describes its endpoint.
func startSimulator(t testing.TB, load int) opcua.Spec {
	t.Helper()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), simulatorProcess+"="+itoa(load))
	stdin, err := server.StdinPipe()
	require.NoError(t, err)
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = server.Wait()
	})
	spec := opcua.Spec{
		Policy: "Basic256Sha256", Mode: "SignAndEncrypt", Timeout: 20 * time.Second,
		Certificate: client.Certificate, Key: opcua.Secret(client.PKCS8()), User: opcua.User{Anonymous: true},
	}
	var pin []byte
	_, err = fmt.Fscanf(bufio.NewReader(stdout), "%s %x", &spec.Endpoint, &pin)
	require.NoError(t, err)
	require.Equal(t, len(spec.ServerSHA256), copy(spec.ServerSHA256[:], pin))
	return spec
}

// loaded describes the simulator's nodes.
func loaded(t testing.TB, load int) *opcua.Machine {
	m := &opcua.Machine{Name: "load", Namespace: sim.OPCUANamespace}
	for i := range load {
		m.Points = append(m.Points, opcua.Point{Name: itoa(i), Node: node(t, "s=Load."+itoa(i)), Type: opcua.Int32, Period: time.Second})
	}
	return m
}

// BenchmarkSubscribe reads 10,000 nodes that change every second, signed and
// encrypted. One operation is 10,000 values; CPU time and memory are those of
// pool and worker together.
func BenchmarkSubscribe(b *testing.B) {
	spec := startSimulator(b, benchNodes)
	pool := opcua.NewPool(opcua.Options{Executable: buildWorker(b)})
	b.Cleanup(pool.Wait)
	s, err := pool.Source(spec)
	require.NoError(b, err)
	sink := &counting{}
	require.NoError(b, s.Attach(point.Machine{Name: "load", Spec: loaded(b, benchNodes)}, sink))
	run(b, s)
	wait := func(n int64) {
		require.Eventually(b, func() bool { return sink.n.Load() >= n }, time.Minute, 20*time.Millisecond)
	}
	wait(3 * benchNodes)
	worker := s.Worker()
	own, _ := cpu(b, os.Getpid())
	its, _ := cpu(b, worker)
	from := sink.n.Load()
	b.ResetTimer()
	for i := range b.N {
		wait(from + int64(i+1)*benchNodes)
	}
	b.StopTimer()
	values := float64(sink.n.Load() - from)
	own2, ownRSS := cpu(b, os.Getpid())
	its2, itsRSS := cpu(b, worker)
	b.ReportMetric((own2-own+its2-its)*1e6/values, "cpu-µs/value")
	b.ReportMetric((own2-own)*1e6/values, "pool-µs/value")
	b.ReportMetric(ownRSS+itsRSS, "MB")
	b.ReportMetric(itsRSS, "worker-MB")
}
