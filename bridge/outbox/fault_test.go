package outbox

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// when gives a fault for the operations named, while it is on.
func when(on *bool, err error, names ...string) func(op, name string) error {
	return func(op, name string) error {
		for _, n := range names {
			o, suffix, _ := strings.Cut(n, " ")
			if *on && o == op && strings.HasSuffix(name, suffix) {
				return err
			}
		}
		return nil
	}
}

func TestDiskFullAtRoll(t *testing.T) {
	m, on := newMemFS(), false
	m.fault = when(&on, syscall.ENOSPC, "create", "allocate")
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 40, 500)
	on = true
	id := uint64(41)
	var err error
	for ; err == nil; id++ {
		_, err = l.Append(recs(id, 1, 500))
	}
	id--
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = l.Append(recs(id, 1, 500))
	require.ErrorIs(t, err, syscall.ENOSPC, "again, and nothing breaks")
	ids, _ := readAll(t, l)
	require.Equal(t, span(1, id-1), ids, "reading goes on")
	require.NoError(t, l.Free(20), "freeing goes on")
	appendIDs(t, l, id, id+5, 500)
	require.NoError(t, l.Close())
	l = mustOpen(t, testOptions(m))
	ids, _ = readAll(t, l)
	require.Equal(t, span(21, id+5), ids)
	require.Empty(t, l.Damage())
	require.Empty(t, m.reused)
}

func TestDiskFullAndOverflow(t *testing.T) {
	m, on := newMemFS(), false
	m.fault = when(&on, syscall.ENOSPC, "create", "allocate")
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 60, 500)
	on = true
	_, err := l.Append(recs(61, 10, 600))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, l.DropOldest(recs(61, 10, 600)), "the reserve is for this")
	appendIDs(t, l, 71, 72, 300)
	ids, _ := readAll(t, l)
	require.Equal(t, span(ids[0], 72), ids)
	require.Greater(t, ids[0], uint64(1))
}

func TestDiskFullAtOpen(t *testing.T) {
	m, on := newMemFS(), false
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 60, 500)
	require.NoError(t, l.Close())
	for n := range m.names {
		if strings.HasSuffix(n, spareSuffix) {
			delete(m.names, n)
		}
	}
	on = true
	m.fault = when(&on, syscall.ENOSPC, "create", "allocate", "write")
	l = mustOpen(t, testOptions(m))
	_, err := l.Append(recs(61, 1, 500))
	require.ErrorIs(t, err, syscall.ENOSPC)
	ids, _ := readAll(t, l)
	require.Equal(t, span(1, 60), ids)
	on = false
	require.NoError(t, l.Free(30))
	appendIDs(t, l, 61, 61, 500)
}

func TestWriteErrorAtAppend(t *testing.T) {
	for _, short := range []bool{false, true} {
		m, on := newMemFS(), false
		m.short = short
		m.fault = when(&on, syscall.ENOSPC, "write "+segmentSuffix, "write "+spareSuffix)
		l := mustOpen(t, testOptions(m))
		appendIDs(t, l, 1, 3, 500)
		for id := uint64(4); id < 20; id += 4 {
			on = true
			for range 3 {
				_, err := l.Append(recs(id, 2, 500))
				require.ErrorIs(t, err, syscall.ENOSPC)
			}
			on = false
			appendIDs(t, l, id, id+3, 500)
		}
		ids, positions := readAll(t, l)
		require.Equal(t, span(1, 19), ids)
		require.Equal(t, uint64(19), l.Stats().Messages+l.Stats().FreedPosition+(positions[18]-l.Stats().LastPosition))
		require.NoError(t, l.Close())
		l = mustOpen(t, testOptions(m))
		ids, again := readAll(t, l)
		require.Equal(t, span(1, 19), ids)
		require.Equal(t, positions, again)
		require.Empty(t, l.Damage())
		require.Empty(t, m.reused)
	}
}

// TestWriteErrorAfterAllWasWritten: the disk has the whole batch though the write failed. It must not come back beside its repetition.
func TestWriteErrorAfterAllWasWritten(t *testing.T) {
	for _, retry := range []bool{true, false} {
		m := newMemFS()
		o := testOptions(lyingFS{m})
		l := mustOpen(t, o)
		appendIDs(t, l, 1, 3, 500)
		m.fault = func(op, name string) error { return nil }
		l.file = lyingFile{l.file}
		_, err := l.Append(recs(4, 1, 500))
		require.ErrorIs(t, err, syscall.EIO)
		want := uint64(3)
		if retry {
			appendIDs(t, l, 4, 4, 500)
			want = 4
		}
		require.NoError(t, l.Close())
		l = mustOpen(t, o)
		ids, _ := readAll(t, l)
		require.Equal(t, span(1, want), ids)
		require.Empty(t, l.Damage())
	}
}

type (
	lyingFS   struct{ FS }
	lyingFile struct{ File }
)

func (f lyingFile) WriteAt(b []byte, off int64) (int, error) {
	n, _ := f.File.WriteAt(b, off)
	return n, syscall.EIO
}

func TestDiskFullAtCursor(t *testing.T) {
	m, on := newMemFS(), false
	m.fault = when(&on, syscall.ENOSPC, "write "+cursorName)
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 60, 500)
	before := len(segmentFiles(m))
	on = true
	require.ErrorIs(t, l.Free(40), syscall.ENOSPC)
	require.Len(t, segmentFiles(m), before, "the cursor first")
	ids, _ := readAll(t, l)
	require.Equal(t, span(41, 60), ids)
	appendIDs(t, l, 61, 61, 500)
	on = false
	require.NoError(t, l.Free(41))
	require.Less(t, len(segmentFiles(m)), before)
	require.NoError(t, l.Close())
	l = mustOpen(t, testOptions(m))
	ids, _ = readAll(t, l)
	require.Equal(t, span(42, 61), ids)
	require.Empty(t, l.Damage())
}

