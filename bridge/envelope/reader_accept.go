package envelope

import (
	"bytes"
	"time"
)

// candidate is a message that was read and is not settled: it waits for its
// signature, its key frame, or both.
type candidate struct {
	epoch    *epochState
	digest   [16]byte
	delivery Delivery
	frame    frame  // a sealed one that waits for its key; the ciphertext is a copy
	plain    []byte // an opened one that waits for its signature
	borrowed bool   // plain is the reader's, which uses it again

	silent    bool // gives no delivery: key frame, loss record
	key       bool // the epoch's key frame, or a copy of it under another time
	member    bool // sealed under the epoch's key: a recipient made it, or the gateway
	delivered bool // given as Pending or Unverified
	signed    bool // its checkpoint came, and only its key frame did not
	gone      bool // settled, or given up

	queue    *queue
	arrival  uint64
	position uint64
	cost     int
	made     int // of cost, what the stream and the epoch take that it began
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
	c.delivered, c.plain = true, nil
	c.delivery = Delivery{Sequence: d.Sequence, Time: d.Time, Catalogue: d.Catalogue}
	return d
}

// accept takes a message that is well-formed by itself. The candidate holds what
// is specific to its kind.
func (r *Reader) accept(m *Message, specific candidate) error {
	e, made, err := r.epochOf(m)
	if e == nil {
		return err
	}
	c := &r.scratch // most need no more
	*c = specific
	c.epoch, c.digest, c.made = e, m.Digest(), made
	d := &c.delivery
	d.Stream, d.Epoch, d.Sequence, d.Kind = m.Address.Stream, m.Epoch, m.Sequence, m.Address.Kind
	d.Point, d.ContentType, d.Time = m.Address.Point, m.ContentType, m.Time
	if repeated, err := r.seen(e, m, c.digest); repeated || err != nil {
		r.forget(e)
		return err
	}
	if c.sealed() && (e.state != noKeyFrame || len(r.options.Identities) == 0) {
		err := r.open(c)
		if err == nil {
			err = r.readable(c)
		}
		if err != nil {
			r.forget(e)
			return refuse(Tampered, m, "cannot open data frame: %v", err)
		}
	}
	at := slot{e, m.Sequence}
	_, c.signed = r.owed[at]
	if r.settle(c) {
		r.release(e)
		r.tally(e)
		return nil
	}
	if was, given := r.recent[at]; given && was == c.digest {
		c.delivered = true // and given up before its signature came
	}
	r.wait(c)
	return nil
}

// wait keeps a copy of the candidate until it can be settled.
func (r *Reader) wait(scratch *candidate) {
	c := new(candidate)
	*c = *scratch
	c.keep()
	e, n := c.epoch, c.delivery.Sequence
	r.makeRoom(e.waiting[n])
	e.waiting.put(n, c)
	if len(e.waiting[n]) == 1 {
		r.early(c)
	}
	r.hold(c)
}

// early delivers the first message under a number as Pending, where the reader
// does not wait for signatures.
func (r *Reader) early(c *candidate) {
	if r.options.Now && !c.sealed() && !c.silent && !c.delivered && !c.catalogue() && r.decode(c) == nil {
		r.give(c, Pending)
	}
}

// keep copies what was opened into memory that is not used again.
func (c *candidate) keep() {
	if c.borrowed {
		c.plain, c.borrowed = bytes.Clone(c.plain), false
	}
}

// give adds the delivery to what Read gives.
func (r *Reader) give(c *candidate, p Proof) { r.arena.out = append(r.arena.out, c.deliver(p)) }

// seen tells whether a message with this number was there before, and refuses
// one that cannot be what the gateway sent under it.
func (r *Reader) seen(e *epochState, m *Message, digest [16]byte) (repeated bool, err error) {
	done := e.done.has(m.Sequence)
	want, decided := r.owed[slot{e, m.Sequence}]
	if done {
		want, decided = r.recent[slot{e, m.Sequence}]
	}
	forged := func(format string, args ...any) (bool, error) {
		x := refuse(Forged, m, format, args...)
		r.report(e.stream, e.id, x)
		return false, x
	}
	switch {
	case e.released && !done:
		return forged("epoch %v is complete without it", e.id)
	case decided && want != digest && !e.signed.has(m.Sequence):
		return forged("another message has this number; without a trust file there is no telling which is the gateway's")
	case decided && want != digest:
		return forged("another message has this number")
	case done:
		e.stream.duplicates++
		return true, nil
	case decided:
		return e.waits(digest, m.Sequence), nil
	case e.signed.has(m.Sequence):
		return false, refuse(GivenUp, m, "its signed digest was given up")
	case e.stream.signed.has(m.Sequence):
		return forged("the gateway used this number in another epoch")
	case e.closed != 0 && m.Sequence > e.closed:
		return forged("epoch %v was closed at %d", e.id, e.closed)
	case e.waits(digest, m.Sequence):
		return true, nil
	}
	return false, nil
}

// makeRoom gives up one of the messages that claim a number, where they are too
// many: the oldest of those that anybody may have made, or else the oldest.
func (r *Reader) makeRoom(claims []*candidate) {
	if len(claims) < maxClaims {
		return
	}
	for _, c := range claims {
		if !c.member {
			r.giveUp(c)
			return
		}
	}
	r.giveUp(claims[0])
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
// here can open. What was sealed is in c.plain then, which r uses again.
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
	r.plain, c.plain, c.borrowed = plain, plain, true
	c.frame, c.member = frame{}, true
	return nil
}

