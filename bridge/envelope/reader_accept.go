package envelope

import (
	"slices"
	"time"
)

// candidate is a message that was read and is not settled: it waits for its
// signature, its key frame, or both.
type candidate struct {
	epoch    *epochState
	digest   [16]byte
	delivery Delivery
	frame    frame // a sealed one that waits for its key; the ciphertext is a copy

	silent    bool // gives no delivery: key frame, loss record
	delivered bool // given as Pending or Unverified
	signed    bool // its checkpoint came, and only its key frame did not
	gone      bool // settled, or given up
	cost      int
}

// sealed tells whether the candidate waits for its key.
func (c *candidate) sealed() bool { return c.frame.ciphertext != nil }

// deliver gives the delivery, and lets go of its content.
func (c *candidate) deliver(p Proof) Delivery {
	d := c.delivery
	d.Proof = p
	if d.Unopened {
		c.epoch.stream.unopened++
	}
	c.delivered = true
	c.delivery = Delivery{Sequence: d.Sequence, Time: d.Time}
	return d
}

// accept takes a message that is well-formed by itself. The candidate holds what
// is specific to its kind.
func (r *Reader) accept(m *Message, c *candidate) ([]Delivery, error) {
	e, err := r.epochOf(m)
	if err != nil {
		return nil, err
	}
	c.epoch, c.digest = e, m.Digest()
	d := &c.delivery
	d.Stream, d.Epoch, d.Sequence, d.Kind = m.Address.Stream, m.Epoch, m.Sequence, m.Address.Kind
	d.Point, d.ContentType, d.Time = m.Address.Point, m.ContentType, m.Time
	if repeated, err := e.seen(m, c.digest); repeated || err != nil {
		r.forget(e)
		return nil, err
	}
	if c.sealed() && (e.state != noKeyFrame || len(r.options.Identities) == 0) {
		if err := r.open(c); err != nil {
			return nil, refuse(Tampered, m, "cannot open data frame: %v", err)
		}
	}
	e.stream.highest = max(e.stream.highest, m.Sequence)
	_, c.signed = e.decided[m.Sequence]
	if out, ok := r.settle(c); ok {
		e.release()
		return out, nil
	}
	e.waiting[m.Sequence] = append(e.waiting[m.Sequence], c)
	var out []Delivery
	if !c.sealed() && !c.silent && r.options.Now && len(e.waiting[m.Sequence]) == 1 {
		out = []Delivery{c.deliver(Pending)}
	}
	r.hold(c)
	return out, nil
}

// seen tells whether a message with this number was there before, and refuses
// one that cannot be what the gateway sent under it.
func (e *epochState) seen(m *Message, digest [16]byte) (repeated bool, err error) {
	want, decided := e.decided[m.Sequence]
	switch {
	case e.released && !e.done.has(m.Sequence):
		r := refuse(Forged, m, "epoch %v is complete without it", e.id)
		e.stream.report(e.id, r)
		return false, r
	case decided && want != digest:
		r := refuse(Forged, m, "another message has this number")
		if !e.signed.has(m.Sequence) {
			r.Reason += "; without a trust file there is no telling which is the gateway's"
		}
		e.stream.report(e.id, r)
		return false, r
	case e.done.has(m.Sequence):
		e.stream.duplicates++
		return true, nil
	case decided:
		return e.waits(digest, m.Sequence), nil
	case e.signed.has(m.Sequence):
		return false, refuse(GivenUp, m, "its signed digest was given up")
	case e.stream.signed.has(m.Sequence):
		r := refuse(Forged, m, "the gateway used this number in another epoch")
		e.stream.report(e.id, r)
		return false, r
	case e.closed != 0 && m.Sequence > e.closed:
		r := refuse(Forged, m, "epoch %v was closed at %d", e.id, e.closed)
		e.stream.report(e.id, r)
		return false, r
	case e.waits(digest, m.Sequence):
		return true, nil
	case len(e.waiting[m.Sequence]) >= maxClaims:
		r := refuse(Forged, m, "%d different messages claim this number", maxClaims)
		e.stream.report(e.id, r)
		return false, r
	}
	return false, nil
}

// waits tells whether the same message is waiting.
func (e *epochState) waits(digest [16]byte, n uint64) bool {
	for _, c := range e.waiting[n] {
		if c.digest == digest {
			e.stream.duplicates++
			return true
		}
	}
	return false
}

// open opens a sealed candidate whose epoch's key frame came, or that nobody
// here can open.
func (r *Reader) open(c *candidate) error {
	e := c.epoch
	if e.state != opened {
		c.delivery.Unopened = true
		c.frame = frame{}
		return nil
	}
	plain, err := e.key.open(r.plain[:0], &c.frame)
	if err != nil {
		return err
	}
	r.plain = plain
	p := cursor{b: plain}
	base, samples := e.stream.names.decodePack(&p)
	if p.wrong == "" && p.i < len(p.b) {
		p.padding()
	}
	if err := p.end(); err != nil {
		return err
	}
	for i := range samples {
		if v := &samples[i].Value; v.data != nil {
			v.data = append([]byte{}, v.data...) // r.plain is used again
		}
	}
	c.delivery.Base, c.delivery.Samples = base, samples
	c.frame = frame{}
	return nil
}

