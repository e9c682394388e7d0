//go:build interop

package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a peer may take to be ready, on a busy machine.
const startTimeout = time.Minute

// everyLine is more lines than a process prints.
const everyLine = 1 << 30

// process is a peer that runs in its own process group. What it prints on both
// outputs is kept, and shown where the test fails; a command that says where its
// output goes keeps to that.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *lines
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// start runs a command. The process ends with the test, and dies with the
// test's process too.
func start(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: newLines(), done: make(chan struct{})}
	if cmd.Stderr = p.log; cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", name, strings.Join(p.log.last(60), "\n"))
		}
	})
	return p
}

// stop sends the signal to the group and waits for the end; what has not ended
// after 10 s is killed. Stopping what has ended does nothing.
func (p *process) stop(sig syscall.Signal) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// line waits for a line that holds text, and gives what follows the text.
func (p *process) line(t testing.TB, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	line, err := p.log.wait(ctx, text, p.done)
	if err != nil {
		t.Fatalf("%s did not say %q: %v; it printed:\n%s", p.name, text, err, strings.Join(p.log.last(60), "\n"))
	}
	_, rest, _ := strings.Cut(line, text)
	return strings.TrimSpace(rest)
}

// lines keeps what is written to it, line by line.
type lines struct {
	mu      sync.Mutex
	whole   []string
	partial []byte
	changed chan struct{} // closed and replaced when whole grows
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		head, tail, found := bytes.Cut(b, []byte("\n"))
		l.partial = append(l.partial, head...)
		if !found {
			return n, nil
		}
		l.whole = append(l.whole, string(l.partial))
		l.partial, b = l.partial[:0], tail
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (l *lines) last(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.whole[max(0, len(l.whole)-n):]
	if len(l.partial) > 0 {
		out = append(slices.Clone(out), string(l.partial))
	}
	return slices.Clone(out)
}

var errEnded = errors.New("the process has ended")

// wait gives the first line that holds text. Past ended it looks once more.
func (l *lines) wait(ctx context.Context, text string, ended <-chan struct{}) (string, error) {
	for seen, last := 0, false; ; {
		l.mu.Lock()
		fresh, changed := l.whole[seen:], l.changed
		l.mu.Unlock()
		for _, line := range fresh {
			if strings.Contains(line, text) {
				return line, nil
			}
		}
		seen += len(fresh)
		if last {
			return "", errEnded
		}
		select {
		case <-changed:
		case <-ended:
			last = true
		case <-ctx.Done():
			return "", fmt.Errorf("cannot wait longer: %w", ctx.Err())
		}
	}
}
