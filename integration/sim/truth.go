package sim

import (
	"maps"
	"slices"
)

// Served gives the numbers of [Counter] or [PublicCounter] that were given out,
// in order: each once, if nothing was lost on the way.
func (p *Modbus) Served(machine, point string) (numbers []uint32) {
	p.with(machine, func(u *unit) {
		c := u.machine.counts[point]
		if c == nil {
			panic("sim: " + point + " is no counter")
		}
		numbers = slices.Clone(c.served)
	})
	return numbers
}

// Payloads gives every different payload that was given out, in order. The last
// ones may have been read while they changed, and so not taken.
func (p *Modbus) Payloads(machine string) (all [][]byte) {
	p.with(machine, func(u *unit) { all = slices.Clone(u.machine.payload.served) })
	return all
}

// Open decrypts a payload, as the device maker's own service does.
func (p *Modbus) Open(machine string, payload []byte) (plain []byte, err error) {
	p.with(machine, func(u *unit) { plain, err = u.machine.payload.open(payload) })
	return plain, err
}

// Canaries are secret plaintexts as they stand in registers: none may be seen
// between the gateway and the reader.
func (p *Modbus) Canaries() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out [][]byte
	for _, u := range p.units {
		out = append(out, []byte(u.machine.programName()), []byte(u.machine.payload.secret()))
	}
	return out
}

// PublicCanaries are plaintexts of public points: a scan that does not find
// them upstream looks in the wrong place.
func (p *Modbus) PublicCanaries() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out [][]byte
	for _, u := range p.units {
		out = append(out, []byte(u.machine.nameplate()))
	}
	return out
}

// FunctionCodes gives every function code that was ever asked for, and how often.
func (p *Modbus) FunctionCodes() map[byte]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.codes)
}

// Request is one request as it arrived.
type Request struct {
	Machine      string // empty for a unit that there is not
	Function     byte
	First, Count uint16
	Dead         bool // it gets no answer
}
