package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// grace is how long Run waits for a request in progress after ctx ended. The
// library's dial takes up to 5 s and can not be broken off.
const grace = 1500 * time.Millisecond

// Options are what a source needs besides its Spec. Each may be left out.
type Options struct {
	Logger *slog.Logger     // default: none
	Now    func() time.Time // gives the times of samples; default time.Now. The clock of the polls is always the system's
}

// Source reads one endpoint and the machines behind it.
//
// One goroutine owns the connection and has one request outstanding. Of each
// machine it reads every period at the wall clock's multiples of the period,
// so that sources wake up together. Polls that cannot keep up are skipped and
// counted, never queued.
//
// There is no gate over several sources: a source that waits for a device costs
// a blocked goroutine, and a shared limit would let the dead devices of one line
// hold up the live ones of another.
type Source struct {
	spec    Spec
	address string
	rtu     bool // RTU frames over TCP
	log     *slog.Logger
	now     func() time.Time

	retryRefused     time.Duration // until a refused address is tried again
	owedFor          time.Duration // how late an answer may come on a serial line
	minWait, maxWait time.Duration // before jitter, until what is down is tried again

	started    atomic.Bool
	reconnects atomic.Uint64
	strays     atomic.Uint64
	changed    chan struct{} // holds one token when machines changed
	ended      chan struct{} // closed when the session is over

	mu       sync.Mutex
	machines []*machine // attached, in order
}

// New gives a source for the endpoint, or *point.ConfigError.
func New(s Spec, o Options) (*Source, error) {
	if found := s.Check(); len(found) > 0 {
		return nil, configError("", found)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	scheme, address, _ := s.endpoint()
	if s.Timeout == 0 {
		s.Timeout = time.Second
		if scheme == schemeRTU {
			s.Timeout = lineAnswer
		}
	}
	return &Source{
		spec: s, address: address, rtu: scheme == schemeRTU, now: o.Now,
		log:          o.Logger.With("endpoint", scheme+"://"+address),
		retryRefused: 5 * time.Minute, owedFor: max(10*s.Timeout, 5*time.Second),
		minWait: 500 * time.Millisecond, maxWait: 20 * time.Second,
		changed: make(chan struct{}, 1), ended: make(chan struct{}),
	}, nil
}

// configError makes the first problem an error and counts the others.
func configError(machine string, found []point.Problem) error {
	p := found[0]
	if n := len(found) - 1; n > 0 {
		p.What += fmt.Sprintf(" (and %d more)", n)
	}
	return &point.ConfigError{Machine: machine, Point: p.Point, What: p.What, Instead: p.Instead}
}

// Attach adds a machine, before Run or while it runs, without reconnecting.
// The machine's Spec is a *Machine, which nobody changes after that. It gives
// *point.ConfigError for a machine that cannot be read as it is described.
func (s *Source) Attach(m point.Machine, sink point.Sink) error {
	spec, ok := m.Spec.(*Machine)
	if !ok || spec == nil {
		return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("a Modbus source cannot read a %T", m.Spec)}
	}
	if found := spec.Check(); len(found) > 0 {
		return configError(m.Name, found)
	}
	if p := spec.checkUnit(); s.rtu && p != nil {
		return configError(m.Name, []point.Problem{*p})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.machines, func(o *machine) bool { return o.name == m.Name }) {
		return &point.ConfigError{Machine: m.Name, What: "the machine is attached already"}
	}
	s.machines = append(s.machines, s.newMachine(m.Name, spec, sink))
	s.wake()
	return nil
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
	s.wake()
	s.mu.Unlock()

	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	return nil
}

// wake tells the session that machines changed.
func (s *Source) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run reads until ctx ends, and reconnects by itself. It returns nil within 2 s
// of ctx ending and calls no sink after that; a dial or a request in progress
// ends by itself later, at most 5 s or one timeout. A source runs once.
func (s *Source) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("cannot run source: it ran before")
	}
	go func() {
		defer close(s.ended)
		newSession(ctx, s).run()
	}()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	wait := time.NewTimer(grace)
	defer wait.Stop()
	select {
	case <-s.ended:
	case <-wait.C:
	}
	return nil
}
