package stream

import (
	"fmt"
	"testing"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// BenchmarkBuild is the way from pending samples to a sealed and accounted frame.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			points := make([]Point, n)
			decisions := make([]policy.Decision, n)
			samples := make([]point.Sample, n)
			for i := range points {
				points[i].Name = fmt.Sprintf("point-%03d", i)
				decisions[i].Level = "restricted"
				samples[i] = point.Sample{Point: uint32(i), Value: point.OfFloat(float64(i))}
			}
			m := NewMachine("press-3", points)
			m.Decide(decisions, make([]bool, n))
			p := newPlant(b, m)
			var pending []Pending
			b.ReportAllocs()
			for b.Loop() {
				m.Take(samples)
				pending = m.Drain(pending[:0])
				if _, err := p.set.Build(pending, p.now); err != nil {
					b.Fatal(err)
				}
				if err := p.set.Accept(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/point")
		})
	}
}
