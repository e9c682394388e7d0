package opcua

import (
	"cmp"
	"context"
	"errors"
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

// group is what shares a subscription: points with one publishing interval, of
// which as many fit into a message.
type group struct {
	every time.Duration
	most  uint32 // notifications in one message
}

// inMessage gives how many notifications of the item's size may be in a message,
// so that it is a single chunk: the library puts chunks together in whatever
// order they come (ADR 10). There are three sizes, and so at most three
// subscriptions of one interval.
func (s *session) inMessage(it *item) uint32 {
	room := s.ch.room()
	for _, size := range [...]int{64, defaultMaxBytes} {
		if it.size() <= size {
			return uint32(max(1, min(room/(size+itemOverhead), 1000)))
		}
	}
	return 1
}

// itemOverhead is what surrounds a value in an answer, at most: handle, status,
// both times, and what kind of value it is.
const itemOverhead = 40

// subscription is one of the server's subscriptions.
type subscription struct {
	id       uint32
	interval time.Duration // as revised
	silence  time.Duration // how long without any message means that it is dead

	// Under the session's mutex.
	next    uint32    // number of the next message
	known   uint32    // number of the first message that the server has not shown to exist
	lacking time.Time // since when a message before that is missing; zero: none is
	held    map[uint32]*ua.NotificationMessage
	clock   uint32        // client handle of the server's clock; 0: the server does not give it
	beat    time.Duration // how long without a tick means that it is dead, once the clock proved to tick
	ticks   int           // that it made. One that does not tick is not waited for
	heard   time.Time     // the last tick; where the clock does not tick, the last message
	members int
}

// patience is how long the subscription may be silent. Under the mutex.
func (sub *subscription) patience() time.Duration {
	if sub.ticks >= provenTicks {
		return sub.beat
	}
	return sub.silence
}

// provenTicks is how often a clock has to tick before it is relied on: it begins
// with the time that it shows, also where it stands still.
const provenTicks = 2

// hopeless tells whether the session has to end because of an error. What one
// call is refused is the matter of its points. A server that answers nothing has
// no subscription that would tell.
func (s *session) hopeless(err error) bool {
	return s.isBroken(err) || errors.Is(err, ua.StatusBadTimeout) && len(s.subs) == 0
}

// monitor subscribes to items. What the server refuses is noted, and the others
// flow.
func (s *session) monitor(items []*item) error {
	groups := map[group][]*item{}
	for _, it := range items {
		g := group{min(it.every, maxPublish), s.inMessage(it)}
		groups[g] = append(groups[g], it)
	}
	s.search = maxSearch
	for g, items := range groups {
		sub, err := s.subscription(g)
		if err != nil {
			if s.hopeless(err) {
				return err
			}
			s.refuseAll(items, err, "the server's answer to a subscription makes no sense")
			continue
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
	answer, err := call[*ua.CreateSubscriptionResponse](s.ctx, s.ch, &ua.CreateSubscriptionRequest{
		RequestedPublishingInterval: float64(every) / float64(time.Millisecond),
		RequestedMaxKeepAliveCount:  keepAlive,
		RequestedLifetimeCount:      max(3*keepAlive, count(minLifetime)),
		MaxNotificationsPerPublish:  g.most, PublishingEnabled: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	sub = &subscription{
		id: answer.SubscriptionID, interval: cmp.Or(milliseconds(answer.RevisedPublishingInterval), every),
		next: 1, known: 1, held: map[uint32]*ua.NotificationMessage{}, heard: time.Now(),
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
	if err := s.watchClock(sub); err != nil && s.isBroken(err) {
		return nil, err // else it is not watched; keep-alive messages are
	}
	return sub, nil
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
		sub.beat = 3 * max(every, min(milliseconds(answer.Results[0].RevisedSamplingInterval), time.Minute))
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
// the others flow. Where it refuses the call, the items are divided until the ones
// at fault are found.
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
		s.mu.Lock()
		for _, it := range items {
			s.drop(it)
		}
		s.mu.Unlock()
		if s.hopeless(err) {
			return err
		}
		if s.divide(items, err) {
			if err := s.create(sub, items[:len(items)/2]); err != nil {
				return err
			}
			return s.create(sub, items[len(items)/2:])
		}
		s.refuseAll(items, err, "the server's answer to a subscription makes no sense")
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range items {
		r := answer.Results[i]
		if r == nil || quality(r.StatusCode).IsBad() {
			status := ua.StatusBad
			if r != nil {
				status = r.StatusCode
			}
			s.drop(it)
			s.refuse(it, refusedNode(it.name, status), quality(status))
			continue
		}
		it.id = r.MonitoredItemID
		s.compare(it, milliseconds(r.RevisedSamplingInterval), r.RevisedQueueSize)
	}
	s.flushAll(items)
	return nil
}

// drop forgets that an item is monitored. Under the mutex.
func (s *session) drop(it *item) {
	delete(s.items, it.handle)
	it.sub.members--
	it.sub = nil
}

// compare tells the pool where the server gives less than was asked for: it looks
// more rarely, tells more rarely, or keeps fewer values than it sees in between.
func (s *session) compare(it *item, sampling time.Duration, queue uint32) {
	r := revisedFrame{machine: it.of.id, point: it.point}
	sampling = max(sampling, it.every)
	if asked := it.every + it.every/10; sampling > asked || it.sub.interval > min(it.every, maxPublish)+it.every/10 {
		r.sampling, r.publishing = sampling, it.sub.interval
	}
	if need := (it.sub.interval - it.sub.interval/10 + sampling - 1) / sampling; int64(max(queue, 1)) < int64(need) {
		r.sampling, r.publishing, r.queue = sampling, it.sub.interval, max(queue, 1)
	}
	less := r.sampling > 0
	if less || it.revised {
		it.revised = less
		s.out.send(r.frame(it.of.endpoint), false)
	}
}

// release stops monitoring a machine's items.
func (s *session) release(a *assignment) error {
	ids := map[*subscription][]uint32{}
	s.mu.Lock()
	for _, it := range a.items {
		if it.sub != nil {
			ids[it.sub] = append(ids[it.sub], it.id)
			s.drop(it)
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
		if s.hopeless(err) {
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
		if absent {
			if err := s.begin(again); err != nil {
				return err
			}
		} else if err := s.monitorAgain(again); err != nil {
			return err
		}
	}
	return nil
}

// monitorAgain subscribes to items that were refused. It does not read them
// before: a point that can be read, and not monitored, would have a good value
// between two bad ones at each try.
func (s *session) monitorAgain(items []*item) error {
	s.mu.Lock()
	for _, it := range items {
		if it.node == nil {
			s.refuse(it, it.refused, point.BadConfigurationError)
		}
	}
	s.flushAll(items)
	s.mu.Unlock()
	known := slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.node == nil })
	if err := s.monitor(known); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range known {
		if it.refused == "" && it.noticed == 0 {
			s.tell(it, "")
		}
	}
	return nil
}

// watch looks after the subscriptions, until the session ends. It runs beside
// serve, which may wait long for one answer.
func (s *session) watch() {
	tick := time.NewTicker(max(s.pace.keepAlive/2, 10*time.Millisecond))
	defer tick.Stop()
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case now := <-tick.C:
			if err := s.inspect(now); err != nil {
				s.fail(err)
			}
		}
	}
	// The library looks at no context while it renews its keys.
	late := time.NewTimer(2 * byeTimeout)
	defer late.Stop()
	select {
	case <-s.over:
	case <-late.C:
		s.ch.gate.end(context.Cause(s.ctx))
	}
}

// inspect looks for subscriptions that fell silent, and for messages that do not
// come any more.
func (s *session) inspect(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if quiet := now.Sub(sub.heard); quiet > sub.patience() && s.active > 0 {
			return fmt.Errorf("the subscription fell silent: nothing came for %v", sub.patience())
		}
		if !sub.lacking.IsZero() && now.Sub(sub.lacking) > max(2*sub.interval, minLacking) {
			s.gap(sub)
			if err := s.deliver(sub); err != nil {
				return err
			}
		}
	}
	if s.stale {
		select {
		case s.anew <- struct{}{}:
		default:
		}
	}
	return nil
}

// readAnew reads everything after something was lost.
func (s *session) readAnew() error {
	s.mu.Lock()
	s.stale = false
	s.mu.Unlock()
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
