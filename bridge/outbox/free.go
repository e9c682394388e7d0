package outbox

import (
	"fmt"
	"time"
)

// Free says that everything up to and including position is stored upstream. Nothing is written until a whole segment is free; then the cursor is made
// durable, and the segment recycled. So after a crash at most one segment's entries come again (and in fact only those freed since the last commit,
// since each commit notes what was free). A position freed before is no error; one not accepted yet is.
// Errors: ErrFailed, ErrClosed, or a wrapped error of writing the cursor; after that the position counts as freed, and a later Free gives the space back.
func (l *Log) Free(position uint64) error {
	l.freeing.Lock()
	defer l.freeing.Unlock()
	if err := l.advance(position); err != nil {
		return err
	}
	return l.reclaim(false)
}

// advance moves the freed position in memory.
func (l *Log) advance(position uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	if position > l.last {
		return fmt.Errorf("outbox: cannot free position %d: the last one is %d", position, l.last)
	}
	if position <= l.freed {
		return nil
	}
	l.freed = position
	l.trimLostLocked()
	return nil
}

func (l *Log) trimLostLocked() {
	kept := l.lost[:0]
	for _, r := range l.lost {
		if r.First = max(r.First, l.freed+1); r.First <= r.Last {
			kept = append(kept, r)
		}
	}
	l.lost = kept
}

// reclaim makes the cursor durable and gives back the leading segments that are free; never the newest, whose preamble is the only one that is certain.
// noted says that a durable batch tells that they are free, so that an unwritten cursor does no harm. The caller holds freeing.
func (l *Log) reclaim(noted bool) error {
	l.mu.Lock()
	n := 0
	for !l.unexplained && n+1 < len(l.segs) && l.segs[n+1].prevLast <= l.freed {
		n++
	}
	l.mu.Unlock()
	if n == 0 {
		return nil
	}
	if err := l.writeCursor(false); err != nil && (!noted || l.usable() != nil) {
		return err
	}
	l.mu.Lock()
	free := l.segs[:n:n]
	l.segs = append([]*segment(nil), l.segs[n:]...)
	for _, s := range free {
		s.gone = true
	}
	l.mu.Unlock()
	for _, s := range free {
		l.recycle(s)
	}
	_ = l.ensureReserve() // what keeps it from being made will keep the next segment too, and be reported then
	return nil
}

// victims gives the oldest segments that DropOldest would give up: one of full size, or as many short ones (restarts leave them) as make one.
// Never the newest.
func (l *Log) victims() (segs []*segment, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var size int64
	for i := 0; i+1 < len(l.segs) && size < l.segmentSize; i++ {
		size += l.segs[i].size
		segs, last = append(segs, l.segs[i]), l.segs[i+1].prevLast
	}
	return segs, last
}

// OldestEnd tells when what follows that which Oldest would give now began to be accepted: by the clock of then, all that it would give is older.
// False if it would give nothing, or nothing of it waits.
func (l *Log) OldestEnd() (time.Time, bool) {
	segs, last := l.victims()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(segs); n > 0 && n < len(l.segs) && last > l.freed {
		return time.Unix(0, l.segs[n].time), true
	}
	return time.Time{}, false
}

// Oldest gives the entries, not freed yet, that the next DropOldest will give up: those of the oldest segment (of several, if restarts left short ones).
// It is for the loss records. The newest segment is never among them: false if there is no other.
// Data are valid during fn only. An error of fn ends it and is returned. Entries that the relay frees after this call are freed all the same: the
// caller's loss record then names something that did arrive.
func (l *Log) Oldest(fn func(Entry) error) (ok bool, err error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.usable(); err != nil {
		return false, err
	}
	segs, last := l.victims()
	if len(segs) == 0 {
		return false, nil
	}
	l.doomed = last
	w := walker{l: l}
	w.enter(segs[0])
	defer w.close()
	return true, w.each(last, func(e Entry) error {
		if e.Context {
			return nil
		}
		return fn(e)
	})
}

// DropOldest appends recs (the caller's loss records), and with the same durable write gives up what Oldest gave last; without an Oldest before, what it
// would give now. It may use the reserve, so it works when the log and the disk are full. ErrNothing if there is nothing to drop. Other errors are those of
// Append, and then nothing was appended or dropped. (Without recs the drop is made durable by the cursor.)
func (l *Log) DropOldest(recs []Record) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	doomed := l.doomed
	if doomed == 0 {
		if _, doomed = l.victims(); doomed == 0 {
			return ErrNothing
		}
	}
	if err := l.append(recs, doomed); err != nil {
		return err
	}
	l.doomed = 0
	l.freeing.Lock()
	defer l.freeing.Unlock()
	if err := l.advance(doomed); err != nil {
		return err
	}
	return l.reclaim(len(recs) > 0)
}
