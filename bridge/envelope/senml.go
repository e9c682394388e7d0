package envelope

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
)

// The labels of SenML-CBOR (RFC 8428, 6, table 4) that are used, encoded.
const (
	labelName     = 0x00
	labelUnit     = 0x01
	labelValue    = 0x02
	labelText     = 0x03
	labelBool     = 0x04
	labelData     = 0x08
	labelBaseName = 0x21 // -2
	labelBaseTime = 0x22 // -3
	nanoExponent  = 0x28 // -9
)

// appendPack appends the samples as a SenML pack in CBOR (RFC 8428, 6), in
// deterministic encoding. The base name stands in the first record. The base
// time stands in the first record and wherever it changes, as the decimal
// fraction 4([-9, nanoseconds]), so that no digit of it is lost. A quality that
// is not good stands under "q". A name or unit over [MaxName] is cut off.
func appendPack(dst []byte, base string, samples []Sample) []byte {
	dst = appendHead(dst, cborArray, uint64(len(samples)))
	var now int64
	for i := range samples {
		s := &samples[i]
		first := i == 0
		newTime := first || s.Time != now
		now = s.Time
		if !newTime && s.Value.kind == Float && s.Unit == "" && s.Quality == 0 {
			n := len(dst)
			if dst = appendFloatRecord(dst, s.Name, s.Value.bits); len(dst) > n {
				continue
			}
		}
		value := s.Value.kind != NoValue && !s.Bad()

		pairs := byte(1)
		if s.Unit != "" {
			pairs++
		}
		if value {
			pairs++
		}
		if first {
			pairs++
		}
		if newTime {
			pairs++
		}
		if s.Quality != 0 {
			pairs++
		}
		dst = append(dst, cborMap|pairs, labelName)
		dst = appendText(dst, clip(s.Name, MaxName))
		if s.Unit != "" {
			dst = appendText(append(dst, labelUnit), clip(s.Unit, MaxName))
		}
		if value {
			dst = appendValue(dst, &s.Value)
		}
		if first {
			dst = appendText(append(dst, labelBaseName), valid(base))
		}
		if newTime {
			dst = appendNanoseconds(append(dst, labelBaseTime), now)
		}
		if s.Quality != 0 {
			dst = appendUint(append(dst, cborText|1, 'q'), uint64(s.Quality))
		}
	}
	return dst
}

// appendFloatRecord appends the record of a good float at the time of the one
// before, which is most of what a gateway sends, in one go: {0: name, 2: float}.
// It appends nothing where the name is not ASCII of 1 to 23 bytes.
func appendFloatRecord(dst []byte, name string, bits uint64) []byte {
	n, k := len(dst), len(name)
	dst = slices.Grow(dst, 24+13)
	b := dst[n : n+24+13]
	switch {
	case k >= 24 || k == 0:
		return dst[:n]
	case k >= 8: // three words, which overlap
		first, middle, last := word(name), uint64(0), word(name[k-8:])
		if k > 16 {
			middle = word(name[8:])
			binary.LittleEndian.PutUint64(b[11:], middle)
		}
		if (first|middle|last)&highBits != 0 {
			return dst[:n]
		}
		binary.LittleEndian.PutUint64(b[3:], first)
		binary.LittleEndian.PutUint64(b[k-5:], last)
	default:
		var all byte
		for i := range k {
			all |= name[i]
			b[3+i] = name[i]
		}
		if all >= utf8.RuneSelf {
			return dst[:n]
		}
	}
	b[0], b[1], b[2] = cborMap|2, labelName, cborText|byte(k)
	k += 3
	b[k] = labelValue
	f := math.Float64frombits(bits)
	if short := float32(f); float64(short) == f {
		b[k+1] = cborF32
		binary.BigEndian.PutUint32(b[k+2:], math.Float32bits(short))
		return dst[:n+k+6]
	}
	b[k+1] = cborF64
	binary.BigEndian.PutUint64(b[k+2:], bits)
	return dst[:n+k+10]
}

// word gives the first eight bytes of s, in one load.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// highBits are the bits that no byte of ASCII has.
const highBits = 0x8080808080808080

// appendNanoseconds appends a time in seconds as the decimal fraction
// 4([-9, n]) (RFC 8949, 3.4.4).
func appendNanoseconds(dst []byte, n int64) []byte {
	return appendInt(append(dst, cborTag|4, cborArray|2, nanoExponent), n)
}

// appendValue appends label and value. Integers are exact, a float takes 32 bits
// where these are exact and else 64, and a Time is a decimal fraction of
// seconds, which no float is ever written as.
func appendValue(dst []byte, v *Value) []byte {
	switch v.kind {
	case Bool:
		return appendBool(append(dst, labelBool), v.bits != 0)
	case Int:
		return appendInt(append(dst, labelValue), int64(v.bits))
	case Uint:
		return appendUint(append(dst, labelValue), v.bits)
	case Float:
		f := math.Float64frombits(v.bits)
		if short := float32(f); float64(short) == f {
			dst = append(dst, labelValue, cborF32)
			return binary.BigEndian.AppendUint32(dst, math.Float32bits(short))
		}
		dst = append(dst, labelValue, cborF64)
		return binary.BigEndian.AppendUint64(dst, v.bits)
	case Text:
		if utf8.Valid(v.data) {
			dst = appendHead(append(dst, labelText), cborText, uint64(len(v.data)))
			return append(dst, v.data...)
		}
		return appendBytes(append(dst, labelData), v.data)
	case Bytes:
		return appendBytes(append(dst, labelData), v.data)
	default: // Time
		return appendNanoseconds(append(dst, labelValue), int64(v.bits))
	}
}

const (
	// maxBase is the length of base name that the size bounds allow for.
	maxBase = MaxName
	// sampleBound is what a sample takes at most besides name, unit and bytes:
	// map head, labels, heads of three strings, number, base time, quality.
	sampleBound = 1 + 1 + 5 + 1 + 5 + 1 + 12 + 13 + 7
	// frameBound is what a data frame takes at most besides the samples: COSE
	// heads and headers, tag, array head, base name.
	frameBound = 64 + 16 + 5 + 6 + maxBase
)

// SizeBound gives a size that the sealed frame of the samples does not exceed,
// padding included, with a base name of up to [MaxName] bytes. A committer adds
// samples to a message while this stays within [MaxBody]. The bound of a whole is
// at most the sum of the bounds of its parts.
func SizeBound(samples []Sample) int {
	n := frameBound
	for i := range samples {
		s := &samples[i]
		n += sampleBound + len(s.Name) + len(s.Unit) + len(s.Value.data)
	}
	return n + n/8 + 8 // Padmé adds less than 12 %
}
