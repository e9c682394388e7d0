package ciphertext_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// fuzzFormat: no payload makes a parser fail otherwise than by an error, and
// none is accepted that is still accepted with a byte more, or one less, at its
// end, or that is too short to hold what it must.
func fuzzFormat(f *testing.F, format string, least int) {
	for _, b := range samples(f, format) {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if ciphertext.Judge(format, b) != nil {
			return
		}
		require.GreaterOrEqual(t, len(b), least)
		if format == ciphertext.Age {
			return // nothing says how long its payload is
		}
		require.Error(t, ciphertext.Judge(format, append(bytes.Clone(b), 'A')))
		require.Error(t, ciphertext.Judge(format, b[:len(b)-1]))
	})
}

func FuzzCOSE(f *testing.F) {
	f.Add([]byte{0xd0, 0x83, 0x40, 0xa0, 0x40})
	f.Add(good().encode(f))
	f.Add(with(func(p *parts) {
		p.tag, p.recipients = 96, []any{[]any{[]byte{}, map[int]any{1: -29, -1: map[int]any{1: 2, -1: 1, -2: random(32), -3: false}}, random(24)}}
	}).encode(f))
	fuzzFormat(f, ciphertext.COSE, 9+7+9)
}

func FuzzJWE(f *testing.F) { fuzzFormat(f, ciphertext.JWE, 4+16+1+22) }

func FuzzCMS(f *testing.F) { fuzzFormat(f, ciphertext.CMS, 60) }

func FuzzAge(f *testing.F) { fuzzFormat(f, ciphertext.Age, 22+48+32) }

// FuzzGuard feeds a guard with pieces of the input: nothing panics, and what is
// passed from a source without structure came after 15 others.
func FuzzGuard(f *testing.F) {
	f.Add(random(32*20), uint8(32))
	f.Add(random(300), uint8(5))
	f.Add(samples(f, ciphertext.CMS)["cms-kek.der"], uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		if size == 0 {
			return
		}
		for _, format := range ciphertext.Formats() {
			g := guard(t, ciphertext.Config{Format: format})
			n := 0
			for piece := range slices.Chunk(b, int(size)) {
				v := g.Judge(piece, time.Time{})
				if n++; v.Pass && format == ciphertext.Opaque {
					require.GreaterOrEqual(t, n, 16)
					require.GreaterOrEqual(t, len(piece), 32)
				}
				require.Equal(t, v.Pass, v.Reason == "")
				if n%7 == 0 {
					s := g.State()
					g = guard(t, ciphertext.Config{Format: format})
					g.Restore(s)
				}
			}
		}
	})
}

// FuzzStatistics runs everything that looks into a body on any bytes.
func FuzzStatistics(f *testing.F) {
	r := seeded(f, 9)
	for _, m := range firstCorpus() {
		f.Add(m.make(r, 64)())
		f.Add(m.make(r, 256)())
	}
	f.Add([]byte("\x78\x9c\x03\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && len(b) < 60_000 {
			_ = ciphertext.Judge(ciphertext.COSE, wrapped(r, b))
		}
	})
}
