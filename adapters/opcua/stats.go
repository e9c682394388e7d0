package opcua

import (
	"sync/atomic"
	"time"
)

// Stats is what a source has done so far.
type Stats struct {
	Connections uint64         // made
	Deaths      uint64         // of workers under it
	Alone       bool           // it has a worker of its own, because a worker died under it
	Machines    []MachineStats // attached now, in the order of Attach
}

// MachineStats is what a source has done for one machine.
type MachineStats struct {
	Machine string
	Up      bool
	Samples uint64 // handed to the sink
	Dropped uint64 // samples left out because the sink or the pipe was too slow; each time all points were read anew
	Gaps    uint64 // messages or values that the server's numbering or its overflow mark shows as lost
	Refused uint64 // points that are not read now
	Revised []Revision
}

// Revision is a point that the server gives more slowly than was asked for.
type Revision struct {
	Point      uint32
	Sampling   time.Duration // the server looks at it
	Publishing time.Duration // and tells of it
}

// counters are the figures of one machine.
type counters struct {
	up                     atomic.Bool
	samples, dropped, gaps atomic.Uint64
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
