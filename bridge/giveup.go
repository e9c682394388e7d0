package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/stream"
)

var errNothingOlder = errors.New("the outbox is full and has no older segment to give up")

// Reasons for giving up; they stand in the loss records.
const (
	reasonExpired  = "expired"
	reasonOverflow = "overflow"
	reasonDisk     = "disk-full"
)

var becauseOf = map[string]string{
	reasonExpired:  ", past max_age",
	reasonOverflow: ", since the outbox has its max_size",
	reasonDisk:     ", since the disk, or its quota, is full before the outbox has its max_size: make room on it, or make max_size smaller",
}

// isDiskFull tells that the file system has no room, or allows none.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// doomed is the oldest segment of the outbox while it is given up.
type doomed struct {
	reason   string
	lost     []stream.Lost
	messages uint64
	carried  []outbox.Record // what of it is carried on
	size     int64           // of carried
}

// onTheWay is how many messages behind those that the relay was given may be
// given to it while their segment is given up.
const onTheWay = 1024

// expire gives up the oldest segment if all of it is past the maximum age.
func (c *committer) expire() (gone bool, err error) {
	if c.maxAge <= 0 || !c.synchronised() { // what is gone does not come back when a clock does
		return false, nil
	}
	if t, ok := c.log.OldestEnd(); !ok || c.now().Sub(t) < c.maxAge {
		return false, nil // what is too old in the segment that is being written stays until that is full
	}
	if err := c.giveUp(reasonExpired); errors.Is(err, errNothingOlder) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}

// giveUp appends what is built and loss records for the oldest segment, and
// gives that up.
func (c *committer) giveUp(reason string) error {
	if c.doomed == nil {
		if err := c.explainOldest(reason); err != nil {
			return err
		}
	}
	return c.drop()
}

// drop does it, once its loss records are built.
func (c *committer) drop() error {
	d := c.doomed
	c.encode()
	err := c.log.DropOldest(append(c.records, d.carried...))
	if errors.Is(err, outbox.ErrTooLarge) && len(d.carried) > 0 {
		c.logger.Error("what is carried on of messages given up does not fit; receivers may see gaps that nobody explains", "records", len(d.carried))
		c.events(stream.Event{Name: "outbox-too-small", Text: "what is carried on of messages given up does not fit; make max_size of the outbox larger"})
		d.carried = nil
		err = c.log.DropOldest(c.records)
	}
	if errors.Is(err, outbox.ErrNothing) { // all was delivered meanwhile
		_, err = c.log.Append(c.records)
	}
	if err != nil {
		return err // the loss records stay built, for the next attempt
	}
	c.doomed = nil
	if d.messages > 0 {
		c.lost.Add(d.messages)
		c.logger.Warn("messages were given up", "reason", d.reason, "messages", d.messages)
		c.events(stream.Event{Name: "outbox-" + d.reason, Text: fmt.Sprintf("%d messages given up%s; loss records say which", d.messages, becauseOf[d.reason])})
	}
	return c.accept()
}

// explainOldest builds the loss records of the oldest segment.
func (c *committer) explainOldest(reason string) error {
	d := &doomed{reason: reason}
	open := c.openEpochs()
	ok, err := c.log.Oldest(func(e outbox.Entry) error {
		if e.Tag != tagMessage && e.Tag != tagAgain {
			return nil
		}
		m, err := envelope.ParseMessage(e.Data)
		if err != nil {
			return fmt.Errorf("cannot read message %d of the outbox: %w", e.Position, err)
		}
		if m.Address.Kind == envelope.Statement {
			return nil // of no stream: a later one says more
		}
		if c.carries(d, &m, &e, open) {
			d.carried = append(d.carried, outbox.Record{Tag: tagAgain, Data: bytes.Clone(e.Data)})
			d.size += int64(len(e.Data))
		} else {
			d.lost = addLost(d.lost, &m)
			d.messages++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !ok {
		return errNothingOlder
	}
	c.explainDamage() // that may have been found just now, and is forgotten with the segment
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.set.Lost(d.lost, reason, c.now()); err != nil {
		return err
	}
	c.doomed = d
	return nil
}

// carries tells what of a doomed segment is carried on: loss records; the
// checkpoints that sign something the relay may have delivered; key frames of
// which frames remain. The others would in a long outage fill the outbox, so
// that giving up no longer makes room.
//
// A key frame of an epoch that is no longer open stands in the preamble of every
// later segment that began while it was.
//
// Loss records stay, a few hundred bytes for each stream and segment given up,
// until an outage has cost some hundred times the outbox's size: then the oldest
// go, and receivers see a gap that nobody explains.
func (c *committer) carries(d *doomed, m *envelope.Message, e *outbox.Entry, open map[envelope.Epoch]bool) bool {
	near := c.given.Load() + onTheWay
	switch m.Address.Kind {
	case envelope.LossRecord:
		return d.size < c.segment*5/8
	case envelope.Checkpoint:
		if e.Tag == tagAgain {
			return d.size < c.segment/4
		}
		id := m.Address.Stream
		before, known := c.signed[id]
		c.signed[id] = e.Position
		return d.size < c.segment/4 && (!known || before < near)
	case envelope.KeyFrame:
		return d.size < c.segment/4 && (open[m.Epoch] || e.Position < near)
	}
	return false
}

// openEpochs gives the epochs that the streams are in.
func (c *committer) openEpochs() map[envelope.Epoch]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := make(map[envelope.Epoch]bool)
	c.set.Each(func(h *envelope.Head, _ *envelope.Message) { open[h.Epoch] = true })
	return open
}

// addLost adds one message to the runs.
func addLost(runs []stream.Lost, m *envelope.Message) []stream.Lost {
	for i := len(runs) - 1; i >= 0; i-- {
		r := &runs[i]
		if r.Stream != m.Address.Stream || r.Epoch != m.Epoch {
			continue
		}
		if r.Last+1 == m.Sequence {
			r.Last = m.Sequence
			return runs
		}
		if r.Last < m.Sequence {
			break // a run that ends before cannot be followed by a later one of it
		}
	}
	return append(runs, stream.Lost{Stream: m.Address.Stream, Epoch: m.Epoch, First: m.Sequence, Last: m.Sequence})
}
