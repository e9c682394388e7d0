package bridge

import (
	"context"
	"sync"
)

// commitSize is how many pending bytes are worth a commit of their own.
const commitSize = 64 << 10

// maxPending is how many bytes of memory may be pending, and what each machine
// gives at once: above it machines are not polled until the committer takes
// over what is pending. What is not read is not lost. The committer does not
// while the outbox accepts nothing, or the disk does not answer.
const maxPending = 4 << 20

// intake counts what is pending of all machines, wakes the committer, and makes
// sources wait while the outbox accepts nothing.
type intake struct {
	first  chan struct{} // something is pending; capacity 1
	enough chan struct{} // commitSize is; capacity 1

	mu      sync.Mutex
	pending int           // bytes of frames, about
	kept    int           // bytes of memory
	stalled string        // why the outbox accepts nothing; empty while it does
	hold    bool          // wait at once in a stall, not only at maxPending
	room    chan struct{} // closed when those who wait are to look again; nil while nobody waits
}

func newIntake() *intake {
	return &intake{first: make(chan struct{}, 1), enough: make(chan struct{}, 1)}
}

// add counts what became pending: the bytes that frames of it have, and those
// that it takes in memory.
func (i *intake) add(size, kept int) {
	i.mu.Lock()
	i.pending += size
	i.kept += kept
	enough := i.pending >= commitSize || i.kept >= maxPending
	i.mu.Unlock()
	signal(i.first)
	if enough {
		signal(i.enough)
	}
}

// drained sets the count back, after everything pending was taken over.
func (i *intake) drained() {
	i.mu.Lock()
	i.pending, i.kept = 0, 0
	i.release()
	i.mu.Unlock()
	select {
	case <-i.enough:
	default:
	}
}

// release makes those who wait look again. Called with mu held.
func (i *intake) release() {
	if i.room != nil {
		close(i.room)
		i.room = nil
	}
}

// wait returns at once unless enough is pending, or the outbox is full.
func (i *intake) wait(ctx context.Context) error {
	for {
		i.mu.Lock()
		if (i.stalled == "" || !i.hold) && i.kept < maxPending {
			i.mu.Unlock()
			return nil
		}
		if i.room == nil {
			i.room = make(chan struct{})
		}
		room := i.room
		i.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stall makes sources wait at once from now on where hold is set; else they wait
// when maxPending is reached, as ever. It tells whether the reason is new.
func (i *intake) stall(why string, hold bool) (isNew bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	isNew = i.stalled != why
	i.stalled, i.hold = why, hold
	i.release()
	return isNew
}

// resume ends a stall. It tells whether there was one.
func (i *intake) resume() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stalled == "" {
		return false
	}
	i.stalled = ""
	i.release()
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
