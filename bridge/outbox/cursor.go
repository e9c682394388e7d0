package outbox

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	cursorName  = "cursor"
	magicCursor = "FSCURSOR"
	slotSize    = 128
	slotCovered = slotSize - tagSize
	slotStride  = 4096 // so that a torn write spoils one slot only
	cursorSize  = 2 * slotStride
)

// cursor is what the log remembers apart from its segments. It is written when a segment is freed, and on Close.
//
// A slot is: magic, version u32, clean u32, then generation, freed position, last position, last segment id, zeros to 112, MAC cut to 16.
type cursor struct {
	generation uint64
	freed      uint64
	last       uint64 // accepted
	segment    uint64 // highest id used
	clean      bool   // written by Close: there is nothing after last
}

func (c *cursor) encode(master []byte) ([]byte, error) {
	b := make([]byte, 0, slotSize)
	b = append(b, magicCursor...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	var clean uint32
	if c.clean {
		clean = 1
	}
	b = binary.BigEndian.AppendUint32(b, clean)
	for _, v := range []uint64{c.generation, c.freed, c.last, c.segment} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = b[:slotCovered]
	mac, err := cursorMAC(master, b)
	return append(b, mac...), err
}

func parseCursor(master, b []byte) (cursor, error) {
	if len(b) < slotSize || string(b[:8]) != magicCursor {
		return cursor{}, errDamaged
	}
	mac, err := cursorMAC(master, b[:slotCovered])
	if err != nil {
		return cursor{}, err
	}
	if !hmac.Equal(mac, b[slotCovered:slotSize]) {
		return cursor{}, errDamaged
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return cursor{}, fmt.Errorf("%w: version %d, this program knows version %d", ErrVersion, v, formatVersion)
	}
	c := cursor{clean: binary.BigEndian.Uint32(b[12:]) == 1}
	for i, p := range []*uint64{&c.generation, &c.freed, &c.last, &c.segment} {
		*p = binary.BigEndian.Uint64(b[16+8*i:])
	}
	return c, nil
}

// readCursor gives the newer of the two slots; found is false if neither authenticates or there is no file. A missing file is made.
func (l *Log) readCursor() (c cursor, found bool, err error) {
	name := filepath.Join(l.dir, cursorName)
	f, err := l.fs.Open(name, true)
	if errors.Is(err, os.ErrNotExist) {
		f, err = l.fs.Create(name)
	}
	if err != nil {
		return cursor{}, false, err
	}
	l.cursorFile = f
	if size, err := f.Size(); err != nil {
		return cursor{}, false, err
	} else if size < cursorSize {
		if err := f.Allocate(cursorSize); err != nil {
			return cursor{}, false, err
		}
	}
	for slot := range int64(2) {
		b := make([]byte, slotSize)
		if _, err := f.ReadAt(b, slot*slotStride); err != nil {
			if errors.Is(err, io.EOF) {
				continue
			}
			return cursor{}, false, err
		}
		got, err := parseCursor(l.key, b)
		if errors.Is(err, ErrVersion) {
			return cursor{}, false, err
		}
		if err == nil && (!found || got.generation > c.generation) {
			c, found = got, true
		}
	}
	return c, found, nil
}

// writeCursor makes the freed position durable, in the slot that does not hold the newest. The caller holds freeing.
// An error of the write leaves the log as it was; an error of the flush fails it.
func (l *Log) writeCursor(clean bool) error {
	l.mu.Lock()
	c := cursor{generation: l.generation + 1, freed: l.freed, last: l.last, segment: l.nextID - 1, clean: clean}
	l.mu.Unlock()
	b, err := c.encode(l.key)
	if err != nil {
		return err
	}
	if _, err := l.cursorFile.WriteAt(b, int64(c.generation%2)*slotStride); err != nil {
		return fmt.Errorf("outbox: cannot write the cursor: %w", err)
	}
	if err := l.flush(l.cursorFile); err != nil {
		return err
	}
	l.generation = c.generation
	return nil
}
