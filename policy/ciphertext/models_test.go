package ciphertext_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/lzw"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/fxamacker/cbor/v2"
)

// source gives one payload after the other, as one point of one device does.
type source func() []byte

// model makes a source of payloads of n bytes.
type model struct {
	name string
	make func(r *rand.Rand, n int) source
	when caught
}

// caught says when a source that switches to a model must be stopped.
type caught int

const (
	// within 16 payloads, at every size that is judged.
	soon caught = iota
	// atOnce: with the first payload where the ciphertext has 64 bytes and more.
	atOnce
	// mostly: as atOnce, but for 1 payload in 20 of 64 bytes; and soon.
	mostly
	// never, or late: it is as good as random, and docs/ciphertext.md says so.
	never
)

// firstCorpus is what the thresholds were chosen on. It imitates what stands in
// registers and files on a plant floor.
func firstCorpus() []model {
	return []model{
		{"u16 registers, process values", registers, atOnce},
		{"u16 registers, 12-bit noise", noise16(12), atOnce},
		{"u16 registers, 14-bit noise", noise16(14), atOnce},
		{"float32 telemetry", floats, atOnce},
		{"int16 vibration", vibration, mostly},
		{"u32 counters and time stamps", counters, mostly},
		{"status bits", statusBits, soon},
		{"JSON", fill(jsonRecord), atOnce},
		{"CBOR", fill(cborRecord), soon},
		{"protobuf", fill(protoRecord), soon},
		{"log lines", fill(logLine), atOnce},
		{"UTF-16 text", func(r *rand.Rand, n int) source { return utf16(fill(logLine)(r, n), n) }, atOnce},
		{"hex", textOf(hex.EncodeToString), atOnce},
		{"base64", textOf(base64.StdEncoding.EncodeToString), atOnce},
		{"UUIDs as text", fill(func(r *rand.Rand) []byte { u := uuid4(r); return fmt.Appendf(nil, "%x-%x-%x,", u[:4], u[4:6], u[6:]) }), atOnce},
		{"UUIDs v4", fill(uuid4), never},
		{"UUIDs v7", fill(uuid7), soon},
		{"gzip", packed(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }), atOnce},
		{"zlib", packed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }), soon},
		{"raw deflate", packed(func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 6); return f }), soon},
		{"LZW", packed(func(w io.Writer) io.WriteCloser { return lzw.NewWriter(w, lzw.LSB, 8) }), soon},
		{"zstd (magic, then random)", magic("\x28\xb5\x2f\xfd"), atOnce},
		{"PNG (magic, then random)", magic("\x89PNG\r\n\x1a\n"), atOnce},
		{"JPEG (magic, then random)", magic("\xff\xd8\xff\xe0"), atOnce},
		{"registers xor fixed pad", xored(registers, 0), soon},
		{"JSON xor fixed pad", xored(fill(jsonRecord), 0), soon},
		{"vibration xor fixed pad", xored(vibration, 0), never},
		{"registers xor 8-byte key", xored(registers, 8), atOnce},
		{"JSON xor 4-byte key", xored(fill(jsonRecord), 4), atOnce},
	}
}

func randomBytes(r *rand.Rand, n int) source {
	return func() []byte {
		b := make([]byte, (n+7)/8*8)
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], r.Uint64())
		}
		return b[:n]
	}
}

// registers are values that wander, each around its own set point.
func registers(r *rand.Rand, n int) source {
	value, step := make([]float64, n/2), make([]float64, n/2)
	for i := range value {
		value[i] = math.Exp(3 + 6*r.Float64()) // 20 … 8000
		step[i] = value[i] * .02
	}
	return func() []byte {
		b := make([]byte, n)
		for i := range value {
			value[i] = min(max(value[i]+step[i]*r.NormFloat64(), 0), 65535)
			binary.BigEndian.PutUint16(b[2*i:], uint16(value[i]))
		}
		return b
	}
}

func noise16(bits int) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		return func() []byte {
			b := make([]byte, n)
			for i := 0; i+1 < n; i += 2 {
				binary.BigEndian.PutUint16(b[i:], uint16(r.UintN(1<<bits)))
			}
			return b
		}
	}
}

func floats(r *rand.Rand, n int) source {
	value := make([]float64, n/4)
	for i := range value {
		value[i] = math.Exp(8*r.Float64() - 2)
	}
	return func() []byte {
		b := make([]byte, n)
		for i := range value {
			value[i] *= 1 + .01*r.NormFloat64()
			binary.BigEndian.PutUint32(b[4*i:], math.Float32bits(float32(value[i])))
		}
		return b
	}
}

func vibration(r *rand.Rand, n int) source {
	t := 0.0
	f1, f2, a := .05+.2*r.Float64(), .3*r.Float64(), 500+8000*r.Float64()
	return func() []byte {
		b := make([]byte, n)
		for i := 0; i+1 < n; i += 2 {
			t++
			v := a*math.Sin(f1*t) + .3*a*math.Sin(f2*t) + .05*a*r.NormFloat64()
			binary.LittleEndian.PutUint16(b[i:], uint16(int16(v)))
		}
		t += float64(r.IntN(1000))
		return b
	}
}

