package opcua

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	silence  = 4 * beatEvery // of a worker that is taken for stuck
	dying    = time.Second   // that a worker has to end in good order
	maxWords = 16 << 10      // of what a dying worker writes
)

// host is one worker process, as the pool sees it.
type host struct {
	pool  *Pool
	cmd   *exec.Cmd
	in    *sender
	alone bool
	done  chan struct{} // closed when the process is gone and judged

	why atomic.Value // string: why it ended

	// Under the pool's mutex, and read by listen under mu.
	mu     sync.Mutex
	seats  map[uint32]*Source
	closed bool // takes nobody any more
	late   *time.Timer
}

// ownProgram is what is executed as a worker: this very program, also after an
// update replaced its file.
func ownProgram() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	path, _ := os.Executable()
	return path
}

// startHost starts a worker. Its environment holds nothing of ours, and its
// arguments tell nothing of what it is to read.
func startHost(p *Pool, alone bool) (*host, error) {
	cmd := exec.Command(p.options.Executable, p.options.Args...)
	cmd.Env = []string{"GOTRACEBACK=none", "GODEBUG=", "PATH=/nonexistent"}
	if raceDetector {
		cmd.Env = append(cmd.Env, "GORACE=halt_on_error=1")
	}
	cmd.Dir = "/"
	cmd.Stderr = nil
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &host{pool: p, cmd: cmd, in: newSender(0), alone: alone, done: make(chan struct{}), seats: map[uint32]*Source{}}
	p.hosts.Go(func() {
		var pipes sync.WaitGroup
		var words []byte
		pipes.Go(func() {
			_ = h.in.run(stdin)
			_ = stdin.Close()
		})
		pipes.Go(func() {
			words, _ = io.ReadAll(io.LimitReader(stderr, maxWords))
			_, _ = io.Copy(io.Discard, stderr)
		})
		err := h.listen(stdout)
		h.in.close()
		stop := time.AfterFunc(dying, func() { _ = cmd.Process.Kill() })
		if err != nil {
			_ = cmd.Process.Kill() // what it says is not to be trusted, or it is stuck
		}
		_, _ = io.Copy(io.Discard, stdout)
		pipes.Wait()
		ended := cmd.Wait()
		stop.Stop()
		h.mu.Lock()
		if h.late != nil {
			h.late.Stop()
		}
		h.mu.Unlock()
		why := epitaph(ended, err, words)
		if raceDetector && len(words) > 0 {
			p.log.Error("the worker wrote", "words", string(words))
		}
		h.why.Store(why)
		p.died(h, why)
		close(h.done)
	})
	return h, nil
}

// send queues a frame for the worker.
func (h *host) send(frame []byte) { h.in.send(frame, false) }

// reason is why the worker ended.
func (h *host) reason() string {
	s, _ := h.why.Load().(string)
	return s
}

// enter gives a source a seat. False: the worker is ending.
func (h *host) enter(s *Source) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.seats[s.number] = s
	return true
}

// exit takes a source's seat, and ends the worker with the last one.
func (h *host) exit(s *Source) (ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seats, s.number)
	if len(h.seats) > 0 || h.closed {
		return h.closed
	}
	h.closed = true
	h.in.close()
	h.late = time.AfterFunc(2*dying, func() { _ = h.cmd.Process.Kill() })
	return true
}

// abandon gives the sources that were left when the worker died.
func (h *host) abandon() (seats []*Source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, s := range h.seats {
		seats = append(seats, s)
	}
	slices.SortFunc(seats, func(a, b *Source) int { return int(a.number) - int(b.number) })
	h.seats = map[uint32]*Source{}
	return seats
}

// errStuck is a worker that lives and says nothing.
var errStuck = errors.New("the worker does not answer")

// listen takes the worker's frames until it ends. It never waits for a sink.
func (h *host) listen(stdout io.Reader) error {
	in := bufio.NewReaderSize(stdout, 64<<10)
	pipe, _ := stdout.(*os.File)
	for {
		if pipe != nil && in.Buffered() == 0 {
			_ = pipe.SetReadDeadline(time.Now().Add(silence))
		}
		b, err := readFrame(in, maxFromWorker)
		if err != nil {
			return said(err)
		}
		p := &parser{b: b}
		k, number := kind(p.u8()), p.u32()
		if k == framePing {
			if number != 0 || p.end() != nil {
				return errFrame
			}
			continue
		}
		h.mu.Lock()
		s := h.seats[number]
		h.mu.Unlock()
		if s == nil {
			continue // left meanwhile
		}
		if err := s.hear(h, k, p); err != nil {
			return err
		}
	}
}

// said is what a read that failed says of the worker: nothing, where it ended,
// because its exit says why.
func said(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStuck
	case errors.Is(err, errFrame):
		return err
	}
	return nil
}

// epitaph says why a worker ended. Of what it wrote itself only the kind of
// disaster is taken: it may hold what a server sent.
func epitaph(exit, listened error, words []byte) string {
	const begin = "the OPC UA worker process died: "
	switch {
	case errors.Is(listened, errStuck):
		return begin + "it did not answer and was ended"
	case listened != nil:
		return begin + "it sent what is not allowed and was ended"
	case bytes.Contains(words, []byte("stack overflow")), bytes.Contains(words, []byte("stack exceeds")):
		return begin + "the server's answer is nested without end"
	case bytes.Contains(words, []byte("out of memory")), bytes.Contains(words, []byte("cannot allocate memory")):
		return begin + fmt.Sprintf("the server's answer needs more than %d MiB of memory", memoryLimit>>20)
	case bytes.Contains(words, []byte("panic: ")):
		return begin + "the server's answer made the OPC UA library fail"
	}
	var status *exec.ExitError
	if errors.As(exit, &status) {
		if w, ok := status.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			return begin + "ended by signal " + strings.ToLower(w.Signal().String())
		}
		return begin + fmt.Sprintf("exit code %d", status.ExitCode())
	}
	return begin + "it ended"
}
