package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
)

const keepBuffer = 1 << 20 // a larger buffer is given back after use

// Append puts all of the records at the end of the log, or none. On return they are on disk; the last one's position is given. The data are not kept.
// Appending nothing does nothing.
//
// Errors: ErrFull, ErrTooLarge; a wrapped system error (a full disk is syscall.ENOSPC), after which the same Append may be tried again; ErrFailed.
// After ErrFailed the records may or may not be on disk: opening again tells.
func (l *Log) Append(recs []Record) (last uint64, err error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.append(recs, 0); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, nil
}

// append writes one batch. With giveUp, it frees everything up to there once the batch is durable, and may use the reserve.
func (l *Log) append(recs []Record, giveUp uint64) error {
	if err := l.usable(); err != nil || len(recs) == 0 {
		return err
	}
	need := batchSize(plainSize(recs))
	if need > l.segmentSize-headerSize-batchSize(0) {
		return fmt.Errorf("%w: %d records need %d bytes of %d", ErrTooLarge, len(recs), need, l.segmentSize)
	}
	if l.active == nil || l.active.end+need > l.active.size {
		return l.roll(recs, need, giveUp)
	}
	off := l.active.end
	b := l.nextBatch(recs, giveUp)
	if err := l.writeBatch(l.file, l.activeKey, off, b, recs); err != nil {
		l.abandon()
		return fmt.Errorf("outbox: cannot write: %w", err)
	}
	if err := l.flush(l.file); err != nil {
		return err
	}
	l.publish(nil, off+need, recs)
	return nil
}

func (l *Log) nextBatch(recs []Record, giveUp uint64) batch {
	now := l.now().UnixNano()
	l.mu.Lock()
	defer l.mu.Unlock()
	return batch{kind: kindData, count: uint32(len(recs)), first: l.next, time: now, freed: max(l.freed, giveUp)}
}

func (l *Log) writeBatch(f File, key *segmentKey, off int64, b batch, recs []Record) error {
	l.buf = appendBatch(l.buf[:0], key, off, b, recs)
	_, err := f.WriteAt(l.buf, off)
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	return err
}

// abandon ends a segment after a write error: what the write left behind must not be overwritten with the same nonce. Should it be whole, readers
// do not take it for accepted, since the next segment's header (or the cursor, written by Close) says what was.
func (l *Log) abandon() {
	_ = l.file.Close() // nothing is pending in it that was promised
	l.active, l.file, l.activeKey = nil, nil, nil
}

// publish lets readers see a durable batch, the first of seg if that is given.
func (l *Log) publish(seg *segment, end int64, recs []Record) {
	var bytes uint64
	for i := range recs {
		bytes += uint64(len(recs[i].Data))
	}
	l.commits.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if seg != nil {
		l.segs = append(l.segs, seg)
		l.active, l.unexplained = seg, false
	}
	l.active.end = end
	l.last = l.next + uint64(len(recs)) - 1
	l.next = l.last + 1
	l.bytes += bytes
	l.wakeLocked()
}

// roll begins a new segment with the records as its first commit.
func (l *Log) roll(recs []Record, need int64, giveUp uint64) error {
	var preamble []Record
	if l.preamble != nil {
		preamble = l.preamble()
	}
	parts := splitPreamble(preamble)
	end := int64(headerSize)
	for _, p := range parts {
		end += batchSize(plainSize(p))
	}
	if end+need > l.segmentSize {
		return fmt.Errorf("%w: %d records need %d bytes and the preamble %d of %d", ErrTooLarge, len(recs), need, end, l.segmentSize)
	}
	spare, err := l.takeSpare(giveUp > 0)
	if err != nil {
		return err
	}
	seg, key, err := l.newHeader()
	if err != nil {
		l.returnSpare(spare)
		return err
	}
	b := l.nextBatch(recs, giveUp)
	seg.time = b.time
	f, err := l.fs.Open(filepath.Join(l.dir, spare), true)
	if err == nil {
		err = l.writeSegment(f, key, seg, parts, b, recs)
	}
	if err == nil {
		if err := l.flush(f); err != nil {
			return errors.Join(err, f.Close())
		}
		err = l.fs.Rename(filepath.Join(l.dir, spare), filepath.Join(l.dir, seg.name))
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		l.returnSpare(spare)
		return fmt.Errorf("outbox: cannot begin a segment: %w", err)
	}
	if err := l.flushDir(); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		_ = l.file.Close() // all of it is flushed
	}
	l.file, l.activeKey = f, key
	l.publish(seg, end+need, recs)
	return nil
}

// splitPreamble cuts a preamble into batches, so that writing and reading a large one needs little memory. There is always one.
func splitPreamble(recs []Record) [][]Record {
	var parts [][]Record
	start, size := 0, int64(0)
	for i := range recs {
		n := plainSize(recs[i : i+1])
		if i > start && size+n > preambleSize {
			parts = append(parts, recs[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(parts, recs[start:])
}

func (l *Log) writeSegment(f File, key *segmentKey, seg *segment, parts [][]Record, b batch, recs []Record) error {
	if _, err := f.WriteAt(seg.encode(key), 0); err != nil {
		return err
	}
	off := int64(headerSize)
	for i, p := range parts {
		kind := kindPreamble
		if i == len(parts)-1 {
			kind = kindPreambleEnd
		}
		if err := l.writeBatch(f, key, off, batch{kind: kind, time: b.time, freed: seg.freed}, p); err != nil {
			return err
		}
		off += batchSize(plainSize(p))
	}
	return l.writeBatch(f, key, off, b, recs)
}

func (l *Log) newHeader() (*segment, *segmentKey, error) {
	l.mu.Lock()
	seg := &segment{size: l.segmentSize, header: header{
		id: l.nextID, first: l.next, prevLast: l.last, freed: l.freed, bytes: l.bytes,
	}}
	if n := len(l.segs); n > 0 {
		seg.prevID = l.segs[n-1].id
	}
	l.nextID++
	l.mu.Unlock()
	seg.name = segmentName(seg.id)
	if _, err := rand.Read(seg.salt[:]); err != nil {
		return nil, nil, err
	}
	key, err := newSegmentKey(l.key, &seg.salt, seg.id)
	return seg, key, err
}
