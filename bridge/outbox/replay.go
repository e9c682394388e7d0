package outbox

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
)

// Replay gives, before the first Append, the newest complete preamble as Context entries, and every entry after it, freed or not, in order: the caller
// rebuilds its state from that. If no preamble is whole, everything there is. Data are valid during fn only. An error of fn ends it and is returned.
func (l *Log) Replay(fn func(Entry) error) error {
	l.mu.Lock()
	segs := slices.Clone(l.segs)
	l.mu.Unlock()
	for n := len(segs); n > 0; n-- {
		s := segs[n-1]
		if n < len(segs) || l.unexplained {
			c, err := l.scanSegment(s, ^uint64(0))
			if err != nil {
				return err
			}
			if !c.explained && n > 1 {
				continue
			}
		}
		w := walker{l: l}
		w.enter(s)
		defer w.close()
		return w.each(^uint64(0), fn)
	}
	return nil
}

// contents is what a scan of a whole segment found.
type contents struct {
	last      uint64 // position; the header's prevLast if there is no data batch
	freed     uint64
	bytes     uint64 // of payload
	end       int64
	explained bool // the preamble is complete
	torn      uint64
	lost      []Lost
}

// scanSegment reads all of a segment up to position limit.
func (l *Log) scanSegment(s *segment, limit uint64) (contents, error) {
	c := contents{last: s.prevLast, freed: s.freed, end: headerSize}
	f, err := l.fs.Open(filepath.Join(l.dir, s.name), false)
	if err != nil {
		return c, err
	}
	defer f.Close()
	key, err := newSegmentKey(l.key, &s.salt, s.id)
	if err != nil {
		return c, err
	}
	scan := segmentScan{f: f, key: key, off: headerSize}
	var buf []byte
	want, whole := s.first, true
	for {
		off := scan.off
		b, plain, err := scan.next(buf[:0], s.size)
		if errors.Is(err, io.EOF) {
			c.torn = scan.torn
			return c, nil
		}
		if err != nil {
			return c, err
		}
		buf = plain
		if b.kind != kindData {
			whole = whole && scan.off == off+b.size()
			c.explained = whole && b.kind == kindPreambleEnd
			c.end = scan.off
			continue
		}
		if b.first < want || b.last() > limit {
			continue
		}
		if b.first > want {
			c.lost = append(c.lost, Lost{First: want, Last: b.first - 1})
		}
		want = b.last() + 1
		c.last, c.freed, c.end = b.last(), max(c.freed, b.freed), scan.off
		_ = giveEntries(b, plain, 0, func(e Entry) error { c.bytes += uint64(len(e.Data)); return nil }) // the scan checked them
	}
}
