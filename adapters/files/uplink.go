// Package files writes messages into a folder, segment by segment, and reads them
// back: for the first hour, and for sites without a network.
//
// A segment is GATEWAY-00000001.fseal; numbers rise, and none comes twice as long
// as the folder's GATEWAY.last stays there. While it is written its name ends
// with .part, so that whoever carries segments off never takes half of one. It
// is finished at a size, at an age and by Close. Each begins with a header and
// holds the key frame of each stream before that stream's first message, so that
// it can be opened alone; all of it is plain CBOR.
//
// What [Uplink.Send] reports stored is on the disk. What is sent again, because
// the answer got lost, is there twice: envelope.Reader gives it once.
//
// Known limits: the folder has no greatest size, and nobody but those who carry
// segments off removes any. One gateway writes into it from one process. A disk
// that hangs in a flush holds Send up, past its 5 s.
package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	defaultSize = 4 << 20
	leastSize   = 64 << 10
	defaultAge  = 10 * time.Minute
	mostAtOnce  = 1 << 20 // written and flushed in one go
)

// Config says where to write.
type Config struct {
	Folder      string        // made if it is not there; the folder around it exists
	Gateway     string        // lower case, digits, dashes: the beginning of the files' names
	SegmentSize int64         // a segment is finished when it has so many bytes; 4 MiB where it is 0, 64 KiB at least
	SegmentAge  time.Duration // a segment is finished so long after its beginning; 10 minutes where it is 0
	Logger      *slog.Logger  // nil: none
}

// Uplink writes messages into segments. Send is not called concurrently; the
// other methods may be.
type Uplink struct {
	cfg  Config
	path string // of the segment's file without number and suffix
	disk system

	mu     sync.Mutex // guards what follows
	closed bool
	ready  bool   // what a process before left is put in order
	last   uint64 // number of the last segment that was begun
	open   *segment
	keys   keyFrames
	buf    []byte
}

// segment is the one that is written.
type segment struct {
	number uint64
	file   file
	size   int64 // on the disk
	header int64 // of size
	broken bool  // behind size may be anything
	unsure bool  // a flush failed: nothing more is written to it
	age    *time.Timer
	keys   map[envelope.Stream]uint64 // the key frame that is in it, by its mark
}

// New makes an uplink. It does not look at the folder yet; an error is one of
// the configuration.
func New(cfg Config) (*Uplink, error) {
	switch {
	case cfg.Folder == "":
		return nil, errors.New("no folder; write the one that segments go into")
	case !isName(cfg.Gateway):
		return nil, fmt.Errorf("gateway %q; write lower-case letters, digits and dashes", cfg.Gateway)
	case cfg.SegmentSize < 0 || cfg.SegmentSize > 0 && cfg.SegmentSize < leastSize:
		return nil, fmt.Errorf("segments of %d bytes; write 64KiB at least, or leave it out for 4MiB", cfg.SegmentSize)
	case cfg.SegmentAge < 0:
		return nil, fmt.Errorf("segments of %v; leave it out for %v", cfg.SegmentAge, defaultAge)
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = defaultSize
	}
	if cfg.SegmentAge == 0 {
		cfg.SegmentAge = defaultAge
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Uplink{cfg: cfg, path: filepath.Join(cfg.Folder, cfg.Gateway), disk: osSystem{}, keys: newKeyFrames()}, nil
}

// Connections is always 1: a new segment is no new connection. The relay would
// send key frames again between two calls of Send, and a segment may begin within
// one; so the uplink keeps them itself.
func (u *Uplink) Connections() uint64 { return 1 }

// Send writes the batch and flushes it. n messages from its front are on the
// disk; n < len(batch) only with an error: *envelope.Refused, *envelope.Fault,
// ctx's, or one that is transient, such as a full disk.
func (u *Uplink) Send(ctx context.Context, batch []envelope.Message) (n int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n < len(batch) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if u.closed {
			return n, errors.New("the uplink is closed")
		}
		if err := u.prepare(); err != nil {
			return n, u.fault(err)
		}
		taken, refused := u.encode(batch[n:])
		if taken > 0 {
			if err := u.open.write(u.buf); err != nil {
				_ = u.open.mend() // else before the next write
				return n, u.fault(err)
			}
			for i := range batch[n : n+taken] {
				u.open.holds(&u.keys, &batch[n+i])
			}
			n += taken
		}
		if refused != nil {
			return n, refused
		}
		if u.open.size >= u.cfg.SegmentSize {
			u.tryFinish()
		}
	}
	return n, nil
}

// encode makes of messages from the front what the segment gets at one go. An
// error is of the first one that is not in it.
func (u *Uplink) encode(batch []envelope.Message) (taken int, err error) {
	u.buf = u.buf[:0]
	brought := map[envelope.Stream]bool{} // streams whose key frame is in buf
	for i := range batch {
		m := &batch[i]
		if i > 0 && (len(u.buf) >= mostAtOnce || u.open.size+int64(len(u.buf)) >= u.cfg.SegmentSize) {
			return i, nil
		}
		before := len(u.buf)
		stream := m.Address.Stream
		if frame, ok := u.keys.of[stream]; ok && m.Address.Kind != envelope.KeyFrame && !brought[stream] && u.open.keys[stream] != frame.mark {
			u.buf = append(u.buf, frame.item...)
		}
		start := len(u.buf)
		u.buf = envelope.AppendMessage(u.buf, m)
		if _, err := envelope.ParseMessage(u.buf[start:]); err != nil {
			u.buf = u.buf[:before]
			return i, &envelope.Refused{Reason: err.Error()}
		}
		u.buf = appendSum(u.buf, u.buf[start:])
		if m.Address.Kind == envelope.KeyFrame {
			u.keys.note(m, u.buf[start:])
		}
		brought[stream] = true
	}
	return len(batch), nil
}

// holds notes the key frame that is in the segment by now.
func (s *segment) holds(keys *keyFrames, m *envelope.Message) {
	if frame, ok := keys.of[m.Address.Stream]; ok {
		s.keys[m.Address.Stream] = frame.mark
	}
}

// fault makes an error that will not mend by itself a fault.
func (u *Uplink) fault(err error) error {
	instead := ""
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		instead = "let the user that the gateway runs as write into it"
	case errors.Is(err, syscall.EROFS):
		instead = "mount it for writing"
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		instead = "make the folder around it, put the stick in, or correct the folder of this uplink"
	default:
		return fmt.Errorf("cannot write into %s: %w", u.cfg.Folder, err)
	}
	return &envelope.Fault{What: "cannot write into " + u.cfg.Folder, Instead: instead, Err: err}
}

// Close finishes the segment.
func (u *Uplink) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.open == nil {
		return nil
	}
	if err := u.finish(); err != nil {
		if u.open != nil {
			u.open.leave()
			u.open = nil
		}
		return fmt.Errorf("cannot finish the segment: %w", err)
	}
	return nil
}
