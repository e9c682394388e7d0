package stream

import (
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/policy"
)

// Heads is where each stream stood, rebuilt from an outbox.
type Heads map[envelope.Stream]*envelope.Head

// State takes in one head that a preamble carried.
func (h Heads) State(record []byte) error {
	head, err := envelope.ParseHead(record)
	if err != nil {
		return err
	}
	h[head.Stream] = &head
	return nil
}

// Message takes in one accepted message. Those that the preamble's state covers
// already are passed over.
func (h Heads) Message(m *envelope.Message) error {
	id := m.Address.Stream
	head := h[id]
	if head == nil {
		head = &envelope.Head{Stream: id}
		h[id] = head
	}
	if m.Sequence <= head.Sequence {
		return nil
	}
	if err := head.Note(m); err != nil {
		return fmt.Errorf("the outbox holds message %d of %s after %d: %w", m.Sequence, id, head.Sequence, err)
	}
	return nil
}

// Accept tells the set that the outbox has the messages that [Set.Build],
// [Set.Close] or [Set.Lost] gave. Their bodies may not be used after it.
func (s *Set) Accept() error {
	for i := range s.built {
		m := &s.built[i]
		if err := s.streams[m.Address.Stream].head.Note(m); err != nil {
			return fmt.Errorf("cannot account for message %d of %s: %w", m.Sequence, m.Address.Stream, err)
		}
	}
	s.built = s.built[:0]
	return nil
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

// Lost is a run of messages of one epoch that will not reach anybody.
type Lost struct {
	Stream      envelope.Stream
	Epoch       envelope.Epoch
	First, Last uint64
}

// Lost adds signed loss records to what [Set.Build] gave, so that receivers can
// tell these gaps from unexplained ones.
func (s *Set) Lost(lost []Lost, reason string, now time.Time) error {
	for _, l := range lost {
		st := s.streams[l.Stream]
		if st == nil {
			return fmt.Errorf("no stream %s to write a loss record in", l.Stream)
		}
		if !st.open { // nothing was sent in it since the start, and its last epoch is closed: one without a key carries the record
			if err := s.beginEpoch(l.Stream, st, &Level{Send: policy.SendClear}, now); err != nil {
				return err
			}
		}
		body, err := envelope.SignLoss(s.Signer, envelope.Loss{
			Stream: l.Stream, Epoch: l.Epoch, First: l.First, Last: l.Last, Reason: reason, Time: now,
		})
		if err != nil {
			return fmt.Errorf("cannot sign a loss record of %s: %w", l.Stream, err)
		}
		m := s.message(l.Stream, st, envelope.LossRecord, now.UnixNano())
		m.ContentType, m.Body = envelope.TypeSigned, body
		s.push(st, m)
	}
	return nil
}
