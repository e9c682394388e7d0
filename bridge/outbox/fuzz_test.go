package outbox

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse gives foreign bytes to every parser: header, batch, records and cursor.
func FuzzParse(f *testing.F) {
	var salt [saltSize]byte
	key, err := newSegmentKey(testKey(), &salt, 1)
	require.NoError(f, err)
	h := header{id: 1, first: 1}
	f.Add(h.encode(key))
	f.Add(appendBatch(nil, key, headerSize, batch{first: 1}, recs(1, 2, 40)))
	c := cursor{generation: 1, freed: 3, last: 9, segment: 2, clean: true}
	slot, err := c.encode(testKey())
	require.NoError(f, err)
	f.Add(slot)
	f.Add([]byte{5, 'd', 1, 2, 3, 4, 5, 0, 'd'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, key, err := parseHeader(testKey(), b); err == nil {
			require.Equal(t, b[:headerSize], h.encode(key))
		}
		if c, err := parseCursor(testKey(), b); err == nil {
			again, err := c.encode(testKey())
			require.NoError(t, err)
			require.Equal(t, b[:slotSize], again)
		}
		if got, ok := parseBatch(key, headerSize, b); ok {
			require.LessOrEqual(t, uint64(got.count), uint64(got.length))
		}
		rest, n := b, 0
		for len(rest) > 0 {
			rec, more, err := parseRecord(rest)
			if err != nil {
				break
			}
			require.Less(t, len(more)+len(rec.Data), len(rest))
			rest = more
			n++
		}
		checkRecords(batch{count: uint32(n)}, b)
	})
}

// FuzzDamage changes a log's files and opens it: no panic, nothing that was not appended, in order, and every id there or reported.
func FuzzDamage(f *testing.F) {
	f.Add(uint8(0), uint16(300), []byte("FSBT"), false)
	f.Add(uint8(1), uint16(0), []byte{}, true)
	f.Add(uint8(2), uint16(60), bytes.Repeat([]byte{0}, 4000), false)
	f.Add(uint8(9), uint16(20), []byte{1, 2, 3}, false)
	base := newMemFS()
	l := mustOpen(f, testOptions(base))
	appendIDs(f, l, 1, 50, 500)
	require.NoError(f, l.Close())
	names := append(segmentFiles(base), testDir+"/"+cursorName)
	f.Fuzz(func(t *testing.T, file uint8, at uint16, change []byte, cut bool) {
		m := newMemFS()
		for n, node := range base.names {
			m.names[n] = &inode{data: bytes.Clone(node.data)}
		}
		m.edit(names[int(file)%len(names)], func(b []byte) []byte {
			at := int(at) % len(b)
			copy(b[at:], change)
			if cut {
				b = b[:at]
			}
			return b
		})
		l := mustOpen(t, testOptions(m))
		ids, positions := readAll(t, l)
		require.Equal(t, ids, positions)
		next := uint64(1)
		for _, id := range append(ids, 51) {
			if id > next {
				require.Equal(t, id-next, overlap(l.Damage(), next, id-1), "missing and not reported: %d to %d", next, id-1)
			}
			require.GreaterOrEqual(t, id, next)
			next = id + 1
		}
		require.NoError(t, l.Replay(func(Entry) error { return nil }))
		_, err := l.Oldest(func(Entry) error { return nil })
		require.NoError(t, err)
		last, err := l.Append(recs(51, 1, 10))
		require.NoError(t, err)
		require.Greater(t, last, uint64(50))
		_, err = l.Reader().Next(context.Background(), 1, 1)
		require.NoError(t, err)
		require.NoError(t, l.Free(last))
		require.NoError(t, l.Close())
	})
}
