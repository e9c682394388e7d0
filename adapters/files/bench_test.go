package files

import (
	"fmt"
	"testing"
)

// BenchmarkSend writes and flushes batches of 1 kB messages.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			u := uplink(b, Config{Folder: b.TempDir()})
			batch := messages(1, size, 1000)
			b.ReportAllocs()
			for b.Loop() {
				send(b, u, batch)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
			b.SetBytes(int64(1000 * size))
		})
	}
}

// BenchmarkRead reads 1 kB messages back.
func BenchmarkRead(b *testing.B) {
	u := uplink(b, Config{Folder: b.TempDir()})
	send(b, u, messages(1, 2000, 1000))
	b.ReportAllocs()
	b.SetBytes(2000 * 1000)
	for b.Loop() {
		sequences(b, u.cfg.Folder)
	}
}
