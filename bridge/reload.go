package bridge

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// ErrRefused means that a configuration was not put in force; what was before is.
var ErrRefused = errors.New("the running configuration stays")

// Reload puts a configuration in force that was read anew, all of it or nothing.
// Decisions, and who may read, change between two commits, without a reconnect.
// A machine that is read otherwise than before is detached and attached; no other
// one notices. Uplinks are changed once what was sent is stored. The gateway's
// name, its state folder and what it listens on need a restart.
//
// It waits while the outbox accepts nothing, and may be called from one goroutine
// at a time or several.
func (g *Gateway) Reload(c *configs.Config, problems []configs.Problem) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if g.stopped == nil || g.stopped.Err() != nil {
		return fmt.Errorf("%w: the gateway does not run", ErrRefused)
	}
	changes, err := g.replace(c, problems)
	g.mu.Lock()
	g.reload = status.Reload{Time: g.now().UTC(), Changes: changes}
	if err != nil {
		g.reload.Refused = err.Error()
	}
	g.mu.Unlock()
	if err != nil {
		g.logger.Error("reload refused; the running configuration stays", "error", err)
		g.events.write(stream.Event{Name: "reload-refused", Text: err.Error()})
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if len(changes) == 0 {
		g.logger.Info("reload: nothing has changed")
		return nil
	}
	text := strings.Join(changes, "; ")
	g.logger.Info("reloaded", "changes", text)
	g.events.write(stream.Event{Name: "reloaded", Text: clip(text, maxChanges)})
	return nil
}

// replace validates everything before anything is changed.
func (g *Gateway) replace(c *configs.Config, problems []configs.Problem) ([]string, error) {
	old := g.configuration()
	if err := reloadable(old, c, problems); err != nil {
		return nil, err
	}
	levels, err := levelsOf(c)
	if err != nil {
		return nil, err
	}
	for i := range c.Machines {
		if err := readable(c, &c.Machines[i], g.now()); err != nil {
			return nil, fmt.Errorf("machine %s: %w", c.Machines[i].Name, err)
		}
	}
	segment, err := g.roomFor(c, levels)
	if err != nil {
		return nil, err
	}
	changes := difference(old, c, g.now())
	if len(changes) == 0 && reflect.DeepEqual(old.Machines, c.Machines) {
		return nil, nil
	}
	r := g.rewire(old, c)
	if err := r.prepare(); err != nil {
		return nil, err
	}
	var uplinks *relay.Relay
	if !reflect.DeepEqual(old.Uplinks, c.Uplinks) {
		if uplinks, err = g.newRelay(c, g.keys); err != nil {
			return nil, err
		}
	}
	if err := g.acceptAgain(c); err != nil {
		if uplinks != nil {
			err = errors.Join(err, uplinks.Close())
		}
		return nil, err
	}

	r.detach()
	if !g.committer.between(swap{done: make(chan struct{}), drain: r.drain, put: func(k *committer) {
		k.set.Levels, k.segment = levels, segment
		k.dropOld, k.maxAge = !c.Outbox.StopPolling, c.Outbox.MaxAge
		g.log.SetMaxSize(c.Outbox.MaxSize)
	}}) {
		return nil, errors.New("the gateway ends")
	}
	g.mu.Lock()
	g.config, g.sinks, g.leftOut = c, r.sinks, nil
	g.mu.Unlock()
	r.attach()
	if uplinks != nil {
		g.mu.Lock()
		g.relay = uplinks
		g.endRelay()
		g.mu.Unlock()
	}
	return changes, nil
}

// reloadable refuses what has problems, and what needs a restart.
func reloadable(old, c *configs.Config, problems []configs.Problem) error {
	var wrong []string
	for _, p := range problems {
		if p.Fatal || p.LeavesOut() {
			wrong = append(wrong, p.String())
		}
	}
	if c != nil && c.Approved != nil {
		for _, r := range c.Approved.Refused {
			wrong = append(wrong, r.Problem.String())
		}
	}
	restart := func(what string) error {
		return fmt.Errorf("%s cannot change while the gateway runs; start it again", what)
	}
	switch {
	case len(wrong) == 1:
		return errors.New(wrong[0])
	case len(wrong) > 1:
		return fmt.Errorf("%s (and %d more problems: fieldseal check)", wrong[0], len(wrong)-1)
	case c == nil || c.Approved == nil:
		return errors.New("nobody approved the configuration")
	case c.Gateway != old.Gateway:
		return restart("the gateway's name")
	case c.State != old.State:
		return restart("the state folder")
	case c.Keystore != old.Keystore:
		return restart("what opens the keystore")
	case c.Metrics != old.Metrics:
		return restart("where metrics are served")
	}
	return nil
}

// roomFor tells what is left of the outbox's segments beside the streams that the
// configuration can have.
func (g *Gateway) roomFor(c *configs.Config, levels []stream.Level) (int64, error) {
	g.committer.mu.Lock()
	set := g.committer.set.Config
	g.committer.mu.Unlock()
	set.Levels = levels
	cost, err := streamsCostOf(c, &set, g.now())
	if err != nil {
		return 0, err
	}
	for _, s := range g.committer.streams() {
		cost.add(s.Machine, s.Level, c.Gateway)
	}
	switch {
	case cost.bytes > g.segment*3/4:
		return 0, errors.New("the outbox's segments are too small for this many streams and recipients; start the gateway again, which makes them larger")
	case c.Outbox.MaxSize < 4*g.segment:
		return 0, fmt.Errorf("max_size of the outbox is less than four of its segments of %d KiB; start the gateway again, which makes them smaller", g.segment>>10)
	}
	return g.segment - cost.bytes, nil
}

// acceptAgain keeps the policy and the trust file before they are used.
func (g *Gateway) acceptAgain(c *configs.Config) error {
	store, err := approval.Open(c.State)
	if err != nil {
		return err
	}
	before := store.Accepted()
	if err := g.accepts(c, store, (*approval.Store).Keep); err != nil {
		return err
	}
	g.acceptedNow(c, before, store.Accepted())
	return nil
}

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
		if was != nil && s != nil && s.isServed() && sameReading(was, m) {
			r.kept[m.Name] = s
			delete(r.gone, m.Name)
			r.sinks = append(r.sinks, s)
			continue
		}
		fresh := r.g.newSinkOf(r.new, m)
		r.fresh[m.Name] = fresh
		r.sinks = append(r.sinks, fresh)
		moved = append(moved, m)
	}
	w := r.g.wiring(r.new, r.fresh)
	for _, m := range moved {
		all := append(slices.Clone(r.g.endpoints), r.made...)
		if k := slices.IndexFunc(all, func(e *endpoint) bool { return e.of != nil && sameEndpoint(e.of.machines[0], m) }); k >= 0 {
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
			left, err := e.detach(name)
			if err != nil {
				r.g.logger.Error("a machine cannot be detached", "machine", name, "error", err)
			}
			if left == 0 && !r.needed(e) {
				e.stop()
				<-e.ended
			}
		}
	}
	r.g.endpoints = slices.DeleteFunc(r.g.endpoints, func(e *endpoint) bool { return e.of != nil && e.empty() && !r.needed(e) })
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

// succeed takes up what another sink of the machine has counted and seen.
func (s *sink) succeed(old *sink) {
	old.guarded(func() { s.pending.Succeed(old.pending) })
	s.guarded(func() { s.decide() })
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
