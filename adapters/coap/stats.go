package coap

import "sync/atomic"

// Stats is what a source has done so far.
type Stats struct {
	Rejected   uint64         // handshakes that failed: unknown device, wrong key, cipher suite, time, garbage
	TurnedAway uint64         // handshakes over the limits
	Evicted    uint64         // half-open handshakes that made place for newer ones
	Dropped    uint64         // datagrams that belonged to nothing, or for which there was no room
	Machines   []MachineStats // attached now, in the order of Attach
}

// MachineStats is what a source has done for one machine.
type MachineStats struct {
	Machine   string
	Sessions  int    // now
	Joined    uint64 // sessions ever
	Samples   uint64 // taken by the sink
	Repeats   uint64 // messages that came again, and were answered as before
	Refused   uint64 // answered with 4.xx
	Limited   uint64 // of these, with 4.29: over the rate
	Full      uint64 // answered with 5.03: the outbox is full
	Senseless uint64 // messages that are none
}

// counters are the figures of one machine.
type counters struct {
	joined, samples, repeats, refused, limited, full, senseless atomic.Uint64
}

// Stats gives the figures as they stand.
func (s *Source) Stats() Stats {
	out := Stats{
		Rejected: s.counts.rejected.Load(), TurnedAway: s.counts.crowded.Load(),
		Evicted: s.counts.evicted.Load(), Dropped: s.counts.dropped.Load(),
	}
	s.mu.Lock()
	machines := append([]*machine(nil), s.machines...)
	s.mu.Unlock()
	for _, m := range machines {
		c := &m.counters
		out.Machines = append(out.Machines, MachineStats{
			Machine: m.name, Sessions: int(m.live.Load()), Joined: c.joined.Load(), Samples: c.samples.Load(), Repeats: c.repeats.Load(),
			Refused: c.refused.Load(), Limited: c.limited.Load(), Full: c.full.Load(), Senseless: c.senseless.Load(),
		})
	}
	return out
}
