package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// ErrNoKeys says that something cannot be looked at without the gateway's keys.
var ErrNoKeys = errors.New("it needs keys of the gateway, and they are not here")

// ErrComes says that a machine connects to the gateway by itself, so that nobody
// else can look at it.
var ErrComes = errors.New("it connects to the gateway by itself")

// Probe reads machines as a gateway does, for somebody who only wants to see
// whether they answer: nothing of it leaves.
type Probe struct {
	Machines []configs.Machine
	Keys     *keystore.Store // nil: machines that are read with a key of it are left out, with ErrNoKeys
	State    string          // the folder
	Logger   *slog.Logger
	AtOnce   int // endpoints at one time
	// Sink gives the sink of a machine, and what is closed when it has seen enough.
	Sink func(machine *configs.Machine) (sink point.Sink, enough <-chan struct{})
	// LeftOut is told of a machine that cannot be read. It may be called
	// concurrently.
	LeftOut func(machine string, err error)
}

// Run reads all machines, each until its sink has seen enough, and returns when
// that is done or ctx has ended. No sink is called after that.
func (p *Probe) Run(ctx context.Context) {
	w := wiring{keys: p.Keys, state: p.State, logger: p.Logger, leftOut: p.LeftOut}
	w.workers = opcua.NewPool(opcua.Options{Logger: p.Logger})
	var machines []configs.Machine
	for i := range p.Machines {
		switch m := &p.Machines[i]; {
		case m.Modbus == nil && m.OPCUA == nil:
			p.LeftOut(m.Name, ErrComes)
		case m.OPCUA != nil && p.Keys == nil:
			p.LeftOut(m.Name, ErrNoKeys)
		default:
			machines = append(machines, *m)
		}
	}
	slots := make(chan struct{}, max(p.AtOnce, 1))
	var all sync.WaitGroup
	for _, g := range w.groups(machines) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done(): // its sinks have seen nothing
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			p.endpoint(ctx, g)
		})
	}
	all.Wait()
	w.workers.Wait()
}

// endpoint reads the machines behind one endpoint.
func (p *Probe) endpoint(ctx context.Context, g *group) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source, err := g.connect()
	if err != nil {
		for _, m := range g.machines {
			p.LeftOut(m.Name, err)
		}
		return
	}
	var waiting []<-chan struct{}
	for _, m := range g.machines {
		sink, enough := p.Sink(m)
		if err := source.Attach(point.Machine{Name: m.Name, Spec: g.spec(m)}, sink); err != nil {
			p.LeftOut(m.Name, err)
			continue
		}
		waiting = append(waiting, enough)
	}
	if len(waiting) == 0 {
		return
	}
	go func() {
		defer cancel()
		for _, enough := range waiting {
			select {
			case <-enough:
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := runSource(ctx, source); ctx.Err() == nil {
		for _, m := range g.machines {
			p.LeftOut(m.Name, err)
		}
	}
}

// InspectNATS looks at the stream that a NATS uplink leads to, without publishing
// anything.
func InspectNATS(ctx context.Context, c *configs.Config, u *configs.NATS, keys *keystore.Store) ([]nats.Finding, error) {
	if keys == nil {
		return nil, ErrNoKeys
	}
	t, err := clientTLS(keys, u.Certificate, u.Trust)
	if err != nil {
		return nil, err
	}
	found, err := nats.Inspect(ctx, nats.Config{
		Servers: u.Servers, Stream: u.Stream, Prefix: u.Prefix, Gateway: c.Gateway, TLS: t,
	}, nats.Expect{
		Addresses: addresses(c), MaxAge: c.Outbox.MaxAge, MaxSize: c.Outbox.MaxSize, KeyLife: envelope.DefaultLife,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look at it: %w", err)
	}
	return found, nil
}

// InspectDTLS hears from the hubs of a DTLS uplink where they publish, without
// sending anything.
func InspectDTLS(ctx context.Context, c *configs.Config, u *configs.DTLS, keys *keystore.Store) ([]dtls.Seen, error) {
	if keys == nil {
		return nil, ErrNoKeys
	}
	cfg, err := dtlsConfig(c.Gateway, u, keys, nil)
	if err != nil {
		return nil, err
	}
	return dtls.Inspect(ctx, cfg)
}

// addresses are those of all messages that the gateway makes.
func addresses(c *configs.Config) []envelope.Address {
	out := []envelope.Address{
		{Stream: envelope.Stream{Gateway: c.Gateway}, Kind: envelope.Statement},
		{Stream: envelope.Stream{Gateway: c.Gateway}, Kind: envelope.Event},
	}
	for i := range c.Machines {
		m := &c.Machines[i]
		seen := map[string]bool{}
		// No exception bears on the best connection, so the time does not matter.
		for k, d := range c.Policy.Compile(m.Name, policyPoints(m), point.Encrypted, policy.EndOfDays()).Decisions {
			s := envelope.Stream{Gateway: c.Gateway, Machine: m.Name, Level: d.Level}
			if d.Treatment == policy.Withheld {
				continue
			}
			if d.Treatment == policy.Passed {
				name := m.Points[k].Name
				if l, _ := c.Policy.Level(d.Level); l.HideNames {
					name = "*"
				}
				out = append(out, envelope.Address{Stream: s, Kind: envelope.Passthrough, Point: name})
			}
			if seen[d.Level] {
				continue
			}
			seen[d.Level] = true
			for _, kind := range []envelope.Kind{envelope.Data, envelope.KeyFrame, envelope.Checkpoint, envelope.LossRecord} {
				out = append(out, envelope.Address{Stream: s, Kind: kind})
			}
		}
	}
	return out
}
