package bridge

import (
	"slices"
	"sync"
	"time"
)

// maxAges is how many commits are told apart by their time.
const maxAges = 1024

// ages knows when what waits in the outbox was accepted. The outbox itself dates
// whole segments.
type ages struct {
	mu      sync.Mutex
	before  uint64 // what was accepted up to here, an earlier process did
	commits []aged
}

// aged is one commit, or several that follow each other, dated by the first.
type aged struct {
	last uint64
	at   time.Time
}

// accepted notes a commit.
func (a *ages) accepted(last uint64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.commits) == maxAges {
		for i := range maxAges / 2 {
			a.commits[i] = aged{a.commits[2*i+1].last, a.commits[2*i].at}
		}
		a.commits = a.commits[:maxAges/2]
	}
	a.commits = append(a.commits, aged{last, at})
}

// oldest tells when the first message behind freed was accepted; segment is what
// the outbox says of it, for those of an earlier process.
func (a *ages) oldest(freed uint64, segment time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if freed < a.before {
		return segment
	}
	n := 0
	for n < len(a.commits) && a.commits[n].last <= freed {
		n++
	}
	if a.commits = slices.Delete(a.commits, 0, n); len(a.commits) == 0 {
		return segment
	}
	return a.commits[0].at
}
