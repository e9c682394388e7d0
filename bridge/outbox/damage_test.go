package outbox

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// offsets gives where the data batches of a segment begin, and the batches.
func offsets(t *testing.T, data []byte) (offs []int64, bs []batch) {
	_, key, err := parseHeader(testKey(), data)
	require.NoError(t, err)
	for off := int64(headerSize); off+batchHead < int64(len(data)); off += alignment {
		if b, ok := parseBatch(key, off, data[off:]); ok && b.kind == kindData {
			offs, bs = append(offs, off), append(bs, b)
		}
	}
	return offs, bs
}

// filled gives a log of several segments, ids 1..80, power cut or closed.
func filled(t *testing.T, clean bool) *memFS {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	for id := uint64(1); id <= 80; id += 2 {
		_, err := l.Append(recs(id, 2, 500))
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, len(segmentFiles(m)), 5)
	if clean {
		require.NoError(t, l.Close())
	} else {
		m.crash(func(string, int) int { return 0 })
	}
	return m
}

// survivors opens and checks that everything but the lost ids is there, that the loss is reported exactly, and that positions go on.
func survivors(t *testing.T, m *memFS, lost ...Lost) {
	t.Helper()
	l := mustOpen(t, testOptions(m))
	var want []uint64
	for id := uint64(1); id <= 80; id++ {
		if overlap(lost, id, id) == 0 {
			want = append(want, id)
		}
	}
	ids, positions := readAll(t, l)
	require.Equal(t, want, ids)
	require.Equal(t, want, positions)
	require.Equal(t, lost, l.Damage())
	require.Equal(t, uint64(len(want)), l.Stats().Messages)
	p, err := l.Append(recs(1000, 1, 100))
	require.NoError(t, err)
	require.Greater(t, p, uint64(80))
	ids, _ = readAll(t, l)
	require.Equal(t, append(want, 1000), ids)
	require.Equal(t, lost, l.Damage(), "reading again does not report it twice")
	require.NoError(t, l.Free(p))
	require.Empty(t, l.Damage())
	require.NoError(t, l.Close())
	l = mustOpen(t, testOptions(m))
	require.Empty(t, l.Damage(), "what was freed is not reported")
	require.NoError(t, l.Close())
}

func TestUndamaged(t *testing.T) {
	survivors(t, filled(t, true))
	survivors(t, filled(t, false))
}

func TestFlippedByteInTheMiddle(t *testing.T) {
	for segment := range 5 {
		for _, where := range []int64{0, 5, 17, 50, 70, 900} { // magic, length, position, MAC, ciphertext
			m := filled(t, false)
			name := segmentFiles(m)[segment]
			offs, bs := offsets(t, m.names[name].data)
			m.edit(name, func(b []byte) []byte { b[offs[2]+where] ^= 4; return b })
			survivors(t, m, Lost{First: bs[2].first, Last: bs[2].last()})
		}
	}
}

func TestLastBatchOfAnOlderSegmentDamaged(t *testing.T) {
	m := filled(t, false)
	name := segmentFiles(m)[1]
	offs, bs := offsets(t, m.names[name].data)
	n := len(offs) - 1
	m.edit(name, func(b []byte) []byte { return b[:offs[n]+70] })
	survivors(t, m, Lost{First: bs[n].first, Last: bs[n].last()})
}

func TestTornTail(t *testing.T) {
	for i := range 4 {
		clean, from := i%2 == 0, int64(i/2)*300 // with the batch's header, and without
		m := filled(t, clean)
		files := segmentFiles(m)
		name := files[len(files)-1]
		offs, bs := offsets(t, m.names[name].data)
		n := len(offs) - 1
		m.edit(name, func(b []byte) []byte { clear(b[offs[n]+from : offs[n]+600]); return b })
		if clean { // the cursor knows that it was there
			survivors(t, m, Lost{First: bs[n].first, Last: bs[n].last()})
			continue
		}
		l := mustOpen(t, testOptions(m))
		ids, _ := readAll(t, l)
		require.Equal(t, span(1, 78), ids)
		require.Empty(t, l.Damage(), "taken for a commit that was never acknowledged")
		p, err := l.Append(recs(79, 1, 100))
		require.NoError(t, err)
		require.Greater(t, p, uint64(80), "but its positions are not used again")
	}
}

