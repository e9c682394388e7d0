//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire is everything that crosses the loopback interface from or to some ports,
// as tcpdump sees it.
type wire struct {
	t    testing.TB
	file string
	p    *process
}

// captureWire starts to listen. It ends with the test, or with stop.
func captureWire(t testing.TB, name string, ports ...string) *wire {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), "tcpdump", "--version").CombinedOutput()
	require.NoError(t, err, "run integration/interop/install.sh, as root")
	first, _, _ := strings.Cut(string(version), "\n")
	ran("tcpdump", strings.TrimPrefix(first, "tcpdump version "))

	w := &wire{t: t, file: filepath.Join(t.TempDir(), name+".pcap")}
	out, err := os.Create(w.file)
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	// Whole packets, as they come, in a buffer that a busy machine does not fill.
	cmd := exec.Command("tcpdump", "-i", "lo", "-n", "-s", "0", "-U", "-B", "32768", "-w", "-",
		"tcp and (port "+strings.Join(ports, " or port ")+")")
	cmd.Stdout = out
	w.p = start(t, "tcpdump", cmd)
	w.p.line(t, "listening on lo")
	return w
}

// stop ends listening and gives all bytes that were seen.
func (w *wire) stop() []byte {
	w.t.Helper()
	w.p.stop(syscall.SIGINT)
	require.NoError(w.t, w.p.err)
	w.p.line(w.t, "0 packets dropped by kernel")
	b, err := os.ReadFile(w.file)
	require.NoError(w.t, err)
	require.NotEmpty(w.t, b)
	return b
}

// portOf gives the port of an address or URL.
func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// sizeOf says how much a capture has, for the test's last line.
func sizeOf(b []byte) string { return fmt.Sprintf("%d kB", len(b)/1000) }
