package coap

import "time"

const (
	// lifetime is how long a message may come again, and its id must not be used
	// for another one (EXCHANGE_LIFETIME; RFC 7252, 4.8.2).
	lifetime = 247 * time.Second
	// rate and burst are what one device may send, in messages: a second, and at
	// once. The burst has room for the longest value in blocks of 128 bytes.
	rate  = 32
	burst = 512
	// maxSeen is how many messages one session remembers: whoever keeps to the rate
	// is never forgotten too early.
	maxSeen = rate*247 + burst + 1
)

// seen remembers how the messages of a session were answered, so that the same
// message is answered in the same way and does nothing again.
type seen struct {
	answers map[uint16]answered
	order   []noted // oldest first from head on
	head    int
}

type answered struct {
	at     time.Time
	answer answer
}

type noted struct {
	id uint16
	at time.Time
}

// again gives the answer to a message that came before.
func (s *seen) again(id uint16, now time.Time) (answer, bool) {
	a, ok := s.answers[id]
	if !ok || now.Sub(a.at) > lifetime {
		return answer{}, false
	}
	return a.answer, true
}

// room tells whether another message can be remembered without forgetting one
// that may come again. It forgets those that may not.
func (s *seen) room(now time.Time) bool {
	for ; s.head < len(s.order) && now.Sub(s.order[s.head].at) > lifetime; s.head++ {
		// The id may have been used again since.
		if o := s.order[s.head]; s.answers[o.id].at.Equal(o.at) {
			delete(s.answers, o.id)
		}
	}
	if s.head > len(s.order)/2 {
		s.order = append(s.order[:0], s.order[s.head:]...)
		s.head = 0
	}
	return len(s.order)-s.head < maxSeen
}

// note remembers an answer. There is room.
func (s *seen) note(id uint16, now time.Time, a answer) {
	if s.answers == nil {
		s.answers = make(map[uint16]answered)
	}
	s.answers[id] = answered{now, a}
	s.order = append(s.order, noted{id, now})
}

// allowance is how much of something may be had: so much a second, and so much at
// once.
type allowance struct {
	rate, burst float64
	left        float64
	at          time.Time
}

// take uses one; false where there is none.
func (a *allowance) take(now time.Time) bool {
	if a.at.IsZero() {
		a.left = a.burst
	} else {
		a.left = min(a.burst, a.left+a.rate*max(0, now.Sub(a.at).Seconds()))
	}
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}
