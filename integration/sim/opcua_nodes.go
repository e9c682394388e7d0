package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"
)

// simNode is one variable of the simulated server.
type simNode struct {
	id      *ua.NodeID // in the server that runs
	value   func(now time.Time) any
	after   func()               // called when a reader has the value
	fast    bool                 // changes four times a second
	changed time.Time            // since when it has this value
	instead func() *ua.DataValue // by Override
	last    any
}

// populate adds the nodes of one machine: s=mixer-1.State and so on.
func (p *OPCUA) populate(m *machine) {
	add := func(name string, fast bool, value func(time.Time) any) *simNode {
		n := &simNode{value: value, fast: fast, changed: m.start}
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
		n.after = func() {
			if k := len(c.served); k == 0 || c.served[k-1] != c.next {
				c.served = append(c.served, c.next)
			}
		}
	}
	log := add("TorqueLog", true, func(now time.Time) any { return slices.Clone(m.payload.at(now)) })
	log.after = func() { m.payload.gaveOut(m.payload.current) }
}

// load adds a node for benchmarks.
func (p *OPCUA) load(i int) {
	p.nodes[fmt.Sprintf("Load.%d", i)] = &simNode{value: func(now time.Time) any { return int32(now.Unix()) + int32(i) }}
}

// give is asked by the server for each read and each notification.
func (p *OPCUA) give(n *simNode) *ua.DataValue {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.instead != nil {
		return n.instead()
	}
	now := p.now()
	p.look(n, now)
	if n.after != nil {
		n.after()
	}
	return &ua.DataValue{
		EncodingMask: ua.DataValueValue | ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp,
		Value:        ua.MustVariant(n.last), SourceTimestamp: n.changed, ServerTimestamp: now,
	}
}

// look notes the node's value, and since when it has it.
func (p *OPCUA) look(n *simNode, now time.Time) (moved bool) {
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
func (p *OPCUA) move(ctx context.Context, slow bool) {
	moved := []*ua.NodeID{ua.NewNumericNodeID(0, id.Server_ServerStatus_CurrentTime)}
	p.mu.Lock()
	s := p.server
	for _, n := range p.nodes {
		if (n.fast || slow) && p.look(n, p.now()) {
			moved = append(moved, n.id)
		}
	}
	p.mu.Unlock()
	for _, node := range moved {
		if s != nil {
			room(ctx, s)
		}
		if ctx.Err() != nil || s == nil {
			return
		}
		s.ChangeNotification(node)
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
	n := p.nodes[machine+"."+name]
	if n == nil {
		panic("sim: there is no node " + machine + "." + name)
	}
	n.instead = value
	s, node := p.server, n.id
	p.mu.Unlock()
	if s != nil {
		s.ChangeNotification(node)
	}
}

func (p *OPCUA) machine(name string) *machine {
	k := slices.IndexFunc(p.machines, func(m *machine) bool { return m.name == name })
	if k < 0 {
		panic("sim: there is no machine " + name)
	}
	return p.machines[k]
}
