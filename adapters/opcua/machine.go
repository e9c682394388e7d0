package opcua

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// What may wait for one machine's sink. More is left out, counted and told, and
// all points are read anew; meanwhile other machines are not held up.
const (
	maxWaiting      = 20_000  // samples
	maxWaitingBytes = 4 << 20 // of texts and bytes
	maxEvents       = 4096    // what came together is one
)

// event is one thing for a machine's sink.
type event struct {
	link    *linkFrame
	samples []point.Sample
	size    int
}

// machine is one attached machine in the pool's process.
type machine struct {
	id       uint32
	name     string
	spec     *Machine
	source   *Source
	counters counters

	ctx    context.Context // ends with Detach
	cancel context.CancelFunc
	wake   chan struct{} // holds one token when there is something for the sink
	ended  chan struct{} // closed when the pump is over; nil before it began

	mu   sync.Mutex // held over each call to the sink
	sink point.Sink
	gone bool // detached: no call any more

	queue   sync.Mutex // of what follows; never held over a call
	events  []event
	waiting int               // samples in events
	bytes   int               // of their texts and bytes
	lost    uint64            // samples left out here
	missed  uint64            // values or messages lost before they came here
	news    map[uint32]string // points whose status changed
	status  map[uint32]string // why points are not read
	revised map[uint32]Revision
	anew    bool // revised changed

	// Owned by the pump.
	told   bool // the sink knows a state
	last   point.Link
	shown  map[uint32]string // statuses that the sink knows
	notice notice
}

