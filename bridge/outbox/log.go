package outbox

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrFull: the declared size is used up. Nothing was appended; free or [Log.DropOldest], then append again.
	ErrFull = errors.New("outbox: the declared size is used up")
	// ErrTooLarge: the records, together with a preamble, do not fit in one segment and can never be appended at once.
	ErrTooLarge = errors.New("outbox: the records do not fit in one segment")
	// ErrFailed: a flush failed, so nothing is known about what the disk holds. Close the log and open it again. It wraps the cause.
	ErrFailed = errors.New("outbox: failed, must be opened again")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("outbox: closed")
	// ErrVersion: the folder was written by another version of the program, whose format this one does not know.
	ErrVersion = errors.New("outbox: unknown format version")
	// ErrKey: there are segments, but nothing in the folder authenticates with the key given.
	ErrKey = errors.New("outbox: wrong key, or everything is damaged")
	// ErrNothing: there is no segment that could be dropped.
	ErrNothing = errors.New("outbox: no segment to drop")
)

// Record is what the caller stores. The log does not look into it.
type Record struct {
	Tag  byte // the caller's own
	Data []byte
}

// Entry is a record as the log gives it back.
type Entry struct {
	Record
	// Position is the place in acceptance order, from 1; 0 in a preamble. Positions rise and are never reused; after a crash or damage some are left
	// out.
	Position uint64
	// Context marks what is not to be sent: it comes from a segment's preamble, or was freed already. It is given so that a reader knows the key frames.
	Context bool
}

// Lost is a range of positions that damage took. Both ends are lost, too.
type Lost struct {
	First, Last uint64
	// AtMost: the end of the newest segment is unreadable with its header; Last is the most that can have been in it.
	AtMost bool
}

// Options say where and how large the log is.
type Options struct {
	// Dir is the folder. It is made if missing. Only one process may use it: the caller sees to that.
	Dir string
	// Key is the master key, 32 bytes. It is copied.
	Key []byte
	// MaxSize bounds the bytes on disk of all segments including the reserve (the cursor's 8 KiB come on top). At least 4 segments.
	MaxSize int64
	// SegmentSize is the size of new segments in bytes, rounded up to 4 KiB. 0 means 4 MiB. It may differ from the last time.
	SegmentSize int64
	// FS is the file system; nil means the operating system's.
	FS FS
	// Now is the clock for acceptance times; nil means time.Now.
	Now func() time.Time
}

const (
	defaultSegmentSize = 4 << 20
	maxSegmentSize     = 1 << 30
	blockSize          = 4096
	minSegments        = 4
)

// Log is the durable log. All methods are safe for concurrent use, but it is made for one goroutine that appends and one that reads and frees:
// neither waits for the other's disk writes, two appends wait for each other.
type Log struct {
	dir         string
	key         []byte
	fs          FS
	now         func() time.Time
	maxSize     int64
	segmentSize int64

	flushes, commits atomic.Uint64

	// appending guards the writer's side. Order of locks: appending, freeing, mu.
	appending sync.Mutex
	preamble  func() []Record
	active    *segment // being written; nil: the next append begins one
	file      File     // of active
	activeKey *segmentKey
	buf       []byte
	doomed    uint64 // last position of what Oldest gave

	// freeing guards the cursor and the removal of segments.
	freeing    sync.Mutex
	cursorFile File
	generation uint64

	// mu guards the rest. It is never held during disk operations.
	mu     sync.Mutex
	segs   []*segment // live, oldest first
	spares []string   // names of spare files; the first is the reserve
	nextID uint64     // of the next segment or spare
	next   uint64     // next position
	last   uint64     // last accepted
	freed  uint64
	bytes  uint64 // payload accepted, ever
	// unexplained: the newest segment's preamble is damaged, so older ones stay until there is a newer.
	unexplained bool
	leftover    int64  // bytes of files that could not be given back
	lost        []Lost // sorted, not overlapping
	failed      error
	closed      bool
	grown       chan struct{} // closed at the next append, failure and close

	keep []string // names Open leaves alone
}

// segment is what is known of one live segment. All but the header is guarded by Log.mu.
type segment struct {
	header
	name string // base name
	size int64  // of the file
	end  int64  // of the durable batches; 0: unknown, at most size
	gone bool   // freed or dropped: the file may be something else by now
}

func (o *Options) check() error {
	if len(o.Key) != keySize {
		return fmt.Errorf("outbox: the key has %d bytes, not %d", len(o.Key), keySize)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.SegmentSize < blockSize || o.SegmentSize > maxSegmentSize {
		return fmt.Errorf("outbox: a segment of %d bytes is not within %d and %d", o.SegmentSize, blockSize, maxSegmentSize)
	}
	o.SegmentSize = (o.SegmentSize + blockSize - 1) / blockSize * blockSize
	if least := minSegments * o.SegmentSize; o.MaxSize < least {
		return fmt.Errorf("outbox: a size of %d bytes is too small: at least %d (%d segments of %d)", o.MaxSize, least, minSegments, o.SegmentSize)
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// SetPreamble sets what gives the records that stand at the start of each new segment, so that a segment explains itself: key frames, and the state that
// Replay is to find. It is called within Append and DropOldest, on their goroutine, before the records being appended are in the log: so it gives the
// state without them. It may call Stats, but not append. Set it before the first Append.
func (l *Log) SetPreamble(fn func() []Record) {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.preamble = fn
}

// lastOfLocked gives the last position accepted into a live segment.
func (l *Log) lastOfLocked(i int) uint64 {
	if i+1 < len(l.segs) {
		return l.segs[i+1].prevLast
	}
	return l.last
}

// liveLocked sums the sizes of the live segments and of what could not be given back.
func (l *Log) liveLocked() int64 {
	n := l.leftover
	for _, s := range l.segs {
		n += s.size
	}
	return n
}

// usable tells whether the log failed or was closed.
func (l *Log) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usableLocked()
}

func (l *Log) usableLocked() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// fail makes the log refuse everything but Stats, Damage and Close from now on.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		l.wakeLocked()
	}
	return l.failed
}

// flush makes a file durable, or fails the log.
func (l *Log) flush(f File) error {
	l.flushes.Add(1)
	if err := f.Sync(); err != nil {
		return l.fail(err)
	}
	return nil
}

// flushDir makes the names in the folder durable, or fails the log.
func (l *Log) flushDir() error {
	l.flushes.Add(1)
	if err := l.fs.SyncDir(l.dir); err != nil {
		return l.fail(err)
	}
	return nil
}

func (l *Log) wakeLocked() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// Close writes the cursor, so that the next Open knows exactly what was freed, and releases everything. A reader's Next returns ErrClosed. Close of a
// failed log writes nothing. A second Close returns nil.
func (l *Log) Close() error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.freeing.Lock()
	defer l.freeing.Unlock()
	l.mu.Lock()
	closed, failed := l.closed, l.failed
	l.closed = true
	if !closed {
		l.wakeLocked()
	}
	l.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if failed == nil {
		err = l.writeCursor(true)
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return errors.Join(err, l.cursorFile.Close())
}
