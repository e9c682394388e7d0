package modbus

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"holding/100":   {Holding, 100},
		"holding/0x64":  {Holding, 100},
		"holding/0":     {Holding, 0},
		"holding/65535": {Holding, 65535},
		"input/12":      {Input, 12},
		"coil/7":        {Coil, 7},
		"discrete/3":    {Discrete, 3},
		"reg/1":         {Holding, 0},
		"reg/101":       {Holding, 100},
		"reg/65536":     {Holding, 65535},
		"40101":         {Holding, 100},
		"400101":        {Holding, 100},
		"465536":        {Holding, 65535},
		"30013":         {Input, 12},
		"300013":        {Input, 12},
		"10001":         {Discrete, 0},
		"100001":        {Discrete, 0},
	} {
		got, err := ParseAddress(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
		again, err := ParseAddress(got.String())
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for in, want := range map[string][]string{
		"100":                   {"holding/100", "reg/101", "40101", "reg/100"},
		"0":                     {"holding/0", "reg/1", "40001"},
		"50000":                 {"holding/50000", "450001"},
		"70000":                 {"reg/101"},
		"00001":                 {"coil/0", "leading zeros"},
		"000008":                {"coil/7"},
		"0100":                  {"leading zeros", "holding/100", "reg/100"},
		"holding/0100":          {"leading zeros"},
		"holding/00":            {"leading zeros"},
		"holding/65536":         {"0–65535"},
		"holding/-1":            {"-1"},
		"holding/+1":            {"+1"},
		"holding/1_0":           {"1_0"},
		"holding/0x":            {"0x"},
		"holding/":              {"100 or 0x64"},
		"reg/0":                 {"reg/1", "holding/0"},
		"reg/65537":             {"1–65536"},
		"40000":                 {"40001–49999", "holding/0"},
		"400000":                {"400001–465536"},
		"465537":                {"400001–465536"},
		"holdng/1":              {"write holding"},
		"Coil/1":                {"write coil"},
		"zebra/1":               {"discrete or reg"},
		"":                      {"40101"},
		"MW100":                 {"holding/100"},
		"4.0101":                {"holding/100"},
		"99999999999999999999":  {"too large"},
		"holding/1/2":           {"1/2"},
		"4010１":                 {"holding/100"},
		"00000000000000000":     {"leading zeros"},
		"\x00holding/1\xff\xfe": {"no number"},
	} {
		_, err := ParseAddress(in)
		require.Error(t, err, in)
		for _, w := range want {
			assert.ErrorContains(t, err, w, in)
		}
	}
}

func TestParseSpan(t *testing.T) {
	for in, want := range map[string]Span{
		"holding/900-999":        {Holding, 900, 999},
		"holding/0x10-0x1F":      {Holding, 16, 31},
		"reg/901-1000":           {Holding, 900, 999},
		"40901-41000":            {Holding, 900, 999},
		"input/5":                {Input, 5, 5},
		"coil/1-coil/2":          {Coil, 1, 2},
		"discrete/65535-65535":   {Discrete, 65535, 65535},
		"holding/900-holding/99": {}, "40901-30999": {}, "holding/900-": {}, "900-999": {}, "-": {},
	} {
		got, err := ParseSpan(in)
		if want == (Span{}) {
			assert.Error(t, err, in)
			continue
		}
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
		again, err := ParseSpan(got.String())
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
}

func TestParseType(t *testing.T) {
	for typ := Bool; typ <= Bytes; typ++ {
		got, err := ParseType(typ.String())
		require.NoError(t, err)
		assert.Equal(t, typ, got)
	}
	for in, want := range map[string]string{
		"flaot32": "write float32", "int33": "write int3", "REAL": "write float32", "dword": "write uint32",
		"String": "write string", "": "bool, int16", "complex": "bool, int16",
	} {
		_, err := ParseType(in)
		assert.ErrorContains(t, err, want, in)
	}
}

func TestRegisters(t *testing.T) {
	for typ, want := range map[Type]int{
		Bool: 1, Int16: 1, Uint16: 1, Int32: 2, Uint32: 2, Float32: 2, Int64: 4, Uint64: 4, Float64: 4,
	} {
		assert.Equal(t, want, typ.Registers(0), typ.String())
	}
	assert.Equal(t, 3, String.Registers(5))
	assert.Equal(t, 120, Bytes.Registers(240))
	assert.Equal(t, 0, Bytes.Registers(-3))
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		order string
		typ   Type
		own   string // empty: does not apply
	}{
		{"ABCD", Float32, "ABCD"},
		{"CDAB", Float32, "CDAB"},
		{"BADC", Int32, "BADC"},
		{"DCBA", Uint32, "DCBA"},
		{"ABCD", Float64, "ABCDEFGH"},
		{"CDAB", Float64, "GHEFCDAB"},
		{"BADC", Int64, "BADCFEHG"},
		{"DCBA", Uint64, "HGFEDCBA"},
		{"CDAB", Int16, "AB"},
		{"DCBA", String, "AB"},
		{"DCBA", Bool, "AB"},
		{"GHEFCDAB", Uint16, "AB"},
		{"GHEFCDAB", Float64, "GHEFCDAB"},
		{"CDABGHEF", Int64, "CDABGHEF"},
		{"GHEFCDAB", Float32, ""},
		{"BA", Uint16, "BA"},
		{"BA", String, "BA"},
		{"AB", Int16, "AB"},
		{"BA", Float32, ""},
		{"AB", Int64, ""},
	} {
		o, err := ParseOrder(c.order)
		require.NoError(t, err)
		assert.Equal(t, c.order, o.String())
		own, ok := o.For(c.typ)
		assert.Equal(t, c.own != "", ok, "%s %v", c.order, c.typ)
		if ok {
			assert.Equal(t, c.own, own.String(), "%s %v", c.order, c.typ)
		}
	}
	assert.Equal(t, "ABCD", Order{}.String())
	own, ok := Order{}.For(Float64)
	assert.True(t, ok)
	assert.Equal(t, "ABCDEFGH", own.String())
	for in, want := range map[string]string{
		"cdab": "write CDAB", "ACBD": "CDAB", "AABB": "CDAB", "ABC": "CDAB", "": "CDAB", "ABCDEFGI": "GHEFCDAB", "big": "CDAB", "AÀ": "CDAB",
	} {
		_, err := ParseOrder(in)
		assert.ErrorContains(t, err, want, in)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"holding/100", "40101", "reg/101", "0x64", "100", "coil/0x7", "00001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("%q gives %v, which gives %v, %v", s, a, again, err)
		}
		_, _ = ParseSpan(s)
	})
}

func FuzzParseOrder(f *testing.F) {
	for _, s := range []string{"ABCD", "CDAB", "GHEFCDAB", "BA", "abcd", "AÀ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := ParseOrder(s)
		if err != nil {
			return
		}
		if o.String() != s {
			t.Fatalf("%q gives %v", s, o)
		}
		for typ := Bool; typ <= Bytes; typ++ {
			own, ok := o.For(typ)
			if w := typ.width(); ok && w > 0 {
				// An order loses no bit.
				seen := uint64(0)
				for i := range w {
					wire := make([]byte, w)
					wire[i] = 0xFF
					seen |= own.number(wire)
				}
				if seen != ^uint64(0)>>(64-8*w) {
					t.Fatalf("%v of %v loses bits: %x", own, typ, seen)
				}
			}
		}
	})
}
