package opcua

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	fallbackLimit = 100  // of one call, where the server says nothing
	capLimit      = 1000 // also where it says that there is no limit
	maxAnswer     = 4 << 20
	maxSearch     = 64 // calls that look for nodes at fault, in one round
)

// session reads one endpoint over one connection, from connecting to the first
// thing that goes wrong. Then all of it is thrown away.
type session struct {
	*endpoint
	ch   *channel
	ctx  context.Context
	fail context.CancelCauseFunc // ends ctx for the first reason
	over chan struct{}           // closed when the session is over
	anew chan struct{}           // holds one token when all has to be read anew

	// Owned by serve.
	namespaces          []string
	maxRead, maxMonitor int
	taken               map[uint32]*assignment
	wait                sync.WaitGroup
	publishers          int
	search              int // calls left to look for nodes at fault

	mu      sync.Mutex
	subs    map[group]*subscription
	byID    map[uint32]*subscription
	items   map[uint32]*item // by client handle
	handles uint32
	notices uint64 // notifications taken so far
	acks    []*ua.SubscriptionAcknowledgement
	active  int  // publishers that run
	stale   bool // something was lost: all has to be read anew
}

// run connects and reads until something goes wrong, ctx ends (nil), or no
// machine is left (nil). up is called once connected.
func (e *endpoint) session(ctx context.Context, up func()) error {
	ch, err := connect(ctx, &e.spec, e.pace.token)
	if err != nil {
		return err
	}
	parent := ctx
	ctx, fail := context.WithCancelCause(ctx)
	s := &session{
		endpoint: e, ch: ch, ctx: ctx, fail: fail, over: make(chan struct{}), anew: make(chan struct{}, 1), taken: map[uint32]*assignment{},
		subs: map[group]*subscription{}, byID: map[uint32]*subscription{}, items: map[uint32]*item{},
	}
	defer func() {
		fail(nil)
		s.ch.bye()
		close(s.over)
		s.wait.Wait()
	}()
	if err := s.survey(); err != nil {
		return ch.cause(err)
	}
	up()
	s.wait.Go(s.watch)
	err = s.serve()
	if parent.Err() != nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return ch.cause(err)
	}
	return nil
}

// survey reads the namespaces and what one call may ask for.
func (s *session) survey() error {
	if err := s.readNamespaces(); err != nil {
		return err
	}
	s.maxRead, s.maxMonitor = fallbackLimit, fallbackLimit
	answer, err := s.read([]*ua.NodeID{
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead),
		ua.NewNumericNodeID(0, id.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall),
	})
	if err != nil {
		if s.isBroken(err) {
			return err
		}
		return nil
	}
	for i, to := range []*int{&s.maxRead, &s.maxMonitor} {
		if v := answer[i].Value; v != nil && v.Type() == ua.TypeIDUint32 && !v.Has(ua.VariantArrayValues) && answer[i].Status == ua.StatusOK {
			n, _ := v.Value().(uint32)
			if *to = int(min(n, capLimit)); n == 0 {
				*to = capLimit
			}
		}
	}
	return nil
}

func (s *session) readNamespaces() error {
	answer, err := s.read([]*ua.NodeID{ua.NewNumericNodeID(0, id.Server_NamespaceArray)})
	if err != nil {
		return err
	}
	if v := answer[0].Value; v != nil {
		if list, ok := v.Value().([]string); ok {
			s.namespaces = list
			return nil
		}
	}
	return errors.New("the server has no list of namespaces")
}

// read reads the values of nodes.
func (s *session) read(nodes []*ua.NodeID) ([]*ua.DataValue, error) {
	request := &ua.ReadRequest{TimestampsToReturn: ua.TimestampsToReturnBoth}
	for _, n := range nodes {
		request.NodesToRead = append(request.NodesToRead, &ua.ReadValueID{NodeID: n, AttributeID: ua.AttributeIDValue, DataEncoding: &ua.QualifiedName{}})
	}
	answer, err := call[*ua.ReadResponse](s.ctx, s.ch, request)
	if err != nil {
		return nil, err
	}
	if len(answer.Results) != len(nodes) {
		return nil, fmt.Errorf("the server answered %d of %d nodes", len(answer.Results), len(nodes))
	}
	return answer.Results, nil
}

