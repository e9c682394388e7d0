package stream

import (
	"time"
	"unsafe"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// guards makes one for each point that is passed through. One that cannot be
// made, which the loader refuses, passes nothing.
func guards(points []Point) []*ciphertext.Guard {
	out := make([]*ciphertext.Guard, len(points))
	for i := range points {
		if p := &points[i]; p.Passthrough != "" {
			c := p.Guard
			c.Format = p.Passthrough
			out[i], _ = ciphertext.NewGuard(c)
		}
	}
	return out
}

// Guarded is what outlives the process of the guard of one point.
type Guarded struct {
	Origin string           `json:"origin"`
	State  ciphertext.State `json:"state"`
}

// Guards gives the memory of the guards, by point.
func (m *Machine) Guards() map[string]Guarded {
	out := make(map[string]Guarded)
	for i, g := range m.guards {
		if g != nil {
			out[m.points[i].Name] = Guarded{m.points[i].Origin, g.State()}
		}
	}
	return out
}

// Remember takes up what an earlier process knew of the points, where they are
// the same still.
func (m *Machine) Remember(of map[string]Guarded) {
	for i, g := range m.guards {
		if was, ok := of[m.points[i].Name]; ok && g != nil && was.Origin == m.points[i].Origin {
			g.Restore(was.State)
		}
	}
}

// Succeed takes up what the machine that this one takes the place of has seen:
// counters, guards and what was sent last, where a point is the same still.
func (m *Machine) Succeed(old *Machine) {
	m.counts = old.counts
	sameOrder := len(m.points) == len(old.points)
	for i := range m.points {
		p := &m.points[i]
		sameOrder = sameOrder && p.Name == old.points[i].Name
		for k := range old.points {
			q := &old.points[k]
			if q.Name != p.Name || q.Origin != p.Origin {
				continue
			}
			if q.Passthrough == p.Passthrough && m.guards[i] != nil && old.guards[k] != nil {
				m.guards[i], old.guards[k] = old.guards[k], nil // it is nobody's twice
			}
			if q.Report == p.Report {
				m.last[i] = old.last[k]
			}
			m.marks[i] = old.marks[k]
		}
	}
	if sameOrder { // or each point goes out once, for whoever may read it now
		m.decisions, m.clear = old.decisions, old.clear
	} else {
		m.Reconnected()
	}
}

// pass judges a payload that claims to be ciphertext, and forwards it byte for
// byte, or seals it, or holds it back.
func (m *Machine) pass(l *lane, i int, s *point.Sample) int {
	p, d := &m.points[i], &m.decisions[i]
	verdict := ciphertext.Verdict{Reason: "nothing can be passed of it"}
	if g := m.guards[i]; g != nil {
		verdict = g.Judge(s.Value.Data(), time.Unix(0, s.Time))
	}
	instead := d.Readable
	if verdict.Probation {
		instead = d.Probation
	}
	held := instead != policy.Sealed || m.clear[i]
	for _, e := range verdict.Events {
		text := e.Text
		if !verdict.Pass {
			text += map[bool]string{true: "; its payloads are held back", false: "; its payloads are sealed"}[held]
		}
		m.events = append(m.events, Event{Name: e.Name, Machine: m.name, Point: p.Name, Text: text})
	}
	switch {
	case verdict.Pass && !d.Wrap:
		m.counts.Passthrough++
		body := append([]byte(nil), s.Value.Data()...)
		l.passed = append(l.passed, passed{p.Name, p.ContentType, s.Time, body})
		m.kept += int(unsafe.Sizeof(passed{})) + cap(body)
		return len(body)
	case verdict.Pass && m.clear[i]:
		held = true // nothing may be sealed into a level that sends in clear
	case verdict.Pass:
		held = false
	}
	if verdict.Probation {
		m.counts.Probation++
	}
	if held {
		m.counts.Held++
		return 0
	}
	m.counts.Sealed++
	return m.add(l, p, s)
}
