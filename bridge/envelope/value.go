package envelope

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"
)

// ValueKind is the type of a [Value].
type ValueKind uint8

// The kinds of value. The zero value is NoValue.
const (
	NoValue ValueKind = iota
	Bool
	Int   // 64 bits, signed
	Uint  // 64 bits, unsigned
	Float // IEEE 754 binary64
	Text  // UTF-8
	Bytes
	Time // Unix time in nanoseconds
)

// String gives the kind in words.
func (k ValueKind) String() string {
	switch k {
	case NoValue:
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

// Value is one value of one point. Its contents never appear in a log or in an
// error text: every formatting verb prints the kind alone. Code that has to
// show a value asks for it by kind, or for its JSON.
type Value struct {
	kind ValueKind
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

// MaxValue is the greatest size of a Text or Bytes in bytes.
const MaxValue = 64 << 10

// OfText gives a Text that shares the bytes, which are UTF-8. Bytes that are
// not travel as Bytes.
func OfText(utf8 []byte) Value { return Value{kind: Text, data: utf8} }

// OfBytes gives a Bytes that shares the bytes.
func OfBytes(b []byte) Value { return Value{kind: Bytes, data: b} }

// OfTime gives a Time from Unix nanoseconds.
func OfTime(unixNano int64) Value { return Value{kind: Time, bits: uint64(unixNano)} }

// Kind tells which of the other methods is meaningful.
func (v Value) Kind() ValueKind { return v.kind }

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

// Equal tells whether both are the same kind and the same bits.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.bits == w.bits && string(v.data) == string(w.data)
}

// Format prints the kind and hides the value, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "<%s>", v.kind) }

// LogValue hides the value from structured logs.
func (v Value) LogValue() slog.Value { return slog.StringValue("<" + v.kind.String() + ">") }

// MarshalJSON gives the value itself, for the output of a program that may show
// it: a JSON boolean, number or string, null for none. Bytes are standard
// base64, a Time is RFC 3339 in UTC, and a Float that JSON has no number for is
// the string "NaN", "Infinity" or "-Infinity".
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(nil, v.bits != 0), nil
	case Int:
		return strconv.AppendInt(nil, int64(v.bits), 10), nil
	case Uint:
		return strconv.AppendUint(nil, v.bits, 10), nil
	case Float:
		f := v.Float()
		switch {
		case math.IsNaN(f):
			return []byte(`"NaN"`), nil
		case math.IsInf(f, 1):
			return []byte(`"Infinity"`), nil
		case math.IsInf(f, -1):
			return []byte(`"-Infinity"`), nil
		}
		return json.Marshal(f)
	case Text:
		return json.Marshal(string(v.data))
	case Bytes:
		return json.Marshal(base64.StdEncoding.EncodeToString(v.data))
	case Time:
		return json.Marshal(time.Unix(0, int64(v.bits)).UTC().Format(time.RFC3339Nano))
	default:
		return []byte("null"), nil
	}
}

// Sample is one reading of one point as it travels.
type Sample struct {
	Name    string // the point's name within the base name of its message
	Unit    string // empty where the catalogue or nobody says
	Time    int64  // source time, Unix nanoseconds
	Quality uint32 // OPC UA status code; 0 is good
	Value   Value  // none where Quality is bad
}

// Bad tells whether the quality's severity is bad (OPC UA Part 4, 7.39). A bad
// sample has no value.
func (s *Sample) Bad() bool { return s.Quality&badBit != 0 }

// badBit is the bit of a status code that all bad codes have and no other.
const badBit = 1 << 31
