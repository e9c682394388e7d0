package bridge

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
)

// rewiring is what a reload does to machines and endpoints.
type rewiring struct {
	g        *Gateway
	old, new *configs.Config
	was      map[string]*configs.Machine
	kept     map[string]*sink     // of machines that are read as before
	gone     map[string]*sink     // of those that are not read any more, or otherwise
	fresh    map[string]*sink     // of those that are attached
	sinks    []*sink              // all that will be
	made     []*endpoint          // new ones, in place of none
	places   map[string]*endpoint // of the fresh
}

func (g *Gateway) rewire(old, c *configs.Config) *rewiring {
	r := &rewiring{
		g: g, old: old, new: c, was: make(map[string]*configs.Machine), places: make(map[string]*endpoint),
		kept: make(map[string]*sink), gone: make(map[string]*sink), fresh: make(map[string]*sink),
	}
	for i := range old.Machines {
		r.was[old.Machines[i].Name] = &old.Machines[i]
	}
	return r
}

// prepare makes what is new, and changes nothing that runs.
func (r *rewiring) prepare() error {
	for _, s := range r.g.allSinks() {
		r.gone[s.machine] = s
	}
	var moved []*configs.Machine
	for i := range r.new.Machines {
		m := &r.new.Machines[i]
		was, s := r.was[m.Name], r.gone[m.Name]
		if was != nil && s != nil && s.isServed() && sameReading(was, m) && r.g.endpointOf(m.Name) != nil && s.secrets == secretsOf(r.new.State, m) {
			r.kept[m.Name] = s
			delete(r.gone, m.Name)
			r.sinks = append(r.sinks, s)
			continue
		}
		fresh := r.g.newSinkOf(r.new, m, func(stream.Event) {}) // it may come to nothing
		r.fresh[m.Name] = fresh
		r.sinks = append(r.sinks, fresh)
		moved = append(moved, m)
	}
	w := r.g.wiring(r.new, r.fresh)
	for _, m := range moved {
		all := append(slices.Clone(r.g.endpoints), r.made...)
		if k := slices.IndexFunc(all, func(e *endpoint) bool { return e.serves(r.new.State, m) }); k >= 0 {
			r.places[m.Name] = all[k]
			continue
		}
		groups := w.groups([]configs.Machine{*m})
		if len(groups) == 0 {
			return fmt.Errorf("machine %s: no protocol", m.Name)
		}
		e, err := w.endpoint(groups[0])
		if err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
		r.made = append(r.made, e)
		r.places[m.Name] = e
	}
	return nil
}

// sameReading tells whether two descriptions of a machine are read in the very
// same way, so that nothing of the field side has to change.
func sameReading(a, b *configs.Machine) bool {
	return reflect.DeepEqual(a.Modbus, b.Modbus) && reflect.DeepEqual(a.OPCUA, b.OPCUA) && reflect.DeepEqual(a.CoAP, b.CoAP) && a.Protocol() == b.Protocol() && sameEndpoint(a, b)
}

// detach takes away what is read no more, or otherwise. An endpoint without
// machines ends before another one may take its place at the device.
func (r *rewiring) detach() {
	for name := range r.gone {
		for _, e := range r.g.endpoints {
			if !e.has(name) {
				continue
			}
			if _, err := e.detach(name); err != nil {
				r.g.logger.Error("a machine cannot be detached", "machine", name, "error", err)
			}
		}
	}
	r.g.endpoints = slices.DeleteFunc(r.g.endpoints, func(e *endpoint) bool {
		if e.of == nil || !e.empty() || r.needed(e) {
			return false
		}
		e.stop()
		<-e.ended
		return true
	})
}

func (r *rewiring) needed(e *endpoint) bool {
	for _, p := range r.places {
		if p == e {
			return true
		}
	}
	return false
}

// drain takes what is pending of all machines, and has those that go on decide
// by the new configuration.
func (r *rewiring) drain(dst []stream.Pending) []stream.Pending {
	for name, s := range r.gone {
		dst = s.drain(dst)
		if next := r.fresh[name]; next != nil {
			next.succeed(s)
		}
	}
	for i := range r.new.Machines {
		m := &r.new.Machines[i]
		if s := r.kept[m.Name]; s != nil {
			dst = s.follow(dst, r.new, m, !reflect.DeepEqual(r.was[m.Name], m))
		}
	}
	return dst
}

// attach reads what is new. A machine that cannot be attached, although its
// description was found good, is left out.
func (r *rewiring) attach() {
	for i := range r.new.Machines {
		m := &r.new.Machines[i]
		s := r.fresh[m.Name]
		if s == nil {
			for _, e := range r.g.endpoints {
				e.redescribe(m)
			}
			continue
		}
		if err := r.places[m.Name].attach(m, s); err != nil {
			r.g.leaveOut(m.Name, err)
			r.g.forget(s)
		}
	}
	for _, e := range r.made {
		r.g.run(e)
	}
	r.g.endpoints = append(r.g.endpoints, r.made...)
}

// forget takes a sink away that no source has.
func (g *Gateway) forget(s *sink) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sinks = slices.DeleteFunc(slices.Clone(g.sinks), func(o *sink) bool { return o == s })
}

func (e *endpoint) empty() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.attached) == 0
}

// isServed tells whether samples of the machine are taken.
func (s *sink) isServed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.withdrawn == "" && s.source != nil
}

// isOver tells whether the endpoint's source has ended for good.
func (e *endpoint) isOver() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// begin has the sink of a new machine write events from now on, and says which
// points do not leave.
func (s *sink) begin(events func(stream.Event)) {
	s.events = events
	s.guarded(func() { s.told = append(s.told, changes(s.machine, s.points, nil, s.pending.Decisions())...) })
}

// succeed takes up what another sink of the machine has counted and seen.
func (s *sink) succeed(old *sink) {
	old.guarded(func() { s.pending.Succeed(old.pending) })
	s.events = old.events
	s.guarded(s.decide)
}

// follow hands over what is pending, and decides by another configuration from
// then on. With changed set the machine's description is another one, too.
func (s *sink) follow(dst []stream.Pending, c *configs.Config, m *configs.Machine, changed bool) []stream.Pending {
	out := dst
	s.guarded(func() {
		out = s.pending.Drain(dst)
		s.policy = &c.Policy
		if changed {
			next := newPending(m)
			next.Succeed(s.pending)
			s.pending, s.about, s.points = next, m.About, policyPoints(m)
			for i, meta := range s.meta {
				if meta.Unit != "" {
					s.pending.Describe(i, meta.Unit)
				}
			}
		}
		s.decide()
	})
	return out
}

// clip shortens a text for a log.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}
