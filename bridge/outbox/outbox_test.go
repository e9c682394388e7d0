package outbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	testDir     = "/box"
	testSegment = 8 << 10
)

func testKey() []byte { return bytes.Repeat([]byte{7}, keySize) }

func testOptions(fs FS) Options {
	return Options{Dir: testDir, Key: testKey(), MaxSize: 64 * testSegment, SegmentSize: testSegment, FS: fs, Now: func() time.Time { return time.Unix(1700000000, 0) }}
}

func mustOpen(t require.TestingT, o Options) *Log {
	l, err := Open(o)
	require.NoError(t, err)
	l.SetPreamble(func() []Record { return []Record{{Tag: 'k', Data: []byte("key frame")}} })
	return l
}

// payload is n bytes that say which record it is.
func payload(id uint64, n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, id)
	for len(b) < n {
		b = append(b, byte(id)+byte(len(b)))
	}
	return b
}

func idOf(e Entry) uint64 { return binary.BigEndian.Uint64(e.Data) }

func recs(first uint64, count, size int) []Record {
	out := make([]Record, count)
	for i := range out {
		out[i] = Record{Tag: 'd', Data: payload(first+uint64(i), size)}
	}
	return out
}

// appendIDs appends records with ids first..last, one commit each, and gives id → position.
func appendIDs(t require.TestingT, l *Log, first, last uint64, size int) map[uint64]uint64 {
	at := map[uint64]uint64{}
	for id := first; id <= last; id++ {
		p, err := l.Append(recs(id, 1, size))
		require.NoError(t, err)
		at[id] = p
	}
	return at
}

// readAll gives what a new reader gives without waiting: ids of the entries that are not Context, in order.
func readAll(t require.TestingT, l *Log) (ids, positions []uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := l.Reader()
	for {
		es, err := r.Next(ctx, 7, 3000)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			return ids, positions
		}
		for _, e := range es {
			if e.Context {
				continue
			}
			ids, positions = append(ids, idOf(e)), append(positions, e.Position)
			require.Equal(t, payload(idOf(e), len(e.Data)), e.Data)
		}
	}
}

func span(first, last uint64) (out []uint64) {
	for i := first; i <= last; i++ {
		out = append(out, i)
	}
	return out
}

func segmentFiles(m *memFS) (names []string) {
	for n := range m.names {
		if strings.HasSuffix(n, segmentSuffix) {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}

func TestAppendReadFreeReopen(t *testing.T) {
	for _, fs := range []FS{newMemFS(), nil} {
		o := testOptions(fs)
		if fs == nil {
			o.Dir = filepath.Join(t.TempDir(), "new", "folder")
		}
		l := mustOpen(t, o)
		_, ok := l.OldestTime()
		require.False(t, ok)
		at := appendIDs(t, l, 1, 100, 500)
		require.Equal(t, uint64(100), at[100])
		last, err := l.Append(recs(101, 3, 20))
		require.NoError(t, err)
		require.Equal(t, uint64(103), last)
		ids, positions := readAll(t, l)
		require.Equal(t, span(1, 103), ids)
		require.Equal(t, span(1, 103), positions)
		s := l.Stats()
		require.Equal(t, uint64(103), s.Messages)
		require.Equal(t, uint64(100*500+60), s.Bytes)
		require.Equal(t, uint64(101), s.Commits)
		require.Equal(t, time.Unix(1700000000, 0), s.Oldest)
		require.LessOrEqual(t, s.UsedSize, o.MaxSize)

		require.NoError(t, l.Free(50))
		require.NoError(t, l.Free(20), "freed before")
		require.Error(t, l.Free(104))
		require.Less(t, l.Stats().Segments, s.Segments)
		ids, _ = readAll(t, l)
		require.Equal(t, span(51, 103), ids)
		require.Equal(t, uint64(53), l.Stats().Messages)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		_, err = l.Append(recs(1, 1, 8))
		require.ErrorIs(t, err, ErrClosed)

		l = mustOpen(t, o)
		require.Empty(t, l.Damage())
		ids, positions = readAll(t, l)
		require.Equal(t, span(51, 103), ids, "the cursor was written on Close")
		require.Equal(t, span(51, 103), positions)
		at = appendIDs(t, l, 104, 104, 500)
		require.Equal(t, uint64(104), at[104], "a clean stop leaves out no position")
		require.NoError(t, l.Free(104))
		require.Zero(t, l.Stats().Messages)
		require.Zero(t, l.Stats().Bytes)
		ids, _ = readAll(t, l)
		require.Empty(t, ids)
		require.NoError(t, l.Close())
	}
}

func TestOptionsRefused(t *testing.T) {
	o := testOptions(newMemFS())
	o.MaxSize = 4*testSegment - 1
	_, err := Open(o)
	require.ErrorContains(t, err, "at least 32768 (4 segments of 8192)")
	o = testOptions(newMemFS())
	o.Key = o.Key[:16]
	_, err = Open(o)
	require.ErrorContains(t, err, "16 bytes, not 32")
	o = testOptions(nil)
	o.Dir = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(o.Dir, nil, 0o600))
	_, err = Open(o)
	require.ErrorContains(t, err, "not a folder")
}

func TestWrongKeyTouchesNothing(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 30, 500)
	require.NoError(t, l.Close())
	o := testOptions(m)
	o.Key = bytes.Repeat([]byte{8}, keySize)
	_, err := Open(o)
	require.ErrorIs(t, err, ErrKey)
	l = mustOpen(t, testOptions(m))
	ids, _ := readAll(t, l)
	require.Equal(t, span(1, 30), ids)
}