// readable tells whether what open gave can be read. What need not wait is
// decoded at once.
func (r *Reader) readable(c *candidate) error {
	if _, signed := r.owed[slot{c.epoch, c.delivery.Sequence}]; signed || r.options.Trust == nil {
		return r.decode(c)
	}
	if c.plain == nil {
		return nil
	}
	r.check.reset()
	var d Delivery
	return c.parse(&d, &r.check)
}

// decode reads what open gave, once.
func (r *Reader) decode(c *candidate) error {
	if c.plain == nil {
		return nil
	}
	d := &c.delivery
	if err := c.parse(d, &r.arena); err != nil {
		d.Samples, d.Catalogue = nil, nil
		return err
	}
	for i := range d.Samples {
		if v := &d.Samples[i].Value; c.borrowed && !r.options.Reuse && v.data != nil {
			v.data = append([]byte{}, v.data...)
		}
	}
	c.plain = nil
	return nil
}

// parse reads what was sealed. Only the gateway or another recipient can have
// written what cannot be read.
func (c *candidate) parse(d *Delivery, room *arena) error {
	p := cursor{b: c.plain}
	ours := false
	if c.catalogue() {
		d.Base, d.Catalogue = p.catalogue()
	} else {
		d.Base, d.Samples = c.epoch.stream.names.decodePack(&p, room)
		ours = ours || len(d.Samples) == 0
	}
	if ours = ours || ofMachine(d.Base, c.epoch.stream.stream.Machine); !ours {
		p.fail("the base name of another machine")
	}
	if p.wrong == "" && p.i < len(p.b) {
		if len(p.b) != padme(p.i+1) {
			p.fail("padding to another length than Padmé's")
		}
		p.padding()
	}
	return p.end()
}

// catalogue tells whether the content is one, which is taken only when it is
// signed.
func (c *candidate) catalogue() bool {
	return c.delivery.ContentType == TypeCatalogue || len(c.plain) > 0 && c.plain[0]&0xe0 == cborMap
}

// ofMachine tells whether a base name is the machine's: its name and a slash.
func ofMachine(base, machine string) bool {
	n := len(machine)
	return len(base) == n+1 && base[n] == '/' && base[:n] == machine
}

// settle delivers what waits for nothing, and tells whether it did.
func (r *Reader) settle(c *candidate) bool {
	if c.sealed() || !c.signed && r.options.Trust != nil {
		return false
	}
	s := c.epoch.stream
	if !c.silent && !c.delivered {
		proof := Signed
		if !c.signed || r.options.Trust == nil {
			proof = Unverified
		}
		if r.decode(c) == nil { // as it was when it came
			r.give(c, proof)
		}
	}
	r.drop(c)
	if len(c.delivery.Catalogue) > 0 {
		r.learn(s, c.delivery.Catalogue)
	}
	if !c.silent && (s.oldest == 0 || s.oldest > c.delivery.Sequence) {
		s.oldest = c.delivery.Sequence
	}
	for _, o := range c.epoch.waiting[c.delivery.Sequence] {
		if o != c {
			r.forged(o, "another message has this number")
			c.epoch.unkey(o, c)
		}
	}
	r.settled(c.epoch, c.delivery.Sequence, c.digest)
	return true
}

// decide settles a number, now that its digest is signed: of the messages that
// claim it one at most is the gateway's.
func (r *Reader) decide(e *epochState, n uint64, digest [16]byte) {
	at := slot{e, n}
	if e.done.has(n) {
		return
	}
	if was, given := r.recent[at]; given { // as pending, and given up before its signature came
		if was == digest && len(e.waiting[n]) == 0 {
			r.settled(e, n, digest)
			return
		}
		if was != digest {
			r.report(e.stream, e.id, &Refusal{Class: Forged, Sequence: n, Reason: "delivered as pending, and the gateway signed another one"})
		}
	}
	var right *candidate
	for _, c := range e.waiting[n] {
		if c.digest == digest {
			right = c
			continue
		}
		r.forged(c, "another message has this number, and the gateway signed that one")
	}
	for _, c := range e.waiting[n] {
		if c != right {
			e.unkey(c, right)
		}
	}
	if right == nil {
		delete(e.waiting, n)
		if len(r.owed) >= maxOwed && e.stream.share.owed >= maxOwed/r.gateways() {
			r.lapse(e.stream)
			return
		}
		r.owed[at] = digest
		e.stream.share.owed++
		return
	}
	e.waiting[n] = []*candidate{right}
	right.signed = true
	if !r.settle(right) {
		r.owed[at] = digest // its key frame is missing still
		e.stream.share.owed++
	}
}

// unkey lets go of the epoch's key where c, which was refused, is its key frame,
// and right is not a copy of it: the right key frame may come still, or again.
func (e *epochState) unkey(c, right *candidate) {
	if c.key && (right == nil || !right.key) {
		e.state, e.key, e.keyFrame, e.frame = noKeyFrame, nil, [32]byte{}, nil
	}
}

// forged puts away a message that turned out not to be the gateway's.
func (r *Reader) forged(c *candidate, reason string) {
	r.drop(c)
	r.report(c.epoch.stream, c.epoch.id, &Refusal{Class: Forged, Sequence: c.delivery.Sequence, Reason: reason})
}

// unixTime gives Unix nanoseconds as a time.
func unixTime(n int64) time.Time { return time.Unix(0, n).UTC() }
