package opcua

import (
	"io"
	"sync"
)

// sender writes frames to a pipe in order, without blocking who sends them. What
// gathers while a write is under way goes out in one write.
type sender struct {
	mu      sync.Mutex
	wake    *sync.Cond
	pending []byte
	limit   int // of pending, for frames that may be left out
	closed  bool
}

func newSender(limit int) *sender {
	s := &sender{limit: limit}
	s.wake = sync.NewCond(&s.mu)
	return s
}

// send queues a frame. Where it may be left out and the reader is too slow, it
// is, and false is the answer.
func (s *sender) send(frame []byte, mayDrop bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || mayDrop && len(s.pending)+len(frame) > s.limit {
		return false
	}
	s.pending = append(s.pending, frame...)
	s.wake.Signal()
	return true
}

// close ends run after what is queued is written.
func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake.Signal()
}

// run writes until close, or until a write fails.
func (s *sender) run(w io.Writer) error {
	var out []byte
	for {
		s.mu.Lock()
		for len(s.pending) == 0 && !s.closed {
			s.wake.Wait()
		}
		out, s.pending = s.pending, out[:0]
		done := s.closed && len(out) == 0
		s.mu.Unlock()
		if done {
			return nil
		}
		if _, err := w.Write(out); err != nil {
			s.close()
			return err
		}
		clear(out) // frames hold keys and values
		if cap(out) > 1<<20 {
			out = nil
		}
	}
}
