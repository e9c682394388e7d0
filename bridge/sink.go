package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/policy"
)

// sink takes one machine's samples: it decides, filters and keeps them until
// the committer drains it.
type sink struct {
	machine  string
	about    string
	protocol string
	points   []policy.Point
	policy   *policy.Policy
	now      func() time.Time
	deciding func() (at time.Time, turn uint64) // as clock.Clock has it
	intake   *intake
	events   func(stream.Event)

	mu      sync.Mutex // guards all below
	pending *stream.Machine
	link    point.Link
	// negotiated is what decisions follow: what the last connection gave. While
	// there is none, only word of that is sampled, and no value.
	negotiated point.Security
	until      time.Time // when the decisions have to be made again; zero: never
	turn       uint64    // of the clock when they were made; they do not outlive it
	meta       []point.Meta
	last       time.Time
	told       []stream.Event // to be written once mu is free: that flushes
	rate       eventRate
	withdrawn  string        // why the machine is; empty while it is not
	counts     stream.Counts // as they were looked at last
	source     Source        // that reads the machine; nil: none does

	secrets [32]byte // a digest of what its credentials hold; never changed
}

// readBy notes which source has the machine.
func (s *sink) readBy(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = source
}

var _ point.Sink = (*sink)(nil)

// guarded calls fn with mu held, and writes the events of it without. A panic is
// this machine's fault and its alone: it is withdrawn, and what is pending of it
// with it. It does not go on to the source, which serves other machines too.
func (s *sink) guarded(fn func()) {
	for _, e := range s.locked(fn) {
		s.events(e)
	}
}

func (s *sink) locked(fn func()) (events []stream.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			s.withdraw(fmt.Sprintf("internal error: panic of type %T at %s", r, frames())) // its own text may hold a value
		}
		events, s.told = s.told, nil
	}()
	if s.withdrawn == "" {
		fn()
	}
	return nil
}

// withdraw drops the machine. Called with mu held.
func (s *sink) withdraw(why string) {
	if s.pending != nil {
		s.counts = s.pending.Counts()
	}
	s.withdrawn, s.pending = why, nil
	s.told = append(s.told, stream.Event{
		Name: "machine-withdrawn", Machine: s.machine,
		Text: why + "; what was pending of it is lost, and nothing more of it is sent until the gateway is started again",
	})
}

// Take implements point.Sink.
func (s *sink) Take(ctx context.Context, samples []point.Sample) error {
	if err := s.intake.wait(ctx); err != nil {
		return err
	}
	var size, kept int
	s.guarded(func() {
		now := s.now()
		s.keepDeciding()
		size, kept = s.pending.Take(samples)
		s.told = s.rate.limit(s.told, s.pending.Events(), now)
		s.last = now
	})
	s.intake.add(size, kept)
	return nil
}

// Link implements point.Sink. Decisions follow what was negotiated.
func (s *sink) Link(l point.Link) {
	s.guarded(func() {
		if l.State == point.LinkUp && (s.link.State != point.LinkUp || l.Since != s.link.Since) {
			s.pending.Reconnected()
		}
		if s.link = l; l.State == point.LinkUp {
			s.negotiated = l.Security
		}
		s.decide()
	})
}

// Describe implements point.Sink.
func (s *sink) Describe(index uint32, m point.Meta) {
	s.guarded(func() {
		if int(index) < len(s.meta) {
			s.meta[index] = m
			if m.Unit != "" {
				s.pending.Describe(int(index), m.Unit)
			}
		}
	})
}

// keepDeciding decides anew where the end of an exception has come, or the clock
// is another one than it was thought to be. Called with mu held.
func (s *sink) keepDeciding() {
	if at, turn := s.deciding(); turn != s.turn || !s.until.IsZero() && !at.Before(s.until) {
		s.decide()
	}
}

// decide compiles the decisions anew; points that stop or resume by it are an
// event. Called with mu held.
func (s *sink) decide() {
	before := s.pending.Decisions()
	at, turn := s.deciding()
	s.turn = turn
	t := s.policy.Compile(s.machine, s.points, s.negotiated, at)
	clear := make([]bool, len(t.Decisions))
	for i, d := range t.Decisions {
		l, _ := s.policy.Level(d.Level)
		clear[i] = l.Send == policy.SendClear
	}
	s.pending.Decide(t.Decisions, clear)
	s.until = t.Until
	s.told = append(s.told, changes(s.machine, s.points, before, t.Decisions)...)
}

// changes makes one event for all points that stop, or resume, for one reason.
func changes(machine string, points []policy.Point, before, after []policy.Decision) []stream.Event {
	type reason struct{ name, text string }
	var order []reason
	names := make(map[reason][]string)
	for i, d := range after {
		stops := d.Treatment == policy.Withheld
		stopped := before != nil && before[i].Treatment == policy.Withheld
		if stops == stopped {
			continue
		}
		r := reason{"points-resumed", d.Rule}
		if stops {
			r = reason{"points-stopped", d.Why}
		}
		if names[r] == nil {
			order = append(order, r)
		}
		names[r] = append(names[r], points[i].Name)
	}
	events := make([]stream.Event, 0, len(order))
	for _, r := range order {
		events = append(events, stream.Event{Name: r.name, Machine: machine, Point: strings.Join(names[r], ","), Text: r.text})
	}
	return events
}

// drain hands over what is pending.
func (s *sink) drain(dst []stream.Pending) []stream.Pending {
	out := dst
	s.guarded(func() { out = s.pending.Drain(dst) })
	return out
}

// status tells how the machine is, and why it was withdrawn if it was.
func (s *sink) status() (m status.Machine, withdrawn string) {
	s.guarded(func() {
		m.Points = make(map[string]int)
		for i, d := range s.pending.Decisions() {
			m.Points[d.Treatment.String()]++
			if d.Treatment == policy.Withheld {
				m.Withheld = append(m.Withheld, status.Withheld{Point: s.points[i].Name, Rule: d.Rule, Why: d.Why})
			}
			if s.meta[i].Status != "" {
				m.Unread = append(m.Unread, status.Unread{Point: s.points[i].Name, Status: s.meta[i].Status})
			}
		}
		s.counts = s.pending.Counts()
	})
	s.mu.Lock()
	source, points := s.source, s.points
	s.mu.Unlock()
	field := fieldOf(s.machine, points, source) // a source is asked without the mutex: it holds its own over calls to us
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.withdrawn != "" {
		m = status.Machine{Points: map[string]int{policy.Withheld.String(): len(s.points)}}
	}
	m.Name, m.About, m.Protocol, m.Last = s.machine, s.about, s.protocol, s.last
	m.OfLink(s.link)
	m.Field = field
	m.Samples = status.Samples(s.counts)
	m.Withheld = slices.Clip(m.Withheld)
	return m, s.withdrawn
}
