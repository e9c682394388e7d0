package outbox

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"
)

// Open opens the log in o.Dir, or begins one. It reads the cursor, the header of each segment, and the newest segment; the time does not grow with the
// backlog's bytes. It takes the space of the reserve; if the disk is full it opens without, so that what is there can be sent and freed.
//
// Errors: of the options; ErrVersion; ErrKey; a wrapped system error if the folder is unusable.
func Open(o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	l := &Log{
		dir: o.Dir, key: slices.Clone(o.Key), fs: o.FS, now: o.Now, maxSize: o.MaxSize, segmentSize: o.SegmentSize,
		next: 1, nextID: 1, grown: make(chan struct{}),
	}
	if err := l.recover(); err != nil {
		if l.cursorFile != nil {
			_ = l.cursorFile.Close() // the first error counts
		}
		return nil, fmt.Errorf("outbox: cannot open %s: %w", o.Dir, err)
	}
	return l, nil
}

// found is what the folder held.
type found struct {
	cursor    cursor
	hasCursor bool
	bad       []uint64 // names of segments whose header does not authenticate
	unread    error    // the disk's error on reading a header
}

func (l *Log) recover() error {
	if err := l.fs.MkdirAll(l.dir); err != nil {
		return err
	}
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	sort.Strings(names)
	var in found
	if in.cursor, in.hasCursor, err = l.readCursor(); err != nil {
		return fmt.Errorf("the cursor: %w", err)
	}
	if err := l.readSegments(names, &in); err != nil {
		return err
	}
	if !in.hasCursor && len(l.segs) == 0 && len(in.bad) > 0 {
		return errors.Join(ErrKey, in.unread)
	}
	l.generation = in.cursor.generation
	l.freed = in.cursor.freed
	l.nextID = max(l.nextID, in.cursor.segment+1)
	if err := l.readNewest(&in); err != nil {
		return err
	}
	if err := l.findMissing(); err != nil {
		return err
	}
	return l.tidy(names)
}

// readSegments reads the headers. Nothing is removed yet.
func (l *Log) readSegments(names []string, in *found) error {
	for _, name := range names {
		if id, ok := parseName(name, spareSuffix); ok {
			l.nextID = max(l.nextID, id+1)
			continue
		}
		id, ok := parseName(name, segmentSuffix)
		if !ok {
			continue
		}
		l.nextID = max(l.nextID, id+1)
		seg, err := l.readHeader(name)
		switch {
		case err == nil:
			l.nextID = max(l.nextID, seg.id+1)
			l.segs = append(l.segs, seg)
		case errors.Is(err, ErrVersion):
			return fmt.Errorf("%s: %w", name, err)
		default:
			in.bad = append(in.bad, id)
			if !errors.Is(err, errDamaged) {
				in.unread = err
				l.leftover += l.segmentSize
				l.keep = append(l.keep, name)
			}
		}
	}
	sort.SliceStable(l.segs, func(i, j int) bool { return l.segs[i].id < l.segs[j].id })
	l.segs = slices.CompactFunc(l.segs, func(a, b *segment) bool { return a.id == b.id }) // a copy: tidy removes it
	return nil
}

func (l *Log) readHeader(name string) (*segment, error) {
	f, err := l.fs.Open(filepath.Join(l.dir, name), false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = errDamaged
		}
		return nil, err
	}
	h, _, err := parseHeader(l.key, b)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	return &segment{header: h, name: name, size: size}, err
}

