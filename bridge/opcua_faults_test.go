package bridge

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// unsecured starts a server that offers connections without security only.
func unsecured(t testing.TB) (endpoint string) {
	t.Helper()
	port := freePort(t)
	id := sim.NewOPCUAIdentity("unsecured", 2048)
	s := server.New(
		server.EndPoint("127.0.0.1", port), server.Certificate(id.Certificate), server.PrivateKey(id.Key),
		server.EnableSecurity("None", ua.MessageSecurityModeNone), server.EnableAuthMode(ua.UserTokenTypeAnonymous),
	)
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, s.Start(ctx))
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		cancel()
	})
	return fmt.Sprintf("opc.tcp://127.0.0.1:%d", port)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

// TestOPCUAFaults: what is not as it should be at one machine, or at one point of
// it, has its reason in the status. Everything else flows.
func TestOPCUAFaults(t *testing.T) {
	t.Parallel()
	const best = "{policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}"
	replaced, lesser := startOPCUA(t, sim.OPCUAOptions{Name: "replaced"}), startOPCUA(t, sim.OPCUAOptions{Name: "lesser"})
	none := unsecured(t)
	pinned := strings.Repeat("9f2c", 16)
	p := newMixers(t, sim.OPCUAOptions{Machines: 2}, func(p *mixers) {
		p.more(replaced, "replaced-1", "replaced", fmt.Sprintf("%x", replaced.Server().Fingerprint()), pinned)
		p.more(p.opcua, "mixer-1", "none", p.opcua.Endpoint(), none)
		p.more(lesser, "lesser-1", "lesser", best, "{policy: Aes128_Sha256_RsaOaep, mode: SignAndEncrypt}")
		p.more(p.opcua, "mixer-1", "absent", p.opcua.Endpoint(), "opc.tcp://127.0.0.1:1")
		p.more(p.opcua, "mixer-2", "moved", "namespace: "+sim.OPCUANamespace, "namespace: http://vendor.example/mixer/v1")
		p.replace("machines/mixer-1.yaml", "s=mixer-1.Energy", `'s="DB"."Energy"[1]'`)
		p.replace("machines/mixer-1.yaml", "s=mixer-1.Temperature, type: float64", "s=mixer-1.Temperature, type: float32")
	})
	r := p.start()
	reasons := map[string]string{
		"replaced": fmt.Sprintf("the server's certificate is sha256:%x, and the pinned one is sha256:%s; if the server has a new certificate, compare the fingerprint with the one it shows and change server_certificate",
			replaced.Server().Fingerprint(), pinned),
		"none": "the server offers connections without security only (None); switch on Aes256_Sha256_RsaPss SignAndEncrypt there",
		"lesser": "the server does not offer Aes128_Sha256_RsaOaep SignAndEncrypt; it offers Basic256Sha256 SignAndEncrypt, Basic256Sha256 Sign, " +
			"Aes256_Sha256_RsaPss SignAndEncrypt, Aes256_Sha256_RsaPss Sign",
		"absent": "cannot connect: connection refused",
		"moved":  "the server has no namespace http://vendor.example/mixer/v1; it has http://opcfoundation.org/UA/, " + sim.OPCUANamespace,
	}
	for name, why := range reasons {
		eventually(t, name+": "+why, func() bool { return r.machine(name).Error == why })
		assert.Equal(t, "down", r.machine(name).State, name)
	}
	unread := []status.Unread{
		{Point: "temperature", Status: "node s=mixer-1.Temperature gives float64, and the mapping says float32"},
		{Point: "energy", Status: `the server has no node s="DB"."Energy"[1] (BadNodeIDUnknown)`},
	}
	eventually(t, "the points", func() bool { return assert.ObjectsAreEqual(unread, r.machine("mixer-1").Unread) })
	r.flows(30, "press-1", "mixer-1", "mixer-2")
	for name, why := range reasons {
		assert.Equal(t, why, r.machine(name).Error)
	}
	assert.Less(t, r.stop(), 8*time.Second)

	got := p.read()
	got.lossless(t)
	served(t, p.plant, got, "counter")
	p.counted(got, "mixer-1", sim.Counter, 0)
	p.counted(got, "mixer-2", sim.Counter, 0)
	for name := range reasons {
		samples := got.samples[name+"/counter"]
		require.NotEmpty(t, samples, "%s: a recipient learns that it is down", name)
		assert.True(t, samples[0].Bad(), name)
	}
	require.NotEmpty(t, got.samples["mixer-1/energy"])
	assert.Equal(t, uint32(0x80340000), got.samples["mixer-1/energy"][0].Quality, "BadNodeIdUnknown")
	assert.Empty(t, got.numbers("mixer-1/temperature"), "never converted")
}

// TestOPCUAHostile: servers that kill every client kill workers. The gateway goes
// on, says which one it is, and other machines lose nothing.
func TestOPCUAHostile(t *testing.T) {
	t.Parallel()
	// The product's: under the race detector no limit of memory holds.
	program := filepath.Join(t.TempDir(), "fieldseal")
	out, err := exec.Command("go", "build", "-o", program, "../cmd/fieldseal").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, c := range []struct {
		name string
		how  sim.Hostility
		why  string
	}{
		{"huge array", sim.HugeArray, "the OPC UA worker process died: the server's answer needs more than 256 MiB of memory"},
		{"nested variants", sim.NestedVariants, "the OPC UA worker process died: the server's answer is nested without end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hostile, err := sim.StartHostileOPCUA(c.how)
			require.NoError(t, err)
			t.Cleanup(hostile.Stop)
			p := newMixers(t, sim.OPCUAOptions{}, func(p *mixers) {
				p.more(p.opcua, "mixer-1", "hostile", p.opcua.Endpoint(), hostile.Endpoint())
			})
			g := p.open()
			p.rewire(g, opcua.Options{Executable: program})
			r := p.run(g)
			r.flows(20, "press-1")
			eventually(t, c.why, func() bool { return r.machine("hostile").Error == c.why && hostile.Shots() >= 3 })
			assert.Equal(t, "down", r.machine("hostile").State)
			r.flows(20, "mixer-1", "press-1")
			since := r.machine("mixer-1").Since
			shots := hostile.Shots()
			eventually(t, "one more", func() bool { return hostile.Shots() > shots })
			r.flows(10, "mixer-1", "press-1")
			assert.Equal(t, since, r.machine("mixer-1").Since, "the guilty one is alone")
			assert.Less(t, r.stop(), 8*time.Second)

			got := p.read()
			got.lossless(t)
			served(t, p.plant, got, "counter")
			p.counted(got, "mixer-1", sim.Counter, 2)
			require.NotEmpty(t, got.samples["hostile/counter"])
			assert.Empty(t, got.numbers("hostile/counter"))
		})
	}
}

// rewire makes the gateway's sources anew, with other workers.
func (p *plant) rewire(g *Gateway, o opcua.Options) {
	p.t.Helper()
	sinks := map[string]*sink{}
	for _, s := range g.sinks {
		sinks[s.machine] = s
	}
	credential, _, err := keystore.Credential(g.config.State, "keystore")
	require.NoError(p.t, err)
	keys, err := keystore.Open(g.config.State, credential)
	require.NoError(p.t, err)
	w := wiring{
		sinks: sinks, keys: keys, state: g.config.State, logger: g.logger, workers: opcua.NewPool(o),
		leftOut: func(machine string, err error) { assert.NoError(p.t, err, machine) },
	}
	g.workers, g.endpoints = w.workers, w.sources(g.config.Machines)
}
