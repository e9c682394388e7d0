package opcua

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// endpoint is one endpoint in the worker: it connects, and connects again.
type endpoint struct {
	number uint32
	spec   Spec
	pace   pace
	out    *sender

	cancel  context.CancelFunc
	changed chan struct{} // holds one token when machines changed

	mu       sync.Mutex
	machines map[uint32]*assignment
	anew     map[uint32]bool // machines to be read anew
	down     *linkFrame      // why the endpoint is down; nil: it is up, or nobody knows yet
	refusals int             // logins that were refused in a row, as the wait after them counts them
}

func newEndpoint(number uint32, o openFrame, out *sender) *endpoint {
	e := &endpoint{
		number: number, spec: o.spec, pace: o.pace, out: out,
		changed: make(chan struct{}, 1), machines: map[uint32]*assignment{}, anew: map[uint32]bool{},
	}
	if e.spec.Timeout == 0 {
		e.spec.Timeout = defaultTimeout
	}
	return e
}

// attach adds a machine.
func (e *endpoint) attach(id uint32, m *Machine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.machines[id] = &assignment{endpoint: e.number, id: id, spec: m}
	if e.down != nil {
		l := *e.down
		l.machine = id
		e.out.send(l.frame(e.number), false)
	}
	e.wake()
}

// detach removes a machine.
func (e *endpoint) detach(id uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.machines, id)
	e.wake()
}

// refreshLater has all points of a machine read.
func (e *endpoint) refreshLater(id uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.anew[id] = true
	e.wake()
}

func (e *endpoint) wake() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// wanted gives the machines that are attached, and which of them are to be read
// anew.
func (e *endpoint) wanted() (machines map[uint32]*assignment, anew map[uint32]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	machines, anew = maps.Clone(e.machines), e.anew
	e.anew = map[uint32]bool{}
	return machines, anew
}

// run reads the endpoint until ctx ends.
func (e *endpoint) run(ctx context.Context) {
	wait := &backoff.ExponentialBackOff{InitialInterval: e.pace.minWait, MaxInterval: e.pace.maxWait, Multiplier: 2, RandomizationFactor: 0.5}
	for ctx.Err() == nil {
		if machines, _ := e.wanted(); len(machines) == 0 {
			select { // servers take few sessions
			case <-e.changed:
			case <-ctx.Done():
			}
			continue
		}
		began := time.Now()
		err := e.guard(ctx, func() {
			e.mu.Lock()
			e.down, e.refusals = nil, 0
			e.mu.Unlock()
		})
		if err == nil || ctx.Err() != nil {
			continue
		}
		e.lost(err)
		if time.Since(began) > e.pace.maxWait {
			wait.Reset()
		}
		pause(ctx, max(wait.NextBackOff(), e.afterRefusal(err)))
	}
	e.out.send(bareFrame(frameClosed, e.number), false)
}

// maxRefusals is how often in a row a refused login makes the wait longer: from a
// minute to half an hour.
const maxRefusals = 30

// afterRefusal is how long to wait at least where the server refused who we are.
// A user who is refused waits longer each time: servers lock users out for less.
func (e *endpoint) afterRefusal(err error) time.Duration {
	var r *refusal
	if !errors.As(err, &r) {
		return 0
	}
	if !r.login {
		return e.pace.refusedWait
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusals = min(max(2*e.refusals, 1), maxRefusals)
	return time.Duration(e.refusals) * e.pace.refusedWait
}

// guard makes a panic the fault of this endpoint.
func (e *endpoint) guard(ctx context.Context, up func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			// Not the panic's text, which could hold a value.
			err = fmt.Errorf("internal error (%T)", r)
		}
	}()
	return e.session(ctx, up)
}

// lost tells the pool that the endpoint's machines are down.
func (e *endpoint) lost(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q, why := faultOf(err)
	e.down = &linkFrame{quality: q | point.Bad, why: orElse(oneLine(why, maxWhy), "unknown"), mechanism: e.spec.mechanism()}
	if u, p := e.spec.address(); p == nil {
		e.down.peer = u.Host
	}
	for id := range e.machines {
		l := *e.down
		l.machine = id
		e.out.send(l.frame(e.number), false)
	}
}

// beat says every now and then that the worker lives.
func beat(ctx context.Context, out *sender, every time.Duration) {
	for ctx.Err() == nil {
		out.send(bareFrame(framePing, 0), false)
		pause(ctx, every)
	}
}