// readNewest finds where the log ends. A newest segment without a single commit was never acknowledged: it is left to tidy.
func (l *Log) readNewest(in *found) error {
	cur := in.cursor
	anySegment := len(l.segs)+len(in.bad) > 0
	var c contents
	for n := len(l.segs); n > 0; n = len(l.segs) {
		s := l.segs[n-1]
		limit := ^uint64(0)
		if cur.clean && cur.segment >= s.id {
			limit = cur.last // a write that failed before Close does not count
		}
		torn := c.torn
		var err error
		if c, err = l.scanSegment(s, limit); err != nil {
			return err
		}
		c.torn = max(c.torn, torn)
		if c.last == s.prevLast && n > 1 {
			c.torn = max(c.torn, s.first-1)
			l.segs = l.segs[:n-1]
			if s.name == segmentName(s.id) { // it got its name after its first commit was flushed: this is damage
				in.bad = append(in.bad, s.id)
			}
			continue
		}
		s.end = c.end
		l.bytes = s.bytes + c.bytes
		l.unexplained = !c.explained
		break
	}
	l.freed = max(l.freed, c.freed)
	l.last = max(c.last, cur.last, l.freed)
	for _, r := range c.lost {
		l.addLost(r)
	}
	l.addLost(Lost{First: c.last + 1, Last: l.last})
	l.next = max(l.last, c.torn) + 1

	newest := uint64(0)
	if n := len(l.segs); n > 0 {
		newest = l.segs[n-1].id
	}
	clean := cur.clean && cur.last == l.last && newest <= cur.segment
	for _, id := range in.bad {
		clean = clean && id <= cur.segment
	}
	if clean || !anySegment {
		return nil
	}
	// After a crash there may have been more, up to a segment full of the shortest records.
	size := l.segmentSize
	for _, s := range l.segs {
		size = max(size, s.size)
	}
	l.next += uint64(size / minRecord)
	if len(in.bad) > 0 && slices.Max(in.bad) > newest {
		l.lost = insertLost(l.lost, Lost{First: l.last + 1, Last: l.next - 1, AtMost: true})
	}
	return nil
}

// findMissing notes the positions of segments that are not there.
func (l *Log) findMissing() error {
	if len(l.segs) == 0 {
		return nil
	}
	l.addLost(Lost{First: l.freed + 1, Last: l.segs[0].prevLast})
	for i, s := range l.segs[1:] {
		before := l.segs[i]
		if s.prevID == before.id || s.prevLast <= l.freed {
			continue
		}
		c, err := l.scanSegment(before, s.prevLast)
		if err != nil {
			return err
		}
		l.addLost(Lost{First: c.last + 1, Last: s.prevLast})
	}
	return nil
}

// tidy removes what is not needed, cuts the newest segment to what it holds, takes the reserve, and makes it all durable.
func (l *Log) tidy(names []string) error {
	for _, s := range l.segs {
		l.keep = append(l.keep, s.name)
	}
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		_, isSegment := parseName(name, segmentSuffix)
		_, isSpare := parseName(name, spareSuffix)
		if !isSegment && !isSpare || slices.Contains(l.keep, name) {
			continue
		}
		if isSpare && l.wantSpare(path) {
			l.spares = append(l.spares, name)
			continue
		}
		if err := l.fs.Remove(path); err != nil {
			return err
		}
	}
	l.keep = nil
	if n := len(l.segs); n > 0 {
		if err := l.shorten(l.segs[n-1]); err != nil {
			return err
		}
	}
	l.freeing.Lock()
	err := l.reclaim(false)
	l.freeing.Unlock()
	if err != nil && !isFull(err) {
		return err
	}
	if err := l.ensureReserve(); err != nil {
		return err
	}
	if err := l.flush(l.cursorFile); err != nil {
		return err
	}
	return l.flushDir()
}

// wantSpare tells whether a spare file of an earlier run is of use.
func (l *Log) wantSpare(path string) bool {
	if len(l.spares) >= maxSpares || l.liveLocked()+int64(len(l.spares)+1)*l.segmentSize > l.maxSize {
		return false
	}
	f, err := l.fs.Open(path, false)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	return err == nil && size == l.segmentSize
}

// shorten gives back the unused space of a segment that will not be written again, so that restarts do not use up the log. If it cannot be cut
// nothing is lost.
func (l *Log) shorten(s *segment) error {
	size := (s.end + blockSize - 1) / blockSize * blockSize
	if size >= s.size {
		return nil
	}
	f, err := l.fs.Open(filepath.Join(l.dir, s.name), true)
	if err != nil {
		return nil //nolint:nilerr // as good as not cut
	}
	if f.Truncate(size) == nil {
		s.size = size
		err = l.flush(f)
	}
	return errors.Join(err, f.Close())
}