// isBroken tells whether the connection is of no use after an error. An answer
// that the library cannot decode says something of that answer only.
func (s *session) isBroken(err error) bool {
	var status ua.StatusCode
	if errors.As(err, &status) {
		return broken(err)
	}
	return s.ctx.Err() != nil || s.ch.gate.reason() != nil || errors.Is(err, io.EOF)
}

// serve follows the machines that come and go.
func (s *session) serve() error {
	retry := time.NewTicker(s.pace.retryBad)
	defer retry.Stop()
	for {
		if err := s.reconcile(); err != nil {
			return err
		}
		if len(s.taken) == 0 {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-s.ch.gate.gone:
			return io.EOF
		case err := <-s.ch.errs:
			if final(err) {
				return err
			}
		case <-s.changed:
		case <-retry.C:
			if err := s.retryRefused(); err != nil {
				return err
			}
		case <-s.anew:
			if err := s.readAnew(); err != nil {
				return err
			}
		}
	}
}

// reconcile takes over machines that came, lets go of those that went, and reads
// those anew that were asked for.
func (s *session) reconcile() error {
	machines, refresh := s.wanted()
	for mid, a := range s.taken {
		if machines[mid] != a {
			delete(s.taken, mid)
			if err := s.release(a); err != nil {
				return err
			}
		}
	}
	for _, mid := range slices.Sorted(maps.Keys(machines)) {
		a := machines[mid]
		if s.taken[mid] == a {
			if refresh[mid] {
				if err := s.refresh(a); err != nil {
					return err
				}
			}
			continue
		}
		s.taken[mid] = a
		if err := s.adopt(a); err != nil {
			return err
		}
	}
	return nil
}

// adopt begins with one machine: state, one read of all points, subscriptions.
func (s *session) adopt(a *assignment) error {
	items := make([]*item, len(a.spec.Points))
	for i := range items {
		items[i] = newItem(a, i)
	}
	s.mu.Lock()
	a.items, a.batch, a.count = items, nil, 0
	s.mu.Unlock()
	s.resolve(items)
	if !s.announce(a) {
		return nil
	}
	return s.begin(items)
}

// announce tells the pool the machine's state. A machine none of whose nodes can
// be there is down.
func (s *session) announce(a *assignment) (up bool) {
	l := linkFrame{machine: a.id, up: true, mechanism: s.spec.mechanism(), peer: s.ch.peer, reconnect: true, grade: s.spec.grade()}
	absent := len(a.items) > 0
	for _, it := range a.items {
		absent = absent && it.node == nil
	}
	if absent {
		l.up, l.quality, l.why = false, point.BadConfigurationError, a.items[0].refused
	}
	s.out.send(l.frame(a.endpoint), false)
	return !absent
}

// begin reads items once, and monitors those that the server knows.
func (s *session) begin(items []*item) error {
	var known []*item
	s.mu.Lock()
	for _, it := range items {
		if it.node != nil {
			known = append(known, it)
			continue
		}
		s.refuse(it, it.refused, point.BadConfigurationError)
	}
	s.flushAll(items)
	s.mu.Unlock()
	if err := s.readItems(known); err != nil {
		return err
	}
	known = slices.DeleteFunc(known, func(it *item) bool { return it.refused != "" || it.sub != nil })
	return s.monitor(known)
}

// refuse notes that an item is not monitored, and gives it a bad sample. Under
// the mutex.
func (s *session) refuse(it *item, why string, q point.Quality) {
	it.refused, it.first = why, nil
	s.tell(it, why)
	s.add(it.of, point.Sample{Point: it.point, Quality: q, Time: time.Now().UnixNano()})
}

func (s *session) flushAll(items []*item) {
	for i, it := range items {
		if i == 0 || items[i-1].of != it.of {
			s.flush(it.of)
		}
	}
}

// milliseconds reads a duration that the server gave.
func milliseconds(f float64) time.Duration {
	if math.IsNaN(f) || f <= 0 {
		return 0
	}
	return time.Duration(min(f, 1e9) * float64(time.Millisecond))
}
