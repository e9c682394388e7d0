package bridge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/fieldseal/fieldseal/adapters/coap"
	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// Source reads one endpoint and the machines behind it.
type Source interface {
	// Run reconnects by itself. It returns nil within 2 s of ctx ending (a dial
	// in progress may end later), or *point.ConfigError.
	Run(ctx context.Context) error
}

// Sharer is a Source to which machines come and from which they go without a
// reconnect.
type Sharer interface {
	Attach(m point.Machine, sink point.Sink) error
	// Detach returns after the last call to that machine's sink.
	Detach(machine string) error
}

// endpoint is one source with the machines behind it, and how it is called in
// logs.
type endpoint struct {
	name  string
	again func() (Source, error) // makes another source, with the same machines: a source runs once

	mu       sync.Mutex // guards the source and the machines
	source   Source
	of       *group   // what it connects to; nil: nothing can be attached
	secrets  [32]byte // of what it shows to connect
	attached []attached

	stop  context.CancelFunc // while it runs
	ended chan struct{}
}

// attached is one machine of an endpoint.
type attached struct {
	machine *configs.Machine
	sink    *sink
}

// wiring makes sources of machines.
type wiring struct {
	sinks   map[string]*sink
	keys    *keystore.Store
	state   string // the folder
	logger  *slog.Logger
	leftOut func(machine string, err error)
	workers *opcua.Pool // of all OPC UA endpoints
}

// group is the machines behind one endpoint.
type group struct {
	machines []*configs.Machine
	// connect makes the endpoint's source, with nothing attached.
	connect func() (sharing, error)
	// spec is the adapter's description of one of the machines.
	spec func(*configs.Machine) any
}

type sharing interface {
	Source
	Sharer
}

// sources makes one source for each endpoint and attaches the machines behind
// it. A machine that cannot be attached is left out and reported.
func (w *wiring) sources(machines []configs.Machine) (out []*endpoint) {
	for _, g := range w.groups(machines) {
		e, err := w.endpoint(g)
		if err != nil {
			for _, m := range g.machines {
				w.leftOut(m.Name, err)
			}
			continue
		}
		for _, m := range g.machines {
			if err := e.attach(m, w.sinks[m.Name]); err != nil {
				w.leftOut(m.Name, err)
			}
		}
		out = append(out, e)
	}
	return out
}

// endpoint makes the source of a group, with nothing attached.
func (w *wiring) endpoint(g *group) (*endpoint, error) {
	source, err := g.connect()
	if err != nil {
		return nil, err
	}
	e := &endpoint{name: g.machines[0].Endpoint(), source: source, of: g, secrets: secretsOf(w.state, g.machines[0])}
	e.again = e.connect
	return e, nil
}

// connect makes another source, with the machines that are attached.
func (e *endpoint) connect() (Source, error) {
	source, err := e.of.connect()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.attached {
		if err := e.put(source, a); err != nil { // it could be attached before
			return nil, err
		}
	}
	e.source = source
	return source, nil
}

func (e *endpoint) put(source sharing, a attached) error {
	if err := source.Attach(point.Machine{Name: a.machine.Name, Spec: e.of.spec(a.machine)}, a.sink); err != nil {
		return err
	}
	a.sink.readBy(source)
	return nil
}

// attach adds a machine, also while the source runs.
func (e *endpoint) attach(m *configs.Machine, s *sink) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := attached{m, s}
	source, ok := e.source.(sharing)
	if !ok {
		return errors.New("this endpoint takes no machines")
	}
	if err := e.put(source, a); err != nil {
		return err
	}
	e.attached = append(e.attached, a)
	return nil
}

// detach takes a machine away. It returns after the last call to its sink, and
// tells how many machines are left.
func (e *endpoint) detach(name string) (left int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if source, ok := e.source.(Sharer); ok {
		err = source.Detach(name)
	}
	e.attached = slices.DeleteFunc(e.attached, func(a attached) bool { return a.machine.Name == name })
	return len(e.attached), err
}

// serves tells whether the endpoint can read a machine: it is reached there, with
// what is shown there.
func (e *endpoint) serves(state string, m *configs.Machine) bool {
	if e.of == nil || e.isOver() || !sameEndpoint(e.of.machines[0], m) {
		return false
	}
	return m.OPCUA == nil || e.secrets == secretsOf(state, m) // others show nothing, or each machine its own
}

// has tells whether a machine is behind the endpoint.
func (e *endpoint) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.attached, func(a attached) bool { return a.machine.Name == name })
}

// redescribe puts another description in place of a machine's that is read in the
// very same way.
func (e *endpoint) redescribe(m *configs.Machine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.attached {
		if e.attached[i].machine.Name == m.Name {
			e.attached[i].machine = m
		}
	}
}

