package modbus

import "sync/atomic"

// Stats is what a source has done so far.
type Stats struct {
	Reconnects uint64         // connections made after the first
	Strays     uint64         // answers on a serial line that were to no request under way: late ones
	Machines   []MachineStats // attached now, in the order of Attach
}

// MachineStats is what a source has done for one machine.
type MachineStats struct {
	Machine    string
	Up         bool   // answering
	Requests   uint64 // sent
	Exceptions uint64 // answers by which the device refused
	Faults     uint64 // requests without an answer or with a useless one
	Samples    uint64 // handed to the sink
	Overruns   uint64 // polls skipped because the ones before took too long
	Torn       uint64 // payloads not taken because their counter moved meanwhile
	Refused    uint64 // addresses that the device refuses and that are left out now
}

// counters are the figures of one machine, written by the session alone.
type counters struct {
	up                                                             atomic.Bool
	requests, exceptions, faults, samples, overruns, torn, refused atomic.Uint64
}

// Stats gives the figures as they stand.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Reconnects: s.reconnects.Load(), Strays: s.strays.Load()}
	for _, m := range s.machines {
		c := &m.counters
		out.Machines = append(out.Machines, MachineStats{
			Machine: m.name, Up: c.up.Load(), Requests: c.requests.Load(), Exceptions: c.exceptions.Load(),
			Faults: c.faults.Load(), Samples: c.samples.Load(), Overruns: c.overruns.Load(),
			Torn: c.torn.Load(), Refused: c.refused.Load(),
		})
	}
	return out
}
