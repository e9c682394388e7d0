package stream

import (
	"fmt"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/policy"
)

// Lost is a run of messages of one epoch that will not reach anybody.
type Lost struct {
	Stream      envelope.Stream
	Epoch       envelope.Epoch
	First, Last uint64
}

// MaxLost is how many runs of one stream are told apart in one commit.
const MaxLost = 256

// Lost adds signed loss records to what [Set.Build] gave, so that receivers can
// tell these gaps from unexplained ones. Of more than [MaxLost] runs of one
// epoch some are told together, with what stands between them.
func (s *Set) Lost(lost []Lost, reason string, now time.Time) error {
	for _, l := range condense(lost) {
		if err := s.lose(&l, reason, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) lose(l *Lost, reason string, now time.Time) error {
	if l.Stream.Gateway != s.Gateway || l.First == 0 || l.Last < l.First {
		return fmt.Errorf("cannot write a loss record: %d to %d of %s is no run of this gateway's", l.First, l.Last, l.Stream)
	}
	st := s.streams[l.Stream]
	if st == nil { // its head was lost, too: go on behind what is known
		st = &state{next: l.Last + 1, head: envelope.Head{
			Stream: l.Stream, Epoch: l.Epoch, Sequence: l.Last, CheckpointSequence: l.Last,
		}}
		s.streams[l.Stream] = st
	}
	if !st.open { // nothing was sent in it since the start: an epoch without a key carries the record
		if err := s.beginEpoch(l.Stream, st, &Level{Send: policy.SendClear}, now); err != nil {
			return err
		}
	}
	st.told = catalogued{} // it may have been among what is lost
	body, err := envelope.SignLoss(s.Signer, envelope.Loss{
		Stream: l.Stream, Epoch: l.Epoch, First: l.First, Last: l.Last, Reason: reason, Time: now,
	})
	if err != nil {
		return fmt.Errorf("cannot sign a loss record of %s: %w", l.Stream, err)
	}
	m := s.message(l.Stream, st, envelope.LossRecord, now.UnixNano())
	m.ContentType, m.Body = envelope.TypeSigned, body
	s.push(st, m)
	return nil
}

// condense joins runs of one epoch where a stream has too many: pairs of
// neighbours, until there are few enough.
func condense(lost []Lost) []Lost {
	of := make(map[envelope.Stream]int)
	for i := range lost {
		of[lost[i].Stream]++
	}
	many := false
	for _, n := range of {
		many = many || n > MaxLost
	}
	if !many {
		return lost
	}
	var out []Lost
	last := make(map[envelope.Stream]int) // index in out
	count := make(map[envelope.Stream]int)
	for _, l := range lost {
		k, seen := last[l.Stream]
		each := (of[l.Stream] + MaxLost - 1) / MaxLost
		if seen && out[k].Epoch == l.Epoch && out[k].Last < l.First && count[l.Stream]%each != 0 {
			out[k].Last = l.Last
		} else {
			out = append(out, l)
			last[l.Stream] = len(out) - 1
		}
		count[l.Stream]++
	}
	return slices.Clip(out)
}
