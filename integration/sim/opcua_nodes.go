package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"
)

// simNode is one variable of the simulated server.
type simNode struct {
	id      *ua.NodeID // in the server that runs
	value   func(now time.Time) any
	after   func(value any)      // called when a reader has the value
	fast    bool                 // changes four times a second
	changed time.Time            // since when it has this value
	instead func() *ua.DataValue // by Override
	last    any
	given   uint64    // how often a value was given out
	read    time.Time // of the value that a read gave, until the next notification
	history *history

	encrypted func(b []byte) bool // whether the device did that to its payload
}

// populate adds the nodes of one machine: s=mixer-1.State and so on.
func (p *OPCUA) populate(m *machine) {
	add := func(name string, fast bool, value func(time.Time) any) *simNode {
		n := &simNode{value: value, fast: fast, changed: m.start, history: m.record(pointOf(name)), encrypted: m.payload.encrypted}
		p.nodes[m.name+"."+name] = n
		return n
	}
	add("State", false, func(now time.Time) any { return m.state(now) })
	add("Nameplate", false, func(time.Time) any { return m.nameplate() })
	add("Temperature", false, func(now time.Time) any { return m.temperature(now) })
	add("Energy", false, func(now time.Time) any { return m.energy(now) })
	add("PumpOn", false, func(now time.Time) any { return m.pumpOn(now) })
	add("Force", true, func(now time.Time) any { return m.force(now) })
	add("ProgramName", false, func(time.Time) any { return m.programName() })
	for point, name := range map[string]string{Counter: "Counter", PublicCounter: "PublicCounter"} {
		c := m.counts[point]
		c.next = 1
		n := add(name, true, func(time.Time) any { return c.next })
		n.after = func(value any) {
			if k := len(c.served); k == 0 || c.served[k-1] != value.(uint32) {
				c.served = append(c.served, value.(uint32))
			}
		}
	}
	log := add("TorqueLog", true, func(now time.Time) any { return slices.Clone(m.payload.at(now)) })
	log.after = func(value any) { m.payload.gaveOut(value.([]byte)) }
}

// load adds a node for benchmarks.
func (p *OPCUA) load(i int) {
	p.nodes[fmt.Sprintf("Load.%d", i)] = &simNode{value: func(now time.Time) any { return int32(now.Unix()) + int32(i) }}
}

// give is asked by the server for each read.
func (p *OPCUA) give(n *simNode) *ua.DataValue {
	p.mu.Lock()
	defer p.mu.Unlock()
	value := p.notice(n)
	if value.raw != nil {
		n.sent(n.changed, value.raw)
		n.read = n.changed
		n.note(value.raw)
	}
	return value.value
}

// gave notes that a notification leaves. One that repeats what was just read is
// the same sample: a subscription begins with it.
func (p *OPCUA) gave(one notice) {
	n := one.item.node
	if n == nil || one.raw == nil {
		return
	}
	if !n.read.Equal(one.value.SourceTimestamp) {
		n.sent(one.value.SourceTimestamp, one.raw)
	}
	n.read = time.Time{}
	n.note(one.raw)
}

func (n *simNode) note(value any) {
	if n.after != nil {
		n.after(value)
	}
}

// notice gives what the node holds; nil is the server's clock. Under the mutex.
func (p *OPCUA) notice(n *simNode) notice {
	now := p.now()
	d := &ua.DataValue{
		EncodingMask:    ua.DataValueValue | ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp,
		SourceTimestamp: now, ServerTimestamp: now,
	}
	switch {
	case n == nil:
		d.Value = ua.MustVariant(now)
		return notice{value: d}
	case n.instead != nil:
		return notice{value: n.instead()}
	}
	p.look(n, now)
	d.Value, d.SourceTimestamp = ua.MustVariant(n.last), n.changed
	return notice{value: d, raw: n.last}
}

// look notes the node's value, and since when it has it.
func (p *OPCUA) look(n *simNode, now time.Time) (moved bool) {
	if p.still && n.last != nil {
		return false
	}
	v := n.value(now)
	if b, ok := v.([]byte); ok {
		was, _ := n.last.([]byte)
		moved = !slices.Equal(b, was)
	} else {
		moved = v != n.last
	}
	if moved {
		n.last, n.changed = v, now
	}
	return moved
}

// move tells subscribers of what changed.
func (p *OPCUA) move(slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := map[*simNode]bool{nil: true} // the clock
	for _, n := range p.nodes {
		if (n.fast || slow) && n.instead == nil && p.look(n, p.now()) {
			moved[n] = true
		}
	}
	for _, s := range p.subs {
		for _, m := range s.items {
			if moved[m.node] {
				s.add(m, p.notice(m.node))
			}
		}
	}
}

// Count moves the machine's counters by one.
func (p *OPCUA) Count(machine string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.machine(machine)
	m.counts[Counter].next++
	m.counts[PublicCounter].next++
}

// Override lets the node s=machine.name give this instead of its value; nil ends
// it. Subscribers are told.
func (p *OPCUA) Override(machine, name string, value func() *ua.DataValue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[machine+"."+name]
	if n == nil {
		panic("sim: there is no node " + machine + "." + name)
	}
	n.instead = value
	for _, s := range p.subs {
		for _, m := range s.items {
			if m.node == n {
				s.add(m, p.notice(n))
			}
		}
	}
}

func (p *OPCUA) machine(name string) *machine {
	k := slices.IndexFunc(p.machines, func(m *machine) bool { return m.name == name })
	if k < 0 {
		panic("sim: there is no machine " + name)
	}
	return p.machines[k]
}
