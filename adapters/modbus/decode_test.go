package modbus

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

func order(s string) Order {
	o, err := ParseOrder(s)
	if err != nil {
		panic(err)
	}
	return o
}

// wire lays a big-endian value out as an order says, in the way a person would:
// letter by letter.
func wire(value []byte, letters string) []byte {
	out := make([]byte, len(value))
	for i := range value {
		out[i] = value[letters[i]-'A']
	}
	return out
}

var ordersOf = map[int]map[string]string{ // width → order as written → letters on the wire
	2: {"": "AB", "ABCD": "AB", "CDAB": "AB", "BADC": "AB", "DCBA": "AB", "AB": "AB", "BA": "BA"},
	4: {"": "ABCD", "ABCD": "ABCD", "CDAB": "CDAB", "BADC": "BADC", "DCBA": "DCBA"},
	8: {
		"": "ABCDEFGH", "ABCD": "ABCDEFGH", "CDAB": "GHEFCDAB", "BADC": "BADCFEHG", "DCBA": "HGFEDCBA",
		"GHEFCDAB": "GHEFCDAB", "CDABGHEF": "CDABGHEF", "HGFEDCBA": "HGFEDCBA",
	},
}

func TestDecodeTypesAndOrders(t *testing.T) {
	be := func(width int, u uint64) []byte {
		b := make([]byte, 8)
		binary.BigEndian.PutUint64(b, u)
		return b[8-width:]
	}
	cases := []struct {
		typ  Type
		raw  uint64
		want point.Value
	}{
		{Int16, 0xFF85, point.OfInt(-123)},
		{Int16, 0x8000, point.OfInt(math.MinInt16)},
		{Uint16, 0xFF85, point.OfUint(0xFF85)},
		{Int32, 0xFFFE1DC0, point.OfInt(-123456)},
		{Uint32, 0xDEADBEEF, point.OfUint(0xDEADBEEF)},
		{Int64, 0x8000000000000001, point.OfInt(math.MinInt64 + 1)},
		{Uint64, 0xFEDCBA9876543210, point.OfUint(0xFEDCBA9876543210)},
		{Float32, uint64(math.Float32bits(182.4)), point.OfFloat(float64(float32(182.4)))},
		{Float32, 0x80000000, point.OfFloat(math.Copysign(0, -1))},
		{Float32, 1, point.OfFloat(math.SmallestNonzeroFloat32)},
		{Float64, math.Float64bits(-1e300), point.OfFloat(-1e300)},
	}
	for _, c := range cases {
		for written, letters := range ordersOf[c.typ.width()] {
			p := Point{Type: c.typ, Bit: -1}
			if written != "" {
				p.Order = order(written)
			}
			d := p.decoder()
			v, q, _ := d.decode(wire(be(c.typ.width(), c.raw), letters), nil)
			assert.True(t, q.IsGood())
			assert.True(t, c.want.Equal(v), "%v %q %x", c.typ, written, c.raw)
		}
	}
}

