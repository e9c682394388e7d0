//go:build interop

package interop

import (
	"debug/elf"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shutdown is how long a gateway may take to end: less than the 10 s after
// which podman kills.
const shutdown = 8 * time.Second

// TestContainer runs the image that `make image` makes, in other people's
// containers, and looks at it from outside.
func TestContainer(t *testing.T) {
	podman := NewPodman(t)
	image := podman.Make("fieldseal:test", runtime.GOARCH)
	assert.Equal(t, "65532:65532", image.Config.User)
	assert.Equal(t, []string{"/fieldseal"}, image.Config.Entrypoint)
	assert.Equal(t, []string{"run"}, image.Config.Cmd)
	assert.Empty(t, image.Config.Volumes, "state that nobody mounted must not go into a volume that nobody knows of")
	assert.Len(t, image.RootFS.Layers, 1)
	static(t, runtime.GOARCH)
	again := podman.Make("fieldseal:again", runtime.GOARCH)
	assert.Equal(t, image.RootFS, again.RootFS, "the same source gives the same bytes")
	t.Logf("the image has %d bytes", image.Size)

	t.Run("another architecture", func(t *testing.T) {
		other := "arm64"
		if runtime.GOARCH == other {
			other = "amd64"
		}
		made := podman.For(t).Make("fieldseal:other", other)
		assert.Equal(t, other, made.Architecture)
		assert.Equal(t, "linux", made.OS)
		static(t, other)
	})
	t.Run("thread", func(t *testing.T) { containerThread(t, podman.For(t), image) })
	t.Run("state that cannot be written", func(t *testing.T) { containerWithoutState(t, podman.For(t), image) })
}

// static shows that the program needs nobody to load it.
func static(t *testing.T, architecture string) {
	t.Helper()
	f, err := elf.Open(filepath.Join("..", "..", "bin", "image", architecture, "fieldseal"))
	require.NoError(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		assert.NotEqual(t, elf.PT_INTERP, p.Type, "the program wants a loader, and the image has none")
	}
	assert.Equal(t, map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture], f.Machine)
}

// containerThread is TestThread with the gateway in a container: what the
// machines gave out arrives once, signed, at who may read it.
func containerThread(t *testing.T, podman *Podman, image Image) {
	p := newPlant(t, "250ms", 1, 7)
	mounts := p.site.mounts()
	gateway := podman.Run(image, mounts)
	gateway.line(t, "msg=running")
	p.enough(t, 12)

	g := p.site.status() // the host's program, through the socket in the mounted state
	assert.Equal(t, uint64(1), g.Start)
	require.Len(t, g.Machines, len(p.units))
	for _, m := range g.Machines {
		assert.Equal(t, "up", m.State, m.Error)
	}
	all := gateway.Processes()
	require.Contains(t, all, gateway.Proc())
	var resident, most int
	for _, process := range all {
		confined(t, process)
		resident += kilobytes(t, process, "VmRSS")
		most += kilobytes(t, process, "VmHWM")
	}

	p.server.Stop()
	p.site.drained(20 * time.Second)
	code, took := gateway.Stop(shutdown)
	assert.Zero(t, code, gateway.Said())
	assert.Less(t, took, shutdown)

	// The state is kept: a container made anew goes on where the other ended. This
	// one has its credential from podman.
	podman.do("secret", "create", "keystore", p.site.path("container", "secrets", "keystore"))
	p.server.Start()
	before := len(p.server.Truth(1))
	gateway = podman.Run(image, []string{
		mounts[0], mounts[2], "--secret=keystore,target=/credentials/keystore,uid=65532,mode=0400", "--env=CREDENTIALS_DIRECTORY=/credentials",
	})
	gateway.line(t, "msg=running")
	p.enough(t, before+5)
	assert.Equal(t, uint64(2), p.site.status().Start)
	p.server.Stop()
	p.site.drained(20 * time.Second)
	code, _ = gateway.Stop(shutdown)
	assert.Zero(t, code, gateway.Said())

	o := p.site.open()
	complete(t, o)
	n := everyCounter(t, o, p.units)
	assert.Empty(t, p.server.Refused())
	t.Logf("%d samples opened, %d counter values, each once and signed; image %.1f MB; RSS of %d processes %.1f MB, at most %.1f MB; ended %s after SIGTERM",
		len(o.samples), n, float64(image.Size)/1e6, len(all), float64(resident)/1e3, float64(most)/1e3, took.Round(10*time.Millisecond))
}

