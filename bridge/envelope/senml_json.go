package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// AppendClear appends the samples as a SenML pack in JSON (RFC 8428, 5), the
// body of a clear message. Labels and rules are those of the sealed form: base
// name in the first record, base time in the first record and wherever it
// changes, all digits of times and integers, quality under "q". "vk" names the
// kind of a value that JSON has no form of its own for:
//
//   - a Time is {"vs": RFC 3339, "vk": "time"},
//   - NaN and the infinities are {"vs": "NaN", "vk": "float"},
//   - a Text that is mostly control characters is {"vd": …, "vk": "text"}.
//
// A Float has a point or an exponent, and an integer has none. A name or unit
// over [MaxName] is cut off; texts and bytes must be within [MaxValue].
func AppendClear(dst []byte, base string, samples []Sample) []byte {
	dst = append(dst, '[')
	var now int64
	for i := range samples {
		s := &samples[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if i == 0 {
			dst = appendString(append(dst, `"bn":`...), valid(base))
			dst = append(dst, ',')
		}
		if i == 0 || s.Time != now {
			now = s.Time
			dst = appendSeconds(append(dst, `"bt":`...), now)
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `"n":`...), clip(s.Name, MaxName))
		if s.Unit != "" {
			dst = appendString(append(dst, `,"u":`...), clip(s.Unit, MaxName))
		}
		if s.Value.kind != NoValue && !s.Bad() {
			dst = appendClearValue(dst, &s.Value)
		}
		if s.Quality != 0 {
			dst = strconv.AppendUint(append(dst, `,"q":`...), uint64(s.Quality), 10)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendClearValue(dst []byte, v *Value) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(append(dst, `,"vb":`...), v.bits != 0)
	case Int:
		return strconv.AppendInt(append(dst, `,"v":`...), int64(v.bits), 10)
	case Uint:
		return strconv.AppendUint(append(dst, `,"v":`...), v.bits, 10)
	case Float:
		return appendClearFloat(dst, v.Float())
	case Text:
		switch size, ok := stringSize(v.data); {
		case !ok:
			return appendData(dst, v.data)
		case size > base64.RawURLEncoding.EncodedLen(len(v.data))+2:
			return append(appendData(dst, v.data), `,"vk":"text"`...)
		default:
			return appendString(append(dst, `,"vs":`...), v.data)
		}
	case Bytes:
		return appendData(dst, v.data)
	default: // Time
		dst = append(dst, `,"vs":"`...)
		dst = time.Unix(0, int64(v.bits)).UTC().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, `","vk":"time"`...)
	}
}

func appendClearFloat(dst []byte, f float64) []byte {
	word := ""
	switch {
	case math.IsNaN(f):
		word = "NaN"
	case math.IsInf(f, 1):
		word = "Infinity"
	case math.IsInf(f, -1):
		word = "-Infinity"
	}
	if word != "" {
		dst = append(append(dst, `,"vs":"`...), word...)
		return append(dst, `","vk":"float"`...)
	}
	dst = append(dst, `,"v":`...)
	from := len(dst)
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if bytes.IndexByte(dst[from:], '.') < 0 && format == 'f' {
		dst = append(dst, '.', '0')
	}
	return dst
}

// appendData appends bytes in base64url without padding (RFC 8428, 5).
func appendData(dst, b []byte) []byte {
	dst = append(dst, `,"vd":"`...)
	return append(base64.RawURLEncoding.AppendEncode(dst, b), '"')
}

// appendSeconds appends nanoseconds as a decimal number of seconds.
func appendSeconds(dst []byte, n int64) []byte {
	u := uint64(n)
	if n < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1e9, 10)
	if rest := u % 1e9; rest != 0 {
		digits := strconv.AppendUint(make([]byte, 0, 20), 1e9+rest, 10)
		digits[0] = '.'
		dst = append(dst, bytes.TrimRight(digits, "0")...)
	}
	return dst
}

// parseSeconds reads what appendSeconds wrote.
func parseSeconds(s string) (int64, error) {
	minus := strings.HasPrefix(s, "-")
	whole, part, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if len(part) > 9 {
		return 0, errors.New("a time finer than nanoseconds")
	}
	n, err := strconv.ParseUint(whole+part+"000000000"[len(part):], 10, 64)
	switch {
	case err != nil || n > 1<<63 || (n == 1<<63 && !minus):
		return 0, errors.New("a time out of range")
	case minus:
		return -int64(n), nil
	}
	return int64(n), nil
}

