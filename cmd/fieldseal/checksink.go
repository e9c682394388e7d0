package main

import (
	"context"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
)

// downFor is how long a machine may be down before the check takes that for the
// answer: what a first connection is refused, a second one may be given.
const downFor = 3 * time.Second

// checkSink takes what a machine answers, until each point was read once or the
// machine is known to be down. It keeps no value.
type checkSink struct {
	machine *configs.Machine
	enough  chan struct{}

	mu      sync.Mutex // guards what follows
	link    point.Link
	linked  bool            // it was up
	quality []point.Quality // of the last sample of each point
	seen    []bool
	status  []string // why a point is not read
	left    int      // points that were not read yet
	down    *time.Timer
	over    bool
}

func newCheckSink(m *configs.Machine) *checkSink {
	n := len(m.Points)
	return &checkSink{
		machine: m, enough: make(chan struct{}), quality: make([]point.Quality, n), seen: make([]bool, n), status: make([]string, n), left: n,
	}
}

var _ point.Sink = (*checkSink)(nil)

// Take implements point.Sink.
func (s *checkSink) Take(_ context.Context, samples []point.Sample) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link.State != point.LinkUp {
		return nil
	}
	for i := range samples {
		k := samples[i].Point
		if int(k) >= len(s.seen) {
			continue
		}
		if !s.seen[k] {
			s.left--
		}
		s.seen[k], s.quality[k] = true, samples[i].Quality
	}
	if s.left == 0 {
		s.finish()
	}
	return nil
}

// Link implements point.Sink.
func (s *checkSink) Link(l point.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
	if l.State == point.LinkUp {
		s.linked = true
		if s.down != nil {
			s.down.Stop()
			s.down = nil
		}
		if s.left == 0 {
			s.finish()
		}
		return
	}
	if s.down == nil {
		s.down = time.AfterFunc(downFor, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.link.State != point.LinkUp {
				s.finish()
			}
		})
	}
}

// Describe implements point.Sink.
func (s *checkSink) Describe(index uint32, m point.Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(index) < len(s.status) {
		s.status[index] = m.Status
	}
}

// finish says that enough was seen. Called with mu held.
func (s *checkSink) finish() {
	if !s.over {
		s.over = true
		close(s.enough)
	}
}

// stop ends what is under way.
func (s *checkSink) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		s.down.Stop()
	}
}
