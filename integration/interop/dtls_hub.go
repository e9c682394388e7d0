//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Hub is a fieldseal hub process.
type Hub struct {
	address string // the same for its whole life

	t   *testing.T
	dir string
	p   *process
}

// hubOptions say whom a hub lets in and where it publishes.
type hubOptions struct {
	dir            string // new
	trust, revoked string // files; revoked may be empty
	server         Pair   // shown to gateways
	servers        string // of NATS
	client         *Certs // issues what the hub shows there
}

// startHub writes a hub's file and starts the hub. It ends with the test.
func startHub(t *testing.T, o hubOptions) *Hub {
	t.Helper()
	require.NoError(t, os.MkdirAll(o.dir, 0o700))
	h := &Hub{address: "127.0.0.1:" + freeUDP(t), t: t, dir: o.dir}
	revoked := ""
	if o.revoked != "" {
		revoked = fmt.Sprintf("revoked: [%q]", o.revoked)
	}
	client := o.client.Client("hub")
	require.NoError(t, os.WriteFile(h.path("hub.yaml"), fmt.Appendf(nil, `fieldseal: hub/v1
listen: %q
certificate: %q
key: %q
trust: %q
%s
nats: {servers: [%q], stream: %s, prefix: %s, certificate: %q, key: %q, trust: %q}
metrics: {listen: "unix:%s"}
`, h.address, o.server.Cert, o.server.Key, o.trust, revoked,
		o.servers, streamName, prefix, client.Cert, client.Key, o.client.CA, h.path("m.sock")), 0o600))
	h.start()
	return h
}

func (h *Hub) path(name string) string { return filepath.Join(h.dir, name) }

// start starts a hub that was killed, at the same address.
func (h *Hub) start() {
	h.t.Helper()
	cmd := exec.Command(program(h.t), "hub", "-c", h.path("hub.yaml"))
	cmd.Env = environment()
	h.p = start(h.t, "hub", cmd)
	h.p.line(h.t, "msg=running")
}

// kill ends the hub as kill -9 does.
func (h *Hub) kill() { h.p.stop(syscall.SIGKILL) }

// run asks the running hub.
func (h *Hub) run(command string) result {
	h.t.Helper()
	return fieldseal(h.t, "hub", command, "-c", h.path("hub.yaml"))
}
