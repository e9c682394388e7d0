package ciphertext_test

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rc4"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// TestSecondCorpus meets the thresholds after they were frozen. Its generators
// were written without those of the first corpus: other devices, other
// encodings, other generators of randomness (AES in counter mode instead of
// PCG), and data that nobody generated: this test's own machine code.
func TestSecondCorpus(t *testing.T) {
	accepted(t, encrypted, 2)
	refused(t, secondCorpus(t), 2)
}

func secondCorpus(t *testing.T) []model {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	aesOf := func(how func(cipher.Block, []byte)) func(r *rand.Rand, n int) source {
		return func(r *rand.Rand, n int) source {
			key := make([]byte, 16)
			binary.LittleEndian.PutUint64(key, r.Uint64())
			block, _ := aes.NewCipher(key)
			plain := wordSwapped(r, n)
			return func() []byte { b := plain(); how(block, b); return b }
		}
	}
	return []model{
		{"drive map: word-swapped floats", wordSwapped, soon},
		{"drive map: BCD and ASCII", bcd, soon},
		{"OPC UA structure, little-endian", structure, soon},
		{"energy meter, u64 and i32", meter, soon},
		{"24-bit accelerometer", accelerometer, soon},
		{"10-bit samples, packed", packed10, never},
		{"LEB128 differences", leb128, soon},
		{"CSV", csv, soon},
		{"XML", xmlDoc, soon},
		{"JSON of encoding/json", jsonDoc, soon},
		{"MessagePack", msgpack, soon},
		{"NMEA", nmea, soon},
		{"machine code", pieces(code), soon},
		{"Huffman only, no header", huffmanOnly, soon},
		{"zlib, whole streams", wholeZlib, soon},
		{"PNG from its beginning", picture(func(w io.Writer, m image.Image) error { return png.Encode(w, m) }, 0), soon},
		{"JPEG from its beginning", picture(func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }, 0), soon},
		{"JPEG from its middle", picture(func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }, 900), never},
		{"Caesar, by 13", mapped(func(c byte, _ int) byte { return c + 13 }), soon},
		{"rolling xor", mapped(func(c byte, i int) byte { return c ^ byte(7*i+91) }), soon},
		{"bits rotated", mapped(func(c byte, _ int) byte { return c<<3 | c>>5 }), soon},
		{"RC4, one key, no nonce", rc4Of(false), soon},
		{"RC4, new key each", rc4Of(true), never},
		{"AES-ECB", aesOf(func(c cipher.Block, b []byte) {
			for ; len(b) >= 16; b = b[16:] {
				c.Encrypt(b, b)
			}
		}), never},
		{"AES-CBC, fixed IV", aesOf(func(c cipher.Block, b []byte) {
			cipher.NewCBCEncrypter(c, make([]byte, 16)).CryptBlocks(b[:len(b)/16*16], b[:len(b)/16*16])
		}), never},
		{"AES-CTR, nonce always the same", aesOf(func(c cipher.Block, b []byte) { cipher.NewCTR(c, make([]byte, 16)).XORKeyStream(b, b) }), soon},
	}
}

// encrypted is what should pass: process values in AES-CTR under a key of the
// source, with a counter that goes on.
func encrypted(r *rand.Rand, n int) source {
	key := make([]byte, 16)
	binary.LittleEndian.PutUint64(key, r.Uint64())
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	stream := cipher.NewCTR(block, make([]byte, 16))
	plain := wordSwapped(r, n)
	return func() []byte { b := plain(); stream.XORKeyStream(b, b); return b }
}

func wordSwapped(r *rand.Rand, n int) source {
	phase := 100 * r.Float64()
	return func() []byte {
		phase += .1
		b := make([]byte, n)
		for i := 0; i+4 <= n; i += 4 {
			u := math.Float32bits(float32(50 + 40*math.Sin(phase+float64(i)) + r.Float64()))
			binary.BigEndian.PutUint32(b[i:], u<<16|u>>16)
		}
		return b
	}
}

func bcd(r *rand.Rand, n int) source {
	count := r.IntN(1e6)
	return func() []byte {
		count += 1 + r.IntN(3)
		b := []byte("ORD-7731")
		for len(b) < n {
			d := fmt.Sprintf("%08d", (count*7919+len(b))%1e8)
			for i := 0; i < 8; i += 2 {
				b = append(b, (d[i]-'0')<<4|d[i+1]-'0')
			}
		}
		return b[:n]
	}
}

func structure(r *rand.Rand, n int) source {
	ticks := uint64(134_000_000_000_000_000)
	return func() []byte {
		var b []byte
		for len(b) < n {
			ticks += 10_000_000 + r.Uint64N(1000)
			b = binary.LittleEndian.AppendUint64(b, ticks)
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.ExpFloat64()*30))
			b = append(binary.LittleEndian.AppendUint32(b, r.Uint32N(5)), byte(r.UintN(2)))
		}
		return b[:n]
	}
}

func meter(r *rand.Rand, n int) source {
	energy := r.Uint64N(1 << 40)
	return func() []byte {
		energy += r.Uint64N(5000)
		b := binary.BigEndian.AppendUint64(nil, energy)
		for len(b) < n {
			b = binary.BigEndian.AppendUint32(b, uint32(int32(23000+r.NormFloat64()*400)))
		}
		return b[:n]
	}
}

