package sim

import (
	"cmp"
	"context"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// subscription is one of a client's. The simulator has its own, because the
// library's server keeps one value of a node for each interval, numbers two
// subscriptions alike after one was deleted, blocks for ever where one ends that
// has much to tell, and cannot be asked what left it.
type subscription struct {
	id        uint32
	channel   *uasc.SecureChannel
	session   string
	interval  time.Duration
	keepAlive int // intervals without news
	most      int // values in one message
	end       context.CancelFunc
	wake      chan struct{} // has room for one: a request came

	// Under the simulator's mutex.
	items    map[uint32]*monitored
	waiting  []notice // what moved, in order
	sequence uint32
	quiet    int  // intervals since a message
	late     bool // there were too few requests for what waits
	sending  bool
}

// monitored is one node in a subscription.
type monitored struct {
	id, handle uint32
	node       *simNode // nil: the server's clock
	waiting    int
}

// notice is a value that a subscriber is to have.
type notice struct {
	item  *monitored
	value *ua.DataValue
	raw   any // of the machine; nil where it is not the machine's
}

// publishRequest is a client's request for news.
type publishRequest struct{ number, handle, acknowledged uint32 }

// maxWaiting is how many values of a node a subscription keeps, whatever was
// asked for: what a client on a busy machine does not fetch in time is not lost.
const maxWaiting = 100

// overflow marks a value before which one was lost (OPC 10000-4, 7.38.1).
const overflow = 0x480

// handleSubscriptions puts the simulator's own services in the place of the
// library's. It is called before the server starts.
func (p *OPCUA) handleSubscriptions(ctx context.Context, s *server.Server) {
	handle := func(kind uint16, f server.Handler) {
		s.RegisterHandler(kind, func(sc *uasc.SecureChannel, r ua.Request, n uint32) (ua.Response, error) {
			if s.Session(r.Header()) == nil {
				return nil, ua.StatusBadSessionIDInvalid
			}
			return f(sc, r, n)
		})
	}
	handle(id.CreateSubscriptionRequest_Encoding_DefaultBinary, func(sc *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		return p.subscribe(ctx, sc, r.(*ua.CreateSubscriptionRequest))
	})
	handle(id.CreateMonitoredItemsRequest_Encoding_DefaultBinary, func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		return p.monitor(r.(*ua.CreateMonitoredItemsRequest))
	})
	handle(id.PublishRequest_Encoding_DefaultBinary, func(_ *uasc.SecureChannel, r ua.Request, n uint32) (ua.Response, error) {
		return nil, p.asked(n, r.(*ua.PublishRequest)) // answered later
	})
	handle(id.DeleteMonitoredItemsRequest_Encoding_DefaultBinary, func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		return p.unmonitor(r.(*ua.DeleteMonitoredItemsRequest))
	})
	handle(id.DeleteSubscriptionsRequest_Encoding_DefaultBinary, func(_ *uasc.SecureChannel, r ua.Request, _ uint32) (ua.Response, error) {
		return p.unsubscribe(r.(*ua.DeleteSubscriptionsRequest)), nil
	})
	for _, kind := range []uint16{
		id.ModifySubscriptionRequest_Encoding_DefaultBinary, id.SetPublishingModeRequest_Encoding_DefaultBinary,
		id.TransferSubscriptionsRequest_Encoding_DefaultBinary, id.RepublishRequest_Encoding_DefaultBinary,
		id.ModifyMonitoredItemsRequest_Encoding_DefaultBinary, id.SetMonitoringModeRequest_Encoding_DefaultBinary,
		id.SetTriggeringRequest_Encoding_DefaultBinary,
	} {
		handle(kind, func(*uasc.SecureChannel, ua.Request, uint32) (ua.Response, error) {
			return nil, ua.StatusBadServiceUnsupported
		})
	}
}

func header(r ua.Request) *ua.ResponseHeader { return headerFor(r.Header().RequestHandle) }

func headerFor(handle uint32) *ua.ResponseHeader {
	return &ua.ResponseHeader{
		Timestamp: time.Now(), RequestHandle: handle, ServiceDiagnostics: &ua.DiagnosticInfo{},
		StringTable: []string{}, AdditionalHeader: ua.NewExtensionObject(nil),
	}
}

func sessionOf(r ua.Request) string { return r.Header().AuthenticationToken.String() }

func (p *OPCUA) subscribe(ctx context.Context, sc *uasc.SecureChannel, r *ua.CreateSubscriptionRequest) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mood.Subscribe != ua.StatusOK {
		return nil, p.mood.Subscribe
	}
	interval := max(10*time.Millisecond, time.Duration(r.RequestedPublishingInterval*float64(time.Millisecond)), p.mood.Publishing)
	ctx, end := context.WithCancel(ctx)
	p.numbers++
	s := &subscription{
		id: p.numbers, channel: sc, session: sessionOf(r), interval: interval,
		keepAlive: int(max(1, r.RequestedMaxKeepAliveCount, p.mood.KeepAlive)), most: int(r.MaxNotificationsPerPublish),
		end: end, wake: make(chan struct{}, 1), items: map[uint32]*monitored{},
	}
	p.subs[s.id] = s
	p.feeds.Go(func() { p.publish(ctx, s) })
	return &ua.CreateSubscriptionResponse{
		ResponseHeader: header(r), SubscriptionID: s.id, RevisedPublishingInterval: float64(interval) / float64(time.Millisecond),
		RevisedLifetimeCount: r.RequestedLifetimeCount, RevisedMaxKeepAliveCount: uint32(s.keepAlive),
	}, nil
}

