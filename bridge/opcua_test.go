package bridge

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// mixers is a simulated OPC UA server beside the plant's Modbus machine.
type mixers struct {
	*plant
	opcua *sim.OPCUA
}

// newMixers starts a plant with one machine of each protocol. Nothing is allowed
// over a connection that is less than encrypted but for the Modbus machine. edit
// may change the files.
func newMixers(t testing.TB, o sim.OPCUAOptions, edit func(*mixers)) *mixers {
	t.Helper()
	m := &mixers{opcua: startOPCUA(t, o)}
	newPlant(t, natstest.Options{}, func(p *plant) {
		m.plant = p
		p.files["policy.yaml"] = strings.Replace(p.files["policy.yaml"], `["*/*"]`, `["press-1/*"]`, 1)
		for _, name := range m.opcua.Names() {
			p.files["machines/"+name+".yaml"] = m.opcua.YAML(name)
		}
		p.files["state/credentials/opcua-password"] = sim.OPCUAPassword + "\n"
		if edit != nil {
			edit(m)
		}
	})
	return m
}

func startOPCUA(t testing.TB, o sim.OPCUAOptions) *sim.OPCUA {
	t.Helper()
	s, err := sim.StartOPCUA(o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// replace changes a file, in which old stands once.
func (p *plant) replace(file, old, with string) {
	p.t.Helper()
	require.Equal(p.t, 1, strings.Count(p.files[file], old), "%s in %s", old, file)
	p.files[file] = strings.Replace(p.files[file], old, with, 1)
}

// more adds a machine like one of a simulator, under another name.
func (p *plant) more(s *sim.OPCUA, like, name string, pairs ...string) {
	p.t.Helper()
	file := "machines/" + name + ".yaml"
	p.files[file] = s.YAML(like)
	p.replace(file, "machine: "+like+"\n", "machine: "+name+"\n")
	for i := 0; i+1 < len(pairs); i += 2 {
		p.replace(file, pairs[i], pairs[i+1])
	}
}

func (r *running) machine(name string) status.Machine {
	s := r.Status()
	k := slices.IndexFunc(s.Machines, func(m status.Machine) bool { return m.Name == name })
	require.GreaterOrEqual(r.t, k, 0, name)
	return s.Machines[k]
}

// flows waits until so many more samples came of each machine.
func (r *running) flows(n uint64, machines ...string) {
	r.t.Helper()
	for _, name := range machines {
		before := r.machine(name).Samples
		eventually(r.t, "samples of "+name, func() bool {
			now := r.machine(name).Samples
			return now.Taken-now.Bad >= before.Taken-before.Bad+n
		})
	}
}

// counted checks that a recipient has all counts that a server gave out, in
// their order, but for so many that a break may have taken; and the one that is
// under way at the end. Each new connection reads a count once more.
func (m *mixers) counted(got *received, machine, counter string, breaks int) {
	m.t.Helper()
	var gave []uint64
	for _, n := range m.opcua.Served(machine, counter) {
		gave = append(gave, uint64(n))
	}
	numbers := got.numbers(machine + "/" + counter)
	require.True(m.t, slices.IsSorted(numbers), "%v", numbers)
	have := uniq(numbers)
	assert.LessOrEqual(m.t, len(numbers)-len(have), breaks+1, "repeated: %v", numbers)
	var missing []uint64
	for _, n := range gave {
		if !slices.Contains(have, n) {
			missing = append(missing, n)
		}
	}
	m.t.Logf("%s/%s: %d given out, %d of them missing after %d breaks, %d repeated", machine, counter, len(gave), len(missing), breaks, len(numbers)-len(have))
	assert.LessOrEqual(m.t, len(missing), breaks+1, "of %d", len(gave))
	if breaks == 0 { // only the last one may be missing
		assert.Equal(m.t, gave[:len(have)], have)
	}
	for _, n := range have {
		assert.Contains(m.t, gave, n)
	}
}

// TestBothProtocols: one gateway reads a Modbus and an OPC UA machine, and what
// the devices give arrives as it is: values, source times, status codes, and what
// they encrypt byte for byte.
func TestBothProtocols(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{Machines: 2}, nil)
	then := time.Unix(1_700_000_000, 123_456_700)
	give := func(name string, v ua.DataValue) {
		p.opcua.Override("mixer-1", name, func() *ua.DataValue { return &v })
	}
	give("Temperature", ua.DataValue{EncodingMask: ua.DataValueValue | ua.DataValueSourceTimestamp, Value: ua.MustVariant(21.5), SourceTimestamp: then})
	give("Energy", ua.DataValue{EncodingMask: ua.DataValueStatusCode | ua.DataValueSourceTimestamp, Status: ua.StatusBadSensorFailure, SourceTimestamp: then})
	give("PumpOn", ua.DataValue{
		EncodingMask: ua.DataValueStatusCode | ua.DataValueSourceTimestamp | ua.DataValueValue,
		Status:       ua.StatusUncertainLastUsableValue, Value: ua.MustVariant(true), SourceTimestamp: then,
	})
	r := p.start()
	r.flows(20, "press-1", "mixer-1", "mixer-2")
	for range 3 {
		n := r.machine("mixer-1").Samples.Passthrough
		p.opcua.NextPayload("mixer-1")
		eventually(t, "the next payload", func() bool { return r.machine("mixer-1").Samples.Passthrough > n })
	}
	s := r.machine("mixer-1")
	assert.Equal(t, []string{"opcua", "up", "encrypted", "Aes256_Sha256_RsaPss SignAndEncrypt", ""}, []string{s.Protocol, s.State, s.Security, s.Mechanism, s.Error})
	assert.Equal(t, map[string]int{"clear": 3, "sealed": 6, "passthrough": 1}, s.Points)
	assert.Empty(t, s.Unread)
	assert.Less(t, r.stop(), 8*time.Second)

	got := p.read()
	got.lossless(t)
	served(t, p.plant, got, "counter")
	for _, machine := range p.opcua.Names() {
		p.counted(got, machine, sim.Counter, 0)
		p.counted(got, machine, sim.PublicCounter, 0)
	}
	one := func(point string) envelope.Sample {
		require.NotEmpty(t, got.samples["mixer-1/"+point])
		return got.samples["mixer-1/"+point][0]
	}
	temperature, energy, pump := one("temperature"), one("energy"), one("pump-on")
	assert.Equal(t, []any{21.5, uint32(0), then.UnixNano()}, []any{temperature.Value.Float(), temperature.Quality, temperature.Time})
	assert.Equal(t, []any{uint32(ua.StatusBadSensorFailure), then.UnixNano()}, []any{energy.Quality, energy.Time})
	assert.Equal(t, []any{true, uint32(ua.StatusUncertainLastUsableValue), then.UnixNano()}, []any{pump.Value.Bool(), pump.Quality, pump.Time})

	var passed [][]byte
	for _, d := range got.deliveries {
		switch {
		case !strings.HasPrefix(d.Stream.Machine, "mixer-"):
		case d.Kind == envelope.Passthrough:
			if d.Stream.Machine == "mixer-1" {
				passed = append(passed, d.Payload)
			}
		default:
			assert.Equal(t, d.Stream.Level != "public", d.Sealed, d.Stream)
		}
	}
	assert.Equal(t, p.opcua.Payloads("mixer-1"), passed, "byte for byte")
	raw := p.raw()
	for _, c := range append(p.sim.Canaries(), p.opcua.Canaries()...) {
		assert.False(t, bytes.Contains(raw, c), "%s", c)
	}
	for _, c := range append(p.sim.PublicCanaries(), p.opcua.PublicCanaries()...) {
		assert.True(t, bytes.Contains(raw, c), "%s", c)
	}
	assert.Zero(t, p.opcua.Writes())
	for _, e := range p.events("") {
		assert.NotContains(t, []string{"points-stopped", "machine-left-out"}, e.Event, "%+v", e)
	}
}

// TestPassthroughThatIsNone: what claims to be ciphertext and is not is never
// forwarded as it is.
func TestPassthroughThatIsNone(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	p.opcua.SetPlaintext("mixer-1", true)
	r := p.start()
	r.flows(20, "mixer-1")
	r.stop()
	got := p.read()
	got.lossless(t)
	require.NotEmpty(t, got.samples["mixer-1/torque-log"], "it is sealed")
	assert.Contains(t, string(got.samples["mixer-1/torque-log"][0].Value.Data()), "TORQUE-LOG SECRET")
	for _, c := range p.opcua.Canaries() {
		assert.False(t, bytes.Contains(p.raw(), c))
	}
	assert.Len(t, p.events("passthrough-not-ciphertext"), 1)
}

// TestOPCUAReconnect: a reset and a restart of the server under a subscription:
// data flows again without ours, and nothing that the server gave out is missing
// but for what was on its way then.
func TestOPCUAReconnect(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	r := p.start()
	r.flows(20, "mixer-1", "press-1")
	down := func() bool { m := r.machine("mixer-1"); return m.State == "down" && m.Error != "" }

	since := r.machine("mixer-1").Since
	p.opcua.DropConnections()
	eventually(t, "another connection", func() bool { m := r.machine("mixer-1"); return m.State == "up" && m.Since.After(since) })
	r.flows(20, "mixer-1")

	p.opcua.Stop()
	eventually(t, "the reason", down)
	assert.Equal(t, "encrypted", nextSecurity(r), "what was negotiated last decides over bad samples")
	eventually(t, "the attempt", func() bool { return r.machine("mixer-1").Error == "cannot connect: connection refused" })
	r.flows(20, "press-1")
	require.NoError(t, p.opcua.Start())
	r.flows(20, "mixer-1")
	assert.Less(t, r.stop(), 8*time.Second)

	got := p.read()
	got.lossless(t)
	served(t, p.plant, got, "counter")
	p.counted(got, "mixer-1", sim.Counter, 2)
	p.counted(got, "mixer-1", sim.PublicCounter, 2)
	bad := 0
	for _, s := range got.samples["mixer-1/counter"] {
		if s.Bad() {
			bad++
		}
	}
	assert.GreaterOrEqual(t, bad, 2, "a recipient sees each break as bad quality")
	assert.Empty(t, p.events("points-stopped"))
}

// nextSecurity is what decides over the mixer's points now.
func nextSecurity(r *running) string {
	for _, s := range r.sinks {
		if s.machine == "mixer-1" {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.negotiated.String()
		}
	}
	return ""
}

// TestOPCUALeftOut: a machine whose certificate or password is not there is left
// out, and says so; the others run.
func TestOPCUALeftOut(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, func(p *mixers) {
		for name, pairs := range map[string][]string{
			"oven-1": {"credential:opcua-password", "credential:absent"},
			"oven-2": {"keystore:opcua-client", "keystore:absent"},
			"oven-3": {"keystore:opcua-client", "keystore:uplink"},
			"oven-4": {"credential:opcua-password", "credential:empty"},
			"oven-5": {"credential:opcua-password", "credential:open"},
		} {
			// Each behind an endpoint of its own, to be no problem of the files.
			p.more(p.opcua, "mixer-1", name, append(pairs, p.opcua.Endpoint(), p.opcua.Endpoint()+"/"+name)...)
		}
		p.files["state/credentials/empty"] = "\n"
		p.files["state/credentials/open"] = "hunter2\n"
	})
	require.NoError(t, os.Chmod(p.path("state/credentials/open"), 0o644))
	r := p.start()
	r.flows(20, "mixer-1", "press-1")
	credentials := p.path("state/credentials") + "/"
	said := map[string]string{}
	for _, l := range r.Status().LeftOut {
		said[l.Machine] = l.Problem
	}
	const entries = "message-id, opcua-client, outbox, signing, uplink"
	assert.Equal(t, map[string]string{
		"oven-1": `credential "absent": no such credential; looked for /run/secrets/absent, ` + credentials + "absent",
		"oven-2": `the keystore has no RSA certificate "absent"; it has ` + entries,
		"oven-3": `the keystore has no RSA certificate "uplink"; it has ` + entries,
		"oven-4": "credential " + credentials + "empty is empty; write the password into it",
		"oven-5": "credential " + credentials + "open can be read by others (mode 0644); run: chmod 600 " + credentials + "open",
	}, said)
	for _, e := range p.events("machine-left-out") {
		assert.Equal(t, said[e.Machine], e.Text)
	}
	assert.Len(t, p.events("machine-left-out"), 5)
	r.stop()
}

