package relay

import (
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// The states of an uplink.
const (
	Connecting = "connecting" // nothing delivered yet, or it failed in a way that mends by itself
	Delivering = "delivering" // the last answer was good; there may be nothing to send
	Faulty     = "faulty"     // it will not mend before somebody changes a configuration
)

// Status is what is known of one uplink. Counters begin at the start.
type Status struct {
	Name        string
	State       string    // connecting, delivering, faulty
	Error       string    // why it is not delivering
	Since       time.Time // when the state began
	Messages    uint64    // stored upstream, those sent again included
	Bytes       uint64    // of their bodies
	Resent      uint64    // of them: key frames for a new connection, and what was given to an uplink before
	Quarantined uint64    // refused for good
	LastStored  time.Time
}

// Status gives a copy of the status of each uplink, in the order of the
// configuration.
func (r *Relay) Status() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.status)
}

func (r *Relay) change(l *link, change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status[l.index])
}

func (r *Relay) setState(l *link, state, problem string) {
	r.change(l, func(s *Status) {
		if s.State != state {
			s.State, s.Since = state, r.now()
		}
		s.Error = problem
	})
}

func (r *Relay) stored(l *link, batch []envelope.Message) {
	bytes := 0
	for i := range batch {
		bytes += len(batch[i].Body)
	}
	r.change(l, func(s *Status) {
		s.Messages += uint64(len(batch))
		s.Bytes += uint64(bytes)
		s.LastStored = r.now()
	})
}

func (r *Relay) resent(l *link, n int) {
	if n > 0 {
		r.change(l, func(s *Status) { s.Resent += uint64(n) })
	}
}
