package sim

import (
	"encoding/binary"
	"math"
	"time"
)

// table is a Modbus data table by the function code that reads it.
type table byte

const (
	coils    table = 1
	discrete table = 2
	holding  table = 3
	input    table = 4
)

// Addresses of the points on the wire.
const (
	atForce          = 100 // holding, float32, CDAB
	atState          = 120 // holding
	atCounter        = 130 // holding, uint32
	atPublicCounter  = 132 // holding, uint32
	atProgramName    = 200 // holding, 32 bytes
	atNameplate      = 220 // holding, 24 bytes
	atPayloadCounter = 499 // holding
	atPayload        = 500 // holding, PayloadSize bytes
	atEnergy         = 3203
	atTemperature    = 12 // input, int16, 0.1 °C
	atPumpOn         = 7  // coil
	atLoad           = 1000
)

const (
	programNameSize = 32
	nameplateSize   = 24
)

// span is a run of registers with what they hold. after is called when a reader
// has all of them.
type span struct {
	first, count int
	wire         func(now time.Time) (b []byte, after func())
}

// memory is the registers of one unit. Everything else is an illegal address.
type memory struct {
	holding []span
	input   []span
	coils   map[int]func(time.Time) bool
}

func (m *machine) memory(load int) *memory {
	text := func(at, size int, s string) span {
		b := make([]byte, size)
		copy(b, s)
		return fixed(at, size, func(time.Time) []byte { return b })
	}
	mem := &memory{
		holding: []span{
			fixed(atForce, 4, func(now time.Time) []byte {
				u := math.Float32bits(m.force(now))
				return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(u)), uint16(u>>16))
			}),
			fixed(atState, 2, func(now time.Time) []byte { return binary.BigEndian.AppendUint16(nil, m.state(now)) }),
			counted(atCounter, m.counts[Counter]),
			counted(atPublicCounter, m.counts[PublicCounter]),
			text(atProgramName, programNameSize, m.programName()),
			text(atNameplate, nameplateSize, m.nameplate()),
			fixed(atPayloadCounter, 2, func(now time.Time) []byte {
				m.payload.at(now)
				return binary.BigEndian.AppendUint16(nil, m.payload.version)
			}),
			{atPayload, PayloadSize / 2, func(now time.Time) ([]byte, func()) {
				b := m.payload.at(now)
				return b, func() { m.payload.gaveOut(b) }
			}},
			fixed(atEnergy, 8, func(now time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(m.energy(now))) }),
		},
		input: []span{fixed(atTemperature, 2, func(now time.Time) []byte {
			return binary.BigEndian.AppendUint16(nil, uint16(int16(math.Round(10*m.temperature(now)))))
		})},
		coils: map[int]func(time.Time) bool{atPumpOn: m.pumpOn},
	}
	if load > 0 {
		b := make([]byte, 2*load)
		mem.holding = append(mem.holding, fixed(atLoad, 2*load, func(now time.Time) []byte {
			for i := range load {
				binary.BigEndian.PutUint16(b[2*i:], uint16(i)+uint16(now.Unix()))
			}
			return b
		}))
	}
	return mem
}

// fixed is a span whose readers leave no trace.
func fixed(first, size int, wire func(time.Time) []byte) span {
	return span{first, size / 2, func(now time.Time) ([]byte, func()) { return wire(now), nil }}
}

// counted is a span that counts its readers: each that reads all of it gets the
// next number.
func counted(first int, c *counter) span {
	return span{first, 2, func(time.Time) ([]byte, func()) {
		next := c.next + 1
		return binary.BigEndian.AppendUint32(nil, next), func() {
			c.next = next
			c.served = append(c.served, next)
		}
	}}
}

// registers reads a run. ok is false where the run has an illegal address.
func registers(spans []span, first, count int, now time.Time) (wire []byte, after []func(), ok bool) {
	wire = make([]byte, 2*count)
	have := 0
	for _, s := range spans {
		from, to := max(first, s.first), min(first+count, s.first+s.count)
		if from >= to {
			continue
		}
		b, done := s.wire(now)
		copy(wire[2*(from-first):2*(to-first)], b[2*(from-s.first):])
		have += to - from
		if done != nil && to-from == s.count {
			after = append(after, done)
		}
	}
	return wire, after, have == count
}

// bits reads a run of coils.
func (m *memory) bits(first, count int, now time.Time) (packed []byte, ok bool) {
	packed = make([]byte, (count+7)/8)
	for i := range count {
		read := m.coils[first+i]
		if read == nil {
			return nil, false
		}
		if read(now) {
			packed[i/8] |= 1 << (i % 8)
		}
	}
	return packed, true
}