func TestUnknownVersionRefused(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 1, 500)
	require.NoError(t, l.Close())
	name := segmentFiles(m)[0]
	h, key, err := parseHeader(testKey(), m.names[name].data)
	require.NoError(t, err)
	whole := h.encode(key)
	m.edit(name, func(b []byte) []byte {
		copy(b, whole)
		binary.BigEndian.PutUint32(b[8:], 9)
		copy(b[headerCovered:], key.sum256(0, b[:headerCovered]))
		return b
	})
	_, err = Open(testOptions(m))
	require.ErrorIs(t, err, ErrVersion)
	require.ErrorContains(t, err, "version 9")
}

func TestPreambleMakesSegmentsSelfContained(t *testing.T) {
	m := newMemFS()
	o := testOptions(m)
	o.SegmentSize, o.MaxSize = 2<<20, 16<<20
	l := mustOpen(t, o)
	big := make([]Record, 200)
	for i := range big {
		big[i] = Record{Tag: 'k', Data: bytes.Repeat([]byte{byte(i)}, 5000)}
	}
	l.SetPreamble(func() []Record { return big })
	appendIDs(t, l, 1, 60, 50_000)
	require.NoError(t, l.Free(55))
	require.Equal(t, 1, l.Stats().Segments)
	var order []uint64
	contexts := 0
	check := func(e Entry) error {
		if e.Position == 0 {
			require.True(t, e.Context)
			require.Equal(t, big[contexts], e.Record)
			contexts++
		} else {
			require.Equal(t, e.Position <= 55, e.Context)
			order = append(order, e.Position)
		}
		return nil
	}
	require.NoError(t, l.Close())
	l = mustOpen(t, o)
	require.NoError(t, l.Replay(check))
	require.Equal(t, len(big), contexts)
	require.Equal(t, uint64(60), order[len(order)-1])
	require.Equal(t, span(order[0], 60), order)

	order, contexts = nil, 0
	es, err := l.Reader().Next(context.Background(), 1, 1)
	require.NoError(t, err)
	for _, e := range es {
		require.NoError(t, check(e))
	}
	require.Equal(t, len(big), contexts, "a reader that starts inside a segment gets its preamble")
	require.Equal(t, uint64(56), order[len(order)-1])

	l.SetPreamble(func() []Record { return slices.Concat(big, big, big) })
	_, err = l.Append(recs(61, 1, 60_000))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = l.Append(recs(61, 1, 2<<20))
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, l.Close())
}

func TestReaderWaitsAndKeepsContext(t *testing.T) {
	l := mustOpen(t, testOptions(newMemFS()))
	appendIDs(t, l, 1, 2, 100)
	require.NoError(t, l.Free(2))
	r := l.Reader()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Next(ctx, 10, 1000)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.Next(ctx, 10, 1000)
	require.ErrorIs(t, err, context.Canceled)
	got := make(chan []Entry)
	go func() {
		es, _ := r.Next(context.Background(), 10, 1000)
		got <- es
	}()
	appendIDs(t, l, 3, 3, 100)
	es := <-got
	require.Len(t, es, 4, "preamble, two freed, one new; once, though Next was interrupted")
	require.Equal(t, "key frame", string(es[0].Data))
	require.True(t, es[2].Context)
	require.Equal(t, uint64(3), es[3].Position)
	require.False(t, es[3].Context)

	go func() {
		_, err := r.Next(context.Background(), 10, 1000)
		assert.ErrorIs(t, err, ErrClosed)
		close(got)
	}()
	require.NoError(t, l.Close())
	<-got
}

// TestNoLostWakeup: an append between the reader's look at the end and its waiting must wake it. Reader and writer go in lockstep, so a lost one hangs.
func TestNoLostWakeup(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	r := l.Reader()
	appendIDs(t, l, 1, 1, 8)
	_, err := r.Next(context.Background(), 1, 1)
	require.NoError(t, err)
	reading, next := true, uint64(2)
	m.fault = func(op, _ string) error {
		if op == "open" && reading { // the reader opens the segment after it looked at the end
			reading = false
			m.mu.Unlock()
			appendIDs(t, l, next, next, 8)
			m.mu.Lock()
		}
		return nil
	}
	for ; next < 100; next++ {
		reading = true
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		es, err := r.Next(ctx, 1, 1)
		cancel()
		require.NoError(t, err)
		require.Equal(t, next, idOf(es[len(es)-1]))
	}
}

