//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// opcuaPatience is how long a test waits for what has to happen.
const opcuaPatience = 40 * time.Second

// nodeOPCUA is an OPC UA server of somebody else's making. nodeopcua/server.js
// says what its nodes hold.
type nodeOPCUA struct {
	t        testing.TB
	own      *sim.OPCUAIdentity
	client   *sim.OPCUAIdentity
	endpoint string // the same for its whole life
	options  nodeOPCUAOptions
	p        *process
	in       io.Writer
}

// nodeOPCUAOptions are the words that server.js knows.
type nodeOPCUAOptions struct {
	Port        int      `json:"port"`
	Folder      string   `json:"folder"`
	Certificate string   `json:"certificate"`
	Key         string   `json:"key"`
	URI         string   `json:"uri"`
	Trust       string   `json:"trust"` // the client's certificate; it may come later
	Policies    []string `json:"policies"`
	Modes       []string `json:"modes"`
	Anonymous   bool     `json:"anonymous"`
	User        string   `json:"user"`
	Password    string   `json:"password"`
	Canary      string   `json:"canary"` // a secret to look for upstream
	Plate       string   `json:"plate"`  // a text that is public
	Sealed      []byte   `json:"sealed"` // what the machine encrypted itself
	Counter     uint32   `json:"counter"`
	Limit       int      `json:"limit"`
	Advertised  []string `json:"advertised,omitempty"`
}

// startNodeOPCUA starts the server. It ends with the test.
func startNodeOPCUA(t testing.TB, change func(*nodeOPCUAOptions)) *nodeOPCUA {
	t.Helper()
	require.DirExists(t, filepath.Join("nodeopcua", "node_modules"), "run integration/interop/install.sh")
	s := &nodeOPCUA{t: t, own: sim.NewOPCUAIdentity("node-opcua", 2048), client: sim.NewOPCUAIdentity("gateway", 2048)}
	folder := t.TempDir()
	o := nodeOPCUAOptions{
		Folder: folder, URI: s.own.URI, Certificate: filepath.Join(folder, "server.pem"), Key: filepath.Join(folder, "server.key"), Trust: filepath.Join(folder, "client.der"),
		Policies: []string{"Basic256Sha256", "Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep"}, Modes: []string{"Sign", "SignAndEncrypt"},
		User: "operator", Password: "correct horse", Canary: "CANARY-RECIPE-41", Limit: 7,
	}
	require.NoError(t, os.WriteFile(o.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.own.Certificate}), 0o600))
	require.NoError(t, os.WriteFile(o.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: s.own.PKCS8()}), 0o600))
	require.NoError(t, os.WriteFile(o.Trust, s.client.Certificate, 0o600))
	change(&o)
	s.options = o
	s.start()
	return s
}

// start starts the process, also after it was killed: on the same port.
func (s *nodeOPCUA) start() {
	s.t.Helper()
	words, err := json.Marshal(s.options)
	require.NoError(s.t, err)
	cmd := exec.Command("node", filepath.Join("nodeopcua", "server.js"), string(words))
	stdin, err := cmd.StdinPipe()
	require.NoError(s.t, err)
	s.in = stdin
	s.p = start(s.t, "node-opcua", cmd)
	ran("node-opcua", s.p.line(s.t, "node-opcua "))
	port := s.p.line(s.t, "listening ")
	s.endpoint = "opc.tcp://127.0.0.1:" + port
	s.options.Port, err = strconv.Atoi(port)
	require.NoError(s.t, err)
}

// kill ends the process without a word to its clients. Its next life counts from
// there on.
func (s *nodeOPCUA) kill(counter uint32) {
	s.p.stop(syscall.SIGKILL)
	s.options.Counter = counter
}

// tell gives the server a command, waits until it is done, and gives the answer.
// A command is given once.
func (s *nodeOPCUA) tell(command string) string {
	s.t.Helper()
	_, err := fmt.Fprintln(s.in, command)
	require.NoError(s.t, err)
	return s.p.line(s.t, "done "+command)
}

// spec describes the endpoint.
func (s *nodeOPCUA) spec(policy, mode string) opcua.Spec {
	return opcua.Spec{
		Endpoint: s.endpoint, Policy: policy, Mode: mode, ServerSHA256: s.own.Fingerprint(),
		Certificate: s.client.Certificate, Key: opcua.Secret(s.client.PKCS8()),
		User: opcua.User{Name: "operator", Password: "correct horse"}, Timeout: 10 * time.Second,
	}
}

// opcuaPool makes a pool whose workers are the product's, without the race
// detector: their limits hold.
func opcuaPool(t testing.TB) *opcua.Pool {
	t.Helper()
	program, err := build("opcua-worker", func(out string) (*exec.Cmd, error) {
		return exec.CommandContext(t.Context(), "go", "build", "-o", out, "../../adapters/opcua/testdata/worker"), nil
	})
	require.NoError(t, err)
	program, err = filepath.Abs(program)
	require.NoError(t, err)
	pool := opcua.NewPool(opcua.Options{Executable: program})
	t.Cleanup(pool.Wait)
	return pool
}

// readOPCUA runs a source with one machine until the test ends.
func readOPCUA(t testing.TB, pool *opcua.Pool, spec opcua.Spec, m *opcua.Machine) (*opcua.Source, *sinktest.Recorder) {
	t.Helper()
	s, err := pool.Source(spec)
	require.NoError(t, err)
	sink := sinktest.New()
	sink.Patience = opcuaPatience
	require.NoError(t, s.Attach(point.Machine{Name: m.Name, Spec: m}, sink))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		sink.Close()
		sink.Look(func() { assert.Empty(t, sink.Breaches) })
	})
	return s, sink
}

// tcpRelay stands before a server, so that connections can be reset.
type tcpRelay struct {
	listener net.Listener
	mu       sync.Mutex
	to       string
	conns    []*net.TCPConn
	wg       sync.WaitGroup
}

func startRelay(t testing.TB) *tcpRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &tcpRelay{listener: l}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			to := r.to
			r.mu.Unlock()
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, c.(*net.TCPConn), s.(*net.TCPConn))
			r.mu.Unlock()
			for _, ends := range [][2]net.Conn{{c, s}, {s, c}} {
				r.wg.Go(func() {
					_, _ = io.Copy(ends[0], ends[1])
					_ = ends[0].Close()
					_ = ends[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.reset()
		r.wg.Wait()
	})
	return r
}

// lead says where connections go from now on.
func (r *tcpRelay) lead(endpoint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = strings.TrimPrefix(endpoint, "opc.tcp://")
}

// reset resets all connections, as a firewall does that lost its state.
func (r *tcpRelay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	r.conns = nil
}
