package modbus

import (
	"fmt"
	"strconv"
	"strings"
)

// tables are the words for the tables, by [Table], as mapping files write them.
var tables = [...]string{Holding: "holding", Input: "input", Coil: "coil", Discrete: "discrete"}

// String gives the word that mapping files use: holding, input, coil, discrete.
func (t Table) String() string {
	if int(t) < len(tables) {
		return tables[t]
	}
	return fmt.Sprintf("table(%d)", uint8(t))
}

// bits tells whether the table holds bits, not registers.
func (t Table) bits() bool { return t == Coil || t == Discrete }

// String gives the address on the wire: "holding/100".
func (a Address) String() string { return a.Table.String() + "/" + strconv.Itoa(int(a.Offset)) }

// String gives both ends: "holding/900-999".
func (s Span) String() string {
	return fmt.Sprintf("%s/%d-%d", s.Table, s.First, s.Last)
}

// ParseAddress reads one of the three ways in which vendors and people write an
// address:
//
//   - holding/100, input/12, coil/7, discrete/3: the address on the wire, from
//     0; 0x64 is fine
//   - 40101, 400101, 30013, 300013, 10001, 100001: a reference number of five or
//     six digits
//   - reg/101: the holding register in a list that counts from 1
//
// A number that says neither table nor counting, and leading zeros, are errors
// that name the ways to write it.
func ParseAddress(s string) (Address, error) {
	word, number, found := strings.Cut(s, "/")
	if !found {
		return parseReference(s)
	}
	n, err := parseNumber(number)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", shorten(s), err)
	}
	if word == "reg" {
		if n < 1 || n > 1<<16 {
			return Address{}, fmt.Errorf("address %q is outside 1–65536: reg/ counts from 1; write reg/1 or holding/0 for the first register", shorten(s))
		}
		return Address{Holding, uint16(n - 1)}, nil
	}
	for t, name := range tables {
		if word != name {
			continue
		}
		if n > 0xFFFF {
			return Address{}, fmt.Errorf("address %q is outside 0–65535; %s/ takes the address on the wire, from 0", shorten(s), name)
		}
		return Address{Table(t), uint16(n)}, nil
	}
	return Address{}, fmt.Errorf("address %q: there is no table %q; write %s", shorten(s), shorten(word),
		nearest(word, append(tables[:], "reg"), "holding, input, coil, discrete or reg"))
}

// parseReference reads a reference number of five or six digits.
func parseReference(s string) (Address, error) {
	if s == "" {
		return Address{}, fmt.Errorf("the address is empty; write holding/100, 40101 or reg/101")
	}
	for _, r := range s {
		if r < '0' || r > '9' {
			return Address{}, fmt.Errorf("%q is no address; write holding/100, 40101 or reg/101", shorten(s))
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return Address{}, fmt.Errorf("%q is no address: the number is too large; write holding/100, 40101 or reg/101", shorten(s))
	}
	isRef := len(s) == 5 || len(s) == 6
	if s[0] == '0' && len(s) > 1 {
		if isRef && n >= 1 {
			return Address{}, fmt.Errorf("%q has leading zeros: YAML programs read them in different ways; write coil/%d for this coil", s, n-1)
		}
		return Address{}, fmt.Errorf("%q has leading zeros; write holding/%d (address on the wire, from 0) or reg/%d (counted from 1)", shorten(s), n, max(n, 1))
	}
	var table Table
	switch {
	case isRef && s[0] == '1':
		table = Discrete
	case isRef && s[0] == '3':
		table = Input
	case isRef && s[0] == '4':
		table = Holding
	default:
		return Address{}, bareNumber(n)
	}
	rest, _ := strconv.ParseUint(s[1:], 10, 32)
	if rest < 1 || rest > 1<<16 {
		return Address{}, fmt.Errorf("reference number %s is outside %c%0*d–%s: reference numbers count from 1; write %s/0 for the first one",
			s, s[0], len(s)-1, 1, last(s), table)
	}
	return Address{table, uint16(rest - 1)}, nil
}

// last is the greatest reference number of the same table and length.
func last(s string) string {
	if len(s) == 5 {
		return s[:1] + "9999"
	}
	return s[:1] + "65536"
}

// bareNumber is the error for a number that says neither table nor counting.
func bareNumber(n uint64) error {
	if n > 0xFFFF {
		return fmt.Errorf("a bare %d does not say which register, and there is none so high; write holding/100 (address on the wire, from 0), reg/101 or 40101", n)
	}
	ref := 40001 + n
	if n >= 9999 {
		ref = 400001 + n
	}
	return fmt.Errorf("a bare %d does not say which register; write holding/%d for the address on the wire (from 0; the same as reg/%d or %d), or reg/%d if the list counts from 1",
		n, n, n+1, ref, max(n, 1))
}

// parseNumber reads a decimal without leading zeros, or 0x and hexadecimal.
func parseNumber(s string) (uint64, error) {
	digits, base := s, 10
	if h, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base = h, 16
	} else if len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("%q has leading zeros; write it without them, or as 0x and hexadecimal", shorten(s))
	}
	if strings.Contains(digits, "_") || strings.HasPrefix(digits, "+") {
		digits = ""
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number from 0 to 65535; write it as 100 or 0x64", shorten(s))
	}
	return n, nil
}

