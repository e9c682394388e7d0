package envelope

import (
	"errors"
	"math"
)

// restore reads what appendState wrote, into a reader that has seen nothing.
func (r *Reader) restore(b []byte) error {
	c := cursor{b: b}
	c.array(4)
	if version := c.name(); c.wrong == "" && version != stateVersion {
		return errors.New("not written by this version")
	}
	r.position = c.uint()
	for n := c.want(cborArray, "an array of gateways"); n > 0 && c.wrong == ""; n-- {
		r.restoreGateway(&c)
	}
	for n := c.want(cborArray, "an array of streams"); n > 0 && c.wrong == ""; n-- {
		r.restoreStream(&c)
	}
	return c.end()
}

func (r *Reader) restoreGateway(c *cursor) {
	c.array(4)
	s, err := parseStatement(&sign1{typ: typStatement, payload: c.bytes()})
	g := &gatewayState{newest: s}
	c.fixed(g.digest[:])
	g.heard = unixTime(c.int())
	g.proof = Proof(c.uint())
	if err != nil || len(s.Heads) > 0 || g.proof > Signed || r.gateway[s.Gateway] != nil {
		c.fail("a gateway that is none, or comes twice")
		return
	}
	r.gateway[s.Gateway] = g
	r.began(s.Gateway, s.Start, s.Instance)
}

func (r *Reader) restoreStream(c *cursor) {
	c.array(streamItems)
	id := c.stream()
	if c.wrong != "" || r.streams[id] != nil {
		c.fail("a stream that comes twice")
		return
	}
	s := newStream(id, r.shareOf(id.Gateway))
	r.streams[id] = s
	s.heard = unixTime(c.int())
	for _, n := range []*uint64{&s.oldest, &s.through, &s.missed, &s.forged, &s.duplicates, &s.unopened, &s.givenUp} {
		*n = c.uint()
	}
	s.pruned = c.epoch()
	s.signed, s.done, s.lost = c.ranges(), c.ranges(), c.ranges()
	s.ends, s.wanted = c.links(), c.links()
	s.stated.start, s.stated.count, s.stated.sequence = c.uint(), c.uint(), c.uint()
	s.stated.epoch = Epoch{Start: c.uint(), Number: c.uint32()}
	s.stated.time = c.int()
	for n := c.want(cborArray, "an array of losses"); n > 0 && c.wrong == ""; n-- {
		c.array(lossItems)
		l := Loss{Stream: id, Epoch: c.epoch(), First: c.uint(), Last: c.uint(), Reason: c.name(), Time: unixTime(c.int())}
		s.losses = append(s.losses, l)
		r.listed++
	}
	_, entries, err := decodeCatalogue(c.bytes())
	if err != nil {
		c.fail("a catalogue that is none")
	}
	if len(entries) > 0 {
		r.learn(s, entries)
	}
	var last *Epoch
	for n := c.want(cborArray, "an array of epochs"); n > 0 && c.wrong == ""; n-- {
		e := r.restoreEpoch(c, s)
		if c.wrong == "" && last != nil && last.compare(e.id) >= 0 {
			c.fail("an epoch twice or out of order")
		}
		last = &e.id
	}
	r.tallyStream(s)
}

func (r *Reader) restoreEpoch(c *cursor, s *streamState) *epochState {
	c.array(epochItems)
	e := &epochState{stream: s, id: c.epoch()}
	e.refused = Class(c.name())
	e.released = c.bool()
	e.low, e.high, e.closed = c.uint(), c.uint(), c.uint()
	c.fixed(e.keyFrame[:])
	frame := c.bytes()
	e.signed, e.done = c.ranges(), c.ranges()
	if c.wrong == "" && e.refused != "" && e.refused != Rollback && e.refused != Clone {
		c.fail("no such refusal")
	}
	if c.wrong != "" {
		return e
	}
	s.epochs[e.id] = e
	if e.low != 0 {
		s.proven++
		r.began(s.stream.Gateway, e.id.Start, e.id.Instance)
	}
	if e.refused != "" {
		s.refused++
	}
	for n := c.want(cborArray, "an array of messages"); n > 0 && c.wrong == ""; n-- {
		c.array(4)
		w := &candidate{epoch: e, delivery: Delivery{Sequence: c.uint(), Time: c.int()}}
		c.fixed(w.digest[:])
		w.silent = c.bool()
		w.delivered = !w.silent
		if c.wrong == "" {
			e.waiting.put(w.delivery.Sequence, w)
			r.hold(w)
		}
	}
	n := c.want(cborArray, "an array of digests")
	for ; n > 1 && c.wrong == ""; n -= 2 {
		at := slot{e, c.uint()}
		var d [16]byte
		c.fixed(d[:])
		if _, twice := r.owed[at]; twice || !e.signed.has(at.n) || e.done.has(at.n) {
			c.fail("a digest of what is none's")
			break
		}
		r.owed[at] = d
		s.share.owed++
	}
	if n == 1 {
		c.fail("a number without a digest")
	}
	if e.keyFrame != [32]byte{} {
		r.reopen(c, e, frame)
	} else if len(frame) > 0 {
		c.fail("a key frame of nothing")
	}
	r.tally(e)
	return e
}

// reopen takes the key frame of an epoch that goes on, as if it came again: the
// trust file and the identities may be others than before.
func (r *Reader) reopen(c *cursor, e *epochState, frame []byte) {
	e.state = notOpened
	if len(frame) == 0 || c.wrong != "" {
		return
	}
	m, err := ParseMessage(frame)
	if err != nil || m.Address.Kind != KeyFrame || m.Address.Stream != e.stream.stream || m.Epoch != e.id {
		c.fail("a key frame of something else")
		return
	}
	s, err := parseSign1(m.Body)
	if err != nil {
		c.fail("a key frame that is none")
		return
	}
	f, err := parseKeyFrame(&s)
	if err != nil || f.hash != e.keyFrame {
		c.fail("a key frame that is none, or another one")
		return
	}
	if r.options.Trust.verify(&m, &s, f.when()) != nil {
		e.state, e.keyFrame = noKeyFrame, [32]byte{} // no longer believed
		return
	}
	m.Body = append([]byte{}, m.Body...)
	for _, w := range e.waiting[m.Sequence] {
		w.key = w.silent
	}
	e.frame = &m
	if k, err := f.open(r.options.Identities); err == nil {
		if e.key, err = newFrameKey(&k, f.hash); err == nil {
			e.state = opened
		}
	}
}

// ranges reads what appendRanges wrote: in order, and apart from one another.
func (c *cursor) ranges() (r ranges) {
	n := c.want(cborArray, "an array of ranges")
	if n%2 != 0 {
		c.fail("half a range")
	}
	next := uint64(1)
	for ; n > 0 && c.wrong == ""; n -= 2 {
		x := Range{c.uint(), c.uint()}
		if x.First < next || x.Last < x.First || x.Last >= math.MaxUint64-1 && n > 2 {
			c.fail("ranges that are none, or out of order")
			return nil
		}
		r = append(r, x)
		next = x.Last + 2
	}
	return r
}

func (c *cursor) links() (links map[uint64][32]byte) {
	n := c.want(cborArray, "an array of hashes")
	if n%2 != 0 {
		c.fail("a number without a hash")
	}
	next := uint64(0)
	for ; n > 0 && c.wrong == ""; n -= 2 {
		at := c.uint()
		var hash [32]byte
		c.fixed(hash[:])
		if at < next || at == math.MaxUint64 {
			c.fail("numbers out of order")
			return nil
		}
		put(&links, at, hash)
		next = at + 1
	}
	return links
}