func TestFlushErrorIsFailStop(t *testing.T) {
	// A segment's handle bears the name of the spare file it was.
	for _, op := range []string{"sync " + spareSuffix, "sync " + cursorName, "syncdir"} {
		m, on := newMemFS(), false
		syncs := 0
		inner := when(&on, syscall.EIO, op)
		m.fault = func(op, name string) error {
			err := inner(op, name)
			if err != nil {
				syncs++
			}
			return err
		}
		l := mustOpen(t, testOptions(m))
		appendIDs(t, l, 1, 40, 500)
		r := l.Reader()
		on = true
		var err error
		id := uint64(41)
		for ; err == nil && id < 100; id++ {
			if _, err = l.Append(recs(id, 1, 500)); err == nil && op == "sync "+cursorName {
				err = l.Free(id - 5)
			}
		}
		require.ErrorIs(t, err, ErrFailed, op)
		require.ErrorIs(t, err, syscall.EIO)
		on = false
		_, err = l.Append(recs(id, 1, 500))
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorIs(t, l.Free(10), ErrFailed)
		require.ErrorIs(t, l.DropOldest(recs(1, 1, 8)), ErrFailed)
		_, err = r.Next(context.Background(), 1, 1)
		require.ErrorIs(t, err, ErrFailed)
		require.True(t, l.Stats().Failed)
		require.NoError(t, l.Close())
		require.Equal(t, 1, syncs, "a flush is never tried again")

		m.crash(func(string, int) int { return 0 })
		l = mustOpen(t, testOptions(m))
		ids, _ := readAll(t, l)
		require.Subset(t, ids, span(ids[0], id-2), op)
		appendIDs(t, l, 200, 200, 500)
		require.Empty(t, l.Damage())
		require.Empty(t, m.reused)
	}
}

func TestUnreadablePlace(t *testing.T) {
	m := filled(t, false)
	broken := segmentFiles(m)[1]
	offs, bs := offsets(t, m.names[broken].data)
	o := testOptions(sickFS{m, broken, offs[2] + 100})
	l := mustOpen(t, o)
	ids, _ := readAll(t, l)
	require.Equal(t, append(span(1, bs[2].first-1), span(bs[2].last()+1, 80)...), ids)
	require.Equal(t, []Lost{{First: bs[2].first, Last: bs[2].last()}}, l.Damage())

	on := true // a disk that is gone is not damage
	m = filled(t, false)
	l = mustOpen(t, testOptions(m))
	m.fault = when(&on, syscall.EIO, "read")
	r := l.Reader()
	_, err := r.Next(context.Background(), 10, 10000)
	require.ErrorIs(t, err, syscall.EIO)
	on = false
	es, err := r.Next(context.Background(), 1, 1)
	require.NoError(t, err)
	require.Equal(t, uint64(1), es[len(es)-1].Position)
	require.Empty(t, l.Damage())
}

// sickFS cannot read one place of one file.
type sickFS struct {
	FS
	name string
	at   int64
}

func (s sickFS) Open(name string, write bool) (File, error) {
	f, err := s.FS.Open(name, write)
	if name == s.name && err == nil {
		f = sickFile{f, s.at}
	}
	return f, err
}

type sickFile struct {
	File
	at int64
}

func (f sickFile) ReadAt(b []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(b)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

// TestDropIsOneWrite: the batch with the loss records itself gives up what they name.
func TestDropIsOneWrite(t *testing.T) {
	m, on := newMemFS(), false
	m.fault = when(&on, syscall.ENOSPC, "write "+cursorName)
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 60, 500)
	on = true
	dropped := uint64(0)
	_, err := l.Oldest(func(e Entry) error { dropped = e.Position; return nil })
	require.NoError(t, err)
	require.NoError(t, l.DropOldest(recs(61, 1, 50)))
	m.crash(func(string, int) int { return 0 })
	on = false
	l = mustOpen(t, testOptions(m))
	ids, _ := readAll(t, l)
	require.Equal(t, span(dropped+1, 61), ids)
	require.Empty(t, l.Damage())
}

func TestCommitsNoteWhatIsFree(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	appendIDs(t, l, 1, 5, 100)
	require.NoError(t, l.Free(3))
	appendIDs(t, l, 6, 6, 100)
	m.crash(func(string, int) int { return 0 })
	ids, _ := readAll(t, mustOpen(t, testOptions(m)))
	require.Equal(t, span(4, 6), ids)
}

// TestManyCrashes: each leaves a short segment, cut durably.
func TestManyCrashes(t *testing.T) {
	m := newMemFS()
	o := testOptions(m)
	o.SegmentSize, o.MaxSize = 8*testSegment, 4*8*testSegment
	for id := uint64(1); id <= 30; id++ {
		l := mustOpen(t, o)
		appendIDs(t, l, id, id, 500)
		require.LessOrEqual(t, l.Stats().UsedSize, o.MaxSize)
		m.crash(func(string, int) int { return 0 })
	}
	ids, _ := readAll(t, mustOpen(t, o))
	require.Equal(t, span(1, 30), ids)
}
