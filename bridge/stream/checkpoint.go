package stream

import (
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// Checkpoints are built from what was accepted, at the beginning of a later
// commit: they never sign a number that a crash could take back.

// checkpointIfDue signs a stream whose accepted messages are old or many
// enough, and closes one that a crash left open. It does nothing for a stream
// to which this commit has already added.
func (s *Set) checkpointIfDue(id envelope.Stream, st *state, now time.Time) error {
	if st.next != st.head.Sequence+1 {
		return nil
	}
	if !st.open {
		return s.close(id, st, now)
	}
	if len(st.head.Digests) == 0 {
		return nil
	}
	if st.unsigned.IsZero() {
		st.unsigned = now
	}
	if len(st.head.Digests) < s.CheckpointMessages && now.Sub(st.unsigned) < s.CheckpointEvery {
		return nil
	}
	return s.checkpoint(id, st, false, now)
}

// close ends the accepted epoch of a stream with a closing checkpoint.
func (s *Set) close(id envelope.Stream, st *state, now time.Time) error {
	if st.head.Sequence == 0 || st.head.Closed || st.closing {
		return nil
	}
	if err := s.checkpoint(id, st, true, now); err != nil {
		return err
	}
	st.closing = true
	return nil
}

func (s *Set) checkpoint(id envelope.Stream, st *state, closing bool, now time.Time) error {
	body, err := envelope.SignCheckpoint(s.Signer, &st.head, closing, now)
	if err != nil {
		return fmt.Errorf("cannot sign the checkpoint of %s: %w", id, err)
	}
	m := s.message(id, st, envelope.Checkpoint, now.UnixNano())
	m.Epoch = st.head.Epoch
	m.ID = s.id(&m)
	m.ContentType, m.Body = envelope.TypeSigned, body
	s.push(st, m)
	st.unsigned = time.Time{}
	return nil
}

// Close builds the closing checkpoint of every open epoch, for a clean end.
func (s *Set) Close(now time.Time) error {
	if len(s.built) > 0 {
		return errNotAccepted
	}
	for id, st := range s.streams {
		if err := s.close(id, st, now); err != nil {
			return err
		}
		st.open = false
	}
	return nil
}
