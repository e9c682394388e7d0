package sim

import (
	"context"
	"net"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// mend makes up for what gopcua v0.9.0's server gets wrong and a client would
// notice, and remembers who wanted to change something.
func (p *OPCUA) mend(s *server.Server) {
	// It numbers a subscription by how many there are, so that after one was
	// deleted two have the same number. Nothing is ever missing from the count
	// with placeholders.
	created := 0
	s.RegisterHandler(id.CreateSubscriptionRequest_Encoding_DefaultBinary, func(sc *uasc.SecureChannel, r ua.Request, n uint32) (ua.Response, error) {
		all := s.SubscriptionService
		all.Mu.Lock()
		for len(all.Subs) < created {
			all.Subs[1<<31+uint32(len(all.Subs))] = server.NewSubscription()
		}
		created++
		all.Mu.Unlock()
		return all.CreateSubscription(sc, r, n)
	})
	for _, kind := range []uint16{
		id.WriteRequest_Encoding_DefaultBinary, id.CallRequest_Encoding_DefaultBinary, id.HistoryUpdateRequest_Encoding_DefaultBinary,
		id.AddNodesRequest_Encoding_DefaultBinary, id.DeleteNodesRequest_Encoding_DefaultBinary,
	} {
		s.RegisterHandler(kind, func(*uasc.SecureChannel, ua.Request, uint32) (ua.Response, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.writes++
			return nil, ua.StatusBadNotWritable
		})
	}
}

// room waits until every subscription has room for a notification. The server
// blocks for ever, and with it all of it, where it tells a subscription that just
// ended more than that has room for.
func room(ctx context.Context, s *server.Server) {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for full := true; full; {
		full = false
		s.SubscriptionService.Mu.Lock()
		for _, sub := range s.SubscriptionService.Subs {
			full = full || len(sub.NotifyChannel) > cap(sub.NotifyChannel)/2
		}
		s.SubscriptionService.Mu.Unlock()
		if full {
			select {
			case <-poll.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// forget ends the subscriptions of a connection that is no more: the server
// leaves them until their lifetime ends.
func (p *OPCUA) forget(s *server.Server, gone net.Addr) {
	all := s.SubscriptionService
	all.Mu.Lock()
	var ids []uint32
	for number, sub := range all.Subs {
		if sub.Channel != nil && (gone == nil || sub.Channel.RemoteAddr().String() == gone.String()) {
			ids = append(ids, number)
		}
	}
	all.Mu.Unlock()
	for _, number := range ids {
		all.DeleteSubscription(number)
	}
}

// Writes is how often somebody wanted to write a value, call a method or change
// the nodes.
func (p *OPCUA) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}
