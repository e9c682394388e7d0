//go:build interop

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// wanted are the peers that a whole run has to have met.
var wanted = []string{"libcoap", "libmodbus", "nats-server", "node opener", "node-opcua", "openssl", "podman", "python opener", "tcpdump", "usrsctp"}

// peers knows which peers ran in this test process, and keeps the programs that
// were built for it.
var peers struct {
	mu     sync.Mutex
	ran    []string          // "name version", as the peer says it
	folder string            // of the programs
	built  map[string]string // program → its path
}

// ran remembers that a peer answered, with the version it gave itself.
func ran(name, version string) {
	peers.mu.Lock()
	defer peers.mu.Unlock()
	if s := name + " " + version; !slices.Contains(peers.ran, s) {
		peers.ran = append(peers.ran, s)
	}
}

// summary is the line on all peers that ran, and an error for those that did
// not.
func summary() (string, error) {
	peers.mu.Lock()
	defer peers.mu.Unlock()
	slices.Sort(peers.ran)
	var missing []string
	for _, w := range wanted {
		if !slices.ContainsFunc(peers.ran, func(r string) bool { return strings.HasPrefix(r, w+" ") }) {
			missing = append(missing, w)
		}
	}
	line := "peers run: none"
	if len(peers.ran) > 0 {
		line = "peers run: " + strings.Join(peers.ran, ", ")
	}
	if missing != nil {
		return line, fmt.Errorf("peers that did not run: %s", strings.Join(missing, ", "))
	}
	return line, nil
}

// build makes a program once for the whole test process: command gets the path
// to write it to. It gives that path.
func build(name string, command func(out string) (*exec.Cmd, error)) (string, error) {
	peers.mu.Lock()
	defer peers.mu.Unlock()
	if path, ok := peers.built[name]; ok {
		return path, nil
	}
	if peers.folder == "" {
		folder, err := os.MkdirTemp("", "fieldseal-peers-")
		if err != nil {
			return "", fmt.Errorf("cannot make a folder for programs: %w", err)
		}
		peers.folder, peers.built = folder, map[string]string{}
	}
	path := filepath.Join(peers.folder, name)
	cmd, err := command(path)
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w", name, err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s: %s: %w\n%s", name, strings.Join(cmd.Args, " "), err, out)
	}
	peers.built[name] = path
	return path, nil
}

// removePrograms ends what build began.
func removePrograms() {
	peers.mu.Lock()
	defer peers.mu.Unlock()
	if peers.folder != "" {
		_ = os.RemoveAll(peers.folder)
	}
}
