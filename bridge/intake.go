package bridge

import (
	"context"
	"sync"
)

// commitSize is how many pending bytes are worth a commit of their own.
const commitSize = 64 << 10

// maxPending is how many bytes may be pending while the outbox accepts nothing.
// Then machines are not polled until it does: what is not read is not lost.
const maxPending = 4 << 20

// intake counts what is pending of all machines, wakes the committer, and makes
// sources wait while the outbox accepts nothing.
type intake struct {
	first  chan struct{} // something is pending; capacity 1
	enough chan struct{} // commitSize is; capacity 1

	mu      sync.Mutex
	pending int
	stalled string        // why the outbox accepts nothing; empty while it does
	resumed chan struct{} // closed when a stall ends; nil while there is none
	hold    bool          // wait at once in a stall, not only at maxPending
}

func newIntake() *intake {
	return &intake{first: make(chan struct{}, 1), enough: make(chan struct{}, 1)}
}

// add counts n bytes more.
func (i *intake) add(n int) {
	i.mu.Lock()
	i.pending += n
	enough := i.pending >= commitSize
	i.mu.Unlock()
	signal(i.first)
	if enough {
		signal(i.enough)
	}
}

// drained sets the count back, after everything pending was taken over.
func (i *intake) drained() {
	i.mu.Lock()
	i.pending = 0
	i.mu.Unlock()
	select {
	case <-i.enough:
	default:
	}
}

// wait returns at once unless the outbox accepts nothing and enough is pending.
func (i *intake) wait(ctx context.Context) error {
	for {
		i.mu.Lock()
		resumed := i.resumed
		free := resumed == nil || (!i.hold && i.pending < maxPending)
		i.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-resumed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stall makes sources wait from now on: at once where hold is set, else when
// maxPending is reached. It tells whether the reason is new.
func (i *intake) stall(why string, hold bool) (isNew bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	isNew = i.stalled != why
	i.stalled, i.hold = why, hold
	if i.resumed == nil {
		i.resumed = make(chan struct{})
	}
	return isNew
}

// resume ends a stall. It tells whether there was one.
func (i *intake) resume() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.resumed == nil {
		return false
	}
	close(i.resumed)
	i.resumed, i.stalled = nil, ""
	return true
}

// why tells why nothing is accepted; empty while something is.
func (i *intake) why() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stalled
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