// settle delivers what waits for nothing, and tells whether it did.
func (r *Reader) settle(c *candidate) (out []Delivery, ok bool) {
	if c.sealed() || !c.signed && r.options.Trust != nil {
		return nil, false
	}
	if !c.silent && !c.delivered {
		proof := Signed
		if !c.signed || r.options.Trust == nil {
			proof = Unverified
		}
		out = []Delivery{c.deliver(proof)}
	}
	r.drop(c)
	for _, o := range c.epoch.waiting[c.delivery.Sequence] {
		if o != c {
			r.forged(o, "another message has this number")
		}
	}
	c.epoch.settle(c.delivery.Sequence, c.digest)
	return out, true
}

// decide settles a number, now that its digest is signed: of the messages that
// claim it one at most is the gateway's.
func (r *Reader) decide(e *epochState, n uint64, digest [16]byte) (out []Delivery) {
	if e.done.has(n) { // given up after it was delivered
		if was, ok := e.decided[n]; ok && was != digest {
			e.stream.report(e.id, &Refusal{Class: Forged, Sequence: n, Reason: "delivered as pending, and the gateway signed another one"})
		}
		return nil
	}
	claims := e.waiting[n]
	if len(claims) == 0 && len(e.decided) >= maxDecided {
		e.stream.givenUp++
		return nil
	}
	e.decided[n] = digest
	var right *candidate
	for _, c := range claims {
		if c.digest == digest {
			right = c
			continue
		}
		r.forged(c, "another message has this number, and the gateway signed that one")
	}
	if right == nil {
		delete(e.waiting, n)
		return nil
	}
	e.waiting[n] = []*candidate{right}
	right.signed = true
	out, _ = r.settle(right)
	return out
}

// forged puts away a message that turned out not to be the gateway's.
func (r *Reader) forged(c *candidate, reason string) {
	r.drop(c)
	c.epoch.stream.report(c.epoch.id, &Refusal{Class: Forged, Sequence: c.delivery.Sequence, Reason: reason})
}

// hold puts a candidate into the queue, and gives up the oldest if there is no
// room. What it holds of the message it copies.
func (r *Reader) hold(c *candidate) {
	if c.sealed() {
		c.frame.ciphertext = slices.Clone(c.frame.ciphertext)
	}
	r.live++
	r.queue = append(r.queue, c)
	r.weigh(c)
	for r.pending > r.options.MaxPending && len(r.queue) > 0 {
		oldest := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		if !oldest.gone {
			r.giveUp(oldest)
		}
	}
	if len(r.queue) > 2*r.live+64 {
		r.queue = slices.DeleteFunc(r.queue, func(c *candidate) bool { return c.gone })
	}
}

// weigh accounts for the memory that a candidate takes now.
func (r *Reader) weigh(c *candidate) {
	r.pending -= c.cost
	c.cost = 512 + len(c.frame.ciphertext) + len(c.delivery.Payload) + 96*len(c.delivery.Samples)
	for i := range c.delivery.Samples {
		c.cost += len(c.delivery.Samples[i].Value.data)
	}
	r.pending += c.cost
}

// drop takes a candidate out of the account of what waits.
func (r *Reader) drop(c *candidate) {
	if c.cost > 0 && !c.gone {
		r.pending -= c.cost
		r.live--
	}
	c.gone = true
}

// giveUp lets go of a candidate that waited too long. Its number is missing from
// then on, and counts when it comes again; if it was delivered, it is settled.
func (r *Reader) giveUp(c *candidate) {
	r.drop(c)
	e, n := c.epoch, c.delivery.Sequence
	e.waiting[n] = slices.DeleteFunc(e.waiting[n], func(o *candidate) bool { return o == c })
	if len(e.waiting[n]) == 0 {
		delete(e.waiting, n)
	}
	e.stream.givenUp++
	if c.delivered {
		for _, o := range e.waiting[n] {
			r.drop(o)
			e.stream.givenUp++
		}
		e.settle(n, c.digest)
	}
	r.forget(e)
}

// forget lets go of an epoch, and then of a stream, of which nothing is known:
// anybody can make up their names.
func (r *Reader) forget(e *epochState) {
	s := e.stream
	if e.low == 0 && e.refused == "" && e.state == noKeyFrame && len(e.waiting) == 0 && len(e.done) == 0 {
		delete(s.epochs, e.id)
	}
	if len(s.epochs) == 0 && s.forged == 0 && len(s.losses) == 0 {
		delete(r.streams, s.stream)
	}
}

// unixTime gives Unix nanoseconds as a time.
func unixTime(n int64) time.Time { return time.Unix(0, n).UTC() }
