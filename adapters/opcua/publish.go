package opcua

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopcua/opcua/ua"
)

const (
	minPublishers = 2 // requests at the server: with one alone the rate ends at one per round trip
	maxPublishers = 10
	maxFaults     = 5
	maxAhead      = 1000            // messages that a keep-alive may say are missing; more is nonsense
	minLacking    = 2 * time.Second // before a message that did not come is given up
)

// startPublishing sees to it that enough requests for notifications are at the
// server.
func (s *session) startPublishing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for want := min(max(minPublishers, 2*len(s.subs)), maxPublishers); s.publishers < want; s.publishers++ {
		s.active++
		s.wait.Go(func() {
			err := s.publish()
			s.mu.Lock()
			s.active--
			last := s.active == 0
			s.mu.Unlock()
			if err != nil && (last || !errors.Is(err, ua.StatusBadTooManyPublishRequests)) {
				s.fail(err)
			}
		})
	}
}

// publish asks for notifications and takes them, one after the other.
func (s *session) publish() error {
	faults := 0
	for s.ctx.Err() == nil {
		s.mu.Lock()
		ask := &ua.PublishRequest{SubscriptionAcknowledgements: s.acks}
		s.acks = nil
		patience := s.ch.timeout
		for _, sub := range s.subs {
			patience = max(patience, sub.patience())
		}
		s.mu.Unlock()
		answer, err := callFor[*ua.PublishResponse](s.ctx, s.ch, ask, patience)
		switch {
		case err == nil:
			faults = 0
			if err := s.take(answer); err != nil {
				return err
			}
			continue
		case s.isBroken(err) || errors.Is(err, ua.StatusBadTooManyPublishRequests):
			return err
		case errors.Is(err, ua.StatusBadTimeout):
			continue // the watch over the subscriptions judges
		case errors.Is(err, ua.StatusBadNoSubscription):
			return fmt.Errorf("the server forgot the subscription: %w", err)
		}
		if faults++; faults == maxFaults {
			return err
		}
		s.mu.Lock()
		s.stale = true // what it held is lost
		s.mu.Unlock()
		pause(s.ctx, time.Second)
	}
	return nil
}

// pause waits for the time or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// take puts one answer in its place in the subscription's order. Answers to
// several requests under way may be taken up out of order.
func (s *session) take(answer *ua.PublishResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, m := s.byID[answer.SubscriptionID], answer.NotificationMessage
	if sub == nil || m == nil {
		return nil
	}
	now := time.Now()
	if sub.ticks < provenTicks {
		sub.heard = now
	}
	if len(m.NotificationData) == 0 { // keep-alive: its number is that of the next message
		if ahead := int64(m.SequenceNumber) - int64(sub.next); ahead > 0 && ahead <= maxAhead {
			sub.known = max(sub.known, m.SequenceNumber)
		}
		return s.deliver(sub)
	}
	if sub.ticked(m) {
		sub.ticks = min(sub.ticks+1, provenTicks)
		sub.heard = now
	}
	s.acks = append(s.acks, &ua.SubscriptionAcknowledgement{SubscriptionID: sub.id, SequenceNumber: m.SequenceNumber})
	if m.SequenceNumber < sub.next {
		return nil // came before
	}
	sub.held[m.SequenceNumber] = m
	sub.known = max(sub.known, m.SequenceNumber+1)
	return s.deliver(sub)
}

// ticked tells whether the server's clock is in the message.
func (sub *subscription) ticked(m *ua.NotificationMessage) bool {
	for _, data := range m.NotificationData {
		if data == nil {
			continue
		}
		if n, ok := data.Value.(*ua.DataChangeNotification); ok {
			for _, one := range n.MonitoredItems {
				if one != nil && one.ClientHandle == sub.clock && sub.clock != 0 {
					return true
				}
			}
		}
	}
	return false
}

// deliver takes the messages whose turn it is, and notes since when one is
// missing. Under the mutex.
func (s *session) deliver(sub *subscription) error {
	for len(sub.held) > 0 {
		next := sub.held[sub.next]
		if next == nil {
			if len(sub.held) <= maxPublishers {
				break
			}
			s.gap(sub)
			continue
		}
		delete(sub.held, sub.next)
		sub.next++
		sub.lacking = time.Time{}
		if err := s.message(sub, next); err != nil {
			return err
		}
	}
	switch {
	case sub.next >= sub.known:
		sub.lacking = time.Time{}
	case sub.lacking.IsZero():
		sub.lacking = time.Now()
	}
	return nil
}

// gap gives up messages that never came. Their values are lost, so all is read
// anew.
func (s *session) gap(sub *subscription) {
	least := sub.known
	for n := range sub.held {
		least = min(least, n)
	}
	told := map[*assignment]bool{}
	for _, it := range s.items {
		if it.sub == sub && !told[it.of] {
			told[it.of] = true
			it.of.gaps += uint64(least - sub.next)
		}
	}
	sub.next, s.stale, sub.lacking = least, true, time.Time{}
}

// message takes the notifications of one message. Under the mutex.
func (s *session) message(sub *subscription, m *ua.NotificationMessage) error {
	touched := map[*assignment]bool{}
	for _, data := range m.NotificationData {
		if data == nil {
			continue
		}
		switch n := data.Value.(type) {
		case *ua.DataChangeNotification:
			for _, one := range n.MonitoredItems {
				if one == nil {
					continue
				}
				if it := s.items[one.ClientHandle]; it != nil && it.sub == sub {
					s.notified(it, one.Value)
					touched[it.of] = true
				}
			}
		case *ua.StatusChangeNotification:
			return fmt.Errorf("the server ended the subscription (%s)", statusName(n.Status))
		}
	}
	for a := range touched {
		s.flush(a)
	}
	return nil
}
