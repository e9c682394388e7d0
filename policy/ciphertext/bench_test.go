package ciphertext_test

import (
	"testing"
	"time"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// BenchmarkGuard judges payloads of 240 bytes as a bridge does, history
// included.
func BenchmarkGuard(b *testing.B) {
	r := seeded(b, 3)
	for _, c := range []struct {
		name, format string
		size         int
	}{{"cose 240 B", ciphertext.COSE, 240 - 39}, {"opaque 240 B", ciphertext.Opaque, 240}, {"opaque 64 B", ciphertext.Opaque, 64}, {"opaque 4 KiB", ciphertext.Opaque, 4096}} {
		payloads := make([][]byte, 64)
		for i := range payloads {
			payloads[i] = randomBytes(r, c.size)()
			if c.format == ciphertext.COSE {
				payloads[i] = wrapped(r, payloads[i])
			}
		}
		b.Run(c.name, func(b *testing.B) {
			g, _ := ciphertext.NewGuard(ciphertext.Config{Format: c.format})
			b.SetBytes(int64(len(payloads[0])))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				g.Judge(payloads[i%64], time.Time{})
				i++
			}
		})
	}
}