// confined shows what a process may not do, as the kernel tells it.
func confined(t *testing.T, proc string) {
	t.Helper()
	status := fields(t, proc)
	user := strings.Repeat("65532 ", 3) + "65532"
	assert.Equal(t, user, status["Uid"])
	assert.Equal(t, user, status["Gid"])
	assert.Equal(t, "65532", status["Groups"])
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		assert.Equal(t, "0000000000000000", status[set], set)
	}
	assert.Equal(t, "1", status["NoNewPrivs"])
	assert.Equal(t, "2", status["Seccomp"], "no filter of system calls")

	// The kernel gives the files of a process that cannot be dumped to root.
	environ, err := os.Stat(filepath.Join(proc, "environ"))
	require.NoError(t, err)
	assert.Zero(t, environ.Sys().(*syscall.Stat_t).Uid, "another process of the same user can look into its memory")
	limits, err := os.ReadFile(filepath.Join(proc, "limits"))
	require.NoError(t, err)
	assert.Regexp(t, `Max core file size +0 +0 `, string(limits))

	mounts, err := os.ReadFile(filepath.Join(proc, "mountinfo"))
	require.NoError(t, err)
	how := make(map[string]string) // mount point → options
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		how[f[4]] = f[5]
	}
	for where, want := range map[string]string{"/": "ro", "/etc/fieldseal": "ro", "/run/secrets": "ro", "/var/lib/fieldseal": "rw"} {
		options := strings.Split(how[where], ",")
		assert.Contains(t, options, want, "%s is mounted %q", where, how[where])
	}
	files, err := filepath.Glob(filepath.Join(proc, "root", "*"))
	require.NoError(t, err)
	var programs []string
	for _, f := range files {
		if info, err := os.Lstat(f); err == nil && !info.IsDir() {
			programs = append(programs, filepath.Base(f))
		}
	}
	assert.Equal(t, []string{"fieldseal"}, programs, "the image has one file")
}

// fields reads a process's status.
func fields(t *testing.T, proc string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(proc, "status"))
	require.NoError(t, err)
	out := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		out[key] = strings.Join(strings.Fields(value), " ")
	}
	return out
}

func kilobytes(t *testing.T, proc, field string) int {
	t.Helper()
	text := fields(t, proc)[field]
	n, err := strconv.Atoi(strings.TrimSuffix(text, " kB"))
	require.NoError(t, err, "%s is %q", field, text)
	return n
}

// containerWithoutState shows that who forgot the state, or gave it to somebody
// else, is told so. None of them starts.
func containerWithoutState(t *testing.T, podman *Podman, image Image) {
	p := newPlant(t, "1s", 1)
	mounts := p.site.mounts()
	forgotten := mounts[:len(mounts)-1]
	readOnly := append(slices.Clone(forgotten), mounts[len(mounts)-1]+":ro")
	refused := func(options []string, why ...string) {
		c := podman.Run(image, options)
		assert.Equal(t, 1, c.Code(), c.Said())
		lines := c.log.last(everyLine)
		require.NotEmpty(t, lines)
		for _, text := range why {
			assert.Contains(t, lines[len(lines)-1], text)
		}
		assert.NotContains(t, c.Said(), "msg=running")
	}
	refused(forgotten, "the state folder /var/lib/fieldseal is ", "mounted?", "keys init")
	refused(readOnly, "/var/lib/fieldseal", "read-only file system")
	own(t, p.site.path("state"), 0, 0)
	refused(mounts, "the state folder /var/lib/fieldseal", "to uid 0, and this runs as uid 65532", "chown -R 65532 /var/lib/fieldseal")
	assert.Empty(t, p.server.Truth(1), "a gateway without its state polls nothing")
}

// mounts lays the gateway's folder out for a container and gives podman's
// options: its configuration, the state and a secret, where a container has
// them; the state is the last. What belongs to other people stays where it is.
func (s *site) mounts() []string {
	s.t.Helper()
	const group = containerUser
	config, secrets := s.path("container", "config"), s.path("container", "secrets")
	require.NoError(s.t, os.MkdirAll(filepath.Join(config, "machines"), 0o750))
	require.NoError(s.t, os.MkdirAll(secrets, 0o750))
	for _, pattern := range []string{"*", "machines/*"} {
		files, err := filepath.Glob(s.path(pattern))
		require.NoError(s.t, err)
		for _, file := range files {
			info, err := os.Stat(file)
			require.NoError(s.t, err)
			if !info.Mode().IsRegular() {
				continue
			}
			b, err := os.ReadFile(file)
			require.NoError(s.t, err)
			if filepath.Base(file) == "gateway.yaml" {
				const here = "\nstate: state\n"
				require.Contains(s.t, string(b), here)
				// An image of one file has no zone files: the program brings them.
				b = []byte(strings.Replace(string(b), here, "\ntime_zone: Europe/Berlin\nstate: /var/lib/fieldseal\n", 1))
			}
			name, err := filepath.Rel(s.dir, file)
			require.NoError(s.t, err)
			require.NoError(s.t, os.WriteFile(filepath.Join(config, name), b, 0o640))
		}
	}
	// The credential is a mounted secret and lies beside the state no more.
	require.NoError(s.t, os.Rename(s.path("state", "credentials", "keystore"), filepath.Join(secrets, "keystore")))
	require.NoError(s.t, os.Chmod(filepath.Join(secrets, "keystore"), 0o440))
	own(s.t, s.path("container"), 0, group)
	own(s.t, s.path("state"), containerUser, group)
	return []string{
		"--volume=" + config + ":/etc/fieldseal:ro",
		"--volume=" + secrets + ":/run/secrets:ro",
		"--volume=" + s.path("state") + ":/var/lib/fieldseal",
	}
}

// own gives a folder and what is in it to somebody.
func own(t testing.TB, folder string, user, group int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, user, group)
		}
		return err
	}))
}
