//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/files"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// vectorFolder holds what every implementation of docs/format.md has to answer.
const vectorFolder = "../../bridge/envelope/testdata/vectors"

// opener is a reader of the format that shares no code with ours.
type opener struct {
	name, program string
	vectors, open string   // scripts
	version       []string // arguments that print the version
	hybrid        bool     // opens the recipients that are safe against a quantum computer
}

// openers gives the ones under docs/openers. A missing one fails the test.
func openers(t *testing.T) []*opener {
	t.Helper()
	const folder = "../../docs/openers/"
	js, py := folder+"javascript/", folder+"python/"
	require.DirExists(t, js+"node_modules", "run integration/interop/install.sh")
	all := []*opener{
		{name: "node opener", program: "node", vectors: js + "vectors.mjs", open: js + "open.mjs", hybrid: true, version: []string{"--version"}},
		{
			name: "python opener", program: "/usr/bin/python3", vectors: py + "vectors.py", open: py + "open.py",
			version: []string{"-c", "import platform, cryptography; print(platform.python_version(), 'with cryptography', cryptography.__version__)"},
		},
	}
	for _, o := range all {
		r := o.run(t, o.version...)
		require.Zero(t, r.code, "%s: %s", o.name, r.stderr)
		ran(o.name, strings.TrimSpace(r.stdout))
	}
	return all
}

// run runs the opener's language to its end.
func (o *opener) run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.program, args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONUTF8=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run the %s: %v", o.name, err)
	}
	require.NoError(t, ctx.Err(), "the %s does not end", o.name)
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// TestOpenersVectors has each opener answer every vector. What one cannot open
// it has to name.
func TestOpenersVectors(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(vectorFolder, "*.json"))
	require.NoError(t, err)
	require.Greater(t, len(paths), 100)
	want := make(map[string]string) // name → how a full opener answers
	hybrids := make(map[string]bool)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		var v struct {
			Name, Fault string
			Identities  []struct{ Alg int }
		}
		require.NoError(t, json.Unmarshal(b, &v))
		if want[v.Name] = "opened"; v.Fault != "" {
			want[v.Name] = "right class"
		}
		for _, i := range v.Identities {
			hybrids[v.Name] = hybrids[v.Name] || i.Alg == 57 || i.Alg == 55
		}
	}
	line := regexp.MustCompile(`^(opened|right class|unsupported) +([a-z0-9-]+): `)
	for _, o := range openers(t) {
		t.Run(o.name, func(t *testing.T) {
			r := o.run(t, o.vectors, vectorFolder)
			require.Zero(t, r.code, "%s%s", r.stdout, r.stderr)
			lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
			got := make(map[string]string)
			var unsupported []string
			for _, l := range lines[:len(lines)-1] {
				m := line.FindStringSubmatch(l)
				require.NotNil(t, m, "line %q", l)
				if got[m[2]] = m[1]; m[1] == "unsupported" {
					unsupported = append(unsupported, l)
				}
			}
			assert.Len(t, got, len(want))
			for name, answer := range want {
				// A newer cryptography library opens the hybrids from Python too.
				if hybrids[name] && !o.hybrid && len(unsupported) > 0 {
					answer = "unsupported"
				}
				assert.Equal(t, answer, got[name], name)
			}
			t.Log(lines[len(lines)-1])
			for _, l := range unsupported {
				t.Log(l)
			}
		})
	}
}