// groups puts the machines of one endpoint together. This is the one place that
// knows which protocols there are.
func (w *wiring) groups(machines []configs.Machine) (out []*group) {
	for i := range machines {
		m := &machines[i]
		k := slices.IndexFunc(out, func(g *group) bool { return sameEndpoint(g.machines[0], m) })
		if k >= 0 {
			out[k].machines = append(out[k].machines, m)
			continue
		}
		g := &group{machines: []*configs.Machine{m}}
		switch {
		case m.Modbus != nil:
			g.connect = func() (sharing, error) {
				return modbus.New(m.Modbus.Endpoint, modbus.Options{Logger: w.logger})
			}
			g.spec = func(m *configs.Machine) any { return &m.Modbus.Machine }
		case m.OPCUA != nil:
			g.connect = func() (sharing, error) { return w.opcua(m.OPCUA) }
			g.spec = func(m *configs.Machine) any { return &m.OPCUA.Machine }
		case m.CoAP != nil:
			g.connect = func() (sharing, error) { return w.coap(m.CoAP) }
			g.spec = func(m *configs.Machine) any { return &m.CoAP.Machine }
		default:
			w.leftOut(m.Name, errors.New("no protocol"))
			continue
		}
		out = append(out, g)
	}
	return out
}

// fieldOf gives what the machine's source counted.
func fieldOf(machine string, points []policy.Point, source Source) (f status.Field) {
	switch source := source.(type) {
	case *modbus.Source:
		all := source.Stats()
		f.Reconnects = all.Reconnects
		for _, m := range all.Machines {
			if m.Machine == machine {
				f.Faults, f.LeftOut, f.Missed, f.Refused = m.Faults, m.Overruns, m.Torn, m.Refused
			}
		}
	case *opcua.Source:
		all := source.Stats()
		f.Deaths, f.Alone = all.Deaths, all.Alone
		for _, m := range all.Machines {
			if m.Machine != machine {
				continue
			}
			f.Reconnects, f.LeftOut, f.Missed, f.Refused = max(m.Connections, 1)-1, m.Dropped, m.Gaps, m.Refused
			for _, r := range m.Revised {
				f.Slow = append(f.Slow, status.Slow{
					Point: points[r.Point].Name, Sampling: r.Sampling.Seconds(), Publishing: r.Publishing.Seconds(), Queue: r.Queue,
				})
			}
		}
	case *coap.Source:
		for _, m := range source.Stats().Machines {
			if m.Machine == machine {
				f.Reconnects, f.Faults, f.Refused, f.LeftOut = max(m.Joined, 1)-1, m.Senseless, m.Refused, m.Full
			}
		}
	}
	return f
}

// sameEndpoint tells whether one source can read both machines.
func sameEndpoint(a, b *configs.Machine) bool {
	switch {
	case a.Modbus != nil && b.Modbus != nil:
		return a.Modbus.Endpoint == b.Modbus.Endpoint
	case a.OPCUA != nil && b.OPCUA != nil:
		return a.OPCUA.Endpoint.Equal(&b.OPCUA.Endpoint) && a.OPCUA.Certificate == b.OPCUA.Certificate && a.OPCUA.Credential == b.OPCUA.Credential
	case a.CoAP != nil && b.CoAP != nil:
		return a.CoAP.Endpoint == b.CoAP.Endpoint && a.CoAP.Certificate == b.CoAP.Certificate && a.CoAP.Trust == b.CoAP.Trust && a.CoAP.TrustDigest == b.CoAP.TrustDigest
	}
	return false
}

// coap makes a source with the certificates that the file only names. A device's
// key is read when its machine is attached.
func (w *wiring) coap(c *configs.CoAP) (*coap.Source, error) {
	spec := c.Endpoint
	var err error
	if c.Certificate != "" {
		if spec.Certificate, err = w.keys.Certificate(c.Certificate); err != nil {
			return nil, err
		}
	}
	if spec.Authorities, err = c.Authorities(); err != nil { // those that were signed, and not what the file has by now
		return nil, err
	}
	key := func(credential string) (coap.Secret, error) {
		text, err := keystore.Password(w.state, credential)
		if err != nil {
			return "", err
		}
		return coap.ParseKey(coap.Secret(text))
	}
	return coap.New(spec, coap.Options{Logger: w.logger, Key: key})
}

// opcua makes a source with the certificate and the password that the file only
// names.
func (w *wiring) opcua(o *configs.OPCUA) (*opcua.Source, error) {
	spec := o.Endpoint
	certificate, key, err := w.keys.ClientIdentity(o.Certificate)
	if err != nil {
		return nil, err
	}
	spec.Certificate, spec.Key = certificate, opcua.Secret(key)
	if o.Credential != "" {
		password, err := keystore.Password(w.state, o.Credential)
		if err != nil {
			return nil, err
		}
		spec.User.Password = opcua.Secret(password)
	}
	return w.workers.Source(spec)
}
