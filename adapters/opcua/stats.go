package opcua

import (
	"sync/atomic"
	"time"
)

// Stats is what a source has done so far.
type Stats struct {
	Connections uint64         // made, counted once for each machine that was up on it
	Deaths      uint64         // of workers under it
	Alone       bool           // it has a worker of its own, because a worker died under it
	Machines    []MachineStats // attached now, in the order of Attach
}

// MachineStats is what a source has done for one machine.
type MachineStats struct {
	Machine     string
	Up          bool
	Connections uint64 // on which it was up
	Samples     uint64 // handed to the sink
	Dropped     uint64 // samples left out because the sink or the pipe was too slow; each time all points were read anew
	Gaps        uint64 // messages or values that the server's numbering or its overflow mark shows as lost
	Refused     uint64 // points that are not read now
	Revised     []Revision
}

// Revision is a point of which the server gives less than was asked for: more
// rarely, or not all values that it sees.
type Revision struct {
	Point      uint32
	Sampling   time.Duration // the server looks at it
	Publishing time.Duration // and tells of it
	Queue      uint32        // values that it keeps in between, where they are too few; 0: enough
}

// counters are the figures of one machine.
type counters struct {
	up                     atomic.Bool
	samples, dropped, gaps atomic.Uint64
	connections            atomic.Uint64
}

// Stats gives the figures as they stand.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Connections: s.connections.Load(), Deaths: s.deaths.Load(), Alone: s.alone.Load()}
	for _, m := range s.machines {
		out.Machines = append(out.Machines, m.stats())
	}
	return out
}
