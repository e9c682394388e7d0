package outbox

import (
	"context"
	"errors"
	"io"
)

// Reader reads the log in order, from the first entry that is not freed. It keeps no file open between calls. One goroutine uses it.
type Reader struct {
	w       walker
	b       batch  // the batch that rest is of
	rest    []byte // plaintext of the records not given yet
	at      uint64 // index in b of the first of them
	buf     []byte // what rest and entries point into
	entries []Entry
	held    bool // entries were not given: the call that gathered them was interrupted
}

// Reader gives a new reader.
func (l *Log) Reader() *Reader {
	return &Reader{w: walker{l: l}}
}

// Rewind goes back to the first entry that is not freed.
func (r *Reader) Rewind() {
	r.w.close()
	r.w = walker{l: r.w.l}
	r.b, r.rest, r.held = batch{}, nil, false
}

// Next gives entries, at most maxRecords and maxBytes of data of those that are not Context, but always one; it waits for that one until there is one, or
// ctx ends. Where a segment begins, and after Rewind, Context entries come before: the preamble, and what was freed of the segment. They do not count.
// At a preamble forget nothing: it repeats what is in force.
//
// The slice and the data are valid until the next call of Next. When entries are freed or dropped that were not given yet, they come as Context or
// not at all.
//
// Errors: ctx's; ErrClosed; ErrFailed; a wrapped error of the disk, after which Next may be tried again. Damage is no error: see [Log.Damage].
func (r *Reader) Next(ctx context.Context, maxRecords, maxBytes int) ([]Entry, error) {
	if err := r.w.l.usable(); err != nil {
		return nil, err
	}
	defer r.w.close()
	if !r.held {
		r.recycle()
	}
	r.held = true
	fresh, size := 0, 0
	for {
		full, err := r.take(&fresh, &size, maxRecords, maxBytes)
		if err != nil {
			return nil, err
		}
		if !full {
			err = r.load()
		}
		if fresh > 0 && (full || err != nil) { // an error comes again
			r.held = false
			return r.entries, nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		r.w.close()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.w.grown:
		}
	}
}

// recycle makes room in the buffer: all that was given out is forgotten.
func (r *Reader) recycle() {
	clear(r.entries)
	r.entries = r.entries[:0]
	if cap(r.buf) > keepBuffer && len(r.rest) <= keepBuffer {
		r.buf = make([]byte, 0, len(r.rest))
	}
	n := copy(r.buf[:cap(r.buf)], r.rest)
	r.buf = r.buf[:n]
	r.rest = r.buf[:n:n]
}

// take moves records from rest to entries, and tells whether the call has enough.
func (r *Reader) take(fresh, size *int, maxRecords, maxBytes int) (full bool, err error) {
	if len(r.rest) == 0 {
		return false, nil
	}
	freed := r.w.l.freedPosition()
	for len(r.rest) > 0 {
		rec, rest, err := parseRecord(r.rest)
		if err != nil {
			return false, err
		}
		e := Entry{Record: rec, Context: true}
		if r.b.kind == kindData {
			e.Position = r.b.first + r.at
			e.Context = e.Position <= freed
		}
		if !e.Context {
			if *fresh > 0 && (*fresh >= maxRecords || *size+len(rec.Data) > maxBytes) {
				return true, nil
			}
			*fresh++
			*size += len(rec.Data)
		}
		r.entries = append(r.entries, e)
		r.rest = rest
		r.at++
	}
	return *fresh > 0 && (*fresh >= maxRecords || *size >= maxBytes), nil
}

// load gets the next batch into rest. io.EOF: wait for grown.
func (r *Reader) load() error {
	if r.w.seg == nil {
		if err := r.begin(); err != nil {
			return err
		}
	}
	b, out, err := r.w.next(r.buf)
	if err != nil {
		return err
	}
	r.rest = out[len(out)-int(b.length):]
	r.b, r.buf, r.at = b, out, 0
	return nil
}

// begin goes to the first segment with something not freed, else to the newest.
func (r *Reader) begin() error {
	l := r.w.l
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return err
	}
	r.w.grown = l.grown
	var seg *segment
	for i, s := range l.segs {
		if seg = s; l.lastOfLocked(i) > l.freed {
			break
		}
	}
	l.mu.Unlock()
	if seg == nil {
		return io.EOF
	}
	r.w.enter(seg)
	return nil
}
