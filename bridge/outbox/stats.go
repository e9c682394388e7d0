package outbox

import "time"

// Stats is what is going on, as plain data.
type Stats struct {
	Messages uint64 // entries waiting to be freed; without what damage took
	// Bytes waiting, payload only. Inside the oldest segment it is estimated from the share of its entries.
	Bytes         uint64
	Oldest        time.Time // see OldestTime; zero if nothing waits
	MaxSize       int64     // bytes
	UsedSize      int64     // bytes on disk: segments and spare files
	Leftover      int64     // bytes of UsedSize in files that could not be given back or read; the next Open tries again
	Segments      int       // live ones
	Flushes       uint64    // of files and folders, since Open
	Commits       uint64    // appends acknowledged since Open
	LastPosition  uint64    // accepted last; 0: none yet
	FreedPosition uint64    // freed or given up last
	Lost          uint64    // positions that Damage names
	Failed        bool      // see ErrFailed
}

// Damage gives the ranges of positions, not freed yet, that are known to be lost to damage, in order. Open finds missing segments and what is wrong in
// the newest one; damage inside older segments is found when Replay, Oldest or the reader comes by. A range is forgotten when it is freed.
// Opening again finds again what was not freed.
func (l *Log) Damage() []Lost {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Lost(nil), l.lost...)
}

// SetMaxSize changes Options.MaxSize while the log is open. A smaller one takes effect as segments are freed or given up. Less than four segments
// count as four.
func (l *Log) SetMaxSize(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxSize = max(bytes, minSegments*l.segmentSize)
}

// OldestTime tells when the first commit was accepted of the oldest segment with something waiting; false if nothing waits.
func (l *Log) OldestTime() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldestTimeLocked()
}

func (l *Log) oldestTimeLocked() (time.Time, bool) {
	for i, s := range l.segs {
		if l.lastOfLocked(i) > l.freed {
			return time.Unix(0, s.time), true
		}
	}
	return time.Time{}, false
}

// Stats tells what is going on. It costs no disk operation.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		MaxSize: l.maxSize, UsedSize: l.liveLocked() + int64(len(l.spares))*l.segmentSize, Segments: len(l.segs),
		Flushes: l.flushes.Load(), Commits: l.commits.Load(),
		LastPosition: l.last, FreedPosition: l.freed, Failed: l.failed != nil, Leftover: l.leftover,
	}
	s.Oldest, _ = l.oldestTimeLocked()
	for i, seg := range l.segs {
		first, last := seg.first, l.lastOfLocked(i)
		if last <= l.freed || last < first {
			continue
		}
		bytes := l.bytes - seg.bytes
		if i+1 < len(l.segs) {
			bytes = l.segs[i+1].bytes - seg.bytes
		}
		if l.freed >= first {
			bytes = uint64(float64(bytes) * float64(last-l.freed) / float64(last-first+1))
			first = l.freed + 1
		}
		s.Bytes += bytes
		s.Messages += last - first + 1 - overlap(l.lost, first, last)
	}
	s.Lost = overlap(l.lost, 0, ^uint64(0))
	return s
}

// overlap counts the lost positions within first and last.
func overlap(lost []Lost, first, last uint64) (n uint64) {
	for _, r := range lost {
		if a, b := max(r.First, first), min(r.Last, last); a <= b {
			n += b - a + 1
		}
	}
	return n
}

// addLost notes a range of positions as lost, unless it is freed.
func (l *Log) addLost(r Lost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.First = max(r.First, l.freed+1)
	if r.First > r.Last {
		return
	}
	l.lost = insertLost(l.lost, r)
}

// insertLost keeps the ranges sorted and joins those that overlap or touch, but for those of unknown end.
func insertLost(lost []Lost, r Lost) []Lost {
	out := make([]Lost, 0, len(lost)+1)
	i := 0
	for ; i < len(lost) && lost[i].Last+1 < r.First; i++ {
		out = append(out, lost[i])
	}
	for ; i < len(lost) && lost[i].First <= r.Last+1 && lost[i].AtMost == r.AtMost; i++ {
		r.First, r.Last = min(r.First, lost[i].First), max(r.Last, lost[i].Last)
	}
	out = append(out, r)
	return append(out, lost[i:]...)
}
