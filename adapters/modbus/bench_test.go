package modbus

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// BenchmarkPoll reads one device of 350 points in 500 registers, which is what
// Telegraf was measured with, from a simulator in another process.
func BenchmarkPoll(b *testing.B) {
	url := simulatorProcess(b)
	m := &Machine{UnitID: 1}
	for i := range 350 {
		p := Point{Name: fmt.Sprintf("p%d", i), At: Address{Holding, 1000 + uint16(i)}, Type: Uint16, Bit: -1, Period: time.Second}
		if i >= 200 {
			p.At.Offset, p.Type, p.Order = 1200+2*uint16(i-200), Uint32, order("CDAB")
		}
		m.Points = append(m.Points, p)
	}
	s, err := New(Spec{URL: url}, Options{})
	require.NoError(b, err)
	sink := &discard{}
	require.NoError(b, s.Attach(point.Machine{Name: "m", Spec: m}, sink))
	session := newSession(b.Context(), s)
	defer session.close()
	session.timer = time.NewTimer(time.Hour)
	session.reconcile()
	one := session.machines[0]
	session.guard(one, one.jobs[0])

	sink.n = 0
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		session.guard(one, one.jobs[0])
	}
	used := cpu(b) - before
	if sink.n != 350*b.N || sink.bad > 0 {
		b.Fatalf("%d samples, %d of them bad, from %d polls", sink.n, sink.bad, b.N)
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(sink.n), "cpu-ns/point")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/float64(len(m.Requests())), "cpu-us/request")
}

type discard struct{ n, bad int }

func (d *discard) Take(_ context.Context, s []point.Sample) error {
	d.n += len(s)
	for i := range s {
		if s[i].Quality.IsBad() {
			d.bad++
		}
	}
	return nil
}
func (*discard) Link(point.Link)             {}
func (*discard) Describe(uint32, point.Meta) {}

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// simulatorProcess starts this program as a simulator and gives its URL.
func simulatorProcess(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverProcess+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return strings.TrimSpace(line)
}
