package bridge

import (
	"context"
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
	intake   *intake
	events   func(stream.Event)

	mu      sync.Mutex // guards all below
	pending *stream.Machine
	link    point.Link
	until   time.Time // when the decisions have to be made again; zero: never
	meta    []point.Meta
	last    time.Time
}

var _ point.Sink = (*sink)(nil)

// Take implements point.Sink.
func (s *sink) Take(ctx context.Context, samples []point.Sample) error {
	if err := s.intake.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	now := s.now()
	if !s.until.IsZero() && !now.Before(s.until) {
		s.decide(now)
	}
	size := s.pending.Take(samples)
	events := s.pending.Events()
	s.last = now
	s.mu.Unlock()
	for _, e := range events {
		s.events(e)
	}
	s.intake.add(size)
	return nil
}

// Link implements point.Sink. Decisions follow what was negotiated.
func (s *sink) Link(l point.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.State == point.LinkUp && (s.link.State != point.LinkUp || l.Since != s.link.Since) {
		s.pending.Reconnected()
	}
	s.link = l
	s.decide(s.now())
}

// Describe implements point.Sink.
func (s *sink) Describe(index uint32, m point.Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(index) < len(s.meta) {
		s.meta[index] = m
	}
}

// decide compiles the decisions anew; points that stop or resume by it are an
// event. Called with mu held.
func (s *sink) decide(now time.Time) {
	negotiated := point.AnyConnection
	if s.link.State == point.LinkUp {
		negotiated = s.link.Security
	}
	before := s.pending.Decisions()
	t := s.policy.Compile(s.machine, s.points, negotiated, now)
	clear := make([]bool, len(t.Decisions))
	for i, d := range t.Decisions {
		l, _ := s.policy.Level(d.Level)
		clear[i] = l.Send == policy.SendClear
	}
	s.pending.Decide(t.Decisions, clear)
	s.until = t.Until
	for _, e := range changes(s.machine, s.points, before, t.Decisions) {
		s.events(e)
	}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.Drain(dst)
}

// status tells how the machine is.
func (s *sink) status() status.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := status.Machine{Name: s.machine, About: s.about, Protocol: s.protocol, Last: s.last, Points: make(map[string]int)}
	m.OfLink(s.link)
	for i, d := range s.pending.Decisions() {
		m.Points[d.Treatment.String()]++
		if d.Treatment == policy.Withheld {
			m.Withheld = append(m.Withheld, status.Withheld{Point: s.points[i].Name, Rule: d.Rule, Why: d.Why})
		}
		if s.meta[i].Status != "" {
			m.Unread = append(m.Unread, status.Unread{Point: s.points[i].Name, Status: s.meta[i].Status})
		}
	}
	m.Samples = status.Samples(s.pending.Counts())
	m.Withheld = slices.Clip(m.Withheld)
	return m
}
