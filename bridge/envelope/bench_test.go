package envelope

import (
	"fmt"
	"syscall"
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

// eachSize measures CPU time beside the time that passes: others may use the
// machine, too.
func eachSize(b *testing.B, f func(b *testing.B, points int)) {
	for _, points := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("points=%d", points), func(b *testing.B) {
			b.ReportAllocs()
			f(b, points)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
		})
	}
}

// cpu is the time that this process has used.
func cpu(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perPoint reports what the CPU did since from.
func perPoint(b *testing.B, from time.Duration, points int) {
	b.ReportMetric(float64(cpu(b)-from)/float64(b.N)/float64(points), "cpu-ns/point")
}

func BenchmarkSeal(b *testing.B) {
	eachSize(b, func(b *testing.B, points int) {
		s, samples := newSealer(b, true), floats(points)
		dst := make([]byte, 0, MaxBody)
		n, from := uint64(1), cpu(b)
		for b.Loop() {
			n++
			var err error
			if dst, err = s.Seal(dst[:0], n, "press-3/", samples); err != nil {
				b.Fatal(err)
			}
		}
		perPoint(b, from, points)
		b.ReportMetric(float64(len(dst))/float64(points), "B/point")
		b.ReportMetric(float64(len(dst)-len(appendPack(nil, "press-3/", samples)))/float64(points), "overhead-B/point")
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
		dst, from := make([]byte, 0, len(plain)+tagSize), cpu(b)
		for b.Loop() {
			dst = s.frame.aead.Seal(dst[:0], s.frame.nonce[:], plain, s.frame.aad)
		}
		perPoint(b, from, points)
		b.ReportMetric(float64(len(frame))/float64(points), "B/point")
	})
}

// BenchmarkOpen reads sealed frames: digest, opening, decoding, account. "reuse"
// is with ReaderOptions.Reuse; "signed" waits for checkpoints over 64 frames.
func BenchmarkOpen(b *testing.B) {
	b.Run("new", func(b *testing.B) { benchmarkOpen(b, ReaderOptions{}, false) })
	b.Run("reuse", func(b *testing.B) { benchmarkOpen(b, ReaderOptions{Reuse: true}, false) })
	b.Run("signed", func(b *testing.B) { benchmarkOpen(b, ReaderOptions{Reuse: true}, true) })
}

func benchmarkOpen(b *testing.B, o ReaderOptions, signed bool) {
	eachSize(b, func(b *testing.B, points int) {
		id := identity(b, X25519)
		p := newPlant(b, id.Recipient())
		p.begin(epoch(1, 1))
		samples := floats(points)
		for len(p.all) < min(4096, 1<<19/points) {
			body, err := p.sealer.Seal(nil, p.head.Sequence+1, "press-3/", samples)
			if err != nil {
				b.Fatal(err)
			}
			p.put(Data, "", TypeSealed, body)
			if len(p.all)%64 == 63 {
				p.checkpoint(false)
			}
		}
		o.Identities = []*Identity{id}
		if signed {
			o.Trust = p.trust()
		}
		var r *Reader
		i, from := len(p.all), cpu(b)
		for b.Loop() {
			for ; ; i++ { // one data frame, and what is around it
				if i == len(p.all) {
					r, i = NewReader(o), 0
				}
				if _, err := r.Read(&p.all[i]); err != nil {
					b.Fatal(err)
				}
				if p.all[i].Address.Kind == Data {
					i++
					break
				}
			}
		}
		perPoint(b, from, points)
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