func counters(r *rand.Rand, n int) source {
	value := make([]uint32, n/4)
	for i := range value {
		value[i] = r.Uint32N(1 << (8 + r.UintN(24)))
	}
	return func() []byte {
		b := make([]byte, n)
		for i := range value {
			value[i] += r.Uint32N(1000)
			binary.BigEndian.PutUint32(b[4*i:], value[i])
		}
		return b
	}
}

func statusBits(r *rand.Rand, n int) source {
	b := randomBytes(r, n)()
	return func() []byte {
		for range 1 + r.IntN(4) {
			b[r.IntN(n)] ^= 1 << r.IntN(8)
		}
		return bytes.Clone(b)
	}
}

func jsonRecord(r *rand.Rand) []byte {
	return fmt.Appendf(nil, `{"machine":"press-%d","program":"A%02d","torque":%.3f,"force":%.1f,"ok":%t,"ts":%d}`,
		r.IntN(9), r.IntN(100), 10*r.Float64(), 1000*r.Float64(), r.IntN(9) > 0, 1790000000000+r.Int64N(1e9))
}

func cborRecord(r *rand.Rand) []byte {
	b, _ := cbor.Marshal(map[string]any{"n": "torque", "v": 10 * r.Float64(), "t": 1790000000 + r.IntN(1e6), "q": r.IntN(4), "u": "Nm"})
	return b
}

func protoRecord(r *rand.Rand) []byte {
	b := binary.AppendUvarint([]byte{0x08}, 1790000000000+r.Uint64N(1e9))
	b = binary.LittleEndian.AppendUint64(append(b, 0x11), math.Float64bits(100*r.Float64()))
	b = binary.LittleEndian.AppendUint32(append(b, 0x1d), math.Float32bits(float32(20+r.NormFloat64())))
	b = append(append(b, 0x22, 7), "press-3"...)
	return binary.AppendUvarint(append(b, 0x28), r.Uint64N(1e6))
}

func logLine(r *rand.Rand) []byte {
	words := [...]string{"axis", "limit", "reached", "überlast", "cycle", "done", "valve", "open", "fault", "reset"}
	b := fmt.Appendf(nil, "2026-11-23T%02d:%02d:%02d ", r.IntN(24), r.IntN(60), r.IntN(60))
	for range 4 {
		b = append(append(b, words[r.IntN(len(words))]...), ' ')
	}
	return append(b, '\n')
}

func uuid4(r *rand.Rand) []byte {
	b := randomBytes(r, 16)()
	b[6], b[8] = b[6]&15|0x40, b[8]&63|0x80
	return b
}

func uuid7(r *rand.Rand) []byte {
	b := uuid4(r)
	binary.BigEndian.PutUint64(b, (1790000000000+r.Uint64N(1e8))<<16|uint64(b[7])<<8|uint64(b[9]))
	b[6] = b[6]&15 | 0x70
	return b
}

// fill joins records until n bytes are full.
func fill(record func(*rand.Rand) []byte) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		return func() []byte {
			var b []byte
			for len(b) < n {
				b = append(b, record(r)...)
			}
			return b[:n]
		}
	}
}

func utf16(of source, n int) source {
	return func() []byte {
		var b []byte
		for _, c := range of() {
			b = append(b, c, 0)
		}
		return b[:n]
	}
}

func textOf(encode func([]byte) string) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		raw := randomBytes(r, n)
		return func() []byte { return []byte(encode(raw())[:n]) }
	}
}

// packed compresses so many records that what comes out has n bytes and more,
// and cuts off what is more: a device that sends pieces of a compressed stream.
// Where the first n bytes would do, the whole stream comes.
func packed(to func(io.Writer) io.WriteCloser) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		w := to(io.Discard)
		return func() []byte {
			var out bytes.Buffer
			if again, ok := w.(interface{ Reset(w io.Writer) }); ok {
				again.Reset(&out)
			} else {
				w = to(&out)
			}
			for size := 0; size < n+n/4; {
				k, _ := w.Write(jsonRecord(r))
				size += k / 2
			}
			_ = w.Close()
			b := out.Bytes()
			return b[:min(len(b), n)]
		}
	}
}

func magic(first string) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		raw := randomBytes(r, n)
		return func() []byte { b := raw(); copy(b, first); return b }
	}
}

// xored hides a source under a pad that is as long as its payloads, or under a
// key that repeats.
func xored(of func(r *rand.Rand, n int) source, period int) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		plain := of(r, n)
		pad := randomBytes(r, n)()
		return func() []byte {
			b := bytes.Clone(plain())
			for i := range b {
				if period > 0 {
					b[i] ^= pad[i%period]
				} else {
					b[i] ^= pad[i]
				}
			}
			return b
		}
	}
}
