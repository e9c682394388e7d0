package opcua

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gopcua/opcua/ua"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// badDecodingError is a text that is no UTF-8 (OPC 10000-6, Annex A).
const badDecodingError point.Quality = 0x80070000

// overflow marks a value before which others were lost in the server's queue
// (OPC 10000-4, 7.39.1).
const overflow = ua.StatusCode(0x0480)

// quality is a server's status code as this project understands it. Of the four
// severities one is none (OPC 10000-4, 7.39.1): it is taken for bad.
func quality(status ua.StatusCode) point.Quality {
	if status>>30 == 3 {
		return point.Bad
	}
	return point.Quality(status)
}

// asBad is the quality of a point that the server refused with that status.
func asBad(status ua.StatusCode) point.Quality {
	if q := quality(status); q.IsBad() {
		return q
	}
	return point.Bad
}

// unixTime gives a time of the server in Unix nanoseconds, which hold the years
// 1678 to 2262. Any other time is not one: neither what OPC UA writes for none
// (0) and for the end of time.
//
// The library computes these nanoseconds modulo 2^64, so that the year 9999 comes
// as 1816. But OPC UA counts in 100 ns, and 2^64 is no multiple of that: a time
// that went round gives itself away by its last digits, up to the year 16290.
func unixTime(t time.Time) (ns int64, ok bool) {
	if t.IsZero() {
		return 0, false
	}
	ns = t.UnixNano()
	return ns, ns%100 == 0
}

// sourceTime is when the device had the value, if the server says so.
func sourceTime(d *ua.DataValue) (ns int64, ok bool) {
	if d == nil {
		return 0, false
	}
	return unixTime(d.SourceTimestamp)
}

// typeIDs are the types on the wire, by [Type].
var typeIDs = [...]ua.TypeID{
	Bool: ua.TypeIDBoolean, Int8: ua.TypeIDSByte, Int16: ua.TypeIDInt16, Int32: ua.TypeIDInt32, Int64: ua.TypeIDInt64,
	Uint8: ua.TypeIDByte, Uint16: ua.TypeIDUint16, Uint32: ua.TypeIDUint32, Uint64: ua.TypeIDUint64,
	Float32: ua.TypeIDFloat, Float64: ua.TypeIDDouble, String: ua.TypeIDString, Bytes: ua.TypeIDByteString, DateTime: ua.TypeIDDateTime,
}

// wireType names a type as OPC UA does.
func wireType(t ua.TypeID) string {
	for own, id := range typeIDs {
		if own > 0 && id == t {
			return Type(own).String()
		}
	}
	switch t {
	case ua.TypeIDLocalizedText:
		return "LocalizedText"
	case ua.TypeIDExtensionObject:
		return "a structure"
	case ua.TypeIDVariant, ua.TypeIDDataValue:
		return "a value within a value"
	}
	return fmt.Sprintf("built-in type %d", byte(t))
}

// convert makes a sample of what the server gave for a point. why is set where
// the value cannot be had although the server has one; it holds no value.
func (it *item) convert(d *ua.DataValue, now time.Time) (s point.Sample, why string) {
	s = point.Sample{Point: it.point, Time: now.UnixNano()}
	if d == nil {
		s.Quality = point.Bad
		return s, ""
	}
	s.Quality = quality(d.Status)
	if t, ok := sourceTime(d); ok {
		s.Time = t
	} else if t, ok := unixTime(d.ServerTimestamp); ok {
		s.Time = t
	}
	if s.Quality.IsBad() {
		return s, ""
	}
	var q point.Quality
	s.Value, q, why = it.value(d)
	if q != point.Good {
		s.Quality, s.Value = q, point.Value{}
	}
	return s, why
}

// value gives the value if it is exactly what the mapping says.
func (it *item) value(d *ua.DataValue) (v point.Value, q point.Quality, why string) {
	mismatch := func(what string) (point.Value, point.Quality, string) {
		return point.Value{}, point.BadTypeMismatch, fmt.Sprintf("node %s gives %s, and the mapping says %v", it.name, what, it.typ)
	}
	switch {
	case d.Value == nil || !d.Has(ua.DataValueValue) || d.Value.Type() == ua.TypeIDNull:
		return mismatch("no value")
	case d.Value.Has(ua.VariantArrayValues):
		return mismatch("an array")
	case d.Value.Type() != typeIDs[it.typ]:
		return mismatch(wireType(d.Value.Type()))
	}
	switch x := d.Value.Value().(type) {
	case bool:
		return point.OfBool(x), point.Good, ""
	case int8:
		return point.OfInt(int64(x)), point.Good, ""
	case int16:
		return point.OfInt(int64(x)), point.Good, ""
	case int32:
		return point.OfInt(int64(x)), point.Good, ""
	case int64:
		return point.OfInt(x), point.Good, ""
	case uint8:
		return point.OfUint(uint64(x)), point.Good, ""
	case uint16:
		return point.OfUint(uint64(x)), point.Good, ""
	case uint32:
		return point.OfUint(uint64(x)), point.Good, ""
	case uint64:
		return point.OfUint(x), point.Good, ""
	case float32:
		return point.OfFloat(float64(x)), point.Good, ""
	case float64:
		return point.OfFloat(x), point.Good, ""
	case string:
		return it.sized(point.OfText([]byte(x)))
	case []byte:
		return it.sized(point.OfBytes(x))
	case time.Time:
		t, ok := unixTime(x)
		if !ok {
			return v, point.BadOutOfRange, ""
		}
		return point.OfTime(t), point.Good, ""
	}
	return mismatch("something unknown")
}

// sized checks length and encoding.
func (it *item) sized(v point.Value) (point.Value, point.Quality, string) {
	switch {
	case len(v.Data()) > it.limit:
		return v, point.BadEncodingLimitsExceeded, fmt.Sprintf("node %s gives more than max_bytes: %d", it.name, it.limit)
	case v.Kind() == point.Text && !utf8.Valid(v.Data()):
		return v, badDecodingError, fmt.Sprintf("node %s gives a text that is not UTF-8", it.name)
	}
	return v, point.Good, ""
}
