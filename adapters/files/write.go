package files

import (
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// prepare sees that there is a segment to write to.
func (u *Uplink) prepare() error {
	if !u.ready {
		if err := u.takeOver(); err != nil {
			return err
		}
		u.ready = true
	}
	if s := u.open; s != nil && (s.broken || s.unsure || s.size >= u.cfg.SegmentSize) {
		if err := s.mend(); err != nil {
			return err
		}
		if s.unsure || s.size >= u.cfg.SegmentSize {
			if err := u.finish(); err != nil {
				return err
			}
		}
	}
	if u.open == nil {
		return u.begin()
	}
	return nil
}

// begin makes the next segment.
func (u *Uplink) begin() error {
	number := u.last + 1
	for there := true; there; number++ {
		var err error
		if there, err = u.disk.Exists(u.name(number)); err != nil {
			return err
		}
		if !there {
			break
		}
	}
	if err := u.writeLast(number); err != nil {
		return err
	}
	name := u.name(number) + part
	f, err := u.disk.Create(name)
	if errors.Is(err, syscall.EEXIST) {
		u.last = number // somebody else's; never over it
		return err
	}
	if err != nil {
		return err
	}
	s := &segment{number: number, file: f, keys: map[envelope.Stream]uint64{}}
	header := appendHeader(nil, u.cfg.Gateway, number)
	err = s.write(appendSum(header, header))
	if err == nil {
		err = u.disk.SyncDir(u.cfg.Folder)
	}
	if err != nil {
		_ = f.Close() // there is nothing in it
		_ = u.disk.Remove(name)
		return err
	}
	s.header = s.size
	s.age = time.AfterFunc(u.cfg.SegmentAge, func() { u.grownOld(s) })
	u.open, u.last = s, number
	u.cfg.Logger.Debug("segment begun", "segment", number)
	return nil
}

// name is that of a finished segment, with the folder.
func (u *Uplink) name(number uint64) string {
	return filepath.Join(u.cfg.Folder, fileName(u.cfg.Gateway, number))
}

// grownOld finishes a segment that is open for too long.
func (u *Uplink) grownOld(s *segment) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open == s {
		u.tryFinish()
	}
}

// tryFinish is finish where what was sent is on the disk anyway.
func (u *Uplink) tryFinish() {
	number := u.open.number
	if err := u.finish(); err != nil {
		u.cfg.Logger.Warn("a segment cannot be finished yet", "segment", number, "error", err)
	}
}

// finish gives the segment its name. On an error it is tried again by the next
// Send, or by the next process.
func (u *Uplink) finish() error {
	s := u.open
	if err := s.mend(); err != nil {
		return err
	}
	u.open, u.ready = nil, false
	s.leave()
	if s.size <= s.header {
		if err := u.disk.Remove(u.name(s.number) + part); err != nil {
			return err
		}
		u.ready = true
		return nil
	}
	if err := u.rename(s.number); err != nil {
		return err
	}
	u.ready = true
	u.cfg.Logger.Info("segment finished", "segment", s.number, "bytes", s.size)
	return nil
}

// rename gives a segment its name, or the next one that nobody has.
func (u *Uplink) rename(number uint64) error {
	from := u.name(number) + part
	for {
		there, err := u.disk.Exists(u.name(number))
		if err != nil {
			return err
		}
		if !there {
			break
		}
		u.last = max(u.last, number) + 1
		number = u.last
	}
	if err := u.disk.Rename(from, u.name(number)); err != nil {
		return err
	}
	return u.disk.SyncDir(u.cfg.Folder)
}

// write appends and flushes.
func (s *segment) write(b []byte) error {
	if _, err := s.file.Write(b); err != nil {
		s.broken = true
		return err
	}
	if err := s.file.Sync(); err != nil {
		// What is on the disk is unknown, and a second flush would not tell.
		s.broken, s.unsure = true, true
		return err
	}
	s.size += int64(len(b))
	return nil
}

// mend removes what a write that failed has left.
func (s *segment) mend() error {
	if !s.broken {
		return nil
	}
	if err := s.file.Truncate(s.size); err != nil {
		return err
	}
	if _, err := s.file.Seek(s.size, io.SeekStart); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.broken = false
	return nil
}

// leave lets the file go.
func (s *segment) leave() {
	s.age.Stop()
	_ = s.file.Close() // all of it is flushed
}

// lastName is the file that holds the number of the last segment begun, so that
// numbers rise when segments are carried off.
func (u *Uplink) lastName() string { return u.path + ".last" }

func (u *Uplink) writeLast(number uint64) error {
	fresh := u.lastName() + part
	if err := u.disk.Remove(fresh); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	f, err := u.disk.Create(fresh)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(strconv.FormatUint(number, 10) + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = u.disk.Remove(fresh)
		return err
	}
	return u.disk.Rename(fresh, u.lastName())
}

// readLast gives 0 where the file is not there, or is none.
func (u *Uplink) readLast() (uint64, error) {
	f, err := u.disk.Open(u.lastName())
	if errors.Is(err, syscall.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 10, 63)
	if err != nil {
		u.cfg.Logger.Warn("the number of the last segment cannot be read; going on behind those that are there", "file", u.lastName())
		return 0, nil
	}
	return number, nil
}
