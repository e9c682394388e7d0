package opcua

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Options are what a pool needs. Each may be left out.
type Options struct {
	Logger *slog.Logger // default: none
	// Executable is the program that becomes a worker, and Args its arguments;
	// default: this program, as [IsWorker] recognises it.
	Executable string
	Args       []string
	Now        func() time.Time // gives the time of link states; default time.Now
}

// Pool holds the worker processes. All endpoints share one worker until it dies;
// then each of them gets one of its own, until one dies alone. That one stays
// alone, with growing waits between its workers; the others go back together.
type Pool struct {
	options Options
	log     *slog.Logger
	now     func() time.Time

	pace      pace
	restart   time.Duration // the first wait after a worker of the guilty one died, before jitter
	innocence time.Duration // how long a worker alone has to live to clear its endpoint

	mu      sync.Mutex
	numbers uint32
	shared  *host
	accused []*Source // the endpoints of a shared worker that died
	since   time.Time // they are
	guilty  []*Source
	hosts   sync.WaitGroup
}

// NewPool gives a pool. It starts no worker before there is work.
func NewPool(o Options) *Pool {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Executable == "" {
		o.Executable = ownProgram()
	}
	if o.Args == nil {
		o.Args = []string{WorkerWord}
	}
	return &Pool{options: o, log: o.Logger, now: o.Now, pace: defaultPace(), restart: time.Second, innocence: 10 * time.Minute}
}

// Source gives a source for an endpoint, or *point.ConfigError.
func (p *Pool) Source(spec Spec) (*Source, error) {
	if found := spec.Check(); len(found) > 0 {
		return nil, configError("", found)
	}
	if problem := spec.complete(); problem != nil {
		return nil, configError("", []point.Problem{*problem})
	}
	if spec.Timeout == 0 {
		spec.Timeout = defaultTimeout
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.numbers++
	return &Source{
		pool: p, number: p.numbers, spec: spec, log: p.log.With("endpoint", spec.Endpoint),
		byID: map[uint32]*machine{}, move: make(chan struct{}, 1),
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

// Wait returns when no worker is left. It is called once every Run has returned:
// then they end by themselves.
func (p *Pool) Wait() { p.hosts.Wait() }

// seat gives the source a worker that reads its endpoint.
func (p *Pool) seat(s *Source) (*host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acquit()
	alone := slices.Contains(p.guilty, s) || slices.Contains(p.accused, s)
	s.alone.Store(alone)
	select {
	case <-s.move: // it moves just now
	default:
	}
	h := p.shared
	if h == nil || alone || !h.enter(s) {
		var err error
		if h, err = startHost(p, alone); err != nil {
			return nil, err
		}
		if !alone {
			p.shared = h
		}
		h.enter(s)
	}
	s.sit(h)
	return h, nil
}

// suspects tells whether the source is one of several that may have brought a
// worker down.
func (p *Pool) suspects(s *Source) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.accused, s)
}

// left takes a source off its worker, which ends with the last one.
func (p *Pool) left(h *host, s *Source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.exit(s) && p.shared == h {
		p.shared = nil
	}
}

// died judges who brought a worker down.
func (p *Pool) died(h *host, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seats := h.abandon()
	if p.shared == h {
		p.shared = nil
	}
	switch {
	case len(seats) == 0:
	case len(seats) > 1:
		p.log.Error("a worker of several OPC UA endpoints died: each gets its own until it is known which one it was", "why", why, "endpoints", len(seats))
		for _, s := range seats {
			if !slices.Contains(p.accused, s) {
				p.accused = append(p.accused, s)
			}
		}
		p.since = time.Now()
		time.AfterFunc(p.innocence, p.clear)
	default:
		s := seats[0]
		p.log.Error("the worker of an OPC UA endpoint died: the endpoint stays alone", "why", why, "endpoint", s.spec.Endpoint)
		if !slices.Contains(p.guilty, s) {
			p.guilty = append(p.guilty, s)
		}
		p.accused = slices.DeleteFunc(p.accused, func(o *Source) bool { return o == s })
		p.release()
	}
}

// clear ends the suspicion when it lasted long enough.
func (p *Pool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acquit()
}

// acquit lets the suspects go back together once none died for long enough.
func (p *Pool) acquit() {
	if len(p.accused) > 0 && time.Since(p.since) >= p.innocence {
		p.release()
	}
}

// release lets the suspects go back to the shared worker.
func (p *Pool) release() {
	for _, s := range p.accused {
		select {
		case s.move <- struct{}{}:
		default:
		}
	}
	p.accused = nil
}
