package coap

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

// grace is how long Run waits for its sessions after ctx ended.
const grace = 1500 * time.Millisecond

// Options are what a source needs besides its Spec. Each may be left out.
type Options struct {
	Logger *slog.Logger     // default: none
	Now    func() time.Time // gives the times of samples; default time.Now
	// Key gives the pre-shared key that a credential holds, as [ParseKey] gives it.
	// It is asked at Attach.
	Key func(credential string) (Secret, error)
}

// Source listens at one endpoint for the devices of its machines.
type Source struct {
	spec   Spec
	log    *slog.Logger
	now    func() time.Time
	key    func(string) (Secret, error)
	limits limits
	counts totals
	said   said // of what is rejected

	started atomic.Bool

	mu       sync.Mutex      // guards what follows
	machines []*machine      // attached, in order
	running  context.Context //nolint:containedctx // of Run; nil before
	why      string          // nobody can connect now; empty: they can
	opened   chan string     // gets each address that is listened at; nil: nobody asks
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
	if o.Key == nil {
		o.Key = func(string) (Secret, error) { return "", errors.New("there are no credentials") }
	}
	return &Source{
		spec: s, now: o.Now, key: o.Key, log: o.Logger.With("endpoint", "coaps://"+s.Listen),
		limits: limits{halfOpen: 256, handshakes: 64, perHost: 16, hellos: 2000},
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

// Attach adds a machine, before Run or while it runs, without disturbing the
// others. The machine's Spec is a *Machine, which nobody changes after that. It
// gives *point.ConfigError for a machine that cannot be taken as it is described.
func (s *Source) Attach(m point.Machine, sink point.Sink) error {
	spec, ok := m.Spec.(*Machine)
	if !ok || spec == nil {
		return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("a CoAP source cannot take a %T", m.Spec)}
	}
	if found := spec.Check(); len(found) > 0 {
		return configError(m.Name, found)
	}
	if p := s.spec.meets(&spec.Device); p != nil {
		return configError(m.Name, []point.Problem{*p})
	}
	var key Secret
	if c := spec.Device.Credential; c != "" {
		var err error
		if key, err = s.key(c); err != nil {
			return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("cannot use the key credential:%s: %v", c, err)}
		}
		if len(key) < minKey {
			return &point.ConfigError{Machine: m.Name, What: fmt.Sprintf("the key credential:%s is shorter than %d bytes", c, minKey)}
		}
	}
	added := newMachine(m.Name, spec, key, sink, s.now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.machines {
		switch {
		case o.name == m.Name:
			return &point.ConfigError{Machine: m.Name, What: "the machine is attached already"}
		case o.spec.Device.String() == spec.Device.String():
			return &point.ConfigError{Machine: m.Name, What: "the device is that of " + o.name + " already", Instead: "a device is one machine"}
		}
	}
	s.machines = append(s.machines, added)
	if s.running != nil {
		added.adopt(s.running, s.down())
	}
	return nil
}

// down says why a device that has not connected is not there. Under the mutex.
func (s *Source) down() string {
	if s.why != "" {
		return s.why
	}
	return notYet
}

// meets says what the endpoint lacks for a device; nil: nothing.
func (s *Spec) meets(d *Device) *point.Problem {
	switch {
	case d.Identity == "" && s.Certificate == nil:
		return &point.Problem{Key: "certificate", What: "the device has a certificate, and the gateway has none for it", Instead: "write certificate: keystore:uplink"}
	case d.CertificateName != "" && s.Authorities == nil:
		return &point.Problem{
			Key: "trust", What: "the device is known by the name in its certificate, and no authority may give it one",
			Instead: `write trust: and the file with the authority's certificate, or device: {certificate: "sha256:…"}`,
		}
	}
	return nil
}

// Detach removes a machine and ends its sessions. It returns after the last call
// to that machine's Sink, and so must not be called from within one.
func (s *Source) Detach(name string) error {
	s.mu.Lock()
	k := slices.IndexFunc(s.machines, func(m *machine) bool { return m.name == name })
	if k < 0 {
		s.mu.Unlock()
		return fmt.Errorf("cannot detach %s: no such machine", name)
	}
	m := s.machines[k]
	s.machines = slices.Delete(s.machines, k, k+1)
	s.mu.Unlock()
	m.detach()
	return nil
}

// Run listens until ctx ends, and listens again by itself where it cannot. It
// returns nil within 2 s of ctx ending and calls no sink after that. A source
// runs once.
func (s *Source) Run(ctx context.Context) error {
	if !s.started.CompareAndSwap(false, true) {
		return errors.New("cannot run source: it ran before")
	}
	s.mu.Lock()
	s.running = ctx
	for _, m := range s.machines {
		m.adopt(ctx, notYet)
	}
	s.mu.Unlock()
	wait := &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, MaxInterval: 20 * time.Second, Multiplier: 2, RandomizationFactor: 0.5}
	for ctx.Err() == nil {
		if err := s.once(ctx, wait.Reset); err != nil && ctx.Err() == nil {
			s.lost(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.NextBackOff()):
		}
	}
	return nil
}

// once listens until ctx ends, or cannot any more.
func (s *Source) once(ctx context.Context, began func()) error {
	l, err := s.listen(ctx)
	if err != nil {
		return err
	}
	began()
	return l.serve(ctx)
}

// lost tells all machines that nobody can connect.
func (s *Source) lost(err error) {
	s.log.Error("cannot listen", "error", err)
	s.tell(fmt.Sprintf("cannot listen at %s: %s", s.spec.Listen, cause(err)))
}

// tell tells all machines why nobody can connect; empty: they can again.
func (s *Source) tell(why string) {
	s.mu.Lock()
	changed := s.why != why
	s.why = why
	why, machines := s.down(), slices.Clone(s.machines)
	s.mu.Unlock()
	if !changed {
		return
	}
	for _, m := range machines {
		m.lost(why)
	}
}

// found gives the machine of a device.
func (s *Source) found(is func(*Device) bool) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		if is(&m.spec.Device) {
			return m
		}
	}
	return nil
}

// said keeps what anybody can cause from filling the log: one line a second.
type said struct {
	mu   sync.Mutex
	last time.Time
	kept uint64 // to itself since
}

// may tells whether a line may be written, and how many were not.
func (s *said) may(now time.Time) (kept uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) < time.Second {
		s.kept++
		return 0, false
	}
	kept, s.kept, s.last = s.kept, 0, now
	return kept, true
}
