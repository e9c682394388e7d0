package envelope

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// extremes are samples of every kind of value, at their ends.
func extremes() []Sample {
	values := []Value{
		{},
		OfBool(true), OfBool(false),
		OfInt(0), OfInt(-1), OfInt(23), OfInt(24), OfInt(-25), OfInt(1<<53 + 1), OfInt(math.MaxInt64), OfInt(math.MinInt64),
		OfUint(1 << 63), OfUint(math.MaxUint64),
		OfFloat(0), OfFloat(math.Copysign(0, -1)), OfFloat(5), OfFloat(0.1), OfFloat(182.4), OfFloat(-1e21), OfFloat(1e-7), OfFloat(1e20),
		OfFloat(math.MaxFloat64), OfFloat(math.SmallestNonzeroFloat64), OfFloat(math.MaxFloat32), OfFloat(math.Inf(1)), OfFloat(math.Inf(-1)), OfFloat(math.NaN()),
		OfText([]byte{}), OfText([]byte("kühl \"x\\ \u2028")), OfText([]byte("\x00\x01\x02\x03\x7f")), OfText([]byte(strings.Repeat("long ", 100))),
		OfBytes([]byte{}), OfBytes([]byte{0, 255, 128}), OfBytes(make([]byte, 300)),
		OfTime(0), OfTime(1_785_000_000_123_456_789), OfTime(-1), OfTime(math.MaxInt64), OfTime(math.MinInt64),
	}
	out := make([]Sample, len(values))
	for i, v := range values {
		out[i] = Sample{Name: fmt.Sprintf("p-%d", i), Time: int64(i/3) * 1e9, Value: v}
	}
	out[3].Unit = "kN"
	out[5].Quality = 0x40000000 // uncertain, with a value
	out[0].Quality = 0x80340000 // bad, without one
	out[7].Time = math.MinInt64
	out[8].Time = -1_500_000_000
	out[9].Time = math.MaxInt64
	return out
}

func requireSame(t testing.TB, want, got []Sample) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		require.True(t, w.Value.Equal(g.Value), "value of %s: %v and %v", w.Name, w.Value, g.Value)
		w.Value, g.Value = Value{}, Value{}
		require.Equal(t, w, g)
	}
}

func TestPackRoundTrip(t *testing.T) {
	samples := extremes()
	b := appendPack(nil, "press-3/", samples)
	var n names
	for range 2 { // the second time with the names known
		c := cursor{b: b}
		base, got := n.decodePack(&c, nil)
		require.NoError(t, c.end())
		assert.Equal(t, "press-3/", base)
		requireSame(t, samples, got)
	}
	strict, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	require.NoError(t, err)
	var any []map[any]any
	require.NoError(t, strict.Unmarshal(b, &any), "another decoder reads it")
	assert.Equal(t, "press-3/", any[0][int64(-2)])
}

func TestClearRoundTrip(t *testing.T) {
	samples := extremes()
	b := AppendClear(nil, "press-3/", samples)
	require.True(t, json.Valid(b))
	base, got, err := decodeClear(b)
	require.NoError(t, err)
	assert.Equal(t, "press-3/", base)
	requireSame(t, samples, got)
	for _, bad := range []string{
		"", "[", "{}", "[{}]", string(b) + " ", string(b) + "[]", `[{"bn":"a/","bn":"a/","bt":0,"n":"x"}]`,
		`[{"BN":"a/","bt":0,"n":"x"}]`, `[{"bn":"a/","bt":0,"n":"x","v":1,"s":2}]`, `[{"bn":"a/","bt":0,"n":"x","v":01}]`,
	} {
		_, _, err := decodeClear([]byte(bad))
		assert.Error(t, err, bad)
	}
}

// takenApart is what docs/format.md takes apart, byte by byte.
func takenApart() []Sample {
	return []Sample{
		{Name: "ram-force", Time: 1_785_000_000_250_000_000, Value: OfFloat(182.5)},
		{Name: "strokes", Time: 1_785_000_000_250_000_000, Value: OfUint(90122)},
		{Name: "door", Time: 1_785_000_000_500_000_000, Value: OfBool(true)},
		{Name: "oil", Time: 1_785_000_000_500_000_000, Quality: 0x80340000},
	}
}

// The bytes of one pack and one clear body, as docs/format.md shows them.
func TestPackBytes(t *testing.T) {
	samples := takenApart()
	assert.Equal(t, "84"+
		"a40069"+hex.EncodeToString([]byte("ram-force"))+"02fa43368000"+"2168"+hex.EncodeToString([]byte("press-3/"))+"22c482281b18c5980afaf93280"+
		"a20067"+hex.EncodeToString([]byte("strokes"))+"021a0001600a"+
		"a30064"+hex.EncodeToString([]byte("door"))+"04f5"+"22c482281b18c5980b09dfe500"+
		"a20063"+hex.EncodeToString([]byte("oil"))+"61711a80340000",
		hex.EncodeToString(appendPack(nil, "press-3/", samples)))
	//nolint:testifylint // the bytes themselves count
	assert.Equal(t, `[{"bn":"press-3/","bt":1785000000.25,"n":"ram-force","v":182.5},{"n":"strokes","v":90122},`+
		`{"bt":1785000000.5,"n":"door","vb":true},{"n":"oil","q":2150891520}]`, string(AppendClear(nil, "press-3/", samples)))
}

