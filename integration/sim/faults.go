package sim

import "time"

// fault is an exception that a unit answers with where a request touches a run
// of addresses.
type fault struct {
	fc          byte
	first, last uint16
	code        byte
	whole       bool // only where it touches all of them
}

// meets tells whether a request is answered with the exception.
func (f fault) meets(r Request) bool {
	first, end := int(r.First), int(r.First)+int(r.Count)
	switch {
	case f.fc != r.Function:
		return false
	case f.whole:
		return first <= int(f.first) && end > int(f.last)
	default:
		return first <= int(f.last) && end > int(f.first)
	}
}

// unit is a machine behind the endpoint, with what is wrong with it.
type unit struct {
	machine *machine
	memory  *memory
	dead    bool
	delay   time.Duration
	faults  []fault
}

// Exception lets the machine answer every request that touches these holding
// registers with the exception code. Function code 3 is meant unless another is
// given.
func (p *Modbus) Exception(machine string, first, last uint16, code byte, fc ...byte) {
	f := fault{fc: byte(holding), first: first, last: last, code: code}
	if len(fc) > 0 {
		f.fc = fc[0]
	}
	p.with(machine, func(u *unit) { u.faults = append(u.faults, f) })
}

// Border lets the machine refuse requests for holding registers that reach over
// the border before the register, as devices do between two of their areas.
func (p *Modbus) Border(machine string, register uint16) {
	f := fault{fc: byte(holding), first: register - 1, last: register, code: 2, whole: true}
	p.with(machine, func(u *unit) { u.faults = append(u.faults, f) })
}

// Mend takes back Exception, Border, Dead and Delay.
func (p *Modbus) Mend(machine string) {
	p.with(machine, func(u *unit) { u.faults, u.dead, u.delay = nil, false, 0 })
}

// Dead lets the machine leave requests without an answer, like a unit behind a
// gateway that is switched off.
func (p *Modbus) Dead(machine string) { p.with(machine, func(u *unit) { u.dead = true }) }

// Delay lets the machine take its time for each answer.
func (p *Modbus) Delay(machine string, d time.Duration) {
	p.with(machine, func(u *unit) { u.delay = d })
}

// HalfFrame lets the next answer, of any machine, break off in the middle, and
// closes its connection.
func (p *Modbus) HalfFrame() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfFrames++
}

// SetPlaintext lets the device give its log out unencrypted, or encrypted again.
func (p *Modbus) SetPlaintext(machine string, plain bool) {
	p.with(machine, func(u *unit) {
		u.machine.payload.plain = plain
		u.machine.payload.renew()
	})
}

// NextPayload lets the device make its next log now.
func (p *Modbus) NextPayload(machine string) {
	p.with(machine, func(u *unit) { u.machine.payload.renew() })
}

// with changes a unit. A machine that there is not is a mistake of the test.
func (p *Modbus) with(machine string, f func(*unit)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.units {
		if u.machine.name == machine {
			f(u)
			return
		}
	}
	panic("sim: there is no machine " + machine)
}