func TestDeletedSegments(t *testing.T) {
	for _, victim := range []int{0, 1, 3} {
		m := filled(t, false)
		name := segmentFiles(m)[victim]
		_, bs := offsets(t, m.names[name].data)
		require.NoError(t, m.Remove(name))
		survivors(t, m, Lost{First: bs[0].first, Last: bs[len(bs)-1].last()})
	}
	m := filled(t, true) // the newest: the cursor knows
	files := segmentFiles(m)
	name := files[len(files)-1]
	_, bs := offsets(t, m.names[name].data)
	require.NoError(t, m.Remove(name))
	survivors(t, m, Lost{First: bs[0].first, Last: 80})
}

func TestHeaderDamaged(t *testing.T) {
	spoil := func(b []byte) []byte { b[100] ^= 1; return b }
	m := filled(t, false)
	name := segmentFiles(m)[2]
	_, bs := offsets(t, m.names[name].data)
	m.edit(name, spoil)
	survivors(t, m, Lost{First: bs[0].first, Last: bs[len(bs)-1].last()})

	m = filled(t, false)
	files := segmentFiles(m)
	name = files[len(files)-1]
	_, bs = offsets(t, m.names[name].data)
	m.edit(name, spoil)
	l := mustOpen(t, testOptions(m))
	ids, _ := readAll(t, l)
	require.Equal(t, span(1, bs[0].first-1), ids)
	require.Len(t, l.Damage(), 1)
	require.Equal(t, bs[0].first, l.Damage()[0].First)
	require.True(t, l.Damage()[0].AtMost)
	p, err := l.Append(recs(100, 1, 100))
	require.NoError(t, err)
	require.Greater(t, p, l.Damage()[0].Last)
}

func TestPreambleDamagedInTheNewest(t *testing.T) {
	m := filled(t, false)
	files := segmentFiles(m)
	name := files[len(files)-1]
	m.edit(name, func(b []byte) []byte { b[headerSize+70] ^= 1; return b })
	l := mustOpen(t, testOptions(m))
	require.NoError(t, l.Free(l.Stats().LastPosition))
	count := func() (preambles int, positions []uint64) {
		require.NoError(t, l.Replay(func(e Entry) error {
			if e.Position == 0 {
				preambles++
			} else {
				positions = append(positions, e.Position)
			}
			return nil
		}))
		return preambles, positions
	}
	n, positions := count()
	require.Equal(t, 1, n, "the newest whole one")
	require.Equal(t, uint64(80), positions[len(positions)-1])
	_, bs := offsets(t, m.names[name].data)
	require.Less(t, positions[0], bs[0].first, "kept though freed, until there is a newer one")
	appendIDs(t, l, 81, 81, 10)
	require.NoError(t, l.Free(l.Stats().LastPosition))
	require.Equal(t, 1, l.Stats().Segments)
}

func TestSwappedAndCopiedSegments(t *testing.T) {
	m := filled(t, false)
	f := segmentFiles(m)
	m.names[f[1]], m.names[f[3]] = m.names[f[3]], m.names[f[1]]
	survivors(t, m)

	m = filled(t, false)
	m.names[testDir+"/"+segmentName(0xffff)] = &inode{data: bytes.Clone(m.names[f[2]].data)}
	survivors(t, m)
	require.NotContains(t, m.names, testDir+"/"+segmentName(0xffff))
}