func TestDecode(t *testing.T) {
	pattern := func(u uint64) *uint64 { return &u }
	none := point.Value{}
	for name, c := range map[string]struct {
		p    Point
		wire []byte
		want point.Value
		q    point.Quality
	}{
		"bit":              {Point{Type: Bool, Bit: 3}, []byte{0, 0x08}, point.OfBool(true), point.Good},
		"bit 15":           {Point{Type: Bool, Bit: 15}, []byte{0x80, 0}, point.OfBool(true), point.Good},
		"bit inverted":     {Point{Type: Bool, Bit: 3, Invert: true}, []byte{0, 0x08}, point.OfBool(false), point.Good},
		"bit BA":           {Point{Type: Bool, Bit: 3, Order: order("BA")}, []byte{0x08, 0}, point.OfBool(true), point.Good},
		"scale":            {Point{Type: Int16, Scale: &Scale{Factor: 0.1}}, []byte{0, 3}, point.OfFloat(0.3), point.Good},
		"scale 0.001":      {Point{Type: Uint16, Scale: &Scale{Factor: 0.001}}, []byte{0x30, 0x39}, point.OfFloat(12.345), point.Good},
		"scale and offset": {Point{Type: Int16, Scale: &Scale{Factor: 2, Offset: -5}}, []byte{0xFF, 0xFE}, point.OfFloat(-9), point.Good},
		"scale negative":   {Point{Type: Int16, Scale: &Scale{Factor: -0.1}}, []byte{0, 3}, point.OfFloat(-0.3), point.Good},
		"scale 27648":      {Point{Type: Int16, Scale: &Scale{Factor: 600.0 / 27648}}, []byte{0x6C, 0}, point.OfFloat(600), point.Good},
		"scale float":      {Point{Type: Float32, Scale: &Scale{Factor: 10}}, []byte{0x3F, 0x80, 0, 0}, point.OfFloat(10), point.Good},
		"scale too large":  {Point{Type: Float64, Scale: &Scale{Factor: 1e300}}, []byte{0x7F, 0xE0, 0, 0, 0, 0, 0, 0}, none, point.BadOutOfRange},
		"scale uint64":     {Point{Type: Uint64, Scale: &Scale{Factor: 0.5}}, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}, point.OfFloat(math.Exp2(62)), point.Good},
		"invalid":          {Point{Type: Int16, Invalid: pattern(0x8000), Scale: &Scale{Factor: 0.1}}, []byte{0x80, 0}, none, point.BadSensorFailure},
		"invalid CDAB":     {Point{Type: Uint32, Invalid: pattern(0xFFFF0001), Order: order("CDAB")}, []byte{0, 1, 0xFF, 0xFF}, none, point.BadSensorFailure},
		"invalid float":    {Point{Type: Float32, Invalid: pattern(0x7F7FFFFF)}, []byte{0x7F, 0x7F, 0xFF, 0xFF}, none, point.BadSensorFailure},
		"not invalid":      {Point{Type: Int16, Invalid: pattern(0x8000)}, []byte{0x80, 1}, point.OfInt(-32767), point.Good},
		"valid least":      {Point{Type: Int16, Valid: &Range{-4864, 32511}}, []byte{0xED, 0x00}, point.OfInt(-4864), point.Good},
		"below valid":      {Point{Type: Int16, Valid: &Range{-4864, 32511}}, []byte{0xEC, 0xFF}, none, point.BadOutOfRange},
		"above valid":      {Point{Type: Int16, Valid: &Range{-4864, 32511}}, []byte{0x7F, 0x00}, none, point.BadOutOfRange},
		"valid uint64":     {Point{Type: Uint64, Valid: &Range{0, math.MaxInt64}}, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}, none, point.BadOutOfRange},
		"valid float":      {Point{Type: Float32, Valid: &Range{0, 1}}, []byte{0x40, 0, 0, 0}, none, point.BadOutOfRange},
		"NaN":              {Point{Type: Float32}, []byte{0x7F, 0xC0, 0, 0}, none, point.BadSensorFailure},
		"-Inf":             {Point{Type: Float64}, []byte{0xFF, 0xF0, 0, 0, 0, 0, 0, 0}, none, point.BadSensorFailure},
		"string":           {Point{Type: String, Bytes: 6}, []byte("AB  \x00x"), point.OfText([]byte("AB")), point.Good},
		"string full":      {Point{Type: String, Bytes: 4}, []byte("ABCD"), point.OfText([]byte("ABCD")), point.Good},
		"string odd":       {Point{Type: String, Bytes: 3}, []byte("ABCD"), point.OfText([]byte("ABC")), point.Good},
		"string BA":        {Point{Type: String, Bytes: 3, Order: order("BA")}, []byte("BADC"), point.OfText([]byte("ABC")), point.Good},
		"string UTF-8":     {Point{Type: String, Bytes: 4}, []byte("Öl\x00"), point.OfText([]byte("Öl")), point.Good},
		"string Latin-1":   {Point{Type: String, Bytes: 2}, []byte{0xD6, 'l'}, none, point.BadTypeMismatch},
		"bytes":            {Point{Type: Bytes, Bytes: 3}, []byte{0, 1, 2, 3}, point.OfBytes([]byte{0, 1, 2}), point.Good},
	} {
		t.Run(name, func(t *testing.T) {
			if c.p.Type != Bool {
				c.p.Bit = -1
			}
			d := c.p.decoder()
			v, q, _ := d.decode(c.wire, nil)
			assert.Equal(t, c.q, q)
			assert.True(t, c.want.Equal(v), "%v %v", v.Kind(), v.Float())
		})
	}
	coil := (&Point{Type: Bool, Bit: -1, Invert: true}).decoder()
	assert.True(t, coil.ofBit(false).Bool())
}

func TestDecodeLeavesWireAlone(t *testing.T) {
	d := (&Point{Type: String, Bytes: 4, Bit: -1, Order: order("BA")}).decoder()
	in := []byte("BADC")
	a, _, scratch := d.decode(in, nil)
	b, _, _ := d.decode(in, scratch)
	require.Equal(t, "BADC", string(in))
	assert.Equal(t, "ABCD", string(a.Data()))
	assert.Equal(t, "ABCD", string(b.Data()))
}

// FuzzDecode: no wire makes the decoder panic, and a bad sample has no value.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(Float32), "CDAB", []byte{1, 2, 3, 4}, 0.1, int64(-5), int64(7), uint64(9))
	f.Add(uint8(String), "BA", []byte("BADC\xff\x00"), 1.0, int64(0), int64(0), uint64(0))
	f.Fuzz(func(t *testing.T, typ uint8, letters string, in []byte, factor float64, low, high int64, invalid uint64) {
		p := Point{Name: "p", Type: Type(typ), Bit: -1, Period: minPeriod}
		if o, err := ParseOrder(letters); err == nil {
			p.Order = o
		}
		switch {
		case p.Type == String || p.Type == Bytes:
			p.Bytes = min(len(in), 250)
		case p.Type == Bool:
			p.Bit = int8(invalid % 16)
		default:
			p.Scale, p.Valid, p.Invalid = &Scale{Factor: factor}, &Range{low, high}, &invalid
		}
		m := Machine{Points: []Point{p}}
		if len(m.Check()) > 0 {
			return
		}
		in = append(in, make([]byte, 8)...)[:2*p.count()]
		d := p.decoder()
		v, q, _ := d.decode(in, nil)
		if q.IsBad() != (v.Kind() == point.None) {
			t.Fatalf("quality %v with a value of kind %v", q, v.Kind())
		}
		if n, ok := v.Number(); ok && (math.IsNaN(n) || math.IsInf(n, 0)) {
			t.Fatal("a number that is not finite")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, p := range map[string]Point{
		"int16":        {Type: Int16},
		"int16 scaled": {Type: Int16, Scale: &Scale{Factor: 0.1}},
		"float32 CDAB": {Type: Float32, Order: order("CDAB")},
		"float64":      {Type: Float64},
		"string 32":    {Type: String, Bytes: 32},
		"bytes 240 BA": {Type: Bytes, Bytes: 240, Order: order("BA")},
	} {
		b.Run(name, func(b *testing.B) {
			p.Bit = -1
			d := p.decoder()
			in, scratch := make([]byte, 2*p.count()), make([]byte, 0, 512)
			copy(in, "AB12")
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = d.decode(in, scratch[:0])
			}
		})
	}
}
