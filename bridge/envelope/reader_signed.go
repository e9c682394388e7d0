package envelope

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// readKeyFrame takes the key of an epoch, and opens what waited for it.
func (r *Reader) readKeyFrame(m *Message) error {
	s, err := parseSign1(m.Body)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	f, err := parseKeyFrame(&s)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, f.when()); err != nil {
		return err
	}
	if err := f.belongs(m); err != nil {
		return refuse(Tampered, m, "%v", err)
	}
	e, _, err := r.epochOf(m)
	if e == nil {
		return err
	}
	if r.options.Trust != nil {
		if err := r.admit(e, m, f.sequence, f.sequence); err != nil {
			return err
		}
	}
	if e.state != noKeyFrame {
		if e.keyFrame != f.hash && r.options.Trust == nil {
			return r.refuse(e, Forged, m, "epoch %v has another key frame; without a trust file there is no telling which is the gateway's", e.id)
		}
		if e.keyFrame != f.hash {
			return r.refuse(e, Clone, m, "epoch %v has another key frame", e.id)
		}
	}
	// One that is refused leaves no key, and proves nothing.
	repeated, err := r.seen(e, m, m.Digest())
	if err != nil || repeated && (e.released || e.state != noKeyFrame) {
		r.forget(e)
		return err
	}
	if r.options.Trust != nil {
		r.prove(e, f.sequence, f.sequence)
	}
	if e.state == noKeyFrame {
		err = r.useKey(e, m, &f)
	}
	if !repeated {
		err = cmp.Or(err, r.accept(m, candidate{silent: true, key: true, member: r.options.Trust != nil}))
	}
	return err
}

// useKey opens the key frame, and then what waited for it.
func (r *Reader) useKey(e *epochState, m *Message, f *keyFrame) (err error) {
	e.keyFrame, e.state = f.hash, notOpened
	if r.store != nil {
		kept := *m
		kept.Body = bytes.Clone(m.Body)
		e.frame = &kept
	}
	if len(r.options.Identities) > 0 {
		k, failed := f.open(r.options.Identities)
		if failed == nil {
			e.key, failed = newFrameKey(&k, f.hash)
		}
		switch {
		case errors.Is(failed, errNotForUs):
			err = refuse(WrongRecipient, m, "%v", failed)
		case failed != nil:
			err = refuse(Tampered, m, "%v", failed)
		default:
			e.state = opened
		}
	}
	var waiting []uint64
	for n := range e.waiting {
		waiting = append(waiting, n)
	}
	slices.Sort(waiting)
	for _, n := range waiting {
		r.unlock(e, n)
	}
	return err
}

// unlock opens the sealed messages that claim one number, and delivers what
// then waits for nothing more.
func (r *Reader) unlock(e *epochState, n uint64) {
	for _, c := range slices.Clone(e.waiting[n]) {
		if !c.sealed() {
			continue
		}
		err := r.open(c)
		if err == nil {
			err = r.readable(c)
		}
		if err != nil {
			e.remove(c)
			r.drop(c)
			r.report(e.stream, e.id, &Refusal{Class: Tampered, Sequence: n, Reason: fmt.Sprintf("cannot open data frame: %v", err)})
			continue
		}
		c.keep()
		r.weigh(c)
	}
	for _, c := range slices.Clone(e.waiting[n]) {
		if c.gone {
			continue
		}
		if r.settle(c) {
			return
		}
	}
	if claims := e.waiting[n]; len(claims) > 0 {
		r.early(claims[0])
	}
}

// readCheckpoint takes a signature over a range of the stream, and settles what
// waited for it.
func (r *Reader) readCheckpoint(m *Message) error {
	s, err := parseSign1(m.Body)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	p, err := parseCheckpoint(&s)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, unixTime(p.time)); err != nil {
		return err
	}
	if err := p.belongs(m); err != nil {
		return refuse(Tampered, m, "%v", err)
	}
	if r.options.Trust == nil {
		return r.accept(m, candidate{silent: true, member: r.options.Trust != nil})
	}
	e, _, err := r.epochOf(m)
	if e == nil {
		return err
	}
	digest := m.Digest()
	known, decided := r.owed[slot{e, p.sequence}]
	if e.done.has(p.sequence) {
		known, decided = r.recent[slot{e, p.sequence}]
	}
	if decided && known != digest {
		return r.refuse(e, Clone, m, "the gateway signed two checkpoints, or something else, under this number")
	}
	if e.done.has(p.sequence) {
		e.stream.duplicates++
		return nil
	}
	if p.first <= e.stream.through {
		r.lapse(e.stream)
		r.forget(e)
		return refuse(GivenUp, m, "numbers up to %d are no longer told apart", e.stream.through)
	}
	if err := r.admit(e, m, p.first, p.sequence); err != nil {
		return err
	}
	if e.stream.signed.touches(p.first, p.sequence) {
		return r.refuse(e, Clone, m, "the gateway signed other checkpoints over some of %d to %d", p.first, p.sequence)
	}
	if err := r.link(e, m, &p); err != nil {
		return err
	}
	r.prove(e, p.first, p.sequence)
	r.apply(e, &p, digest)
	return nil
}

