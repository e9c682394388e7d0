//go:build interop

package interop

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// containerUser is who runs in the container, by number: an image of one file
// has no names.
const containerUser = 65532

// hardened is how docs/container.md starts a gateway, where its limits of open
// files and processes are what any host allows. Nothing but the state can be
// written: not even /tmp, which podman would add.
var hardened = []string{
	"--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
	"--network=host", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--no-healthcheck",
}

// Podman builds and runs images in a storage of its own, so that a test neither
// sees nor leaves anything on the machine.
type Podman struct {
	Version string

	t      testing.TB
	folder string
	args   []string // of the program, before any command
}

// For is the same storage for a test within the test.
func (p Podman) For(t testing.TB) *Podman {
	p.t = t
	return &p
}

// NewPodman asks podman who it is. What it has is gone with the test.
func NewPodman(t testing.TB) *Podman {
	t.Helper()
	require.Zero(t, os.Geteuid(), "the tests of the container give files to uid %d: run them as root", containerUser)
	folder := t.TempDir()
	p := &Podman{t: t, folder: folder}
	// vfs needs no mounts, and so works in a folder on any file system. runc works
	// where control groups are hybrid, and Debian's crun does not.
	p.args = []string{
		"--root", filepath.Join(folder, "root"), "--runroot", filepath.Join(folder, "run"), "--tmpdir", filepath.Join(folder, "tmp"),
		"--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc",
	}
	t.Cleanup(p.remove)
	p.Version = p.do("version", "--format={{.Client.Version}}")
	ran("podman", p.Version)
	return p
}

// do runs a podman command that has to succeed, and gives what it printed.
func (p *Podman) do(args ...string) string {
	p.t.Helper()
	cmd := p.command(args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(p.t, err, "podman %s: %s (is it there? run integration/interop/install.sh)", strings.Join(args, " "), &said)
	return strings.TrimSpace(string(out))
}

func (p *Podman) command(args ...string) *exec.Cmd {
	return exec.Command("podman", append(p.args[:len(p.args):len(p.args)], args...)...)
}

// remove ends all containers and waits for those who clean up after them: then
// the folder can go.
func (p *Podman) remove() {
	out, err := p.command("rm", "--all", "--force", "--time=0").CombinedOutput()
	assert.NoError(p.t, err, "podman rm: %s", out)
	assert.Eventually(p.t, func() bool {
		return len(processes(p.t, func(proc string) bool {
			line, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
			return strings.Contains(string(line), p.folder)
		})) == 0
	}, 20*time.Second, 50*time.Millisecond, "a process still works in %s", p.folder)
}

// Make makes the image as a user does: with `make image`.
func (p *Podman) Make(name, architecture string) Image {
	p.t.Helper()
	// Its make is not the one that may have started this test.
	cmd := exec.CommandContext(p.t.Context(), "env", "-u", "MAKEFLAGS", "-u", "MFLAGS", "make", "-C", filepath.Join("..", ".."), "image",
		"ENGINE=podman "+strings.Join(p.args, " "), "IMAGE="+name, "ARCH="+architecture)
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, "make image: %s", out)
	var images []Image
	require.NoError(p.t, json.Unmarshal([]byte(p.do("image", "inspect", name)), &images))
	require.Len(p.t, images, 1)
	return images[0]
}

// Image is what podman tells of an image.
type Image struct {
	ID           string `json:"Id"`
	Architecture string
	OS           string `json:"Os"`
	Size         int64
	Config       struct {
		User       string
		Entrypoint []string
		Cmd        []string
		Volumes    map[string]struct{}
	}
	RootFS struct{ Layers []string }
}

// Run starts a container that ends with the test. podman stays in front of it:
// its output and its exit code are the container's.
func (p *Podman) Run(image Image, options []string, args ...string) *Container {
	p.t.Helper()
	c := &Container{podman: p, name: "gateway-" + strings.ToLower(rand.Text())}
	// Where this process dies first, the container ends a little later.
	all := append([]string{"run", "--rm", "--name", c.name, "--timeout=300"}, hardened...)
	all = append(append(append(all, options...), image.ID), args...)
	c.process = start(p.t, c.name, p.command(all...))
	return c
}

// Container is a running container.
type Container struct {
	*process
	podman *Podman
	name   string
}

// Stop ends the container as podman does for an operator: SIGTERM, and SIGKILL
// to what is still there after the limit. It gives the exit code.
func (c *Container) Stop(limit time.Duration) (code int, took time.Duration) {
	c.podman.t.Helper()
	began := time.Now()
	c.podman.do("stop", "--time", fmt.Sprint(int(limit.Seconds())), c.name)
	took = time.Since(began)
	return c.Code(), took
}

// Code waits for the end and gives the exit code.
func (c *Container) Code() int {
	c.podman.t.Helper()
	select {
	case <-c.done:
	case <-time.After(startTimeout):
		c.podman.t.Fatalf("%s does not end; it printed:\n%s", c.name, c.Said())
	}
	return c.cmd.ProcessState.ExitCode()
}

// Said is everything that the container printed.
func (c *Container) Said() string { return strings.Join(c.log.last(everyLine), "\n") }

// Proc is the folder in the host's /proc of the container's first process.
func (c *Container) Proc() string {
	c.podman.t.Helper()
	return filepath.Join("/proc", c.podman.do("inspect", "--format={{.State.Pid}}", c.name))
}

// Processes gives the folders in the host's /proc of all its processes: a
// gateway may have workers.
func (c *Container) Processes() []string {
	c.podman.t.Helper()
	space, err := os.Readlink(filepath.Join(c.Proc(), "ns", "pid"))
	require.NoError(c.podman.t, err)
	return processes(c.podman.t, func(proc string) bool {
		s, err := os.Readlink(filepath.Join(proc, "ns", "pid"))
		return err == nil && s == space
	})
}

// processes gives the folders in /proc of those processes.
func processes(t testing.TB, which func(proc string) bool) (out []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, proc := range all {
		if which(proc) {
			out = append(out, proc)
		}
	}
	return out
}