// appendString appends valid UTF-8 as a JSON string.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch x := s[i]; {
		case x == '"' || x == '\\':
			dst = append(dst, '\\', x)
		case x < ' ':
			dst = append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[x>>4], "0123456789abcdef"[x&15])
		default:
			dst = append(dst, x)
		}
	}
	return append(dst, '"')
}

// stringSize is the number of bytes that appendString takes, if b is UTF-8.
func stringSize(b []byte) (n int, ok bool) {
	n = len(b) + 2
	for _, x := range b {
		switch {
		case x == '"' || x == '\\':
			n++
		case x < ' ':
			n += 5
		}
	}
	return n, utf8.Valid(b)
}

// ClearBound gives a size that AppendClear does not exceed, with a base name of
// up to [MaxName] bytes.
func ClearBound(samples []Sample) int {
	n := 32 + 6*maxBase
	for i := range samples {
		s := &samples[i]
		n += 128 + 6*(len(s.Name)+len(s.Unit)) + base64.RawURLEncoding.EncodedLen(len(s.Value.data))
	}
	return n
}

// clearRecord is a SenML record as encoding/json reads it.
type clearRecord struct {
	BaseName *string     `json:"bn"`
	BaseTime json.Number `json:"bt"`
	Name     string      `json:"n"`
	Unit     string      `json:"u"`
	Number   json.Number `json:"v"`
	Text     *string     `json:"vs"`
	Bool     *bool       `json:"vb"`
	Data     *string     `json:"vd"`
	Quality  uint32      `json:"q"`
	Kind     string      `json:"vk"`
}

// decodeClear reads what AppendClear wrote, and nothing else: what it read must
// give the same bytes again.
func decodeClear(b []byte) (base string, samples []Sample, err error) {
	var records []clearRecord
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&records); err != nil {
		return "", nil, errors.New("cannot read SenML JSON: not an array of its records")
	}
	samples = make([]Sample, len(records))
	var now int64
	for i := range records {
		r, s := &records[i], &samples[i]
		if i == 0 && r.BaseName != nil {
			base = *r.BaseName
		}
		if r.BaseTime != "" {
			if now, err = parseSeconds(string(r.BaseTime)); err != nil {
				return "", nil, fmt.Errorf("cannot read SenML JSON: %w", err)
			}
		}
		s.Name, s.Unit, s.Time, s.Quality = r.Name, r.Unit, now, r.Quality
		if s.Value, err = r.value(); err != nil {
			return "", nil, fmt.Errorf("cannot read SenML JSON: %w", err)
		}
		if len(s.Value.data) > MaxValue {
			return "", nil, errors.New("cannot read SenML JSON: a text or bytes too long")
		}
	}
	if !bytes.Equal(AppendClear(make([]byte, 0, len(b)), base, samples), b) {
		return "", nil, errors.New("cannot read SenML JSON: not in the form that a gateway writes")
	}
	if len(samples) == 0 {
		samples = nil
	}
	return base, samples, nil
}

func (r *clearRecord) value() (Value, error) {
	switch {
	case r.Bool != nil:
		return OfBool(*r.Bool), nil
	case r.Data != nil:
		b, err := base64.RawURLEncoding.Strict().DecodeString(*r.Data)
		if err != nil {
			return Value{}, errors.New("bytes that are not base64url")
		}
		if r.Kind == "text" {
			return OfText(b), nil
		}
		return OfBytes(b), nil
	case r.Text != nil && r.Kind == "time":
		t, err := time.Parse(time.RFC3339Nano, *r.Text)
		if err != nil {
			return Value{}, errors.New("a time that is not RFC 3339")
		}
		return OfTime(t.UnixNano()), nil
	case r.Text != nil && r.Kind == "float":
		f, err := strconv.ParseFloat(*r.Text, 64)
		if err != nil {
			return Value{}, errors.New("a float that is none")
		}
		return OfFloat(f), nil
	case r.Text != nil:
		return OfText([]byte(*r.Text)), nil
	case r.Number != "":
		return clearNumber(string(r.Number))
	}
	return Value{}, nil
}

func clearNumber(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return Value{}, errors.New("a float out of range")
		}
		return OfFloat(f), nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return OfInt(i), nil
	}
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return Value{}, errors.New("an integer of more than 64 bits")
	}
	return OfUint(u), nil
}
