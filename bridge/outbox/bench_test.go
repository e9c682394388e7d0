package outbox

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pageFS counts the 4 KiB pages that each flush sends to the device.
type pageFS struct {
	FS
	bytes *int64
}

func (p pageFS) Create(name string) (File, error) {
	f, err := p.FS.Create(name)
	return &pageFile{File: f, bytes: p.bytes, dirty: map[int64]bool{}}, err
}

func (p pageFS) Open(name string, write bool) (File, error) {
	f, err := p.FS.Open(name, write)
	return &pageFile{File: f, bytes: p.bytes, dirty: map[int64]bool{}}, err
}

type pageFile struct {
	File
	bytes *int64
	dirty map[int64]bool
}

func (f *pageFile) WriteAt(b []byte, off int64) (int, error) {
	for page := off / blockSize; page <= (off+int64(len(b))-1)/blockSize; page++ {
		f.dirty[page] = true
	}
	return f.File.WriteAt(b, off)
}

func (f *pageFile) Sync() error {
	*f.bytes += int64(len(f.dirty)) * blockSize
	clear(f.dirty)
	return f.File.Sync()
}

func benchOptions(dir string, device *int64) Options {
	return Options{Dir: dir, Key: testKey(), MaxSize: 2 << 30, FS: pageFS{osFS{}, device}}
}

// BenchmarkAppend appends and frees as it goes, on the file system of TMPDIR.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			var device int64
			l, err := Open(benchOptions(b.TempDir(), &device))
			require.NoError(b, err)
			batch := recs(1, n, 1024)
			b.SetBytes(int64(n) * 1024)
			before := l.Stats().Flushes
			device = 0
			b.ReportAllocs()
			for b.Loop() {
				last, err := l.Append(batch)
				if err != nil {
					b.Fatal(err)
				}
				if last > 1000 {
					if err := l.Free(last - 1000); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(l.Stats().Flushes-before)/float64(b.N), "flushes/op")
			b.ReportMetric(float64(device)/float64(b.N*n*1024), "device-B/payload-B")
			require.NoError(b, l.Close())
		})
	}
}

// backlog makes a log of about size bytes that was not closed.
func backlog(tb testing.TB, dir string, size int) {
	l, err := Open(Options{Dir: dir, Key: testKey(), MaxSize: 2 << 30, FS: lazyFS{osFS{}}})
	require.NoError(tb, err)
	batch := recs(1, 256, 1024)
	for done := 0; done < size; done += 256 << 10 {
		if _, err := l.Append(batch); err != nil {
			tb.Fatal(err)
		}
	}
	require.NoError(tb, l.cursorFile.Close())
	require.NoError(tb, l.file.Close())
}

// lazyFS does not flush: to fill a log quickly.
type lazyFS struct{ FS }

func (f lazyFS) Open(name string, write bool) (File, error) {
	file, err := f.FS.Open(name, write)
	return lazyFile{file}, err
}
func (lazyFS) SyncDir(string) error { return nil }

type lazyFile struct{ File }

func (lazyFile) Sync() error { return nil }

// BenchmarkOpenBacklog opens after a crash, and replays. OUTBOX_BACKLOG_MIB sets the size.
func BenchmarkOpenBacklog(b *testing.B) {
	mib := 256
	if v, err := strconv.Atoi(os.Getenv("OUTBOX_BACKLOG_MIB")); err == nil {
		mib = v
	}
	dir := b.TempDir()
	backlog(b, dir, mib<<20)
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open(Options{Dir: dir, Key: testKey(), MaxSize: 2 << 30})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Replay(func(Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
		if err := l.cursorFile.Close(); err != nil { // not Close: as after a crash
			b.Fatal(err)
		}
	}
	b.ReportMetric(rss(b), "RSS-MB")
}

// BenchmarkRead reads a backlog in windows of 256.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	backlog(b, dir, 64<<20)
	l, err := Open(Options{Dir: dir, Key: testKey(), MaxSize: 2 << 30})
	require.NoError(b, err)
	r := l.Reader()
	b.SetBytes(256 << 10)
	b.ReportAllocs()
	last := l.Stats().LastPosition
	for b.Loop() {
		es, err := r.Next(context.Background(), 256, 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		if es[len(es)-1].Position == last {
			r.Rewind()
		}
	}
	b.ReportMetric(rss(b), "RSS-MB")
	require.NoError(b, l.Close())
}

// rss is the process's resident memory, with the test's own.
func rss(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc")
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	return 0
}
