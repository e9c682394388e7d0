package impair

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// pipe is one direction of one flow.
type pipe struct {
	proxy   *Proxy
	deliver func([]byte)

	mu    sync.Mutex // guards what follows
	draws *rand.Rand
	free  time.Time // when the bandwidth is free again
	late  queue
	order uint64
	wake  chan struct{} // for the goroutine that delivers what is late; nil: it does not run
}

func newPipe(p *Proxy, draws *rand.Rand, deliver func([]byte)) *pipe {
	return &pipe{proxy: p, draws: draws, deliver: deliver}
}

// fate is what becomes of one datagram, bandwidth apart.
type fate struct {
	lost   bool
	delays []time.Duration // one for each copy
}

// decide draws a fate. It takes the same number of draws whatever the rule and
// the outcome, so that one decision does not shift the next.
func decide(draws *rand.Rand, r Rule) fate {
	lost, twice, late := draws.Float64() < r.Loss, draws.Float64() < r.Duplicate, draws.Float64() < r.Reorder
	first, second := draws.Float64(), draws.Float64()
	if lost {
		return fate{lost: true}
	}
	by := r.ReorderBy
	if by == 0 {
		by = 10 * time.Millisecond
	}
	delay := r.Delay + time.Duration(first*float64(r.Jitter))
	if late {
		delay += by
	}
	f := fate{delays: []time.Duration{delay}}
	if twice {
		f.delays = append(f.delays, r.Delay+time.Duration(second*float64(r.Jitter)))
	}
	return f
}

// put takes a datagram; b is the caller's.
func (p *pipe) put(b []byte, r Rule) {
	if p.proxy.hole.Load() {
		p.proxy.swallowed.Add(1)
		return
	}
	p.mu.Lock()
	f := decide(p.draws, r)
	now := time.Now()
	queued, fits := p.throttle(now, len(b), r)
	p.mu.Unlock()
	if f.lost || !fits {
		p.proxy.lost.Add(1)
		return
	}
	if len(f.delays) > 1 {
		p.proxy.duplicated.Add(1)
	}
	for _, d := range f.delays {
		if d += queued; d == 0 {
			p.proxy.passed.Add(1)
			p.deliver(b)
			continue
		}
		p.proxy.delayed.Add(1)
		p.hold(append([]byte(nil), b...), now.Add(d))
	}
}

// throttle gives how long a datagram waits for bandwidth, and whether it may.
func (p *pipe) throttle(now time.Time, size int, r Rule) (time.Duration, bool) {
	if r.Bandwidth == 0 {
		return 0, true
	}
	room := r.Queue
	if room == 0 {
		room = 64 << 10
	}
	if p.free.Before(now) {
		p.free = now
	}
	ahead := p.free.Sub(now)
	if int(ahead.Seconds()*float64(r.Bandwidth))+size > room+size {
		return 0, false
	}
	p.free = p.free.Add(time.Duration(float64(size) / float64(r.Bandwidth) * float64(time.Second)))
	return p.free.Sub(now), true
}

// hold keeps a datagram until its time.
func (p *pipe) hold(b []byte, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order++
	heap.Push(&p.late, held{b, due, p.order})
	if p.wake == nil {
		p.wake = make(chan struct{}, 1)
		p.proxy.wg.Go(p.run)
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run delivers what is held, until the proxy is closed.
func (p *pipe) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		var due []held
		for now := time.Now(); len(p.late) > 0 && !p.late[0].due.After(now); {
			due = append(due, heap.Pop(&p.late).(held)) //nolint:forcetypeassert // holds nothing else
		}
		wait := time.Hour
		if len(p.late) > 0 {
			wait = time.Until(p.late[0].due)
		}
		p.mu.Unlock()
		for _, h := range due {
			if p.proxy.hole.Load() {
				p.proxy.swallowed.Add(1)
				continue
			}
			p.proxy.passed.Add(1)
			p.deliver(h.datagram)
		}
		if len(due) > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-p.proxy.done:
			return
		}
	}
}

// held is a datagram that waits for its time.
type held struct {
	datagram []byte
	due      time.Time
	order    uint64
}

// queue is a heap by time, then by arrival.
type queue []held

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].order < q[j].order
	}
	return q[i].due.Before(q[j].due)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(held)) } //nolint:forcetypeassert // holds nothing else

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = held{}
	*q = (*q)[:last]
	return x
}