func accelerometer(r *rand.Rand, n int) source {
	return func() []byte {
		var b []byte
		for len(b) < n {
			for _, offset := range [3]float64{0, 0, 1 << 20} {
				v := int32(offset + r.NormFloat64()*30000)
				b = append(b, byte(v>>16), byte(v>>8), byte(v))
			}
		}
		return b[:n]
	}
}

func packed10(r *rand.Rand, n int) source {
	return func() []byte {
		var b []byte
		acc, have := uint(0), 0
		for len(b) < n {
			acc, have = acc<<10|uint(min(max(512+r.NormFloat64()*150, 0), 1023)), have+10
			for have >= 8 {
				have -= 8
				b = append(b, byte(acc>>have))
			}
		}
		return b[:n]
	}
}

func leb128(r *rand.Rand, n int) source {
	return func() []byte {
		var b []byte
		for len(b) < n {
			b = binary.AppendVarint(b, int64(r.NormFloat64()*300))
		}
		return b[:n]
	}
}

func csv(r *rand.Rand, n int) source {
	line := 0
	return func() []byte {
		var b []byte
		for len(b) < n {
			line++
			b = fmt.Appendf(b, "%d;%.2f;%.2f;OK\r\n", line, 180+r.NormFloat64(), 21+r.NormFloat64())
		}
		return b[:n]
	}
}

func xmlDoc(r *rand.Rand, n int) source {
	type part struct {
		XMLName xml.Name `xml:"part"`
		Serial  uint32   `xml:"serial,attr"`
		Depth   float64  `xml:"depth"`
	}
	return func() []byte {
		var b []byte
		for len(b) < n {
			p, _ := xml.Marshal(part{Serial: r.Uint32(), Depth: r.Float64()})
			b = append(b, p...)
		}
		return b[:n]
	}
}

func jsonDoc(r *rand.Rand, n int) source {
	return func() []byte {
		var all []map[string]float64
		for range n/20 + 1 {
			all = append(all, map[string]float64{"t": float64(r.IntN(1e6)), "p": r.Float64()})
		}
		b, _ := json.Marshal(all)
		return b[:n]
	}
}

func msgpack(r *rand.Rand, n int) source {
	return func() []byte {
		var b []byte
		for len(b) < n {
			b = append(b, 0x83, 0xa1, 't', 0xce)
			b = binary.BigEndian.AppendUint32(b, 1790000000+r.Uint32N(1e6))
			b = append(b, 0xa1, 'v', 0xcb)
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.NormFloat64()))
			b = append(b, 0xa1, 's', byte(r.UintN(4)))
		}
		return b[:n]
	}
}

func nmea(r *rand.Rand, n int) source {
	return func() []byte {
		var b []byte
		for len(b) < n {
			b = fmt.Appendf(b, "$GPGGA,%06d,4916.%03d,N,12311.%03d,W,1,08,0.9,%d.4,M*%02X\r\n", r.IntN(235959), r.IntN(1000), r.IntN(1000), r.IntN(900), r.IntN(256))
		}
		return b[:n]
	}
}

func pieces(of []byte) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		at := len(of)/8 + r.IntN(len(of)/4)
		return func() []byte {
			at += n
			return bytes.Clone(of[at : at+n])
		}
	}
}

func huffmanOnly(r *rand.Rand, n int) source {
	w, _ := flate.NewWriter(nil, flate.HuffmanOnly)
	return func() []byte {
		var out bytes.Buffer
		w.Reset(&out)
		for range 3*n/40 + 4 {
			fmt.Fprintf(w, "axis %d position %.4f velocity %.3f\n", r.IntN(6), r.Float64(), r.Float64())
		}
		_ = w.Close()
		return out.Bytes()[:n]
	}
}

// wholeZlib gives complete streams of about the size.
func wholeZlib(r *rand.Rand, n int) source {
	w := zlib.NewWriter(nil)
	return func() []byte {
		var out bytes.Buffer
		text := ""
		for out.Len() < n {
			text += fmt.Sprintf("%.1f %.1f %.1f ", 100*r.Float64(), r.Float64(), r.Float64())
			out.Reset()
			w.Reset(&out)
			fmt.Fprint(w, text)
			_ = w.Close()
		}
		return out.Bytes()
	}
}

func picture(encode func(io.Writer, image.Image) error, from int) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		return func() []byte {
			m := image.NewGray(image.Rect(0, 0, 48, 48))
			for i := range m.Pix {
				m.Set(i%48, i/48, color.Gray{Y: byte(128 + 60*math.Sin(float64(i)/50) + 25*r.NormFloat64())})
			}
			var out bytes.Buffer
			_ = encode(&out, m)
			return out.Bytes()[from : from+n]
		}
	}
}

// mapped hides CSV by a byte-wise trick.
func mapped(f func(c byte, i int) byte) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		plain := csv(r, n)
		return func() []byte {
			b := plain()
			for i := range b {
				b[i] = f(b[i], i)
			}
			return b
		}
	}
}

func rc4Of(anew bool) func(r *rand.Rand, n int) source {
	return func(r *rand.Rand, n int) source {
		key := binary.LittleEndian.AppendUint64(nil, r.Uint64())
		plain := jsonDoc(r, n)
		return func() []byte {
			if anew {
				key = binary.LittleEndian.AppendUint64(key[:0], r.Uint64())
			}
			c, _ := rc4.NewCipher(key)
			b := plain()
			c.XORKeyStream(b, b)
			return b
		}
	}
}