// monitor adds items. Each begins with the value that its node has.
func (p *OPCUA) monitor(r *ua.CreateMonitoredItemsRequest) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.subs[r.SubscriptionID]
	if s == nil || s.session != sessionOf(r) {
		return nil, ua.StatusBadSubscriptionIDInvalid
	}
	if status := p.refuses(r); status != ua.StatusOK {
		return nil, status
	}
	var results []*ua.MonitoredItemCreateResult
	for _, ask := range r.ItemsToCreate {
		result := &ua.MonitoredItemCreateResult{FilterResult: ua.NewExtensionObject(nil)}
		results = append(results, result)
		node, known := p.find(ask.ItemToMonitor.NodeID)
		if !known {
			result.StatusCode = ua.StatusBadNodeIDUnknown
			continue
		}
		p.numbers++
		m := &monitored{id: p.numbers, handle: ask.RequestedParameters.ClientHandle, node: node}
		s.items[m.id] = m
		result.MonitoredItemID, result.RevisedQueueSize = m.id, cmp.Or(p.mood.Queue, maxWaiting)
		result.RevisedSamplingInterval = float64(max(s.interval, p.mood.Sampling)) / float64(time.Millisecond)
		if p.mood.Queue > 0 { // as often as it was asked to
			result.RevisedSamplingInterval = max(ask.RequestedParameters.SamplingInterval, float64(p.mood.Sampling)/float64(time.Millisecond))
		}
		if node == nil && p.mood.DeadClock {
			delete(s.items, m.id)
			continue
		}
		s.add(m, p.notice(node))
	}
	return &ua.CreateMonitoredItemsResponse{ResponseHeader: header(r), Results: results, DiagnosticInfos: []*ua.DiagnosticInfo{}}, nil
}

// find gives the node of that identifier; nil is the server's clock. Under the
// mutex.
func (p *OPCUA) find(node *ua.NodeID) (n *simNode, known bool) {
	if node.Namespace() == 0 && node.IntID() == id.Server_ServerStatus_CurrentTime {
		return nil, true
	}
	if node.Namespace() == p.space.ID() {
		n = p.nodes[node.StringID()]
	}
	return n, n != nil
}

// add lets a value wait for the next message. Under the simulator's mutex.
func (s *subscription) add(m *monitored, n notice) {
	n.item = m
	if m.waiting == maxWaiting || m.node == nil && m.waiting == 1 {
		for i, old := range s.waiting {
			if old.item == m {
				s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
				break
			}
		}
		m.waiting--
		if m.node != nil {
			n.value.Status |= overflow
			n.value.EncodingMask |= ua.DataValueStatusCode
		}
	}
	m.waiting++
	s.waiting = append(s.waiting, n)
}

// asked keeps a request until there is something to answer.
func (p *OPCUA) asked(number uint32, r *ua.PublishRequest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	session, any := sessionOf(r), false
	p.requests[session] = append(p.requests[session], publishRequest{number, r.RequestHeader.RequestHandle, uint32(len(r.SubscriptionAcknowledgements))})
	for _, s := range p.subs {
		if s.session != session {
			continue
		}
		any = true
		if s.late {
			select {
			case s.wake <- struct{}{}:
			default:
			}
		}
	}
	if !any {
		delete(p.requests, session)
		return ua.StatusBadNoSubscription
	}
	return nil
}

func (p *OPCUA) unmonitor(r *ua.DeleteMonitoredItemsRequest) (ua.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.subs[r.SubscriptionID]
	if s == nil || s.session != sessionOf(r) {
		return nil, ua.StatusBadSubscriptionIDInvalid
	}
	results := make([]ua.StatusCode, len(r.MonitoredItemIDs))
	for i, number := range r.MonitoredItemIDs {
		m := s.items[number]
		if m == nil {
			results[i] = ua.StatusBadMonitoredItemIDInvalid
			continue
		}
		delete(s.items, number)
		kept := s.waiting[:0]
		for _, n := range s.waiting {
			if n.item != m {
				kept = append(kept, n)
			}
		}
		s.waiting = kept
	}
	return &ua.DeleteMonitoredItemsResponse{ResponseHeader: header(r), Results: results, DiagnosticInfos: []*ua.DiagnosticInfo{}}, nil
}

func (p *OPCUA) unsubscribe(r *ua.DeleteSubscriptionsRequest) ua.Response {
	p.mu.Lock()
	defer p.mu.Unlock()
	results := make([]ua.StatusCode, len(r.SubscriptionIDs))
	for i, number := range r.SubscriptionIDs {
		s := p.subs[number]
		if s == nil || s.session != sessionOf(r) {
			results[i] = ua.StatusBadSubscriptionIDInvalid
			continue
		}
		p.drop(s)
	}
	return &ua.DeleteSubscriptionsResponse{ResponseHeader: header(r), Results: results, DiagnosticInfos: []*ua.DiagnosticInfo{}}
}

// drop ends a subscription. Under the mutex.
func (p *OPCUA) drop(s *subscription) {
	s.end()
	delete(p.subs, s.id)
}