// link checks that neighbouring checkpoints name each other by hash, in
// whatever order they come. What is missing between them is seen by its numbers.
func (r *Reader) link(e *epochState, m *Message, p *checkpoint) error {
	s := e.stream
	own := sha256.Sum256(m.Body)
	before, known := s.ends[p.first-1]
	if p.first == 1 {
		known = true // and all zero
	}
	if known && before != p.previous {
		return r.refuse(e, Clone, m, "it does not continue the checkpoint at %d", p.first-1)
	}
	after, asked := s.wanted[p.sequence]
	if asked && after != own {
		return r.refuse(e, Clone, m, "the next checkpoint continues another one with this number")
	}
	if known {
		delete(s.ends, p.first-1)
	} else {
		put(&s.wanted, p.first-1, p.previous)
	}
	if asked {
		delete(s.wanted, p.sequence)
	} else {
		put(&s.ends, p.sequence, own)
	}
	return nil
}

func put(m *map[uint64][32]byte, n uint64, hash [32]byte) {
	if *m == nil {
		*m = make(map[uint64][32]byte)
	}
	(*m)[n] = hash
}

// apply settles the numbers that a verified checkpoint covers.
func (r *Reader) apply(e *epochState, p *checkpoint, digest [16]byte) {
	e.signed.add(p.first, p.sequence)
	e.stream.signed.add(p.first, p.sequence)
	for i := 0; i < len(p.digests); i += 16 {
		r.decide(e, p.first+uint64(i/16), [16]byte(p.digests[i:]))
	}
	for _, c := range e.waiting[p.sequence] {
		r.forged(c, "a checkpoint has this number")
		e.unkey(c, nil)
	}
	r.settled(e, p.sequence, digest)
	for _, o := range e.stream.epochs {
		if o != e && len(o.waiting) > 0 {
			o.shut(r, p.first, p.sequence, "the gateway used this number in another epoch")
			r.forget(o)
		}
	}
	if p.closing {
		e.closed = p.sequence
		e.shut(r, p.sequence+1, math.MaxUint64, fmt.Sprintf("epoch %v was closed at %d", e.id, e.closed))
	}
	r.release(e)
	r.tally(e)
}

// shut puts away what claims a number of first … last in this epoch.
func (e *epochState) shut(r *Reader, first, last uint64, reason string) {
	for _, n := range slices.Sorted(maps.Keys(e.waiting)) {
		if n < first || n > last {
			continue
		}
		for _, c := range e.waiting[n] {
			r.forged(c, reason)
			e.unkey(c, nil)
		}
		delete(e.waiting, n)
	}
}

// readLoss takes a gateway's word that messages are gone.
func (r *Reader) readLoss(m *Message) error {
	s, err := parseSign1(m.Body)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	l, err := parseLoss(&s)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, l.Time); err != nil {
		return err
	}
	if l.Stream != m.Address.Stream || m.ContentType != TypeSigned {
		return refuse(Tampered, m, "the loss record inside is of %v", l.Stream)
	}
	err = r.accept(m, candidate{silent: true, member: r.options.Trust != nil})
	if state := r.streams[l.Stream]; state != nil && err == nil {
		r.lose(state, l)
	}
	return err
}

// lose lists losses by their numbers, and as one what touches, of one epoch and
// reason, in whatever order the records come.
func (r *Reader) lose(s *streamState, l Loss) {
	s.lost.add(l.First, l.Last)
	n := len(s.losses)
	s.losses = slices.DeleteFunc(s.losses, func(o Loss) bool {
		if o.Epoch != l.Epoch || o.Reason != l.Reason || o.Last < l.First-1 || l.Last < o.First-1 {
			return false
		}
		l.First, l.Last = min(l.First, o.First), max(l.Last, o.Last)
		if o.Time.After(l.Time) {
			l.Time = o.Time
		}
		return true
	})
	r.listed -= n - len(s.losses)
	if len(s.losses) >= maxLosses || r.listed >= maxListed {
		r.lapse(s)
		return
	}
	r.listed++
	i, _ := slices.BinarySearchFunc(s.losses, l, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.First, b.First), a.Epoch.compare(b.Epoch), cmp.Compare(a.Reason, b.Reason))
	})
	s.losses = slices.Insert(s.losses, i, l)
	r.tallyStream(s)
}
