package sim

import (
	"bytes"
	"slices"
	"time"
)

// Given is one value as a machine gave it out.
type Given struct {
	// At is its source time where the protocol has one, in steps of 100 ns as OPC
	// UA has it. Otherwise it is when the answer was made: whoever asks one thing
	// after the other has the answer after that, and before the next At.
	At time.Time
	// Value is what the mapping file makes of it: bool, int64, uint64, float64,
	// string or []byte.
	Value any
	// Plain tells of a payload that the device did not encrypt.
	Plain bool
}

// History is what was given out of one point.
type History struct {
	Total uint64  // of values that a consumer has to have
	Kept  []Given // the newest of them, in order: no more than the option Record
}

// history is a [History] that grows. nil keeps nothing.
type history struct {
	most  int
	total uint64
	kept  []Given // up to twice as many
}

func (h *history) add(g Given) {
	if h == nil {
		return
	}
	if len(h.kept) >= 2*h.most {
		h.kept = append(h.kept[:0], h.kept[len(h.kept)-h.most+1:]...)
		clear(h.kept[len(h.kept):cap(h.kept)])
	}
	h.total++
	h.kept = append(h.kept, g)
}

func (h *history) newest() History {
	return History{h.total, slices.Clone(h.kept[max(0, len(h.kept)-h.most):])}
}

// record gives the history of a point; nil where none is asked for.
func (m *machine) record(point string) *history {
	if m.most <= 0 {
		return nil
	}
	if m.histories[point] == nil {
		m.histories[point] = &history{most: m.most}
	}
	return m.histories[point]
}

// recorded gives the history of a point. A point that there is not is a mistake
// of the test.
func (m *machine) recorded(point string) History {
	h := m.histories[point]
	if h == nil {
		panic("sim: nothing was recorded of " + point + " of " + m.name)
	}
	return h.newest()
}

// noting gives what notes a value that depends on nothing but the time.
func (m *machine) noting(point string, value func(now time.Time) any) func(now time.Time) {
	h := m.record(point)
	if h == nil {
		return nil
	}
	return func(now time.Time) { h.add(Given{At: now, Value: value(now)}) }
}

// sent notes a value of a node that left the server.
func (n *simNode) sent(at time.Time, raw any) {
	n.given++
	if n.history == nil {
		return
	}
	g := Given{At: at.Truncate(100 * time.Nanosecond)}
	switch v := raw.(type) {
	case uint16:
		g.Value = uint64(v)
	case uint32:
		g.Value = uint64(v)
	case float32:
		g.Value = float64(v)
	case []byte:
		g.Value, g.Plain = bytes.Clone(v), !n.encrypted(v)
	default:
		g.Value = v
	}
	n.history.add(g)
}

// watched is what a reader of a payload behind Modbus does: it reads the counter,
// the payload, and the counter again, and takes the payload if that did not move.
type watched struct {
	requests uint64 // to the machine
	counter  uint16 // as it was given out last
	payload  []byte // that was given out
	at       time.Time
	before   uint16 // the counter before the payload
	request  uint64 // that the payload was the answer to
}

// readPayload notes that a reader has the payload.
func (p *payload) readPayload(b []byte, now time.Time) {
	p.gaveOut(b)
	p.reader.payload, p.reader.at = bytes.Clone(b), now
	p.reader.before, p.reader.request = p.reader.counter, p.reader.requests
}

// readCounter notes that a reader has the counter. The payload of the request
// just before is a sample now, if the counter has not moved.
func (p *payload) readCounter(version uint16) {
	r := &p.reader
	if r.payload != nil && r.before == version && r.request+1 == r.requests {
		p.history.add(Given{At: r.at, Value: r.payload, Plain: !p.encrypted(r.payload)})
	}
	r.payload, r.counter = nil, version
}

// encrypted tells whether it can be opened with the device's key.
func (p *payload) encrypted(b []byte) bool {
	_, err := p.open(b)
	return err == nil
}

// History gives what was given out of a point, as the mapping file calls it, if
// the option Record asks for it. A payload counts where its counter did not move
// while it was read.
func (p *Modbus) History(machine, point string) (h History) {
	p.with(machine, func(u *unit) { h = u.machine.recorded(point) })
	return h
}

// History gives what left the server of a point, as the mapping file calls it,
// if the option Record asks for it: as many values as [OPCUA.Given] tells.
func (p *OPCUA) History(machine, point string) History {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine(machine).recorded(point)
}
