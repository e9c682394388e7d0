package stream

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// State adds the gateway's signed word of where its streams stand, in one
// statement or as many as it takes: the heads that moved since they were named
// last, and in the room that is left others in turn, so that who begins to read
// hears of each stream. They are what was accepted, so that a statement comes
// behind all that it names. clock and policy are as in [envelope.GatewayState].
func (s *Set) State(now time.Time, clock envelope.Clock, interval time.Duration, policy [32]byte) error {
	moved, still := s.heads()
	for first := true; first || len(moved) > 0; first = false {
		n := min(len(moved), envelope.MaxHeads)
		heads := moved[:n:n]
		moved = moved[n:]
		for range min(envelope.MaxHeads-n, len(still)) {
			heads = append(heads, still[s.turn%len(still)])
			s.turn++
		}
		still = nil
		m, err := envelope.SignStatement(s.Signer, envelope.GatewayState{
			Gateway: s.Gateway, Start: s.Start, Instance: s.Instance, Sequence: s.stated + 1,
			Time: now, Clock: clock, Interval: interval, Policy: policy, Heads: heads,
		})
		if err != nil {
			return fmt.Errorf("cannot sign a statement: %w", err)
		}
		s.stated++
		m.ID = s.id(&m)
		for i := range heads {
			h := &heads[i]
			s.streams[envelope.Stream{Gateway: s.Gateway, Machine: h.Machine, Level: h.Level}].named = h.Sequence
		}
		s.size += len(m.Body) + messageCost
		s.built = append(s.built, m)
	}
	return nil
}

// heads gives where the accepted streams stand: those that no statement has
// named so yet, and the others in a fixed order.
func (s *Set) heads() (moved, still []envelope.StreamHead) {
	for id, st := range s.streams {
		if st.head.Sequence == 0 || id.Gateway != s.Gateway { // the gateway had another name before
			continue
		}
		h := envelope.StreamHead{Machine: id.Machine, Level: id.Level, Epoch: st.head.Epoch, Sequence: st.head.Sequence}
		if st.named != h.Sequence {
			moved = append(moved, h)
		} else {
			still = append(still, h)
		}
	}
	slices.SortFunc(still, func(a, b envelope.StreamHead) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Level, b.Level))
	})
	return moved, still
}
