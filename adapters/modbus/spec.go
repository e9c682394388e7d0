// Package modbus reads Modbus equipment, over TCP and on serial lines behind a
// device server: a [Source] owns one endpoint and
// reads the machines behind it. It reads only: function codes 1 to 4.
//
// What it gives where a value cannot be had:
//
//   - the endpoint or the unit does not answer: [point.Link] down, and once a bad
//     sample for each point (BadNotConnected, BadTimeout, BadCommunicationError);
//     then nothing until it answers, when every point is read at once
//   - the device refuses an address (exceptions 1 to 3): that address is searched
//     for and left out, its points get a bad sample at each try, every few
//     minutes, and [point.Meta] says why; everything else goes on
//   - any other exception: bad samples, and the next cycle asks again. Exceptions
//     10 and 11 mean that the unit behind a Modbus gateway does not answer.
//
// On a serial line (rtu-tcp://) an answer does not say which request it is to.
// After each error that is no exception the connection is given up, when the line
// was silent for as long as a timeout, and what comes late is never taken for the
// answer to another request. A unit that is silent is asked more and more
// rarely, so that it costs the others a tenth of the time at most.
//
// Known limits: tcp:// and rtu-tcp:// only; one request outstanding for each
// endpoint; a dial that hangs takes 5 s, in which no other machine of the
// endpoint is read.
package modbus

import "time"

// Spec describes one endpoint: a host and port, or a serial line. One [Source]
// owns it and has one request outstanding at a time.
type Spec struct {
	URL     string        // "tcp://10.20.3.13:502", where the port may be left out (502), or "rtu-tcp://10.20.9.5:4001"
	Timeout time.Duration // for the answer to one request; 0 is 1 s, and 300 ms on a serial line, where the time that the frames take is added
	Baud    int           // of a serial line; 0 is 19200. The device server sets it: here it gives the timings
	Parity  string        // of a serial line: even, odd or none; empty is even
}

// Machine describes one machine behind an endpoint.
type Machine struct {
	Name   string
	UnitID uint8 // 0–255; on TCP 0 and 255 both commonly mean the device itself. 1–247 on a serial line
	Reads  Reads
	Points []Point
}

// Reads limits the requests to one machine.
type Reads struct {
	MaxRegisters int           // registers in one request, 1–125; 0 is 125. Coils and discrete inputs: 16 for each register, so 2000
	MaxGap       int           // unmapped registers that may be read along to join two blocks; default 0, because some registers clear on read
	Pause        time.Duration // between two requests to this machine
	Forbidden    []Span        // never touched, also not as a gap
}

// Table is one of the four Modbus data tables (Modbus Application Protocol
// 1.1b3, 4.3).
type Table uint8

// The tables.
const (
	Holding  Table = iota // read by function code 3
	Input                 // 4
	Coil                  // 1
	Discrete              // 2
)

// Address is one register or bit on the wire, counted from 0.
type Address struct {
	Table  Table
	Offset uint16
}

// Span is a run of addresses of one table, both ends included.
type Span struct {
	Table       Table
	First, Last uint16
}

// Type is the type of a point's value in the device.
type Type uint8

// The types.
const (
	Bool Type = iota + 1
	Int16
	Int32
	Int64
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	String // Bytes long, UTF-8 or ASCII, ends at the first NUL; trailing blanks are cut
	Bytes  // Bytes long
)

// Point describes one point of a machine.
type Point struct {
	Name        string
	At          Address
	Type        Type
	Order       Order         // byte order over 16-bit registers, from [ParseOrder]; the zero value is ABCD
	Bytes       int           // length of String and Bytes; odd lengths use the high byte of the last register
	Bit         int8          // 0–15: this bit of a holding or input register, with Type Bool only; -1: none, everywhere else
	Invert      bool          // of a Bool
	Scale       *Scale        // integer and float types only; the value becomes a Float
	Invalid     *uint64       // a raw pattern of the type's width that means "no value": BadSensorFailure
	Valid       *Range        // raw values outside are BadOutOfRange
	Period      time.Duration // ≥ 10 ms
	Unit        string
	ChangesWith *Address // a counter register, read every period; the point is read when it moved, and taken only if it did not move meanwhile
}

// Scale is the line value = Factor × raw + Offset.
type Scale struct{ Factor, Offset float64 }

// Range is a range of raw values, both ends included.
type Range struct{ Min, Max int64 }
