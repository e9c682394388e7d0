//go:build interop

package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// NATS is a nats-server process: TLS with verified clients, JetStream on disk
// with a sync before every acknowledgement.
type NATS struct {
	URL       string // tls://127.0.0.1:port; the same for its whole life
	Version   string
	StreamDir string // where JetStream keeps messages: what the broker's disk sees
	Certs     *Certs

	t       testing.TB
	dir     string
	server  Pair
	program string
	port    string
	p       *process
}

// StartNATS builds nats-server at the version in go.mod and starts it. Its
// configuration and its streams are in dir. It ends with the test.
func StartNATS(t testing.TB, dir string, certs *Certs) *NATS {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	program, err := build("nats-server", func(out string) (*exec.Cmd, error) {
		return exec.CommandContext(t.Context(), "go", "build", "-o", out, "github.com/nats-io/nats-server/v2"), nil
	})
	require.NoError(t, err)
	version, err := exec.CommandContext(t.Context(), program, "--version").Output()
	require.NoError(t, err)
	_, v, found := strings.Cut(strings.TrimSpace(string(version)), ": v")
	require.True(t, found, "nats-server --version says %q", version)

	n := &NATS{
		Version: v, StreamDir: filepath.Join(dir, "jetstream"), Certs: certs,
		t: t, dir: dir, server: certs.Server("nats-server"), program: program, port: "-1",
	}
	n.Start()
	return n
}

// Start starts a server that was killed or stopped, on the same port and disk.
func (n *NATS) Start() {
	n.t.Helper()
	config := filepath.Join(n.dir, "nats-server.conf")
	require.NoError(n.t, os.WriteFile(config, fmt.Appendf(nil, `
host: "127.0.0.1"
port: %s
tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true, timeout: 5 }
jetstream { store_dir: %q, sync_interval: always }
`, n.port, n.server.Cert, n.server.Key, n.Certs.CA, n.StreamDir), 0o600))

	n.p = start(n.t, "nats-server", exec.Command(n.program, "--config", config))
	addr := n.p.line(n.t, "Listening for client connections on ")
	n.p.line(n.t, "Server is ready")
	n.URL = "tls://" + addr
	n.port = addr[strings.LastIndexByte(addr, ':')+1:]
	ran("nats-server", n.Version)
}

// Kill ends the server as kill -9 does.
func (n *NATS) Kill() { n.p.stop(syscall.SIGKILL) }

// Stop lets the server end in order.
func (n *NATS) Stop() { n.p.stop(syscall.SIGTERM) }

// Connect gives a connection with a client certificate of that name. It ends
// with the test.
func (n *NATS) Connect(name string) *nats.Conn {
	n.t.Helper()
	nc, err := nats.Connect(n.URL, nats.Name(name), nats.Secure(n.Certs.ClientTLS(name)))
	require.NoError(n.t, err)
	n.t.Cleanup(nc.Close)
	return nc
}

// CreateStream makes a stream as a plant has it: on disk, and nobody may delete
// or purge what is in it.
func (n *NATS) CreateStream(name string, subjects ...string) jetstream.Stream {
	n.t.Helper()
	js, err := jetstream.New(n.Connect("stream-admin"))
	require.NoError(n.t, err)
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: subjects, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		Duplicates: 2 * time.Minute, DenyDelete: true, DenyPurge: true,
	})
	require.NoError(n.t, err)
	return s
}
