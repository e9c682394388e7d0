package outbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxSpares: the reserve and one that the next segment takes without allocating. More are given back to the file system.
const maxSpares = 2

const (
	segmentSuffix = ".seg"
	spareSuffix   = ".free"
)

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, segmentSuffix) }
func spareName(id uint64) string   { return fmt.Sprintf("%016x%s", id, spareSuffix) }

// parseName tells the number in the name of a segment or spare file.
func parseName(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil
}

// takeSpare gives the name of a file of a segment's size that nobody else uses. Only with reserve does it give the last one.
func (l *Log) takeSpare(reserve bool) (string, error) {
	fits := func() bool { // a new segment beside the live ones and the reserve
		l.mu.Lock()
		defer l.mu.Unlock()
		return reserve || l.liveLocked()+2*l.segmentSize <= l.maxSize
	}
	if !fits() {
		l.freeing.Lock()
		err := l.reclaim(false)
		l.freeing.Unlock()
		if err != nil {
			return "", err
		}
		if !fits() {
			return "", ErrFull
		}
	}
	l.mu.Lock()
	if n := len(l.spares); n > 1 || n == 1 && reserve {
		name := l.spares[n-1]
		l.spares = l.spares[:n-1]
		l.mu.Unlock()
		return name, nil
	}
	l.mu.Unlock()
	return l.createSpare(false)
}

func (l *Log) returnSpare(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spares = append(l.spares, name)
}

// createSpare takes disk space for a segment. Without durable, the flush of the first commit in it makes that last.
func (l *Log) createSpare(durable bool) (string, error) {
	l.mu.Lock()
	name := spareName(l.nextID)
	l.nextID++
	l.mu.Unlock()
	path := filepath.Join(l.dir, name)
	f, err := l.fs.Create(path)
	if err != nil {
		return "", fmt.Errorf("outbox: cannot make a segment: %w", err)
	}
	if err = f.Allocate(l.segmentSize); err == nil && durable {
		err = l.flush(f)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = l.fs.Remove(path) // the next Open does it otherwise
		return "", fmt.Errorf("outbox: cannot allocate a segment: %w", err)
	}
	return name, nil
}

// ensureReserve sees to it that there is a spare file, if the declared size and the disk allow. A full disk is no error.
func (l *Log) ensureReserve() error {
	l.mu.Lock()
	enough := len(l.spares) > 0 || l.liveLocked()+l.segmentSize > l.maxSize
	l.mu.Unlock()
	if enough {
		return nil
	}
	name, err := l.createSpare(true)
	switch {
	case err == nil:
		l.returnSpare(name)
		return nil
	case isFull(err):
		return nil
	default:
		return err
	}
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// recycle turns a freed segment's file into a spare one, or removes it. What cannot be given back counts as used.
func (l *Log) recycle(s *segment) {
	path := filepath.Join(l.dir, s.name)
	l.mu.Lock()
	keep := s.size == l.segmentSize && len(l.spares) < maxSpares && l.liveLocked()+int64(len(l.spares)+1)*l.segmentSize <= l.maxSize
	l.mu.Unlock()
	var err error
	if name := spareName(s.id); keep {
		if err = l.fs.Rename(path, filepath.Join(l.dir, name)); err == nil {
			l.returnSpare(name)
		}
	} else {
		err = l.fs.Remove(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.mu.Lock()
		l.leftover += s.size
		l.mu.Unlock()
	}
}