func TestReaderLimitsAndRewind(t *testing.T) {
	l := mustOpen(t, testOptions(newMemFS()))
	_, err := l.Append(recs(1, 10, 100))
	require.NoError(t, err)
	r := l.Reader()
	next := func(n, bytes int) (ids []uint64) {
		es, err := r.Next(context.Background(), n, bytes)
		require.NoError(t, err)
		for _, e := range es {
			if !e.Context {
				ids = append(ids, idOf(e))
			}
		}
		return ids
	}
	require.Equal(t, span(1, 3), next(3, 1000))
	require.Equal(t, span(4, 5), next(10, 299))
	require.Equal(t, span(6, 6), next(10, 1), "always one")
	require.NoError(t, l.Free(2))
	r.Rewind()
	require.Equal(t, span(3, 10), next(100, 10_000))
}

func TestOverflow(t *testing.T) {
	m := newMemFS()
	o := testOptions(m)
	o.MaxSize = 4 * testSegment
	l := mustOpen(t, o)
	ok, err := l.Oldest(func(Entry) error { return nil })
	require.NoError(t, err)
	require.False(t, ok)
	require.ErrorIs(t, l.DropOldest(recs(1, 1, 8)), ErrNothing)
	id, lost := uint64(1), map[uint64]bool{}
	r := l.Reader()
	_, err = l.Append(recs(id, 1, 700))
	require.NoError(t, err)
	es, err := r.Next(context.Background(), 1, 1000)
	require.NoError(t, err)
	require.Equal(t, uint64(1), idOf(es[len(es)-1]))
	var seen []uint64
	for id++; id < 500; id++ {
		_, err := l.Append(recs(id, 1, 700))
		if err == nil {
			require.LessOrEqual(t, l.Stats().UsedSize, o.MaxSize)
			continue
		}
		require.ErrorIs(t, err, ErrFull)
		ok, err := l.Oldest(func(e Entry) error { lost[idOf(e)] = true; return nil })
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, l.DropOldest([]Record{{Tag: 'l', Data: payload(id, 600)}}))
		require.LessOrEqual(t, l.Stats().UsedSize, o.MaxSize)
		if id%3 == 0 { // restarts leave short segments and must not use up the log
			require.NoError(t, l.Close())
			l = mustOpen(t, o)
			r = l.Reader()
		}
	}
	ids, _ := readAll(t, l)
	for _, i := range ids {
		require.False(t, lost[i], "dropped entries do not come again")
		seen = append(seen, i)
	}
	require.Greater(t, len(lost), 300)
	for _, i := range seen {
		lost[i] = true
	}
	require.Len(t, lost, 499)
	es, err = r.Next(context.Background(), 1, 1000)
	require.NoError(t, err)
	require.Equal(t, seen[0], idOf(es[len(es)-1]), "a reader survives that its segment goes")
	require.Empty(t, l.Damage())
	require.Empty(t, m.reused)
}

func TestReadWhileDropped(t *testing.T) {
	o := testOptions(newMemFS())
	o.MaxSize = 5 * testSegment
	l := mustOpen(t, o)
	done := make(chan error)
	go func() {
		r, last := l.Reader(), uint64(0)
		for {
			es, err := r.Next(context.Background(), 3, 5000)
			if err != nil {
				done <- err
				return
			}
			for _, e := range es {
				if e.Context {
					continue
				}
				if e.Position <= last || !bytes.Equal(e.Data, payload(idOf(e), len(e.Data))) {
					done <- fmt.Errorf("position %d after %d: %x", e.Position, last, e.Data)
					return
				}
				last = e.Position
			}
			if err := l.Free(last); err != nil {
				done <- err
				return
			}
		}
	}()
	for id := uint64(1); id <= 3000; id++ {
		if _, err := l.Append(recs(id, 1+rand.IntN(3), 300)); err != nil {
			require.ErrorIs(t, err, ErrFull)
			if err := l.DropOldest(recs(id, 1, 50)); err != nil {
				require.ErrorIs(t, err, ErrNothing)
			}
		}
	}
	require.Empty(t, l.Damage())
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-done, ErrClosed)
}

func TestNoPlaintextOnDisk(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir()
	l := mustOpen(t, o)
	canary := []byte("ram-force 182.4 kN")
	l.SetPreamble(func() []Record { return []Record{{Tag: 'k', Data: canary}} })
	for range 200 {
		_, err := l.Append([]Record{{Tag: 'd', Data: canary}, {Tag: 'd', Data: bytes.Repeat(canary, 10)}})
		require.NoError(t, err)
	}
	require.NoError(t, l.Free(300))
	require.NoError(t, l.Close())
	files, err := os.ReadDir(o.Dir)
	require.NoError(t, err)
	total := 0
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(o.Dir, f.Name()))
		require.NoError(t, err)
		total += len(b)
		for i := 0; i+8 <= len(canary); i++ {
			require.NotContains(t, string(b), string(canary[i:i+8]), f.Name())
		}
		info, err := f.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "for the owner only")
	}
	require.Greater(t, total, 20_000, "there was something to look at")
}
