package point

import (
	"fmt"
	"log/slog"
	"math"
)

// Kind is the type of a [Value].
type Kind uint8

// The kinds. The zero value is None: no value.
const (
	None Kind = iota
	Bool
	Int   // 64 bits, signed
	Uint  // 64 bits, unsigned
	Float // IEEE 754 binary64
	Text  // UTF-8
	Bytes
	Time // Unix time in nanoseconds
)

// Value is one value of one point. Its contents never appear in a log or in an
// error text: every formatting verb prints the kind alone. Code that has to
// show a value asks for it by kind.
type Value struct {
	kind Kind
	bits uint64
	data []byte
}

// OfBool gives a Bool.
func OfBool(b bool) Value {
	if b {
		return Value{kind: Bool, bits: 1}
	}
	return Value{kind: Bool}
}

// OfInt gives an Int.
func OfInt(i int64) Value { return Value{kind: Int, bits: uint64(i)} }

// OfUint gives a Uint.
func OfUint(u uint64) Value { return Value{kind: Uint, bits: u} }

// OfFloat gives a Float.
func OfFloat(f float64) Value { return Value{kind: Float, bits: math.Float64bits(f)} }

// OfText gives a Text that shares the bytes, which are UTF-8.
func OfText(utf8 []byte) Value { return Value{kind: Text, data: utf8} }

// OfBytes gives a Bytes that shares the bytes.
func OfBytes(b []byte) Value { return Value{kind: Bytes, data: b} }

// OfTime gives a Time from Unix nanoseconds.
func OfTime(unixNano int64) Value { return Value{kind: Time, bits: uint64(unixNano)} }

// Kind tells which of the other methods is meaningful.
func (v Value) Kind() Kind { return v.kind }

// Bool is the value of a Bool.
func (v Value) Bool() bool { return v.bits != 0 }

// Int is the value of an Int, and the Unix nanoseconds of a Time.
func (v Value) Int() int64 { return int64(v.bits) }

// Uint is the value of a Uint.
func (v Value) Uint() uint64 { return v.bits }

// Float is the value of a Float.
func (v Value) Float() float64 { return math.Float64frombits(v.bits) }

// Data is the value of a Text (UTF-8) or Bytes, shared and not to be changed.
func (v Value) Data() []byte { return v.data }

// Number gives a Bool, Int, Uint or Float as a float64, for deadbands.
func (v Value) Number() (f float64, ok bool) {
	switch v.kind {
	case Bool, Uint:
		return float64(v.bits), true
	case Int:
		return float64(int64(v.bits)), true
	case Float:
		return v.Float(), true
	default:
		return 0, false
	}
}

// Clone gives a value that shares no bytes with v.
func (v Value) Clone() Value {
	if v.data != nil {
		v.data = append([]byte(nil), v.data...)
	}
	return v
}

// Equal tells whether both are the same kind and the same bits.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.bits == w.bits && string(v.data) == string(w.data)
}

// Format prints the kind and hides the value, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "<%s>", v.kind) }

// LogValue hides the value from structured logs.
func (v Value) LogValue() slog.Value { return slog.StringValue("<" + v.kind.String() + ">") }

// MarshalText hides the value from encoders that were not written for it.
func (v Value) MarshalText() ([]byte, error) { return []byte("<" + v.kind.String() + ">"), nil }

// String gives the kind in words.
func (k Kind) String() string {
	switch k {
	case None:
		return "none"
	case Bool:
		return "bool"
	case Int:
		return "int"
	case Uint:
		return "uint"
	case Float:
		return "float"
	case Text:
		return "text"
	case Bytes:
		return "bytes"
	case Time:
		return "time"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}