// ended is a source that gives up at once.
type ended struct{}

func (ended) Run(context.Context) error { return errors.New("gave up") }

// TestOPCUASourceAgain: in place of a source that ended another one is made, with
// the same machines.
func TestOPCUASourceAgain(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	g := p.open()
	g.firstPause = 10 * time.Millisecond
	k := slices.IndexFunc(g.endpoints, func(e *endpoint) bool { return e.name == p.opcua.Endpoint() })
	require.GreaterOrEqual(t, k, 0)
	g.endpoints[k].source = ended{}
	r := p.run(g)
	r.flows(20, "mixer-1")
	assert.Len(t, p.events("source-ended"), 1)
	r.stop()
}

// TestOPCUAShutdown: a server that does not answer any more delays no shutdown,
// and no worker outlives the gateway.
func TestOPCUAShutdown(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	r := p.start()
	r.flows(20, "mixer-1")
	p.opcua.Freeze(true)
	assert.Less(t, r.stop(), 8*time.Second)
	none := make(chan struct{})
	go func() { r.workers.Wait(); close(none) }()
	select {
	case <-none:
	case <-time.After(time.Second):
		assert.Fail(t, "a worker lives on")
	}
	p.opcua.Freeze(false)
	got := p.read()
	got.lossless(t)
	p.counted(got, "mixer-1", sim.Counter, 0)
}
