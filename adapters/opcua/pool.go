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
// alone, with growing waits between its workers, until it lived long enough; the
// others go back together. Where there are more than maxCells, several share one.
type Pool struct {
	options Options
	log     *slog.Logger
	now     func() time.Time

	pace      pace
	restart   time.Duration // the first wait after a worker of the guilty one died, before jitter
	innocence time.Duration // how long a worker alone has to live to clear its endpoint
	forget    time.Duration // after which a loss is no news any more

	mu      sync.Mutex
	numbers uint32
	shared  *host
	accused []*Source     // the endpoints of a worker that died
	since   time.Time     // they are
	cells   map[int]*host // of the accused
	guilty  []*convict
	prison  map[int]*host // of the guilty
	hosts   sync.WaitGroup
}

// convict is an endpoint whose worker died alone.
type convict struct {
	source *Source
	cell   int
	times  int           // it died alone
	until  time.Time     // it stays alone, unless it dies again
	term   time.Duration // that this takes: longer each time
}

const (
	maxCells = 8  // workers of the accused, and as many of the guilty, at once
	maxTerms = 64 // times innocence
)

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
	return &Pool{
		options: o, log: o.Logger, now: o.Now, cells: map[int]*host{}, prison: map[int]*host{}, pace: defaultPace(), restart: time.Second, innocence: 10 * time.Minute, forget: time.Minute,
	}
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
	place := func(h *host) { p.shared = h }
	h, alone := p.shared, false
	if c := p.convict(s); c != nil {
		h, alone, place = p.prison[c.cell], true, func(h *host) { p.prison[c.cell] = h }
	} else if k := slices.Index(p.accused, s); k >= 0 {
		k %= maxCells
		h, alone, place = p.cells[k], true, func(h *host) { p.cells[k] = h }
	}
	s.alone.Store(alone)
	select {
	case <-s.move: // it moves just now
	default:
	}
	if h == nil || !h.enter(s) {
		var err error
		if h, err = startHost(p, alone); err != nil {
			return nil, err
		}
		place(h)
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
	innocent := slices.DeleteFunc(slices.Clone(seats), func(s *Source) bool { return p.convict(s) != nil })
	switch {
	case len(seats) == 0:
	case len(innocent) > 1:
		p.log.Error("a worker of several OPC UA endpoints died: each gets its own until it is known which one it was", "why", why, "endpoints", len(seats))
		if !slices.ContainsFunc(innocent, func(s *Source) bool { return !slices.Contains(p.accused, s) }) {
			p.release() // it was one of these, and not one of the other accused
		}
		for _, s := range innocent {
			if !slices.Contains(p.accused, s) {
				p.accused = append(p.accused, s)
			}
		}
		p.since = time.Now()
		time.AfterFunc(p.innocence, p.clear)
	default:
		for _, s := range seats {
			p.log.Error("the worker of an OPC UA endpoint died: the endpoint stays alone", "why", why, "endpoint", s.spec.Endpoint)
			p.condemn(s)
		}
		if len(innocent) > 0 {
			p.release()
		}
	}
}

// convict gives what is known of a source that is guilty; nil: it is not.
func (p *Pool) convict(s *Source) *convict {
	for _, c := range p.guilty {
		if c.source == s && !c.until.IsZero() {
			return c
		}
	}
	return nil
}

// condemn keeps a source alone until no worker under it died for some time, which
// is longer each time that it comes back.
func (p *Pool) condemn(s *Source) {
	p.accused = slices.DeleteFunc(p.accused, func(o *Source) bool { return o == s })
	k := slices.IndexFunc(p.guilty, func(c *convict) bool { return c.source == s })
	if k < 0 {
		k = len(p.guilty)
		p.guilty = append(p.guilty, &convict{source: s, cell: k % maxCells})
	}
	c := p.guilty[k]
	if c.until.IsZero() { // again
		c.term = min(p.innocence<<min(c.times, 6), maxTerms*p.innocence)
		c.times++
	}
	c.until = time.Now().Add(c.term)
	time.AfterFunc(c.term, p.clear)
}

// clear ends the suspicion, or the time alone, when it lasted long enough.
func (p *Pool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acquit()
}

// acquit lets the suspects and the guilty go back together once none died for
// long enough.
func (p *Pool) acquit() {
	if len(p.accused) > 0 && time.Since(p.since) >= p.innocence {
		p.release()
	}
	for _, c := range p.guilty {
		if !c.until.IsZero() && !time.Now().Before(c.until) {
			c.until = time.Time{}
			c.source.moveOn()
		}
	}
}

// release lets the suspects go back to the shared worker.
func (p *Pool) release() {
	for _, s := range p.accused {
		s.moveOn()
	}
	p.accused, p.cells = nil, map[int]*host{}
}

// moveOn has the source take another seat.
func (s *Source) moveOn() {
	select {
	case s.move <- struct{}{}:
	default:
	}
}