// TestSplicedBatches puts authentic batches where they do not belong: at another offset, in another segment, of the file's earlier life.
func TestSplicedBatches(t *testing.T) {
	m := filled(t, false)
	f := segmentFiles(m)
	offs, bs := offsets(t, m.names[f[1]].data)
	n := bs[1].size()
	m.edit(f[1], func(b []byte) []byte { copy(b[offs[2]:offs[2]+n], b[offs[1]:]); return b })
	survivors(t, m, Lost{First: bs[2].first, Last: bs[2].last()})

	m = filled(t, false)
	other := m.names[f[2]].data
	m.edit(f[1], func(b []byte) []byte { copy(b[offs[1]:offs[2]], other[offs[1]:]); return b })
	survivors(t, m, Lost{First: bs[1].first, Last: bs[1].last()})

	// The header of a large batch must not swallow what follows.
	m = newMemFS()
	l := mustOpen(t, testOptions(m))
	_, err := l.Append(recs(1, 4, 500))
	require.NoError(t, err)
	_, err = l.Append(recs(5, 71, 20))
	require.NoError(t, err)
	appendIDs(t, l, 76, 80, 20)
	f = segmentFiles(m)
	require.Len(t, f, 1)
	offs, _ = offsets(t, m.names[f[0]].data)
	m.edit(f[0], func(b []byte) []byte { copy(b[offs[1]:offs[1]+batchHead], b[offs[0]:]); return b })
	survivors(t, m, Lost{First: 5, Last: 75})
}

func TestOldBatchesInRecycledSegments(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	at := appendIDs(t, l, 1, 200, 500)
	require.NoError(t, l.Free(at[200]))
	at = appendIDs(t, l, 201, 217, 500) // into recycled files, full of old batches
	require.NoError(t, l.Free(at[202]))
	m.crash(func(string, int) int { return 0 })
	l = mustOpen(t, testOptions(m))
	ids, _ := readAll(t, l)
	require.Equal(t, uint64(217), ids[len(ids)-1])
	require.Equal(t, span(ids[0], 217), ids)
	require.LessOrEqual(t, ids[0], uint64(203))
	require.Empty(t, l.Damage())
	require.Empty(t, m.reused)
}

func TestStaleCursor(t *testing.T) {
	m := newMemFS()
	l := mustOpen(t, testOptions(m))
	stale := bytes.Clone(m.names[testDir+"/"+cursorName].data)
	appendIDs(t, l, 1, 60, 500)
	require.NoError(t, l.Free(40))
	require.NoError(t, l.Close())
	left := len(segmentFiles(m))
	for _, cursor := range [][]byte{stale, nil, bytes.Repeat([]byte{0xff}, cursorSize)} {
		m.edit(testDir+"/"+cursorName, func([]byte) []byte { return cursor })
		l = mustOpen(t, testOptions(m))
		ids, _ := readAll(t, l)
		require.Equal(t, span(ids[0], 60), ids, "delivered again, never lost")
		require.LessOrEqual(t, ids[0], uint64(41))
		require.Equal(t, left, l.Stats().Segments)
		require.Equal(t, uint64(60), l.Stats().LastPosition)
		require.NoError(t, l.fs.Remove(testDir+"/"+cursorName))
		_, err := m.Create(testDir + "/" + cursorName)
		require.NoError(t, err)
	}
}

func TestTornCursorSlot(t *testing.T) {
	for slot := range 2 {
		m := newMemFS()
		l := mustOpen(t, testOptions(m))
		appendIDs(t, l, 1, 60, 500)
		require.NoError(t, l.Free(20))
		require.NoError(t, l.Free(40))
		before := len(segmentFiles(m))
		require.NoError(t, l.Close())
		m.edit(testDir+"/"+cursorName, func(b []byte) []byte { b[slot*slotStride+30] ^= 1; return b })
		l = mustOpen(t, testOptions(m))
		ids, _ := readAll(t, l)
		require.Equal(t, span(ids[0], 60), ids)
		require.Len(t, segmentFiles(m), before)
	}
}
