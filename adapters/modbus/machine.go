package modbus

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// machine is one attached machine.
type machine struct {
	name     string
	field    string // mechanism of the connection
	spec     *Machine
	decoders []decoder // by point
	counters counters

	ctx    context.Context // ends with Detach
	cancel context.CancelFunc

	mu   sync.Mutex // held over each call to the sink
	sink point.Sink
	gone bool // detached: no call any more

	// Owned by the session.
	run     context.Context // ends with Run and with Detach; nil until adopted
	release context.CancelFunc
	jobs    []*job
	up      bool
	told    bool   // the sink knows a state
	why     string // it is down
	since   time.Time
	conn    uint64 // the connection that the sink was told of
	wait    *backoff.ExponentialBackOff
	last    time.Time      // end of the last request, for pauses
	budget  int            // requests left in this cycle to look for refused addresses
	changed bool           // blocks of the current job have to be merged anew
	samples []point.Sample // of this cycle
	scratch []byte         // bytes of values in samples
}

func (s *Source) newMachine(name string, spec *Machine, sink point.Sink) *machine {
	m := &machine{name: name, field: "Modbus/TCP", spec: spec, sink: sink, jobs: spec.plan(), wait: s.newWait()}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if s.rtu {
		m.field = "Modbus/RTU over TCP"
	}
	m.decoders = make([]decoder, len(spec.Points))
	for i := range spec.Points {
		m.decoders[i] = spec.Points[i].decoder()
	}
	return m
}

// newWait gives the growing, jittered waits until what is down is tried again:
// 0.5 s at first, 30 s at most.
func (s *Source) newWait() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: s.minWait, MaxInterval: s.maxWait, Multiplier: 2, RandomizationFactor: 0.5}
}

// call calls the sink unless the machine is detached or Run is over.
func (m *machine) call(f func(point.Sink) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone || m.run.Err() != nil {
		return context.Canceled
	}
	return f(m.sink)
}

// adopt begins the machine's life within a session.
func (m *machine) adopt(ctx context.Context) {
	m.run, m.release = context.WithCancel(ctx)
	context.AfterFunc(m.ctx, m.release)
	for i := range m.spec.Points {
		m.describe(uint32(i), "")
	}
}

func (m *machine) describe(index uint32, status string) {
	_ = m.call(func(s point.Sink) error {
		s.Describe(index, point.Meta{Unit: m.spec.Points[index].Unit, Status: status})
		return nil
	})
}

// link tells the sink of the state that holds now.
func (m *machine) link(peer string) {
	l := point.Link{Mechanism: m.field, Security: point.AnyConnection, Peer: peer, Since: m.since}
	if m.up {
		l.State = point.LinkUp
	} else {
		l.Err = m.why
	}
	m.told = true
	m.counters.up.Store(m.up)
	_ = m.call(func(s point.Sink) error { s.Link(l); return nil })
}

// deliver hands the samples over.
func (m *machine) deliver() {
	for part := range slices.Chunk(m.samples, point.MaxSamples) {
		if m.call(func(s point.Sink) error { return s.Take(m.run, part) }) != nil {
			break
		}
		m.counters.samples.Add(uint64(len(part)))
	}
	clear(m.samples) // keeps no answer alive
	m.samples, m.scratch = m.samples[:0], m.scratch[:0]
}

// bad adds a bad sample for each point of the items, and of the items that
// change with them.
func (m *machine) bad(items []*item, q point.Quality, at time.Time) {
	for _, it := range items {
		for _, p := range it.points {
			m.samples = append(m.samples, point.Sample{Point: p, Quality: q, Time: at.UnixNano()})
		}
		if it.watch != nil {
			it.watch.known = false
			m.bad(it.watch.items, q, at)
		}
	}
}

// refresh makes everything due at that time, also what was refused.
func (m *machine) refresh(at time.Time) {
	for _, j := range m.jobs {
		j.due = at
		for _, it := range j.items {
			it.retry = at
		}
		for _, w := range j.watches {
			w.known = false
			for _, it := range w.items {
				it.retry = at
			}
		}
	}
}
