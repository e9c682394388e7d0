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

// span is a run of registers with what they hold. after and note are called when
// a reader has all of them.
type span struct {
	first, count int
	wire         func(now time.Time) (b []byte, after func())
	note         func(now time.Time) // may be nil
}

// coil is one bit. note is called when a reader has it, and may be nil.
type coil struct {
	on   func(now time.Time) bool
	note func(now time.Time)
}

// memory is the registers of one unit. Everything else is an illegal address.
type memory struct {
	holding []span
	input   []span
	coils   map[int]coil
}

func (m *machine) memory(load int) *memory {
	text := func(point string, at, size int, s string) span {
		b := make([]byte, size)
		copy(b, s)
		return fixed(at, size, func(time.Time) []byte { return b }).noted(m.noting(point, func(time.Time) any { return s }))
	}
	tenths := func(now time.Time) int16 { return int16(math.Round(10 * m.temperature(now))) }
	mem := &memory{
		holding: []span{
			fixed(atForce, 4, func(now time.Time) []byte {
				u := math.Float32bits(m.force(now))
				return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(u)), uint16(u>>16))
			}).noted(m.noting("force", func(now time.Time) any { return float64(m.force(now)) })),
			fixed(atState, 2, func(now time.Time) []byte { return binary.BigEndian.AppendUint16(nil, m.state(now)) }).
				noted(m.noting("state", func(now time.Time) any { return uint64(m.state(now)) })),
			counted(atCounter, m.counts[Counter], m.record(Counter)),
			counted(atPublicCounter, m.counts[PublicCounter], m.record(PublicCounter)),
			text("program-name", atProgramName, programNameSize, m.programName()),
			text("nameplate", atNameplate, nameplateSize, m.nameplate()),
			{first: atPayloadCounter, count: 1, wire: func(now time.Time) ([]byte, func()) {
				m.payload.at(now)
				version := m.payload.version
				return binary.BigEndian.AppendUint16(nil, version), func() { m.payload.readCounter(version) }
			}},
			{first: atPayload, count: PayloadSize / 2, wire: func(now time.Time) ([]byte, func()) {
				b := m.payload.at(now)
				return b, func() { m.payload.readPayload(b, now) }
			}},
			fixed(atEnergy, 8, func(now time.Time) []byte { return binary.BigEndian.AppendUint64(nil, uint64(m.energy(now))) }).
				noted(m.noting("energy", func(now time.Time) any { return m.energy(now) })),
		},
		input: []span{fixed(atTemperature, 2, func(now time.Time) []byte {
			return binary.BigEndian.AppendUint16(nil, uint16(tenths(now)))
		}).noted(m.noting("temperature", func(now time.Time) any { return float64(tenths(now)) / 10 }))},
		coils: map[int]coil{atPumpOn: {m.pumpOn, m.noting("pump-on", func(now time.Time) any { return m.pumpOn(now) })}},
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
	return span{first: first, count: size / 2, wire: func(now time.Time) ([]byte, func()) { return wire(now), nil }}
}

// noted is the span whose readers leave that trace.
func (s span) noted(note func(now time.Time)) span {
	s.note = note
	return s
}

// counted is a span that counts its readers: each that reads all of it gets the
// next number.
func counted(first int, c *counter, h *history) span {
	return span{first: first, count: 2, wire: func(now time.Time) ([]byte, func()) {
		next := c.next + 1
		return binary.BigEndian.AppendUint32(nil, next), func() {
			c.next = next
			c.served = append(c.served, next)
			h.add(Given{At: now, Value: uint64(next)})
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
		if to-from < s.count {
			continue
		}
		if done != nil {
			after = append(after, done)
		}
		if s.note != nil {
			after = append(after, func() { s.note(now) })
		}
	}
	return wire, after, have == count
}

// bits reads a run of coils.
func (m *memory) bits(first, count int, now time.Time) (packed []byte, after []func(), ok bool) {
	packed = make([]byte, (count+7)/8)
	for i := range count {
		c, known := m.coils[first+i]
		if !known {
			return nil, nil, false
		}
		if c.on(now) {
			packed[i/8] |= 1 << (i % 8)
		}
		if c.note != nil {
			after = append(after, func() { c.note(now) })
		}
	}
	return packed, after, true
}
