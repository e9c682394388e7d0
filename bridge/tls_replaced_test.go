package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// impostor is an OPC UA server without security that stands at another one's
// address, shows that one's certificate and has its nodes.
type impostor struct {
	asked atomic.Int32 // for values

	mu    sync.Mutex // guards heard
	heard []byte     // from clients
}

// canary is what the impostor gives for a restricted point.
const canary = "RECIPE-CANARY-77-GRADIENT-9"

// startImpostor puts one in place of a simulator that was stopped.
func startImpostor(t testing.TB, s *sim.OPCUA, machine string) *impostor {
	t.Helper()
	p := &impostor{}
	address := strings.TrimPrefix(s.Endpoint(), "opc.tcp://")
	front, err := net.Listen("tcp", address)
	require.NoError(t, err)
	back, err := net.Listen("tcp", "127.0.0.1:0") // the library does not tell which port it got
	require.NoError(t, err)
	behind := back.Addr().String()
	port := back.Addr().(*net.TCPAddr).Port
	require.NoError(t, back.Close())
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	o := server.New(
		server.EndPoint(host, port), server.EndPoint(host, front.Addr().(*net.TCPAddr).Port),
		server.Certificate(s.Server().Certificate), server.PrivateKey(s.Server().Key), // worse than it could be
		server.EnableSecurity("None", ua.MessageSecurityModeNone),
		server.EnableAuthMode(ua.UserTokenTypeAnonymous), server.EnableAuthMode(ua.UserTokenTypeUserName),
	)
	space := server.NewNodeNameSpace(o, sim.OPCUANamespace)
	for name, value := range map[string]any{"ProgramName": canary, "Force": float32(182.4), "Nameplate": "PUBLIC-CANARY-77", "State": uint16(3)} {
		full := machine + "." + name
		space.AddNode(server.NewVariableNode(ua.NewStringNodeID(space.ID(), full), full, func() *ua.DataValue {
			p.asked.Add(1)
			return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(value)}
		}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, o.Start(ctx))
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { p.relay(c, behind) })
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, front.Close())
		_ = o.Close()
		cancel()
		relays.Wait()
	})
	return p
}

// relay notes what a client says.
func (p *impostor) relay(client net.Conn, to string) {
	defer client.Close()
	behind, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer behind.Close()
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(client, behind); _ = client.Close() })
	_, _ = io.Copy(behind, io.TeeReader(client, p))
	_ = behind.Close()
	answers.Wait()
}

func (p *impostor) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, b...)
	return len(b), nil
}

func (p *impostor) clients() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.heard)
}

// buffer is a log that a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// nowhere checks that none of some plaintexts is at the broker, in any file of
// the state folder, in the status or in the log.
func (r *running) nowhere(p *plant, log *buffer, secrets ...[]byte) {
	r.t.Helper()
	now, err := json.Marshal(r.Status())
	require.NoError(r.t, err)
	places := map[string][]byte{"the broker": p.raw(), "the log": log.bytes(), "the status": now}
	require.NoError(r.t, filepath.WalkDir(p.path("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == "credentials" { // passwords are there, and no values
			return nil
		}
		places[path], err = os.ReadFile(path)
		return err
	}))
	require.Greater(r.t, len(places), 6)
	for place, b := range places {
		for _, s := range secrets {
			assert.False(r.t, bytes.Contains(b, s), "%s in %s", s, place)
		}
	}
}

// TestSecureMachineReplacedByPlainOne: where an OPC UA server that was signed and
// encrypted is replaced by one without security, at the same address, with the
// same certificate and nodes, it is asked for no value, the password is not sent
// to it, and nothing of its points goes on, restricted or not. The others flow, and so
// does the machine when it is back.
func TestSecureMachineReplacedByPlainOne(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	log := &buffer{}
	p.change = func(o *Options) {
		o.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := p.start()
	r.flows(20, "mixer-1", "press-1")
	p.opcua.Stop()
	plain := startImpostor(t, p.opcua, "mixer-1")
	eventually(t, "the refusal", func() bool {
		return strings.Contains(r.machine("mixer-1").Error, "the server offers connections without security only (None)")
	})
	taken := r.machine("mixer-1").Samples
	r.flows(40, "press-1")
	now := r.machine("mixer-1").Samples
	assert.Equal(t, taken.Taken-taken.Bad, now.Taken-now.Bad, "no value is taken of it")
	assert.Equal(t, "down", r.machine("mixer-1").State)
	assert.Zero(t, plain.asked.Load(), "nobody asked it for a value")
	heard := plain.clients()
	require.NotEmpty(t, heard)
	assert.False(t, bytes.Contains(heard, []byte(sim.OPCUAPassword)), "the password went over in clear")
	assert.True(t, bytes.Contains(heard, []byte("opc.tcp://")), "the scan looks at what clients say")
	r.nowhere(p.plant, log, append(p.opcua.Canaries(), []byte(canary), []byte("PUBLIC-CANARY-77"), []byte(sim.OPCUAPassword))...)
	r.stop()
	got := p.read()
	got.lossless(t)
	served(t, p.plant, got, "counter")
	for _, s := range got.samples["mixer-1/program-name"] {
		assert.NotContains(t, string(s.Value.Data()), canary)
	}
}

// TestSecureMachineReadOverLess: where the machine's file asks for less than the
// level does, with the approvers' word, what was negotiated decides: restricted
// points stop, with an event; those of levels that ask for less go on.
func TestSecureMachineReadOverLess(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, nil)
	log := &buffer{}
	p.change = func(o *Options) {
		o.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := p.start()
	r.flows(20, "mixer-1")
	r.stop()
	before := p.read()
	before.lossless(t)
	require.NotEmpty(t, before.samples["mixer-1/force"])

	p.edit("machines/mixer-1.yaml", "mode: SignAndEncrypt", "mode: Sign")
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna)
	r = p.start()
	r.flows(40, "mixer-1", "press-1")
	m := r.machine("mixer-1")
	assert.Equal(t, []string{"up", "authenticated", "Aes256_Sha256_RsaPss Sign"}, []string{m.State, m.Security, m.Mechanism})
	// The payload that the device encrypts needs no connection that is.
	assert.Equal(t, map[string]int{"clear": 3, "sealed": 3, "withheld": 3, "passthrough": 1}, m.Points)
	stopped := p.events("points-stopped")
	require.Len(t, stopped, 1)
	assert.Equal(t, []string{"mixer-1", "force,counter,program-name"}, []string{stopped[0].Machine, stopped[0].Point})
	assert.Contains(t, stopped[0].Text, "asks for a connection that is encrypted, this one is authenticated")
	r.nowhere(p.plant, log, p.opcua.Canaries()...)
	for _, c := range p.opcua.PublicCanaries() {
		assert.True(t, bytes.Contains(p.raw(), c), "the scan sees what leaves in clear")
	}
	r.stop()
	got := p.read()
	got.lossless(t)
	for _, point := range []string{"force", "counter", "program-name"} {
		assert.Len(t, got.samples["mixer-1/"+point], len(before.samples["mixer-1/"+point]), point)
	}
	for _, point := range []string{"temperature", "public-counter"} {
		assert.Greater(t, len(got.samples["mixer-1/"+point]), len(before.samples["mixer-1/"+point]), point)
	}
}
