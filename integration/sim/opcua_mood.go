package sim

import (
	"time"

	"github.com/gopcua/opcua/ua"
)

// OPCUAMood is what real servers do that a friendly one does not. It may be left
// zero.
type OPCUAMood struct {
	// Refuse gives the fault of a whole CreateMonitoredItems call that has the
	// node s=… in it, or the clock, which is called "clock"; 0: none.
	Refuse     func(node string) ua.StatusCode
	Subscribe  ua.StatusCode // the fault of CreateSubscription
	Publishing time.Duration // at least, as revised
	Sampling   time.Duration // at least, as revised
	Queue      uint32        // values of a node that are kept, as revised; 0: enough
	DeadClock  bool          // the server's clock can be subscribed to and does not tick
	KeepAlive  uint32        // at least so many intervals, as revised
	Swallow    int           // that many messages with values of machines get lost
}

// Be changes the mood. What is subscribed to already stays as it is.
func (p *OPCUA) Be(mood OPCUAMood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = mood
}

// refuses gives the fault of the call. Under the mutex.
func (p *OPCUA) refuses(r *ua.CreateMonitoredItemsRequest) ua.StatusCode {
	if p.mood.Refuse == nil {
		return ua.StatusOK
	}
	for _, ask := range r.ItemsToCreate {
		name := ask.ItemToMonitor.NodeID.StringID()
		if n, known := p.find(ask.ItemToMonitor.NodeID); known && n == nil {
			name = "clock"
		}
		if status := p.mood.Refuse(name); status != ua.StatusOK {
			return status
		}
	}
	return ua.StatusOK
}

// swallow tells whether the message gets lost. Under the mutex.
func (p *OPCUA) swallow(sent []notice) bool {
	if p.mood.Swallow == 0 {
		return false
	}
	for _, n := range sent {
		if n.item.node != nil {
			p.mood.Swallow--
			return true
		}
	}
	return false
}
