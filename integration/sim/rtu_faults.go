package sim

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Names gives the machines on the line, in the order of their units.
func (l *RTULine) Names() []string {
	var out []string
	for _, id := range l.ids {
		out = append(out, l.units[id].name)
	}
	return out
}

// Units gives the unit ids in the order of Names.
func (l *RTULine) Units() []byte { return slices.Clone(l.ids) }

// FunctionCodes tells which function codes were asked for, and how often.
func (l *RTULine) FunctionCodes() map[byte]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.codes)
}

// Asked tells how many requests a machine had; none is the units that there are
// not.
func (l *RTULine) Asked(machine string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[machine]
}

// Dead lets the machine leave requests without an answer.
func (l *RTULine) Dead(machine string) { l.with(machine, func(u *rtuUnit) { u.dead = true }) }

// Exception lets the machine answer every request that touches these holding
// registers with the exception code.
func (l *RTULine) Exception(machine string, first, last uint16, code byte) {
	l.with(machine, func(u *rtuUnit) {
		u.faults = append(u.faults, fault{fc: byte(holding), first: first, last: last, code: code})
	})
}

// Mend takes back Dead and Exception.
func (l *RTULine) Mend(machine string) {
	l.with(machine, func(u *rtuUnit) { u.dead, u.faults = false, nil })
}

// Fine lets the machine's next answer come as it should: what is asked for after
// that happens to the one after it.
func (l *RTULine) Fine(machine string) { l.happen(machine, none) }

// Late lets the machine's next answer come when the next request, to whatever
// unit, is out, and before its answer.
func (l *RTULine) Late(machine string) { l.happen(machine, late) }

// LateToSame lets the machine's next answer come when the next request to the
// machine is out, and before its answer.
func (l *RTULine) LateToSame(machine string) { l.happen(machine, lateToSame) }

// WrongCRC lets a bit of the machine's next answer be changed on the way.
func (l *RTULine) WrongCRC(machine string) { l.happen(machine, wrongCRC) }

// HalfFrame lets the machine's next answer break off in the middle.
func (l *RTULine) HalfFrame(machine string) { l.happen(machine, halfFrame) }

// OtherUnit lets the next unit on the line give the machine's next answer.
func (l *RTULine) OtherUnit(machine string) { l.happen(machine, ofOtherUnit) }

// happen adds to what happens to the machine's next answers, one after another.
func (l *RTULine) happen(machine string, what mishap) {
	l.with(machine, func(u *rtuUnit) { u.mishap = append(u.mishap, what) })
}

// with changes a unit. A machine that there is not is a mistake of the test.
func (l *RTULine) with(machine string, f func(*rtuUnit)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.units {
		if u.name == machine {
			f(u)
			return
		}
	}
	panic("sim: there is no machine " + machine)
}

// crc16 is CRC-16/MODBUS, bit by bit as the specification has it.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			out := crc & 1
			crc >>= 1
			if out != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

func withCRC(frame []byte) []byte { return binary.LittleEndian.AppendUint16(frame, crc16(frame)) }
