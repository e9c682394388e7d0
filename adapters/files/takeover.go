package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// mostTail is how much behind the last whole message is looked at.
const mostTail = 4 << 20

// maxHeader is what a header can be long.
const maxHeader = 256

// takeOver puts in order what a process before left, or a finish that failed: it
// finishes its segments and learns their numbers.
func (u *Uplink) takeOver() error {
	if err := u.disk.Mkdir(u.cfg.Folder); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	names, err := u.disk.Names(u.cfg.Folder)
	if err != nil {
		return err
	}
	last, err := u.readLast()
	if err != nil {
		return err
	}
	u.last = max(u.last, last)
	for _, name := range names {
		gateway, number, live, ok := parseName(name)
		if !ok || gateway != u.cfg.Gateway {
			continue
		}
		u.last = max(u.last, number)
		if live && (u.open == nil || u.open.number != number) {
			if err := u.takeOverOne(number); err != nil {
				return fmt.Errorf("cannot finish %s: %w", name, err)
			}
		}
	}
	return nil
}

// takeOverOne finishes a segment and cuts off what was not written whole.
func (u *Uplink) takeOverOne(number uint64) error {
	name := u.name(number)
	f, err := u.disk.Open(name + part)
	if err != nil {
		return err
	}
	messages, whole, torn, err := u.lookThrough(f)
	if err == nil && torn > 0 && messages > 0 {
		u.cfg.Logger.Warn("a segment was not written to its end; what is not whole is cut off, and comes again",
			"segment", number, "bytes", torn)
		if err = f.Truncate(whole); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if messages == 0 {
		return u.disk.Remove(name + part)
	}
	return u.rename(number)
}

// lookThrough gives how many messages a segment has, where the last one that
// follows from its beginning ends, and how many bytes of no use follow. Where
// there are messages behind something that is none, it was damaged later: then
// nothing of it is cut.
func (u *Uplink) lookThrough(f file) (messages int, whole, torn int64, err error) {
	s := newScan(f)
	for {
		item, _, err := s.next()
		if err == nil {
			if isHeader(item) {
				_, _, err = parseHeader(item)
			} else if _, err = envelope.ParseMessage(item); err == nil {
				messages++
			}
		}
		if err == nil {
			whole = s.offset
			continue
		}
		if errors.Is(err, io.EOF) && whole == s.offset {
			return messages, whole, 0, nil
		}
		if s.end != nil && !errors.Is(s.end, io.EOF) {
			return 0, 0, 0, err
		}
		break
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, 0, err
	}
	if _, err = f.Seek(whole, io.SeekStart); err != nil {
		return 0, 0, 0, err
	}
	tail, err := io.ReadAll(io.LimitReader(f, mostTail))
	if err != nil {
		return 0, 0, 0, err
	}
	noHeader := whole == 0 && end > maxHeader // perhaps another version's
	if noHeader || end-whole > mostTail || u.messagesIn(tail) > 0 {
		u.cfg.Logger.Error("a segment is damaged in its middle; it is kept as it is", "gateway", u.cfg.Gateway, "byte", whole)
		return messages + 1, end, 0, nil
	}
	return messages, whole, end - whole, nil
}

// messagesIn counts the messages of this gateway in what may be anything.
func (u *Uplink) messagesIn(b []byte) (n int) {
	for {
		k := bytes.IndexByte(b, messageHead)
		if k < 0 {
			return n
		}
		b = b[k:]
		item, size, err := checked(b)
		if err == nil {
			m, err := envelope.ParseMessage(item)
			if err == nil && m.Address.Stream.Gateway == u.cfg.Gateway {
				n++
				b = b[size:]
				continue
			}
		}
		b = b[1:]
	}
}
