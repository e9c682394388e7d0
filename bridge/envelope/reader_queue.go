package envelope

import (
	"bytes"
	"cmp"
	"slices"
)

// queue is what waits, in the order of arrival, with what no longer does.
type queue struct {
	all  []*candidate
	live int
}

// oldest takes out the oldest that still waits; nil if none does.
func (q *queue) oldest() *candidate {
	for len(q.all) > 0 {
		c := q.all[0]
		q.all[0] = nil
		q.all = q.all[1:]
		if !c.gone {
			return c
		}
	}
	return nil
}

// What things take in memory besides their content, about.
const (
	costCandidate = 640
	costSample    = 96
	costWaiting   = 32 // of a sample that is not decoded yet: three times that at most, when it is delivered
	costEntry     = 256
)

// hold puts a candidate into the queue, and gives up the oldest if there is no
// room. What it holds of the message it copies.
func (r *Reader) hold(c *candidate) {
	if c.sealed() {
		c.frame.ciphertext = bytes.Clone(c.frame.ciphertext)
	}
	r.arrivals++
	c.arrival, c.position = r.arrivals, r.position
	q := &r.queue[0]
	if c.member {
		q = &r.queue[1]
	}
	r.live++
	q.live++
	q.all = append(q.all, c)
	c.queue = q
	r.weigh(c)
	for r.pending > r.options.MaxPending {
		oldest := r.queue[0].oldest()
		if oldest == nil {
			oldest = r.queue[1].oldest()
		}
		if oldest == nil {
			break
		}
		r.giveUp(oldest)
	}
	if len(q.all) > 2*q.live+64 {
		q.all = slices.DeleteFunc(q.all, func(c *candidate) bool { return c.gone })
	}
}

// weigh accounts for the memory that a candidate takes now.
func (r *Reader) weigh(c *candidate) {
	d := &c.delivery
	cost := costCandidate + c.made + len(c.frame.ciphertext) + max(len(c.plain), costWaiting*packSize(c.plain)) + len(d.Payload) + costSample*len(d.Samples) + len(d.Point) + len(d.ContentType)
	for i := range d.Samples {
		cost += len(d.Samples[i].Value.data) + len(d.Samples[i].Name) + len(d.Samples[i].Unit)
	}
	for i := range d.Catalogue {
		cost += weighEntry(&d.Catalogue[i])
	}
	r.pending += cost - c.cost
	c.cost = cost
}

func weighEntry(e *Entry) int {
	n := costEntry + len(e.Name) + len(e.ID) + len(e.Unit) + 64*len(e.Texts) + 64*len(e.Tags)
	for _, text := range e.Texts {
		n += len(text)
	}
	for tag, value := range e.Tags {
		n += len(tag) + len(value)
	}
	return n
}

// drop takes a candidate out of the account of what waits.
func (r *Reader) drop(c *candidate) {
	if c.cost > 0 && !c.gone {
		r.pending -= c.cost
		r.live--
		c.queue.live--
	}
	c.gone = true
}

// giveUp lets go of a candidate that waited too long. Its number is missing from
// then on, and counts when it comes again; if it was delivered, it is not given
// again, and its number counts when it is signed.
func (r *Reader) giveUp(c *candidate) {
	r.drop(c)
	e, n := c.epoch, c.delivery.Sequence
	e.remove(c)
	r.lapse(e.stream)
	if c.delivered {
		r.remember(slot{e, n}, c.digest)
	}
	r.forget(e)
}

// remove takes one of the messages that claim a number out of them.
func (e *epochState) remove(c *candidate) {
	n := c.delivery.Sequence
	e.waiting[n] = slices.DeleteFunc(e.waiting[n], func(o *candidate) bool { return o == c })
	if len(e.waiting[n]) == 0 {
		delete(e.waiting, n)
	}
}

// lapse counts what is given up.
func (r *Reader) lapse(s *streamState) {
	s.givenUp++
	r.lapsed++
}

// GivenUp is how many messages and signed digests were let go because there were
// too many, of streams in the report and of those that nothing is known of.
func (r *Reader) GivenUp() uint64 { return r.lapsed }

// Flush gives what still waits for a signature, as Pending, and does not give it
// again. What also waits for its key frame, and numbers that two different
// messages claim, are not given: Report tells of them.
func (r *Reader) Flush() []Delivery {
	var waiting []*candidate
	for i := range r.queue {
		for _, c := range r.queue[i].all {
			if !c.gone && !c.delivered && !c.silent && !c.sealed() && !c.catalogue() && len(c.epoch.waiting[c.delivery.Sequence]) == 1 {
				waiting = append(waiting, c)
			}
		}
	}
	slices.SortFunc(waiting, func(a, b *candidate) int { return cmp.Compare(a.arrival, b.arrival) })
	r.arena.reset()
	for _, c := range waiting {
		if r.decode(c) == nil {
			r.give(c, r.proof())
		}
	}
	return r.arena.out
}
