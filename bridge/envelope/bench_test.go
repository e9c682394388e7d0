package envelope

import (
	"fmt"
	"testing"
	"time"
)

// The goals (docs of the project): sealing 100 points at most 3 times the floor,
// 0 allocations; opening at most 40 ns per point.

func floats(n int) []Sample {
	out := make([]Sample, n)
	for i := range out {
		out[i] = Sample{Name: fmt.Sprintf("point-%04d", i), Time: 1_785_000_000_250_000_000, Value: OfFloat(182.1 + float64(i)/7)}
	}
	return out
}

func eachSize(b *testing.B, f func(b *testing.B, points int)) {
	for _, points := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("points=%d", points), func(b *testing.B) {
			b.ReportAllocs()
			f(b, points)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		s, samples := newSealer(b, true), floats(points)
		dst := make([]byte, 0, MaxBody)
		n := uint64(1)
		for b.Loop() {
			n++
			var err error
			if dst, err = s.Seal(dst[:0], n, "press-3/", samples); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(dst))/float64(points), "B/point")
	})
}

// BenchmarkAEADFloor is AES-256-GCM over the same padded bytes, and nothing else.
func BenchmarkAEADFloor(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		s := newSealer(b, true)
		frame, err := s.Seal(nil, 2, "press-3/", floats(points))
		if err != nil {
			b.Fatal(err)
		}
		plain := append([]byte(nil), s.plain...)
		dst := make([]byte, 0, len(plain)+tagSize)
		for b.Loop() {
			dst = s.frame.aead.Seal(dst[:0], s.frame.nonce[:], plain, s.frame.aad)
		}
		b.ReportMetric(float64(len(frame))/float64(points), "B/point")
	})
}

// BenchmarkOpen reads sealed frames: digest, opening, decoding, account.
func BenchmarkOpen(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		id := identity(b, X25519)
		p := newPlant(b, id.Recipient())
		p.begin(epoch(1, 1))
		frames := make([]Message, 512)
		for i := range frames {
			m := p.all[0]
			m.Address.Kind, m.ContentType, m.Sequence = Data, TypeSealed, uint64(i+2)
			body, err := p.sealer.Seal(nil, m.Sequence, "press-3/", floats(points))
			if err != nil {
				b.Fatal(err)
			}
			m.Body = body
			frames[i] = m
		}
		var r *Reader
		i := 0
		for b.Loop() {
			if i%len(frames) == 0 {
				b.StopTimer()
				r = NewReader(ReaderOptions{Identities: []*Identity{id}})
				readAll(r, p.all)
				b.StartTimer()
			}
			if out, err := r.Read(&frames[i%len(frames)]); err != nil || len(out) != 1 {
				b.Fatal(err)
			}
			i++
		}
	})
}

func BenchmarkSenML(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		samples := floats(points)
		dst := make([]byte, 0, MaxBody)
		for b.Loop() {
			dst = appendPack(dst[:0], "press-3/", samples)
		}
		b.ReportMetric(float64(len(dst))/float64(points), "B/point")
	})
}

func BenchmarkClear(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		samples := floats(points)
		dst := make([]byte, 0, MaxBody)
		for b.Loop() {
			dst = AppendClear(dst[:0], "press-3/", samples)
		}
		b.ReportMetric(float64(len(dst))/float64(points), "B/point")
	})
}

func BenchmarkDigest(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		s := newSealer(b, true)
		body, err := s.Seal(nil, 2, "press-3/", floats(points))
		if err != nil {
			b.Fatal(err)
		}
		m := Message{Address: Address{s.config.Stream, Data, ""}, Epoch: s.config.Epoch, Sequence: 2, ContentType: TypeSealed, Body: body}
		for b.Loop() {
			m.Digest()
		}
	})
}

// BenchmarkCheckpoint signs for 64 messages.
func BenchmarkCheckpoint(b *testing.B) {
	p := newPlant(b)
	p.begin(epoch(1, 1))
	for range 63 {
		p.clear(1)
	}
	b.ReportAllocs()
	for b.Loop() {
		body, err := SignCheckpoint(p.signer, &p.head, false, time.Unix(0, 1))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(body)), "B")
	}
}

func BenchmarkKeyFrame(b *testing.B) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768P256, MLKEM768X25519} {
		b.Run(alg.String(), func(b *testing.B) {
			c := newSealer(b, true).config
			c.Recipients = []Recipient{identity(b, alg).Recipient()}
			for b.Loop() {
				s, err := NewSealer(c)
				if err != nil {
					b.Fatal(err)
				}
				body, err := s.KeyFrame(1)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(body)), "B")
			}
		})
	}
}
