package opcua_test

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// startPlant starts a simulator.
func startPlant(t testing.TB, o sim.OPCUAOptions) *sim.OPCUA {
	t.Helper()
	plant, err := sim.StartOPCUA(o)
	require.NoError(t, err)
	t.Cleanup(plant.Stop)
	return plant
}

// specOf describes the simulator's endpoint.
func specOf(plant *sim.OPCUA) opcua.Spec {
	return opcua.Spec{
		Endpoint: plant.Endpoint(), Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt",
		ServerSHA256: plant.Server().Fingerprint(),
		Certificate:  client.Certificate, Key: opcua.Secret(client.PKCS8()), ApplicationURI: client.URI,
		User: opcua.User{Name: sim.OPCUAUser, Password: sim.OPCUAPassword}, Timeout: 5 * time.Second,
	}
}

func node(t testing.TB, s string) opcua.NodeID {
	t.Helper()
	n, err := opcua.ParseNode(s)
	require.NoError(t, err)
	return n
}

// The points of mixer.
const (
	counter = iota
	force
	state
	program
	pump
	energy
	temperature
	torqueLog
)

// mixer describes a simulated machine.
func mixer(t testing.TB, name string, more ...opcua.Point) *opcua.Machine {
	m := &opcua.Machine{Name: name, Namespace: sim.OPCUANamespace}
	add := func(name, id string, typ opcua.Type, every time.Duration) {
		m.Points = append(m.Points, opcua.Point{Name: name, Node: node(t, "s="+m.Name+"."+id), Type: typ, Period: every, Unit: "u-" + name})
	}
	add("counter", "Counter", opcua.Uint32, 100*time.Millisecond)
	add("force", "Force", opcua.Float32, 100*time.Millisecond)
	add("state", "State", opcua.Uint16, time.Second)
	add("program-name", "ProgramName", opcua.String, time.Second)
	add("pump-on", "PumpOn", opcua.Bool, time.Second)
	add("energy", "Energy", opcua.Int64, time.Second)
	add("temperature", "Temperature", opcua.Float64, time.Second)
	add("torque-log", "TorqueLog", opcua.Bytes, time.Second)
	m.Points = append(m.Points, more...)
	return m
}

// newPool gives a hasty pool whose workers are gone when the test ends.
func newPool(t testing.TB) *opcua.Pool {
	t.Helper()
	o := opcua.Options{}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	pool := opcua.NewPool(o)
	pool.Hasten()
	t.Cleanup(pool.Wait)
	return pool
}

// run runs the source until the test ends, and checks the contract of Run.
func run(t testing.TB, s *opcua.Source, sinks ...*sinktest.Recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		began := time.Now()
		select {
		case err := <-ended:
			assert.NoError(t, err)
			assert.Less(t, time.Since(began), 2*time.Second, "Run ends within 2 s")
		case <-time.After(sinktest.Patience):
			assert.Fail(t, "Run does not end")
		}
		for _, r := range sinks {
			r.Close()
		}
		for _, r := range sinks {
			assert.Empty(t, r.Breaches)
		}
	}
	t.Cleanup(stop)
	return stop
}

// read starts a source with one machine.
func read(t testing.TB, pool *opcua.Pool, spec opcua.Spec, m *opcua.Machine) (*opcua.Source, *sinktest.Recorder) {
	t.Helper()
	s, err := pool.Source(spec)
	require.NoError(t, err)
	r := sinktest.New()
	require.NoError(t, s.Attach(point.Machine{Name: m.Name, Spec: m}, r))
	run(t, s, r)
	return s, r
}

func itoa(n int) string { return strconv.Itoa(n) }
