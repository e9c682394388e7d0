package opcua

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	// maxPublish is the longest publishing interval. A point that is sampled more
	// rarely costs nothing more by it, and arrives sooner.
	maxPublish  = 5 * time.Second
	minLifetime = 45 * time.Second // of a subscription that nobody asks for
	maxQueue    = 1000
)

// group is what shares a subscription: points with one publishing interval.
// Large ones are apart, so that a message of many small ones stays small.
type group struct {
	every time.Duration
	large bool
}

// subscription is one of the server's subscriptions.
type subscription struct {
	id       uint32
	interval time.Duration // as revised
	silence  time.Duration // how long without data means that it is dead

	// Under the session's mutex.
	next    uint32 // number of the next message
	held    map[uint32]*ua.NotificationMessage
	clock   uint32    // client handle of the server's clock; 0: the server does not give it
	ticks   int       // that it made. One that does not tick is not waited for
	heard   time.Time // the last tick; where the clock does not tick, the last message
	members int
}

// monitor subscribes to items.
func (s *session) monitor(items []*item) error {
	groups := map[group][]*item{}
	for _, it := range items {
		g := group{min(it.every, maxPublish), it.size() > defaultMaxBytes}
		groups[g] = append(groups[g], it)
	}
	for g, items := range groups {
		sub, err := s.subscription(g)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(items, s.maxMonitor) {
			if err := s.create(sub, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// subscription gives the subscription for a group of points.
func (s *session) subscription(g group) (*subscription, error) {
	every := g.every
	s.mu.Lock()
	sub := s.subs[g]
	s.mu.Unlock()
	if sub != nil {
		return sub, nil
	}
	count := func(d time.Duration) uint32 { return uint32(max(1, (d+every-1)/every)) }
	keepAlive := count(s.pace.keepAlive)
	most := uint32(maxAnswer / defaultMaxBytes)
	if g.large {
		most = maxAnswer / point.MaxValueSize
	}
	answer, err := call[*ua.CreateSubscriptionResponse](s.ctx, s.ch, &ua.CreateSubscriptionRequest{
		RequestedPublishingInterval: float64(every) / float64(time.Millisecond),
		RequestedMaxKeepAliveCount:  keepAlive,
		RequestedLifetimeCount:      max(3*keepAlive, count(minLifetime)),
		MaxNotificationsPerPublish:  most, PublishingEnabled: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	sub = &subscription{
		id: answer.SubscriptionID, interval: cmp.Or(milliseconds(answer.RevisedPublishingInterval), every),
		next: 1, held: map[uint32]*ua.NotificationMessage{}, heard: time.Now(),
	}
	sub.silence = 3 * max(sub.interval, s.pace.keepAlive, time.Duration(min(answer.RevisedMaxKeepAliveCount, 1000))*sub.interval)
	s.mu.Lock()
	if s.byID[sub.id] != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("the server gave one number to two subscriptions")
	}
	s.subs[g], s.byID[sub.id] = sub, sub
	s.mu.Unlock()
	s.startPublishing()
	return sub, s.watchClock(sub)
}

// watchClock subscribes to the server's clock, which always changes: where it
// falls silent the subscription is dead, whatever the connection looks like.
func (s *session) watchClock(sub *subscription) error {
	s.mu.Lock()
	s.handles++
	handle := s.handles
	s.mu.Unlock()
	every := max(s.pace.keepAlive, sub.interval)
	answer, err := call[*ua.CreateMonitoredItemsResponse](s.ctx, s.ch, &ua.CreateMonitoredItemsRequest{
		SubscriptionID: sub.id, TimestampsToReturn: ua.TimestampsToReturnNeither,
		ItemsToCreate: []*ua.MonitoredItemCreateRequest{request(ua.NewNumericNodeID(0, id.Server_ServerStatus_CurrentTime), handle, every, 1)},
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(answer.Results) == 1 && answer.Results[0].StatusCode == ua.StatusOK {
		sub.clock = handle
		sub.silence = 3 * max(every, min(milliseconds(answer.Results[0].RevisedSamplingInterval), time.Minute))
	}
	return nil
}

func request(node *ua.NodeID, handle uint32, every time.Duration, queue uint32) *ua.MonitoredItemCreateRequest {
	return &ua.MonitoredItemCreateRequest{
		ItemToMonitor:  &ua.ReadValueID{NodeID: node, AttributeID: ua.AttributeIDValue, DataEncoding: &ua.QualifiedName{}},
		MonitoringMode: ua.MonitoringModeReporting,
		RequestedParameters: &ua.MonitoringParameters{
			ClientHandle: handle, SamplingInterval: float64(every) / float64(time.Millisecond), QueueSize: queue, DiscardOldest: true,
		},
	}
}

// create asks for monitored items. An item that the server refuses is noted, and
// the others flow.
func (s *session) create(sub *subscription, items []*item) error {
	ask := &ua.CreateMonitoredItemsRequest{SubscriptionID: sub.id, TimestampsToReturn: ua.TimestampsToReturnBoth}
	s.mu.Lock()
	for _, it := range items {
		s.handles++
		it.handle, it.sub = s.handles, sub
		s.items[it.handle] = it
		queue := min(maxQueue, math.Ceil(float64(sub.interval)/float64(it.every))+1)
		ask.ItemsToCreate = append(ask.ItemsToCreate, request(it.node, it.handle, it.every, uint32(queue)))
	}
	sub.members += len(items)
	s.mu.Unlock()
	answer, err := call[*ua.CreateMonitoredItemsResponse](s.ctx, s.ch, ask)
	if err == nil && len(answer.Results) != len(items) {
		err = fmt.Errorf("the server answered %d of %d monitored items", len(answer.Results), len(items))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range items {
		r := answer.Results[i]
		if r == nil || r.StatusCode&0x80000000 != 0 {
			status := ua.StatusBad
			if r != nil {
				status = r.StatusCode
			}
			delete(s.items, it.handle)
			sub.members--
			it.sub = nil
			s.refuse(it, refusedNode(it.name, status), point.Quality(status))
			continue
		}
		it.id = r.MonitoredItemID
		s.compare(it, milliseconds(r.RevisedSamplingInterval))
	}
	s.flushAll(items)
	return nil
}

// compare tells the pool where the server is slower than was asked for.
func (s *session) compare(it *item, sampling time.Duration) {
	asked := it.every + it.every/10
	slower := sampling > asked || it.sub.interval > min(it.every, maxPublish)+it.every/10
	if slower || it.revised {
		r := revisedFrame{machine: it.of.id, point: it.point}
		if slower {
			r.sampling, r.publishing = max(sampling, it.every), it.sub.interval
		}
		it.revised = slower
		s.out.send(r.frame(it.of.endpoint), false)
	}
}

// release stops monitoring a machine's items.
func (s *session) release(a *assignment) error {
	ids := map[*subscription][]uint32{}
	s.mu.Lock()
	for _, it := range a.items {
		if it.sub != nil {
			delete(s.items, it.handle)
			it.sub.members--
			ids[it.sub] = append(ids[it.sub], it.id)
		}
	}
	a.items = nil
	s.mu.Unlock()
	for sub, all := range ids {
		for part := range slices.Chunk(all, s.maxMonitor) {
			_, err := call[*ua.DeleteMonitoredItemsResponse](s.ctx, s.ch, &ua.DeleteMonitoredItemsRequest{SubscriptionID: sub.id, MonitoredItemIDs: part})
			if err != nil && s.isBroken(err) {
				return err
			}
		}
	}
	return nil
}

// refresh reads all points of a machine again.
func (s *session) refresh(a *assignment) error {
	var known []*item
	for _, it := range a.items {
		if it.refused == "" && it.node != nil {
			known = append(known, it)
		}
	}
	return s.readItems(known)
}

// retryRefused tries again what the server refused.
func (s *session) retryRefused() error {
	any := false
	for _, a := range s.taken {
		any = any || slices.ContainsFunc(a.items, func(it *item) bool { return it.refused != "" })
	}
	if !any {
		return nil
	}
	if err := s.readNamespaces(); err != nil {
		if s.isBroken(err) {
			return err
		}
		return nil
	}
	for _, a := range s.taken {
		var again []*item
		absent := len(a.items) > 0
		for _, it := range a.items {
			absent = absent && it.node == nil
			if it.refused != "" {
				again = append(again, it)
			}
		}
		s.resolve(again)
		if absent && !s.announce(a) {
			continue
		}
		if err := s.begin(again); err != nil {
			return err
		}
	}
	return nil
}

// inspect looks for subscriptions that fell silent, and reads anew what was lost.
func (s *session) inspect(now time.Time) error {
	s.mu.Lock()
	stale := s.stale
	s.stale = false
	for _, sub := range s.subs {
		if quiet := now.Sub(sub.heard); quiet > sub.silence && s.active > 0 {
			s.mu.Unlock()
			return fmt.Errorf("the subscription fell silent: nothing came for %v", sub.silence)
		}
	}
	s.mu.Unlock()
	if !stale {
		return nil
	}
	for _, a := range s.taken {
		if err := s.refresh(a); err != nil {
			return err
		}
		s.mu.Lock()
		s.flush(a)
		s.mu.Unlock()
	}
	return nil
}
