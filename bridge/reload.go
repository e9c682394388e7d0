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
	if len(changes) == 0 && reflect.DeepEqual(old.Machines, c.Machines) && g.allServed(c) {
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

	// An outbox that is full, because nothing takes what is in it, accepts again by
	// these: they must not wait for it.
	if uplinks != nil {
		g.putRelay(uplinks)
	}
	if c.Outbox.MaxSize > old.Outbox.MaxSize {
		g.log.SetMaxSize(c.Outbox.MaxSize)
	}
	r.detach()
	if !g.committer.between(swap{done: make(chan struct{}), drain: r.drain, put: func(k *committer) {
		k.set.Levels, k.segment, k.set.CommitBytes = levels, segment, int(segment/4)
		k.dropOld, k.maxAge = !c.Outbox.StopPolling, c.Outbox.MaxAge
		g.log.SetMaxSize(c.Outbox.MaxSize)
	}}) {
		return nil, errors.New("the gateway ends")
	}
	for name, s := range r.fresh {
		if r.gone[name] == nil {
			s.begin(g.events.write)
		}
	}
	g.mu.Lock()
	g.config, g.sinks, g.leftOut = c, r.sinks, nil
	g.mu.Unlock()
	r.attach()
	return changes, nil
}

// putRelay has another relay take over, once what the one before has under way is
// stored.
func (g *Gateway) putRelay(r *relay.Relay) {
	g.mu.Lock()
	before := g.relay
	g.relay = r
	unused := g.relaying != before
	g.endRelay()
	g.mu.Unlock()
	if unused { // it never ran
		if err := before.Close(); err != nil {
			g.logger.Error("an uplink that is no more cannot be closed", "error", err)
		}
	}
}

// allServed tells whether each machine is read, with the secrets that there are
// now. One that is not may be now: what its file names may have changed.
func (g *Gateway) allServed(c *configs.Config) bool {
	g.mu.Lock()
	sinks, leftOut := g.sinks, len(g.leftOut)
	g.mu.Unlock()
	if leftOut > 0 {
		return false
	}
	secrets := make(map[string][32]byte)
	for i := range c.Machines {
		secrets[c.Machines[i].Name] = secretsOf(c.State, &c.Machines[i])
	}
	return !slices.ContainsFunc(sinks, func(s *sink) bool {
		return !s.isServed() || s.secrets != secrets[s.machine] || g.endpointOf(s.machine) == nil
	})
}

// endpointOf gives the endpoint that reads a machine; nil where none does, or
// nothing runs there any more. Called with reloading held.
func (g *Gateway) endpointOf(machine string) *endpoint {
	for _, e := range g.endpoints {
		if e.has(machine) && !e.isOver() {
			return e
		}
	}
	return nil
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
