//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// commandTimeout is how long a command may take that is no service.
const commandTimeout = time.Minute

// raced is what the race detector prints.
const raced = "WARNING: DATA RACE"

// program is fieldseal, built with the race detector.
func program(t testing.TB) string {
	t.Helper()
	path, err := build("fieldseal", func(out string) (*exec.Cmd, error) {
		return exec.CommandContext(t.Context(), "go", "build", "-race", "-o", out, "github.com/fieldseal/fieldseal/cmd/fieldseal"), nil
	})
	require.NoError(t, err)
	return path
}

// environment keeps the race detector from waiting a second at each end, and
// fieldseal open from remembering approvers from one test to the next.
func environment() []string {
	return append(os.Environ(), "GORACE=atexit_sleep_ms=0", "XDG_CONFIG_HOME=", "HOME=")
}

// result is what a command printed, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

// fieldseal runs one command to its end.
func fieldseal(t testing.TB, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run fieldseal %s: %v", strings.Join(args, " "), err)
	}
	require.NoError(t, ctx.Err(), "fieldseal %s does not end", strings.Join(args, " "))
	require.NotContains(t, stderr.String(), raced)
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs one command that has to succeed, and gives what it printed.
func must(t testing.TB, args ...string) string {
	t.Helper()
	r := fieldseal(t, args...)
	require.Zero(t, r.code, "fieldseal %s:\n%s%s", strings.Join(args, " "), r.stdout, r.stderr)
	return r.stdout
}

// sample is a line of fieldseal open.
type sample struct {
	Time     string          `json:"time"`
	Gateway  string          `json:"gateway"`
	Machine  string          `json:"machine"`
	Point    string          `json:"point"`
	Level    string          `json:"level"`
	Value    json.RawMessage `json:"value"` // none where the machine gave none
	Unit     string          `json:"unit"`
	Quality  string          `json:"quality"`
	Payload  []byte          `json:"payload"` // what the machine encrypted itself
	Sealed   bool            `json:"sealed"`
	Sequence uint64          `json:"sequence"`
	Proof    string          `json:"proof"`
}

// streamStats is what fieldseal open --stats tells of a stream.
type streamStats struct {
	Stream string `json:"stream"` // gateway/machine/level
	Epochs []struct {
		Epoch    string   `json:"epoch"`
		Received []string `json:"received"`
		Closed   bool     `json:"closed"`
	} `json:"epochs"`
	Gaps   []string `json:"gaps"`
	Losses []struct {
		Range  string `json:"range"`
		Reason string `json:"reason"`
	} `json:"losses"`
	SignedThrough uint64            `json:"signed_through"`
	Pending       int               `json:"pending"`
	Unopened      uint64            `json:"unopened"`
	Duplicates    uint64            `json:"duplicates"`
	Forgeries     []json.RawMessage `json:"forgeries"`
}

// opened is what fieldseal open printed.
type opened struct {
	result
	lines   []string // of the samples
	samples []sample
	streams []streamStats
}

// parse reads the lines that a fieldseal open printed.
func (r result) parse(t testing.TB) *opened {
	t.Helper()
	o := &opened{result: r}
	for line := range strings.Lines(r.stdout) {
		if strings.HasPrefix(line, `{"streams":`) {
			var last struct {
				Streams []streamStats `json:"streams"`
			}
			require.NoError(t, json.Unmarshal([]byte(line), &last))
			o.streams = last.Streams
			continue
		}
		var s sample
		require.NoError(t, json.Unmarshal([]byte(line), &s), "line %q", line)
		o.samples = append(o.samples, s)
		o.lines = append(o.lines, line)
	}
	return o
}

// counters gives the values of a machine's counter, in the order they came.
func (o *opened) counters(t testing.TB, machine string) []uint32 {
	t.Helper()
	return values[uint32](t, o, machine, "counter")
}

// values gives all values of a point.
func values[T any](t testing.TB, o *opened, machine, point string) []T {
	t.Helper()
	var out []T
	for _, s := range o.samples {
		if s.Machine != machine || s.Point != point || s.Value == nil {
			continue
		}
		var v T
		require.NoError(t, json.Unmarshal(s.Value, &v), "%s/%s is %s", machine, point, s.Value)
		out = append(out, v)
	}
	return out
}

// proofs counts the samples by proof.
func (o *opened) proofs() map[string]int {
	out := make(map[string]int)
	for _, s := range o.samples {
		out[s.Proof]++
	}
	return out
}

// until waits for a condition, which it looks at again and again.
func until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-end.C:
			t.Fatalf("after %s still not: %s", limit, what)
		case <-t.Context().Done():
			t.Fatalf("the test ended before: %s", what)
		}
	}
}
