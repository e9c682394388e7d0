package outbox

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// walker goes through the batches of the live segments in order, and notes what damage took. It keeps its place when the segment under it is freed.
// Not safe for concurrent use.
type walker struct {
	l     *Log
	seg   *segment // nil: nowhere yet
	want  uint64   // the next position expected
	scan  segmentScan
	grown chan struct{} // closed when there may be more, after io.EOF
}

func (w *walker) enter(s *segment) {
	w.close()
	w.seg, w.want, w.scan = s, s.first, segmentScan{head: w.scan.head, window: w.scan.window}
}

// close closes the file under it; next opens it again.
func (w *walker) close() {
	if w.scan.f != nil {
		_ = w.scan.f.Close() // only read
		w.scan.f = nil
	}
}

// view is what the walker needs to know of the segment it is in.
type view struct {
	gone  bool
	end   int64
	limit uint64   // last position accepted into it
	next  *segment // nil: it is the newest
}

func (w *walker) view() (view, error) {
	l := w.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return view{}, err
	}
	w.grown = l.grown
	v := view{gone: w.seg.gone, end: w.seg.end, limit: l.last}
	if v.end == 0 {
		v.end = w.seg.size
	}
	if i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].id > w.seg.id }); i < len(l.segs) {
		v.next = l.segs[i]
		v.limit = v.next.prevLast
	}
	return v, nil
}

// gone tells whether the file may have been used again while it was read. It leaves grown alone: that must be as old as the end that was looked at.
func (w *walker) gone() bool {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	return w.seg.gone
}

// next gives the next batch, its plaintext appended to dst. io.EOF: nothing more at present; grown tells when to look again.
func (w *walker) next(dst []byte) (batch, []byte, error) {
	for {
		v, err := w.view()
		if err != nil {
			return batch{}, dst, err
		}
		if v.gone {
			w.enter(v.next) // the newest is never gone
			continue
		}
		b, out, err := w.read(dst, v)
		switch {
		case err == nil && b.kind != kindData:
			return b, out, nil
		case err == nil && (b.first < w.want || b.last() > v.limit):
			continue // written, but never accepted: a write error came between
		case err == nil:
			w.lost(b.first - 1)
			w.want = b.last() + 1
			return b, out, nil
		}
		if w.gone() {
			continue
		}
		missing := errors.Is(err, os.ErrNotExist)
		if v.next == nil || !missing && !errors.Is(err, io.EOF) {
			return batch{}, dst, err
		}
		w.lost(v.limit)
		w.enter(v.next)
	}
}

func (w *walker) read(dst []byte, v view) (batch, []byte, error) {
	if w.scan.f == nil {
		f, err := w.l.fs.Open(filepath.Join(w.l.dir, w.seg.name), false)
		if err != nil {
			return batch{}, dst, err
		}
		w.scan.f = f
	}
	if w.scan.key == nil {
		key, err := newSegmentKey(w.l.key, &w.seg.salt, w.seg.id)
		if err != nil {
			return batch{}, dst, err
		}
		w.scan.key, w.scan.off = key, headerSize
	}
	return w.scan.next(dst, v.end)
}

// lost notes that the positions from the one expected up to last are lost.
func (w *walker) lost(last uint64) {
	if w.want <= last {
		w.l.addLost(Lost{First: w.want, Last: last})
	}
}

// each gives the entries up to and including position last. Data are valid during fn.
func (w *walker) each(last uint64, fn func(Entry) error) error {
	var buf []byte
	for {
		b, plain, err := w.next(buf[:0])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b.kind == kindData && b.first > last {
			return nil
		}
		if err := giveEntries(b, plain, w.l.freedPosition(), fn); err != nil {
			return err
		}
		buf = plain
	}
}

// giveEntries gives the records of a batch.
func giveEntries(b batch, plain []byte, freed uint64, fn func(Entry) error) error {
	for i := range uint64(b.count) {
		rec, rest, err := parseRecord(plain)
		if err != nil {
			return err
		}
		plain = rest
		e := Entry{Record: rec, Context: true}
		if b.kind == kindData {
			e.Position = b.first + i
			e.Context = e.Position <= freed
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) freedPosition() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}