func newMachine(s *Source, id uint32, name string, spec *Machine, sink point.Sink) *machine {
	m := &machine{
		id: id, name: name, spec: spec, source: s, sink: sink, wake: make(chan struct{}, 1),
		news: map[uint32]string{}, status: map[uint32]string{}, revised: map[uint32]Revision{}, shown: map[uint32]string{},
	}
	m.notice.lossIsForgotten = s.pool.forget
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

func (m *machine) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// push queues samples, or leaves them out where too much waits.
func (m *machine) push(samples []point.Sample) {
	size := 0
	for i := range samples {
		size += len(samples[i].Value.Data())
	}
	m.queue.Lock()
	defer m.queue.Unlock()
	if m.waiting+len(samples) > maxWaiting || m.bytes+size > maxWaitingBytes || len(m.events) >= maxEvents || m.lost > 0 {
		m.lost += uint64(len(samples))
		m.counters.dropped.Add(uint64(len(samples)))
	} else {
		m.events = append(m.events, event{samples: samples, size: size})
		m.waiting += len(samples)
		m.bytes += size
	}
	m.ring()
}

// pushLink queues a state. Of several in a row the last one counts, so there are
// never more of them than of what maxEvents bounds.
func (m *machine) pushLink(l linkFrame) {
	m.queue.Lock()
	defer m.queue.Unlock()
	if n := len(m.events); n > 0 && m.events[n-1].link != nil {
		m.events[n-1].link = &l
	} else {
		m.events = append(m.events, event{link: &l})
	}
	if l.up && l.reconnect { // what a server gives is agreed on with each connection
		clear(m.revised)
		m.anew = true
	}
	m.ring()
}

// pushStatus notes why a point is not read.
func (m *machine) pushStatus(index uint32, why string) {
	m.queue.Lock()
	defer m.queue.Unlock()
	m.news[index] = why
	if why == "" {
		delete(m.status, index)
	} else {
		m.status[index] = why
	}
	m.ring()
}

// pushLost notes what was lost before it came here.
func (m *machine) pushLost(l lostFrame) {
	m.counters.dropped.Add(l.count)
	m.counters.gaps.Add(l.gaps)
	m.queue.Lock()
	defer m.queue.Unlock()
	m.missed += l.count + l.gaps
	m.ring()
}

// pushRevised notes how slowly the server gives a point.
func (m *machine) pushRevised(r revisedFrame) {
	m.queue.Lock()
	defer m.queue.Unlock()
	m.anew = true
	if r == (revisedFrame{machine: r.machine, point: r.point}) {
		delete(m.revised, r.point)
	} else {
		m.revised[r.point] = Revision{Point: r.point, Sampling: r.sampling, Publishing: r.publishing, Queue: r.queue}
	}
	m.ring()
}

// pull gives the next event. gap is how many samples were left out before what
// comes now.
func (m *machine) pull() (e event, news map[uint32]string, gap uint64, ok bool) {
	m.queue.Lock()
	defer m.queue.Unlock()
	if len(m.news) > 0 {
		news, m.news = m.news, map[uint32]string{}
	}
	if len(m.events) > 0 {
		e = m.events[0]
		m.events[0] = event{}
		m.events = m.events[1:]
		m.waiting -= len(e.samples)
		m.bytes -= e.size
		return e, news, 0, true
	}
	gap, m.lost = m.lost, 0
	return e, news, gap, gap > 0 || len(news) > 0
}

// pump hands the events to the sink, in their order, until ctx ends.
func (m *machine) pump(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	for i := range m.spec.Points {
		m.describe(ctx, uint32(i), "")
	}
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	for {
		e, news, gap, ok := m.pull()
		for _, index := range slices.Sorted(maps.Keys(news)) {
			if m.shown[index] != news[index] {
				m.shown[index] = news[index]
				m.describe(ctx, index, news[index])
			}
		}
		switch {
		case e.link != nil:
			m.link(ctx, *e.link)
		case e.samples != nil:
			m.deliver(ctx, e.samples)
		case gap > 0:
			m.source.log.Warn("samples are missing", "machine", m.name, "left_out", gap)
			m.source.refresh(m)
		}
		again := m.remark(ctx, gap)
		if ctx.Err() != nil {
			return
		}
		if ok {
			continue
		}
		later.Reset(again)
		select {
		case <-m.wake:
		case <-later.C:
		case <-ctx.Done():
			return
		}
	}
}

// call calls the sink unless the machine is detached or Run is over.
func (m *machine) call(ctx context.Context, f func(point.Sink) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone || ctx.Err() != nil {
		return context.Canceled
	}
	return f(m.sink)
}

func (m *machine) describe(ctx context.Context, index uint32, status string) {
	_ = m.call(ctx, func(s point.Sink) error {
		s.Describe(index, point.Meta{Unit: m.spec.Points[index].Unit, Status: status})
		return nil
	})
}

// deliver hands samples over.
func (m *machine) deliver(ctx context.Context, samples []point.Sample) {
	for part := range slices.Chunk(samples, point.MaxSamples) {
		if m.call(ctx, func(s point.Sink) error { return s.Take(ctx, part) }) != nil {
			return
		}
		m.counters.samples.Add(uint64(len(part)))
	}
}

// link tells the sink of a state. When the machine goes down each point gets one
// bad sample.
func (m *machine) link(ctx context.Context, f linkFrame) {
	now := m.source.pool.now()
	l := point.Link{Security: f.grade, Mechanism: f.mechanism, Peer: f.peer, Err: f.why, Since: now}
	if f.up {
		l.State = point.LinkUp
		l.Err = m.notice.text()
	}
	first := !m.told || m.last.State != l.State
	if !first && !f.up && m.last.Err == l.Err {
		return
	}
	if !first && !f.up {
		l.Since = m.last.Since
	}
	m.told, m.last, m.notice.said = true, l, l.Err
	m.counters.up.Store(f.up)
	if f.up {
		m.source.log.Info("machine is up", "machine", m.name)
	} else {
		m.source.log.Warn("machine is down", "machine", m.name, "why", f.why)
	}
	_ = m.call(ctx, func(s point.Sink) error { s.Link(l); return nil })
	if f.up || !first {
		return
	}
	bad := make([]point.Sample, len(m.spec.Points))
	for i := range bad {
		bad[i] = point.Sample{Point: uint32(i), Quality: f.quality, Time: now.UnixNano()}
	}
	m.deliver(ctx, bad)
}

func (m *machine) stats() MachineStats {
	m.queue.Lock()
	defer m.queue.Unlock()
	out := MachineStats{
		Machine: m.name, Up: m.counters.up.Load(), Connections: m.counters.connections.Load(), Samples: m.counters.samples.Load(),
		Dropped: m.counters.dropped.Load(), Gaps: m.counters.gaps.Load(), Refused: uint64(len(m.status)),
	}
	for _, index := range slices.Sorted(maps.Keys(m.revised)) {
		out.Revised = append(out.Revised, m.revised[index])
	}
	return out
}

// dead is the state that a machine has when its worker died.
func dead(why string) linkFrame {
	return linkFrame{quality: point.BadNotConnected, why: why}
}

// grace is how long Run waits for the worker's good-bye.
const grace = time.Second