// TestOpenersStream reads what a gateway delivered, from nats-server and from
// segments: each opener prints what fieldseal open prints.
func TestOpenersStream(t *testing.T) {
	everyone := openers(t)
	p := newPlant(t, "100ms", 1, 7)
	p.site.classical(historian)
	p.site.start()
	p.enough(t, 30)
	p.server.Stop()
	p.site.drained(20 * time.Second)
	p.site.stop()
	folder := p.segments(t)

	for _, person := range []string{historian, engineering} {
		ours := p.site.openAs(p.site.identity(person), "--trust", p.site.path("trust.yaml"))
		require.Zero(t, ours.code, ours.stderr)
		require.NotEmpty(t, ours.samples)
		want := objects(t, ours.lines)
		fromNATS := []string{
			"--nats", p.broker.URL, "--stream", streamName, "--prefix", prefix, "--end",
			"--ca", p.broker.Certs.CA, "--cert", p.site.reader.Cert, "--key", p.site.reader.Key,
		}
		for _, o := range everyone {
			args := []string{o.open, "-i", p.site.identity(person), "--trust-key", gatewayName + "=" + p.site.signing}
			for source, more := range map[string][]string{"NATS": fromNATS, "files": {folder}} {
				t.Run(person+", "+o.name+", "+source, func(t *testing.T) {
					began := time.Now()
					r := o.run(t, append(args, more...)...)
					got := objects(t, strings.SplitAfter(r.stdout, "\n"))
					t.Logf("%d lines in %v", len(got), time.Since(began).Round(time.Millisecond))
					if strings.Contains(r.stderr, "is not supported") {
						require.False(t, o.hybrid)
						require.Equal(t, engineering, person, "the historian's key is one that Python opens: %s", r.stderr)
						assert.Equal(t, 1, r.code, "what an opener cannot open is not in order")
						assert.Equal(t, inClear(want), got, "what is clear is there all the same")
						return
					}
					assert.Zero(t, r.code, r.stderr)
					assert.Equal(t, want, got)
				})
			}
		}
	}

	// Somebody else's key vouches for nothing.
	for _, o := range everyone {
		r := o.run(t, o.open, "-i", p.site.identity(historian), "--trust-key", gatewayName+"=ed25519:"+strings.Repeat("A", 42)+"A=", folder)
		assert.Equal(t, 1, r.code, o.name)
		assert.Empty(t, r.stdout, o.name)
		assert.Contains(t, r.stderr, "bad-signature", o.name)
	}

	// Nothing read is not in order.
	for _, o := range everyone {
		r := o.run(t, o.open, "--trust-key", gatewayName+"="+p.site.signing, t.TempDir())
		assert.Equal(t, 1, r.code, o.name)
		assert.Contains(t, r.stderr, "nothing came", o.name)
	}
}

// classical gives somebody a key that is older than the hybrids, before the
// gateway starts.
func (s *site) classical(name string) {
	s.t.Helper()
	home := s.path("people", name)
	require.NoError(s.t, os.RemoveAll(home))
	require.NoError(s.t, os.MkdirAll(home, 0o700))
	said := must(s.t, "keys", "recipient", name, "--algorithm", "p256", "-o", home)
	public, err := os.ReadFile(filepath.Join(home, name+".pub"))
	require.NoError(s.t, err)
	s.write(name+".pub", string(public))
	trust, err := os.ReadFile(s.path("trust.yaml"))
	require.NoError(s.t, err)
	line := regexp.MustCompile(`(?m)^ +` + name + `:.*$`)
	require.Len(s.t, line.FindAll(trust, -1), 1)
	trust = line.ReplaceAllLiteral(trust, []byte(after(s.t, said, "under recipients:\n")))
	s.write("trust.yaml", strings.Replace(string(trust), "revision: 1", "revision: 2", 1))
	s.approve()
}

// segments writes the broker's stream as a files uplink does, and gives the
// folder.
func (p *plant) segments(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(p.dir, "segments")
	u, err := files.New(files.Config{Folder: folder, Gateway: gatewayName, SegmentSize: 64 << 10})
	require.NoError(t, err)
	var batch []envelope.Message
	for _, m := range all(t, p.broker, streamName) {
		x, err := nats.Parse(prefix, m.Subject, m.Header, m.Data)
		require.NoError(t, err)
		batch = append(batch, x)
	}
	n, err := u.Send(t.Context(), batch)
	require.NoError(t, err)
	require.Len(t, batch, n)
	require.NoError(t, u.Close())
	return folder
}

// objects reads JSON lines. Numbers are compared as numbers: 5 and 5.0 are one.
func objects(t *testing.T, lines []string) (out []map[string]any) {
	t.Helper()
	for _, l := range lines {
		if l == "" {
			continue
		}
		var o map[string]any
		require.NoError(t, json.Unmarshal([]byte(l), &o), "line %q", l)
		out = append(out, o)
	}
	return out
}

// inClear gives those lines that were not sealed.
func inClear(lines []map[string]any) (out []map[string]any) {
	for _, l := range lines {
		if l["sealed"] == false {
			out = append(out, l)
		}
	}
	return out
}
