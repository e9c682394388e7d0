package stream

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// Heads is where each stream stood, rebuilt from an outbox. The zero value is
// that of an empty one.
type Heads struct {
	of   map[envelope.Stream]*recovered
	lost []Lost
}

// recovered is the head of one stream.
type recovered struct {
	envelope.Head
	guessed bool // damage took some of it, so that the next checkpoint need not continue it
}

// State takes in one head that a preamble carried.
func (h *Heads) State(record []byte) error {
	head, err := envelope.ParseHead(record)
	if err != nil {
		return err
	}
	*h.head(head.Stream) = recovered{Head: head}
	return nil
}

func (h *Heads) head(id envelope.Stream) *recovered {
	if h.of == nil {
		h.of = make(map[envelope.Stream]*recovered)
	}
	head := h.of[id]
	if head == nil {
		head = &recovered{Head: envelope.Head{Stream: id}}
		h.of[id] = head
	}
	return head
}

// Message takes in one accepted message. Those that the preamble's state covers
// already are passed over. delivered tells that it is stored upstream, and so
// all before it.
//
// A hole before it is damage. The start does not fail for it: [Heads.Lost] tells
// of it, and the stream goes on behind.
func (h *Heads) Message(m *envelope.Message, delivered bool) error {
	if m.Address.Kind == envelope.Statement {
		return nil // of no stream
	}
	head := h.head(m.Address.Stream)
	if m.Sequence <= head.Sequence {
		return nil
	}
	if m.Sequence > head.Sequence+1 {
		h.hole(head, m, delivered)
	}
	err := head.Note(m)
	if err != nil && head.guessed {
		err = head.resume(m)
	}
	if err != nil {
		return fmt.Errorf("the outbox holds message %d of %s after %d: %w", m.Sequence, m.Address.Stream, head.Sequence, err)
	}
	return nil
}

// resume goes on with a message that does not fit what was guessed of those
// before it.
func (r *recovered) resume(m *envelope.Message) error {
	if m.Epoch != r.Epoch && r.Sequence == r.CheckpointSequence {
		r.Closed = true // the checkpoint that ended the epoch was not looked into
		if r.Note(m) == nil {
			return nil
		}
	}
	if m.Address.Kind != envelope.Checkpoint {
		r.restart(m.Epoch, m.Sequence-1)
		return r.Note(m)
	}
	// It knows the digests that are lost. Should it close its epoch, it does so
	// again: receivers do not mind.
	r.restart(m.Epoch, m.Sequence)
	r.Checkpoint = sha256.Sum256(m.Body)
	return nil
}

// hole goes on before a message that does not follow the one before.
func (h *Heads) hole(head *recovered, m *envelope.Message, delivered bool) {
	first, last := head.Sequence+1, m.Sequence-1
	switch {
	case head.Sequence == 0: // nothing is known of the stream
		if head.guessed = true; !delivered {
			h.lose(head.Stream, m.Epoch, first, last)
		}
		head.restart(m.Epoch, last)
	case !delivered && m.Epoch == head.Epoch && head.fill(last):
		h.lose(head.Stream, m.Epoch, first, last)
	default:
		// Behind another epoch's beginning, and behind numbers whose messages
		// arrived, no checkpoint can cover what was not signed before it.
		if first = head.CheckpointSequence + 1; first <= last {
			h.lose(head.Stream, head.Epoch, first, last)
		}
		head.restart(m.Epoch, last)
	}
}

// Skip goes on behind n numbers that may have been used and are lost: nothing is
// left behind them to tell.
func (h *Heads) Skip(id envelope.Stream, n uint64) {
	head := h.head(id)
	if n == 0 || head.Sequence == 0 {
		return
	}
	epoch, first, last := head.Epoch, head.Sequence+1, head.Sequence+n
	if head.Closed || !head.fill(last) {
		first = head.CheckpointSequence + 1
		head.restart(epoch, last)
	}
	h.lose(id, epoch, first, last)
}

// Lost gives what is known to be lost of the streams.
func (h *Heads) Lost() []Lost { return h.lost }

// Each calls fn with the numbers of each stream's last message and checkpoint.
func (h *Heads) Each(fn func(id envelope.Stream, last, checkpoint uint64)) {
	for id, head := range h.of {
		fn(id, head.Sequence, head.CheckpointSequence)
	}
}

// Start gives the highest start counter that is known of; 0 where none is.
func (h *Heads) Start() (start uint64) {
	for _, head := range h.of {
		start = max(start, head.Epoch.Start)
	}
	return start
}

func (h *Heads) lose(id envelope.Stream, e envelope.Epoch, first, last uint64) {
	h.lost = append(h.lost, Lost{Stream: id, Epoch: e, First: first, Last: last})
}

// fill puts digests that no message has in place of those that are lost, so that
// the next checkpoint can cover what is left of the others; should one of the
// lost messages have arrived all the same, receivers take it for a forgery. It
// tells whether there is room.
func (r *recovered) fill(last uint64) bool {
	r.guessed = true
	n := last - r.Sequence
	if r.Closed || n > maxFill || uint64(len(r.Digests))+n > envelope.MaxDigests-maxFill {
		return false
	}
	for range n {
		r.Digests = append(r.Digests, [16]byte{})
	}
	r.Sequence = last
	return true
}

const maxFill = 1024

// restart begins the chain of checkpoints anew behind a number.
func (r *recovered) restart(e envelope.Epoch, last uint64) {
	id := r.Stream
	r.Head = envelope.Head{Stream: id, Epoch: e, Sequence: last, CheckpointSequence: last}
	r.guessed = true
}

// Accept tells the set that the outbox has the messages that [Set.Build],
// [Set.Close] or [Set.Lost] gave. Their bodies may not be used after it.
func (s *Set) Accept() error {
	var errs []error
	for i := range s.built {
		m := &s.built[i]
		if m.Address.Kind == envelope.Statement {
			continue
		}
		st := s.streams[m.Address.Stream]
		if err := st.head.Note(m); err != nil {
			errs = append(errs, fmt.Errorf("cannot account for message %d of %s: %w", m.Sequence, m.Address.Stream, err))
		}
		st.closing = false
	}
	clear(s.built)
	s.built, s.size = s.built[:0], 0
	return errors.Join(errs...)
}

// Each calls fn with what every stream needs to be carried on from: its head
// and, where an epoch is open and sealed, its key frame. They are what was
// accepted, and go into the preamble of a new segment.
func (s *Set) Each(fn func(head *envelope.Head, keyFrame *envelope.Message)) {
	for _, st := range s.streams {
		if st.head.Sequence == 0 {
			continue
		}
		var key *envelope.Message
		if st.open && st.keyFrame.Body != nil && st.head.Epoch == st.epoch {
			key = &st.keyFrame
		}
		fn(&st.head, key)
	}
}
