package sim

import (
	"context"
	"net"
	"time"

	"github.com/gopcua/opcua/ua"
)

// publish is the life of a subscription: at each interval it sends what waits.
func (p *OPCUA) publish(ctx context.Context, s *subscription) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		ticked := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ticked = true
		case <-s.wake:
		}
		for {
			number, answer := p.next(s, ticked)
			if answer == nil {
				break
			}
			if number == 0 {
				continue // lost
			}
			err := s.channel.SendResponseWithContext(ctx, number, answer)
			p.mu.Lock()
			s.sending = false
			p.mu.Unlock()
			if err != nil {
				return // the connection is gone
			}
			ticked = false
		}
	}
}

// next gives the next message, and to which request it is the answer; none where
// there is nothing to say, or nobody asked. What is in it counts as given out:
// whoever has seen it finds it there.
func (p *OPCUA) next(s *subscription, ticked bool) (number uint32, answer *ua.PublishResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests := p.requests[s.session]
	s.late = len(s.waiting) > 0 && len(requests) == 0
	if ticked && len(s.waiting) == 0 {
		s.quiet++
	}
	if len(requests) == 0 || len(s.waiting) == 0 && (!ticked || s.quiet < s.keepAlive) {
		return 0, nil
	}
	r := requests[0]
	message := &ua.NotificationMessage{SequenceNumber: s.sequence + 1, PublishTime: time.Now(), NotificationData: []*ua.ExtensionObject{}}
	n := len(s.waiting)
	if s.most > 0 {
		n = min(n, s.most)
	}
	if n > 0 {
		change := &ua.DataChangeNotification{DiagnosticInfos: []*ua.DiagnosticInfo{}}
		lost := p.swallow(s.waiting[:n])
		for _, one := range s.waiting[:n] {
			one.item.waiting--
			if lost {
				continue
			}
			p.gave(one)
			change.MonitoredItems = append(change.MonitoredItems, &ua.MonitoredItemNotification{ClientHandle: one.item.handle, Value: one.value})
		}
		s.waiting = append([]notice{}, s.waiting[n:]...)
		data := ua.NewExtensionObject(change)
		data.UpdateMask()
		message.NotificationData = append(message.NotificationData, data)
		s.sequence++ // that of a message without values is that of the next one
		if lost {
			return 0, &ua.PublishResponse{}
		}
	}
	p.requests[s.session] = requests[1:]
	s.quiet, s.sending = 0, true
	return r.number, &ua.PublishResponse{
		ResponseHeader: headerFor(r.handle), SubscriptionID: s.id, MoreNotifications: len(s.waiting) > 0,
		NotificationMessage: message, AvailableSequenceNumbers: []uint32{},
		Results: make([]ua.StatusCode, r.acknowledged), DiagnosticInfos: []*ua.DiagnosticInfo{},
	}
}

// forget ends the subscriptions of a connection that is no more, or all.
func (p *OPCUA) forget(gone net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subs {
		if gone == nil || s.channel.RemoteAddr().String() == gone.String() {
			delete(p.requests, s.session)
			p.drop(s)
		}
	}
}

// Still lets the machines stand still, and waits until all that moved has left
// the server: after that [OPCUA.Given] and [OPCUA.Served] stay as they are, while
// the connections last.
func (p *OPCUA) Still(ctx context.Context) error {
	p.mu.Lock()
	p.still = true
	p.mu.Unlock()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !p.left() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// left tells whether no value waits to be sent.
func (p *OPCUA) left() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subs {
		if s.sending {
			return false
		}
		for _, n := range s.waiting {
			if n.item.node != nil {
				return false
			}
		}
	}
	return true
}
