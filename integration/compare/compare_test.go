package compare

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/go-jose/go-jose/v4"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// plant is what all three seal: good floats, as one poll gives them.
type plant struct {
	samples []envelope.Sample
	json    []byte // the same as SenML JSON, for those that seal bytes
}

func points(n int) plant {
	p := plant{samples: make([]envelope.Sample, n)}
	for i := range p.samples {
		p.samples[i] = envelope.Sample{Name: fmt.Sprintf("point-%04d", i), Time: 1_785_000_000_250_000_000, Value: envelope.OfFloat(182.1 + float64(i)/7)}
	}
	p.json = envelope.AppendClear(nil, "press-3/", p.samples)
	return p
}

// each runs a benchmark at three sizes. seal gives the sealed message; CPU time
// and not the clock is what counts, since others may use the machine.
func each(b *testing.B, begin func(b *testing.B, p plant) func(n uint64) []byte) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("points=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			seal := begin(b, points(n))
			size, sequence := 0, uint64(1)
			from := cpu(b)
			for b.Loop() {
				sequence++
				size = len(seal(sequence))
			}
			b.ReportMetric(float64(cpu(b)-from)/float64(b.N)/float64(n), "cpu-ns/point")
			b.ReportMetric(float64(size)/float64(n), "B/point")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func check(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFieldseal seals frames under an epoch's key; the key frame, for one
// hybrid recipient, is made before, as once in a quarter of an hour.
func BenchmarkFieldseal(b *testing.B) {
	each(b, func(b *testing.B, p plant) func(uint64) []byte {
		id, err := envelope.NewIdentity(envelope.MLKEM768X25519, "")
		check(b, err)
		_, key, err := ed25519.GenerateKey(rand.Reader)
		check(b, err)
		s, err := envelope.NewSealer(envelope.EpochConfig{
			Stream: envelope.Stream{Gateway: "hall-2", Machine: "press-3", Level: "restricted"}, Epoch: envelope.Epoch{Start: 1, Number: 1},
			Recipients: []envelope.Recipient{id.Recipient()}, Signer: envelope.Signer{Gateway: "hall-2", Key: key}, Pad: true,
		})
		check(b, err)
		_, err = s.KeyFrame(1)
		check(b, err)
		dst := make([]byte, 0, envelope.MaxBody)
		return func(n uint64) []byte {
			dst, err = s.Seal(dst[:0], n, "press-3/", p.samples)
			check(b, err)
			return dst
		}
	})
}

// BenchmarkAge seals each message for one recipient, with its default X25519.
func BenchmarkAge(b *testing.B) {
	each(b, func(b *testing.B, p plant) func(uint64) []byte {
		id, err := age.GenerateX25519Identity()
		check(b, err)
		var out bytes.Buffer
		return func(uint64) []byte {
			out.Reset()
			w, err := age.Encrypt(&out, id.Recipient())
			check(b, err)
			_, err = io.Copy(w, bytes.NewReader(p.json))
			check(b, err)
			check(b, w.Close())
			return out.Bytes()
		}
	})
}

// BenchmarkJWE seals each message with ECDH-ES+A256KW and A256GCM, in the compact
// form.
func BenchmarkJWE(b *testing.B) {
	each(b, func(b *testing.B, p plant) func(uint64) []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(b, err)
		e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: &key.PublicKey}, nil)
		check(b, err)
		return func(uint64) []byte {
			o, err := e.Encrypt(p.json)
			check(b, err)
			s, err := o.CompactSerialize()
			check(b, err)
			return []byte(s)
		}
	})
}
