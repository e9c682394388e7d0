package modbus

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// decoder turns the bytes of one point into a value. It holds what the point
// says with orders resolved and pointers followed.
type decoder struct {
	typ        Type
	big        bool // big-endian
	order      Order
	bytes      int
	bit        uint8
	invert     bool
	scaled     bool
	scale      Scale
	divisor    float64 // where it is not 0: scale by this, so that 3 × 0.1 is 0.3
	hasInvalid bool
	invalid    uint64
	hasValid   bool
	valid      Range
}

// decoder compiles the point, which [Machine.Check] found no problem with.
func (p *Point) decoder() decoder {
	d := decoder{typ: p.Type, bytes: p.Bytes, invert: p.Invert}
	d.order, _ = p.Order.For(p.Type)
	d.big = d.order == identity(d.order.letters)
	if p.Bit > 0 {
		d.bit = uint8(p.Bit)
	}
	if p.Scale != nil {
		d.scaled, d.scale = true, *p.Scale
		if n := math.Round(1 / p.Scale.Factor); n != 0 && 1/n == p.Scale.Factor {
			d.divisor = n
		}
	}
	if p.Invalid != nil {
		d.hasInvalid, d.invalid = true, *p.Invalid
	}
	if p.Valid != nil {
		d.hasValid, d.valid = true, *p.Valid
	}
	return d
}

// ofBit gives the value of a coil or discrete input.
func (d *decoder) ofBit(b bool) point.Value { return point.OfBool(b != d.invert) }

// decode gives the value of the registers on the wire, or a bad quality and no
// value:
//
//   - BadSensorFailure: the invalid pattern, and a float that is no finite
//     number. Devices say "broken wire" with NaN, and neither deadbands nor
//     JSON know one.
//   - BadOutOfRange: a raw value outside valid, or a scaled one beyond a float64
//   - BadTypeMismatch: a text that is not UTF-8
//
// A Text or Bytes shares the bytes of wire, or of scratch where bytes have to
// change places; scratch is given back grown.
func (d *decoder) decode(wire, scratch []byte) (point.Value, point.Quality, []byte) {
	switch d.typ {
	case String, Bytes:
		return d.text(wire, scratch)
	case Bool:
		register := uint16(d.number(wire))
		return d.ofBit(register>>d.bit&1 == 1), point.Good, scratch
	default:
		v, q := d.numeric(wire)
		return v, q, scratch
	}
}

// number gives the raw bits of a number.
func (d *decoder) number(wire []byte) uint64 {
	if !d.big {
		return d.order.number(wire)
	}
	switch d.order.letters {
	case 2:
		return uint64(binary.BigEndian.Uint16(wire))
	case 4:
		return uint64(binary.BigEndian.Uint32(wire))
	default:
		return binary.BigEndian.Uint64(wire)
	}
}

// numeric decodes integers and floats.
func (d *decoder) numeric(wire []byte) (point.Value, point.Quality) {
	raw := d.number(wire)
	if d.hasInvalid && raw == d.invalid {
		return point.Value{}, point.BadSensorFailure
	}
	switch d.typ {
	case Int16:
		return d.signed(int64(int16(raw)))
	case Int32:
		return d.signed(int64(int32(raw)))
	case Int64:
		return d.signed(int64(raw))
	case Float32:
		return d.float(float64(math.Float32frombits(uint32(raw))))
	case Float64:
		return d.float(math.Float64frombits(raw))
	}
	if d.hasValid && (raw > math.MaxInt64 || int64(raw) < d.valid.Min || int64(raw) > d.valid.Max) {
		return point.Value{}, point.BadOutOfRange
	}
	if d.scaled {
		return d.line(float64(raw))
	}
	return point.OfUint(raw), point.Good
}

func (d *decoder) signed(i int64) (point.Value, point.Quality) {
	if d.hasValid && (i < d.valid.Min || i > d.valid.Max) {
		return point.Value{}, point.BadOutOfRange
	}
	if d.scaled {
		return d.line(float64(i))
	}
	return point.OfInt(i), point.Good
}

func (d *decoder) float(f float64) (point.Value, point.Quality) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return point.Value{}, point.BadSensorFailure
	}
	if d.hasValid && (f < float64(d.valid.Min) || f > float64(d.valid.Max)) {
		return point.Value{}, point.BadOutOfRange
	}
	if d.scaled {
		return d.line(f)
	}
	return point.OfFloat(f), point.Good
}

// line applies the scale.
func (d *decoder) line(raw float64) (point.Value, point.Quality) {
	f := raw * d.scale.Factor
	if d.divisor != 0 {
		f = raw / d.divisor
	}
	if f += d.scale.Offset; math.IsInf(f, 0) || math.IsNaN(f) {
		return point.Value{}, point.BadOutOfRange
	}
	return point.OfFloat(f), point.Good
}

// text decodes String and Bytes.
func (d *decoder) text(wire, scratch []byte) (point.Value, point.Quality, []byte) {
	b := wire[:d.bytes]
	if d.order.swaps() {
		from := len(scratch)
		for i := 0; i+1 < len(wire); i += 2 {
			scratch = append(scratch, wire[i+1], wire[i])
		}
		b = scratch[from : from+d.bytes]
	}
	if d.typ == Bytes {
		return point.OfBytes(b), point.Good, scratch
	}
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	b = bytes.TrimRight(b, " ")
	if !utf8.Valid(b) {
		return point.Value{}, point.BadTypeMismatch, scratch
	}
	return point.OfText(b), point.Good, scratch
}
