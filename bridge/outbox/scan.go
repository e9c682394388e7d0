package outbox

import (
	"errors"
	"io"
)

// segmentScan finds the batches of one segment, in order. Not safe for concurrent use.
type segmentScan struct {
	f      File
	key    *segmentKey
	off    int64  // of the next batch
	head   []byte // scratch
	window []byte // for the search after damage
	torn   uint64 // last position of the newest batch whose header authenticates and whose body does not
}

const windowSize = 64 << 10

// next gives the next authentic data batch or part of a preamble that ends at or before end, its plaintext appended to dst. io.EOF if there is none.
// What does not authenticate is passed over. Other errors are the disk's; the same call may be tried again.
func (s *segmentScan) next(dst []byte, end int64) (batch, []byte, error) {
	for s.off+batchHead+tagSize <= end {
		b, ok, err := s.peek(end)
		if err != nil {
			return batch{}, dst, err
		}
		if !ok {
			if err := s.resync(end); err != nil {
				return batch{}, dst, err
			}
			continue
		}
		off := s.off
		out, err := s.body(b, dst)
		if err != nil && !errors.Is(err, errDamaged) {
			return batch{}, dst, err
		}
		s.off = off + b.size()
		if err == nil {
			return b, out, nil
		}
		if b.kind == kindData {
			s.torn = b.last()
		}
	}
	return batch{}, dst, io.EOF
}

// peek reads the batch header at off.
func (s *segmentScan) peek(end int64) (batch, bool, error) {
	if s.head == nil {
		s.head = make([]byte, batchHead)
	}
	if err := s.read(s.head, s.off); err != nil {
		return batch{}, false, ignoreDamage(err)
	}
	b, ok := parseBatch(s.key, s.off, s.head)
	return b, ok && s.off+b.size() <= end, nil
}

// body reads and opens the batch whose header peek found at off.
func (s *segmentScan) body(b batch, dst []byte) ([]byte, error) {
	n := int(b.length) + tagSize
	start := len(dst)
	if cap(dst) < start+n {
		grown := make([]byte, 0, max(start+n, min(2*cap(dst), keepBuffer)))
		dst, start = grown, 0 // what was given out before stays where it was
	}
	sealed := dst[start : start+n]
	if err := s.read(sealed, s.off+batchHead); err != nil {
		return dst[:start], err
	}
	plain, err := s.key.open(s.off, s.head[:batchCovered], sealed)
	if err != nil || !checkRecords(b, plain) {
		return dst[:start], errDamaged
	}
	return dst[: start+len(plain) : cap(dst)], nil
}

// resync moves off to the next batch header that authenticates, or to the end.
func (s *segmentScan) resync(end int64) error {
	if s.window == nil {
		s.window = make([]byte, windowSize)
	}
	s.off += alignment
	for s.off+batchHead+tagSize <= end {
		w := s.window[:min(windowSize, end-s.off)]
		if err := s.read(w, s.off); err != nil {
			if err := ignoreDamage(err); err != nil {
				return err
			}
			if len(w) <= blockSize { // an unreadable block: go on behind it
				s.off += int64(len(w)) / alignment * alignment
				continue
			}
			w = w[:blockSize]
			if err := s.read(w, s.off); err != nil {
				if err := ignoreDamage(err); err != nil {
					return err
				}
				s.off += blockSize
				continue
			}
		}
		for i := 0; i+batchHead <= len(w); i += alignment {
			if b, ok := parseBatch(s.key, s.off+int64(i), w[i:]); ok && s.off+int64(i)+b.size() <= end {
				s.off += int64(i)
				return nil
			}
		}
		s.off += int64(len(w)) / alignment * alignment
	}
	s.off = end
	return nil
}

// read gives errDamaged for a short file, and for an unreadable place in a file whose header can be read.
func (s *segmentScan) read(b []byte, off int64) error {
	_, err := s.f.ReadAt(b, off)
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errDamaged
	}
	var probe [headerSize]byte
	if _, again := s.f.ReadAt(probe[:], 0); again == nil {
		return errDamaged
	}
	return err
}

func ignoreDamage(err error) error {
	if errors.Is(err, errDamaged) {
		return nil
	}
	return err
}
