package opcua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Source reads one endpoint and the machines behind it, in a worker of its pool.
type Source struct {
	pool   *Pool
	number uint32
	spec   Spec
	log    *slog.Logger

	started     atomic.Bool
	connections atomic.Uint64
	deaths      atomic.Uint64
	alone       atomic.Bool   // has a worker of its own
	move        chan struct{} // holds one token when it may go back to the shared worker

	mu       sync.Mutex
	machines []*machine // attached, in order
	byID     map[uint32]*machine
	ids      uint32
	running  context.Context // nil before Run
	worker   *host           // that has the endpoint now
	pumps    sync.WaitGroup
	farewell chan struct{} // closed when the worker says that the endpoint is closed
}

// Attach adds a machine, before Run or while it runs, without reconnecting. The
// machine's Spec is a *Machine, which nobody changes after that. It gives
// *point.ConfigError for a machine that cannot be read as it is described.
func (s *Source) Attach(m point.Machine, sink point.Sink) error {
	spec, ok := m.Spec.(*Machine)
	if !ok || spec == nil {
		return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("an OPC UA source cannot read a %T", m.Spec)}
	}
	if found := spec.Check(); len(found) > 0 {
		return configError(m.Name, found)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.machines, func(o *machine) bool { return o.name == m.Name }) {
		return &point.ConfigError{Machine: m.Name, What: "the machine is attached already"}
	}
	s.ids++
	added := newMachine(s, s.ids, m.Name, spec, sink)
	if size := len(attachFrame(s.number, added.id, spec)); size > maxToWorker {
		return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("the machine's points take %d MB", size>>20), Instead: "make it several machines"}
	}
	s.machines = append(s.machines, added)
	s.byID[added.id] = added
	if s.running != nil {
		s.begin(added)
		if s.worker != nil {
			s.worker.send(attachFrame(s.number, added.id, spec))
		}
	}
	return nil
}

// begin starts the machine's pump. Under the mutex.
func (s *Source) begin(m *machine) {
	ctx := s.running
	m.ended = make(chan struct{})
	s.pumps.Go(func() {
		defer close(m.ended)
		m.pump(ctx)
	})
}

// Detach removes a machine. It returns after the last call to that machine's
// Sink, and so must not be called from within one.
func (s *Source) Detach(name string) error {
	s.mu.Lock()
	k := slices.IndexFunc(s.machines, func(m *machine) bool { return m.name == name })
	if k < 0 {
		s.mu.Unlock()
		return fmt.Errorf("cannot detach %s: no such machine", name)
	}
	m := s.machines[k]
	s.machines = slices.Delete(s.machines, k, k+1)
	delete(s.byID, m.id)
	if s.worker != nil {
		s.worker.send(machineFrame(frameDetach, s.number, m.id))
	}
	s.mu.Unlock()

	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	return nil
}

// refresh has all points of a machine read anew.
func (s *Source) refresh(m *machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker != nil && s.byID[m.id] == m {
		s.worker.send(machineFrame(frameRefresh, s.number, m.id))
	}
}

// Run reads until ctx ends, and reconnects by itself. It returns nil within 2 s
// of ctx ending and calls no sink after that. A source runs once.
func (s *Source) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("cannot run source: it ran before")
	}
	s.mu.Lock()
	s.running = ctx
	for _, m := range s.machines {
		s.begin(m)
	}
	s.mu.Unlock()
	defer s.rest()

	wait := &backoff.ExponentialBackOff{InitialInterval: s.pool.restart, MaxInterval: 60 * s.pool.restart, Multiplier: 2, RandomizationFactor: 0.5}
	for ctx.Err() == nil {
		began := time.Now()
		h, err := s.pool.seat(s)
		if err != nil {
			s.allDown("cannot start the OPC UA worker: " + err.Error())
			pause(ctx, wait.NextBackOff())
			continue
		}
		select {
		case <-ctx.Done():
			s.leave(h)
		case <-s.move:
			s.leave(h)
		case <-h.done:
			s.died(h)
			if time.Since(began) > s.pool.innocence {
				wait.Reset()
			}
			if s.alone.Load() && !s.pool.suspects(s) { // it was the guilty one
				pause(ctx, wait.NextBackOff())
			}
		}
	}
	return nil
}

// rest waits for the pumps. No sink is called once ctx ended, so they take no
// longer than the sinks they are in.
func (s *Source) rest() {
	done := make(chan struct{})
	go func() {
		s.pumps.Wait()
		close(done)
	}()
	late := time.NewTimer(grace / 2)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// sit makes the worker read the endpoint.
func (s *Source) sit(h *host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worker, s.farewell = h, make(chan struct{})
	h.send(openFrame{s.spec, s.pool.pace}.frame(s.number))
	for _, m := range s.machines {
		h.send(attachFrame(s.number, m.id, m.spec))
	}
}

// leave has the worker close the connection, and waits for it.
func (s *Source) leave(h *host) {
	s.mu.Lock()
	bye := s.farewell
	h.send(bareFrame(frameClose, s.number))
	s.mu.Unlock()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-bye:
	case <-h.done:
	case <-late.C:
	}
	s.stand(h)
	s.pool.left(h, s)
}

// stand forgets the worker.
func (s *Source) stand(h *host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker == h {
		s.worker = nil
	}
}

// died tells the sinks that the worker is no more.
func (s *Source) died(h *host) {
	s.stand(h)
	s.deaths.Add(1)
	s.allDown(h.reason())
}

func (s *Source) allDown(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		m.pushLink(dead(oneLine(why, maxWhy)))
	}
}

// hear takes a frame of the worker that has the endpoint. An error means that
// the worker is not to be trusted any more.
func (s *Source) hear(h *host, k kind, p *parser) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker != h {
		return nil // moved meanwhile
	}
	if k == frameClosed {
		if err := p.end(); err != nil {
			return err
		}
		select {
		case <-s.farewell:
			return errFrame
		default:
			close(s.farewell)
		}
		return nil
	}
	if len(p.b) < 4 {
		return errFrame
	}
	q := *p
	id := q.u32()
	m := s.byID[id]
	if m == nil {
		if id == 0 || id > s.ids {
			return errFrame
		}
		return nil // detached meanwhile
	}
	return m.hear(k, p)
}

// hear takes a frame about the machine.
func (m *machine) hear(k kind, p *parser) error {
	switch k {
	case frameLink:
		l, err := parseLink(p)
		if err != nil {
			return err
		}
		if spec := &m.source.spec; l.up && (l.grade != spec.grade() || l.mechanism != spec.mechanism()) {
			return errFrame
		}
		if l.reconnect && l.up {
			m.source.connections.Add(1)
			m.counters.connections.Add(1)
		}
		m.pushLink(l)
		return nil
	case frameSamples:
		p.u32()
		samples, err := parseSamples(p, m.spec)
		if err == nil {
			m.push(samples)
		}
		return err
	case frameStatus:
		f, err := parseStatus(p)
		if err != nil || int64(f.point) >= int64(len(m.spec.Points)) {
			return errFrame
		}
		m.pushStatus(f.point, f.why)
		return nil
	case frameRevised:
		f, err := parseRevised(p)
		if err != nil || int64(f.point) >= int64(len(m.spec.Points)) {
			return errFrame
		}
		m.pushRevised(f)
		return nil
	case frameLost:
		f, err := parseLost(p)
		if err == nil {
			m.pushLost(f)
		}
		return err
	}
	return errFrame
}
