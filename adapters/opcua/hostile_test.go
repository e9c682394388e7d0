package opcua_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// buildWorker builds a worker as it is in the product: under the race detector
// no limit of memory holds.
func buildWorker(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker")
	out, err := exec.Command("go", "build", "-o", path, "./testdata/worker").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// TestHostileServer: a server that kills its clients kills a worker. The process
// with everything else in it lives, says so, and the other endpoints go on.
func TestHostileServer(t *testing.T) {
	worker := buildWorker(t)
	for _, c := range []struct {
		name string
		how  sim.Hostility
		why  string
	}{
		{"huge array", sim.HugeArray, "the OPC UA worker process died: the server's answer needs more than 256 MiB of memory"},
		{"nested variants", sim.NestedVariants, "the OPC UA worker process died: the server's answer is nested without end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plant := startPlant(t, sim.OPCUAOptions{})
			hostile, err := sim.StartHostileOPCUA(c.how)
			require.NoError(t, err)
			t.Cleanup(hostile.Stop)
			pool := opcua.NewPool(opcua.Options{Executable: worker})
			pool.Hasten()
			t.Cleanup(pool.Wait)

			good, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
			r.Until(t, "samples of the good one", func() bool { return r.Good(counter, 0) >= 2 })
			spec := specOf(plant)
			spec.Endpoint = hostile.Endpoint()
			bad, h := read(t, pool, spec, mixer(t, "mixer-2"))
			h.Until(t, "the reason", func() bool { return h.Last().Err == c.why && len(h.Samples) > 0 })
			h.Look(func() {
				assert.Equal(t, point.LinkDown, h.Last().State)
				assert.Equal(t, point.BadNotConnected, h.Samples[0].Quality)
			})

			require.Eventually(t, func() bool { return bad.Stats().Alone && bad.Stats().Deaths >= 3 && !good.Stats().Alone }, sinktest.Patience, 10*time.Millisecond)
			mark := r.Mark()
			deaths := good.Stats().Deaths
			r.Until(t, "samples of the good one, later", func() bool { return r.Good(counter, mark) >= 5 })
			assert.Equal(t, uint64(1), deaths, "one was enough to tell them apart")
			assert.Equal(t, deaths, good.Stats().Deaths)
			assert.Equal(t, point.LinkUp, r.Last().State)
		})
	}
}

// TestWorkerKilled: the endpoints of a worker that died come back, each in its
// own; when none of them dies again they share one.
func TestWorkerKilled(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{Machines: 2})
	pool := newPool(t)
	pool.Innocence(time.Second)
	one, r1 := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	two, r2 := read(t, pool, specOf(plant), mixer(t, "mixer-2"))
	for _, r := range []*sinktest.Recorder{r1, r2} {
		r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 2 })
	}
	require.Equal(t, one.Worker(), two.Worker())
	first := one.Worker()
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	for _, r := range []*sinktest.Recorder{r1, r2} {
		r.Until(t, "down and up again", func() bool {
			return r.Last().State == point.LinkUp && slices.ContainsFunc(r.Links, func(l point.Link) bool {
				return l.Err == "the OPC UA worker process died: ended by signal killed"
			})
		})
		mark := r.Mark()
		r.Until(t, "samples again", func() bool { return r.Good(counter, mark) >= 2 && r.Good(program, mark) >= 1 })
	}
	require.Eventually(t, func() bool { return one.Worker() != 0 && one.Worker() == two.Worker() }, sinktest.Patience, 10*time.Millisecond)
	assert.NotEqual(t, first, one.Worker())
	assert.False(t, one.Stats().Alone)
	for _, r := range []*sinktest.Recorder{r1, r2} {
		mark := r.Mark()
		r.Until(t, "samples in the shared worker", func() bool { return r.Good(counter, mark) >= 2 })
	}
}

// TestWorkerTalksNonsense: what is no frame ends the worker.
func TestWorkerTalksNonsense(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	for _, c := range []struct{ script, why string }{
		{"cat >/dev/null & echo nonsense nonsense; wait", "the OPC UA worker process died: it sent what is not allowed and was ended"},
		{"exit 3", "the OPC UA worker process died: exit code 3"},
	} {
		pool := opcua.NewPool(opcua.Options{Executable: "/bin/sh", Args: []string{"-c", c.script}})
		pool.Hasten()
		t.Cleanup(pool.Wait)
		s, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
		r.Until(t, c.why, func() bool { return r.Last().Err == c.why })
		assert.NotZero(t, s.Stats().Deaths)
	}
	pool := opcua.NewPool(opcua.Options{Executable: "/nonexistent/program"})
	_, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "the reason", func() bool { return strings.HasPrefix(r.Last().Err, "cannot start the OPC UA worker: ") })
}

// TestSecretsStayInside: neither arguments nor environment of a worker hold a key
// or a password.
func TestSecretsStayInside(t *testing.T) {
	t.Setenv("FIELDSEAL_TEST_SECRET", "in the environment of the gateway")
	plant := startPlant(t, sim.OPCUAOptions{})
	s, r := read(t, newPool(t), specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 1 })
	out, err := exec.Command("ps", "-o", "args=", "-p", itoa(s.Worker())).Output()
	require.NoError(t, err)
	assert.Equal(t, "opcua-worker", strings.Fields(string(out))[1])
	assert.Len(t, strings.Fields(string(out)), 2)
	environ, err := os.ReadFile(filepath.Join("/proc", itoa(s.Worker()), "environ"))
	if err == nil { // root may; the process is not dumpable
		assert.NotContains(t, string(environ), "SECRET")
		assert.NotContains(t, string(environ), sim.OPCUAPassword)
	}
}

// TestConfined: a worker can write no file, and run nothing with more rights than
// its own.
func TestConfined(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	t.Setenv("CGO_ENABLED", "0") // as the product is
	plant := startPlant(t, sim.OPCUAOptions{})
	pool := opcua.NewPool(opcua.Options{Executable: buildWorker(t)})
	pool.Hasten()
	t.Cleanup(pool.Wait)
	s, r := read(t, pool, specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 1 })
	status, err := os.ReadFile(filepath.Join("/proc", itoa(s.Worker()), "status"))
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^NoNewPrivs:\t1$`, string(status))
	limits, err := os.ReadFile(filepath.Join("/proc", itoa(s.Worker()), "limits"))
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^Max file size +0 +0 `, string(limits))
}