// ParseSpan reads a run of addresses in the spellings of [ParseAddress], with
// both ends: "holding/900-999", "reg/901-1000", "40901-41000". One address
// alone is a run of one.
func ParseSpan(s string) (Span, error) {
	from, to, isRun := strings.Cut(s, "-")
	first, err := ParseAddress(from)
	if err != nil {
		return Span{}, err
	}
	if !isRun {
		return Span{first.Table, first.Offset, first.Offset}, nil
	}
	if word, _, ok := strings.Cut(from, "/"); ok && !strings.Contains(to, "/") {
		to = word + "/" + to
	}
	end, err := ParseAddress(to)
	if err != nil {
		return Span{}, err
	}
	if end.Table != first.Table || end.Offset < first.Offset {
		return Span{}, fmt.Errorf("%q is no run of addresses; write the lower one first and both of one table, like holding/900-999", shorten(s))
	}
	return Span{first.Table, first.Offset, end.Offset}, nil
}

// types are the words for the types, by [Type].
var types = [...]string{
	Bool: "bool", Int16: "int16", Int32: "int32", Int64: "int64",
	Uint16: "uint16", Uint32: "uint32", Uint64: "uint64",
	Float32: "float32", Float64: "float64", String: "string", Bytes: "bytes",
}

// String gives the word that mapping files use.
func (t Type) String() string {
	if t > 0 && int(t) < len(types) {
		return types[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads bool, int16, int32, int64, uint16, uint32, uint64, float32,
// float64, string or bytes.
func ParseType(s string) (Type, error) {
	for t, name := range types {
		if t > 0 && s == name {
			return Type(t), nil
		}
	}
	other := map[string]string{ // what other systems call them
		"int": "int16", "short": "int16", "word": "uint16", "uint": "uint16", "dint": "int32", "long": "int32",
		"dword": "uint32", "udint": "uint32", "lint": "int64", "lword": "uint64", "ulint": "uint64",
		"float": "float32", "real": "float32", "double": "float64", "lreal": "float64",
		"boolean": "bool", "bit": "bool", "text": "string", "raw": "bytes", "byte": "bytes",
	}[strings.ToLower(s)]
	if other == "" {
		other = nearest(strings.ToLower(s), types[1:], strings.Join(types[1:], ", "))
	}
	return 0, fmt.Errorf("there is no type %q; write %s", shorten(s), other)
}

// Registers is the number of registers that a value takes; for bits it is the
// number of bits, 1. bytes is the length of a [String] or [Bytes].
func (t Type) Registers(bytes int) int {
	if t == String || t == Bytes {
		return (max(bytes, 0) + 1) / 2
	}
	return (t.width() + 1) / 2
}

// width is the number of bytes of a number; 0 for String and Bytes.
func (t Type) width() int {
	switch t {
	case Bool, Int16, Uint16:
		return 2
	case Int32, Uint32, Float32:
		return 4
	case Int64, Uint64, Float64:
		return 8
	default:
		return 0
	}
}

// nearest gives the word that s is a slip of, or all where none is near.
func nearest(s string, words []string, all string) string {
	best, least := all, 3
	for _, w := range words {
		if d := distance(s, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is the number of letters to add, remove or change from a to b, as
// far as it is below 3. Two neighbours that changed places are no distance to
// speak of: "unit32" is uint32, and not int32.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	for i := range len(a) - 1 {
		if len(a) == len(b) && a[:i]+a[i+1:i+2]+a[i:i+1]+a[i+2:] == b {
			return 0
		}
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// shorten keeps an error text short whatever stands in the file.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