func TestOddInputStaysReadable(t *testing.T) {
	samples := []Sample{
		{Name: "a\xff", Unit: "\xfe", Value: OfText([]byte("\xff\xfe"))},
		{Name: "b", Quality: 0x80000000, Value: OfInt(5)}, // a bad sample loses its value
		{Name: "c", Value: OfInt(7)},
	}
	want := []Sample{{Name: "a?", Unit: "?", Value: OfBytes([]byte("\xff\xfe"))}, {Name: "b", Quality: 0x80000000}, {Name: "c", Value: OfInt(7)}}
	var n names
	c := cursor{b: appendPack(nil, "m\xff/", samples)}
	base, got := n.decodePack(&c, nil)
	require.NoError(t, c.end())
	assert.Equal(t, "m?/", base)
	requireSame(t, want, got)
	_, got, err := decodeClear(AppendClear(nil, "m\xff/", samples))
	require.NoError(t, err)
	requireSame(t, want, got)
}

func TestPackRefuses(t *testing.T) {
	good := hex.EncodeToString(appendPack(nil, "m/", []Sample{{Name: "a", Value: OfInt(1)}}))
	require.Equal(t, "81a400616102012162"+"6d2f22c4822800", good)
	for what, s := range map[string]string{
		"long head":            "9801" + good[2:],
		"indefinite":           "9f" + good[2:] + "ff",
		"two values":           "81a5006161020104f52162" + "6d2f22c4822800",
		"value twice":          "81a50061610201020121626d2f22c4822800",
		"long integer":         "81a40061610218012162" + "6d2f22c4822800",
		"half float":           "81a400616102f93c002162" + "6d2f22c4822800",
		"float not shortest":   "81a400616102fb3ff00000000000002162" + "6d2f22c4822800",
		"no base name":         "81a3006161020122c4822800",
		"no base time":         "81a3006161020121626d2f",
		"exponent":             "81a400616102012162" + "6d2f22c4822700",
		"bad with value":       "81a500616102012162" + "6d2f22c482280061711a80000000",
		"good written out":     "81a500616102012162" + "6d2f22c4822800617100",
		"unknown label":        "81a500616102012162" + "6d2f22c4822800617801",
		"not UTF-8":            "81a40061ff02012162" + "6d2f22c4822800",
		"more records claimed": "9a7fffffff" + good[2:],
		"pair missing":         "81a500616102012162" + "6d2f22c4822800",
	} {
		b, err := hex.DecodeString(s)
		require.NoError(t, err)
		var n names
		c := cursor{b: b}
		n.decodePack(&c, nil)
		assert.Error(t, c.end(), what)
	}
}

func TestBoundsHold(t *testing.T) {
	long := OfText([]byte(strings.Repeat("\x01", 5000)))
	odd := OfBytes(make([]byte, 7001))
	samples := append(extremes(), Sample{Name: "\xff\x01", Unit: "\x02\"", Value: long}, Sample{Name: "x", Value: odd})
	base := strings.Repeat("\x01", MaxName)
	s := newSealer(t, true)
	for i := range samples {
		for _, part := range [][]Sample{samples[:i], samples[i:], samples[i : i+1]} {
			b, err := s.Seal(nil, s.last+1, base, part)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(b), SizeBound(part))
			assert.LessOrEqual(t, len(AppendClear(nil, base, part)), ClearBound(part))
		}
	}
}

func TestValueHidesItself(t *testing.T) {
	v := OfText([]byte("canary-8"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		assert.Equal(t, "<text>", fmt.Sprintf(verb, v))
		assert.NotContains(t, fmt.Sprintf(verb, Sample{Name: "a", Value: v}), "canary")
	}
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	assert.NotContains(t, b.String(), "canary")
}

func TestValueJSON(t *testing.T) {
	for want, v := range map[string]Value{
		"null": {}, "true": OfBool(true), "-9223372036854775808": OfInt(math.MinInt64), "18446744073709551615": OfUint(math.MaxUint64),
		"182.4": OfFloat(182.4), `"NaN"`: OfFloat(math.NaN()), `"-Infinity"`: OfFloat(math.Inf(-1)), `"a\"b"`: OfText([]byte(`a"b`)),
		`"AP8="`: OfBytes([]byte{0, 255}), `"2026-07-25T17:20:00.25Z"`: OfTime(1_785_000_000_250_000_000),
	} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		assert.Equal(t, want, string(b))
	}
}

func TestPadme(t *testing.T) {
	for n := 1; n < 140_000; n++ {
		p := padme(n)
		if p < n || float64(p-n) > 0.12*float64(n)+1 || padme(p) != p {
			t.Fatalf("padme(%d) = %d", n, p)
		}
	}
	for n := 1; n < MaxBody/8; n++ {
		b := appendPadding(nil, n)
		c := cursor{b: b}
		c.padding()
		if len(b) != n || c.end() != nil {
			t.Fatalf("padding of %d bytes takes %d: %v", n, len(b), c.wrong)
		}
	}
	for _, s := range []string{"4101", "4040", "404100", "580100", "41004100"} {
		b, _ := hex.DecodeString(s)
		c := cursor{b: b}
		c.padding()
		assert.Error(t, c.end(), s)
	}
}
