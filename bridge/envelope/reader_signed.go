package envelope

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
)

// readKeyFrame takes the key of an epoch, and opens what waited for it.
func (r *Reader) readKeyFrame(m *Message) ([]Delivery, error) {
	s, err := parseSign1(m.Body)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	f, err := parseKeyFrame(&s)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, f.when()); err != nil {
		return nil, err
	}
	if err := f.belongs(m); err != nil {
		return nil, refuse(Tampered, m, "%v", err)
	}
	e, err := r.epochOf(m)
	if err != nil {
		return nil, err
	}
	if r.options.Trust != nil {
		if err := e.admit(m, f.sequence, f.sequence); err != nil {
			return nil, err
		}
	}
	if e.state != noKeyFrame {
		if e.keyFrame != f.hash && r.options.Trust == nil {
			return nil, e.refuse(Forged, m, "epoch %v has another key frame; without a trust file there is no telling which is the gateway's", e.id)
		}
		if e.keyFrame != f.hash {
			return nil, e.refuse(Clone, m, "epoch %v has another key frame", e.id)
		}
		return r.accept(m, &candidate{silent: true})
	}
	out, refusal := r.useKey(e, m, &f)
	more, err := r.accept(m, &candidate{silent: true})
	out = append(out, more...)
	if refusal != nil {
		err = refusal
	}
	return out, err
}

// useKey opens the key frame, and then what waited for it.
func (r *Reader) useKey(e *epochState, m *Message, f *keyFrame) (out []Delivery, err error) {
	e.keyFrame, e.state = f.hash, notOpened
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
		out = append(out, r.unlock(e, n)...)
	}
	return out, err
}

// unlock opens the sealed messages that claim one number, and delivers what
// then waits for nothing more.
func (r *Reader) unlock(e *epochState, n uint64) (out []Delivery) {
	claims := slices.Clone(e.waiting[n])
	for _, c := range claims {
		if !c.sealed() {
			continue
		}
		if err := r.open(c); err != nil {
			e.waiting[n] = slices.DeleteFunc(e.waiting[n], func(o *candidate) bool { return o == c })
			r.forged(c, fmt.Sprintf("cannot open data frame: %v", err))
			continue
		}
		r.weigh(c)
	}
	if len(e.waiting[n]) == 0 {
		delete(e.waiting, n)
		return nil
	}
	for _, c := range slices.Clone(e.waiting[n]) {
		if c.gone {
			continue
		}
		more, settled := r.settle(c)
		out = append(out, more...)
		if settled {
			return out
		}
	}
	if first := e.waiting[n][0]; r.options.Now && !first.delivered && !first.silent && !first.sealed() {
		out = append(out, first.deliver(Pending))
	}
	return out
}

// readCheckpoint takes a signature over a range of the stream, and settles what
// waited for it.
func (r *Reader) readCheckpoint(m *Message) ([]Delivery, error) {
	s, err := parseSign1(m.Body)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	p, err := parseCheckpoint(&s)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, unixTime(p.time)); err != nil {
		return nil, err
	}
	if err := p.belongs(m); err != nil {
		return nil, refuse(Tampered, m, "%v", err)
	}
	if r.options.Trust == nil {
		return r.accept(m, &candidate{silent: true})
	}
	e, err := r.epochOf(m)
	if err != nil {
		return nil, err
	}
	digest := m.Digest()
	if known, ok := e.decided[p.sequence]; ok && known != digest {
		return nil, e.refuse(Clone, m, "the gateway signed two checkpoints, or something else, under this number")
	}
	if e.done.has(p.sequence) {
		e.stream.duplicates++
		return nil, nil
	}
	if err := e.admit(m, p.first, p.sequence); err != nil {
		return nil, err
	}
	if e.stream.signed.touches(p.first, p.sequence) {
		return nil, e.refuse(Clone, m, "the gateway signed other checkpoints over some of %d to %d", p.first, p.sequence)
	}
	if err := e.stream.link(e, m, &p); err != nil {
		return nil, err
	}
	return r.apply(e, &p, digest), nil
}

// link checks that neighbouring checkpoints name each other by hash, in
// whatever order they come. What is missing between them is seen by its numbers.
func (s *streamState) link(e *epochState, m *Message, p *checkpoint) error {
	own := sha256.Sum256(m.Body)
	before, known := s.ends[p.first-1]
	if p.first == 1 {
		known = true // and all zero
	}
	if known && before != p.previous {
		return e.refuse(Clone, m, "it does not continue the checkpoint at %d", p.first-1)
	}
	after, asked := s.wanted[p.sequence]
	if asked && after != own {
		return e.refuse(Clone, m, "the next checkpoint continues another one with this number")
	}
	if known {
		delete(s.ends, p.first-1)
	} else {
		s.wanted[p.first-1] = p.previous
	}
	if asked {
		delete(s.wanted, p.sequence)
	} else {
		s.ends[p.sequence] = own
	}
	return nil
}

// apply settles the numbers that a verified checkpoint covers.
func (r *Reader) apply(e *epochState, p *checkpoint, digest [16]byte) (out []Delivery) {
	e.signed.add(p.first, p.sequence)
	e.stream.signed.add(p.first, p.sequence)
	e.stream.highest = max(e.stream.highest, p.sequence)
	for i := 0; i < len(p.digests); i += 16 {
		out = append(out, r.decide(e, p.first+uint64(i/16), [16]byte(p.digests[i:]))...)
	}
	for _, c := range e.waiting[p.sequence] {
		r.forged(c, "a checkpoint has this number")
	}
	e.settle(p.sequence, digest)
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
	e.release()
	return out
}

// shut puts away what claims a number of first … last in this epoch.
func (e *epochState) shut(r *Reader, first, last uint64, reason string) {
	for n, claims := range e.waiting {
		if n < first || n > last {
			continue
		}
		for _, c := range claims {
			r.forged(c, reason)
		}
		delete(e.waiting, n)
	}
}

// readLoss takes a gateway's word that messages are gone.
func (r *Reader) readLoss(m *Message) ([]Delivery, error) {
	s, err := parseSign1(m.Body)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	l, err := parseLoss(&s)
	if err != nil {
		return nil, refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &s, l.Time); err != nil {
		return nil, err
	}
	if l.Stream != m.Address.Stream || m.ContentType != TypeSigned || m.Address.Point != "" {
		return nil, refuse(Tampered, m, "the loss record inside is of %v", l.Stream)
	}
	out, err := r.accept(m, &candidate{silent: true})
	if state := r.streams[l.Stream]; state != nil && err == nil {
		state.lose(l)
	}
	return out, err
}

// lose lists a loss once, and one that goes on as one.
func (s *streamState) lose(l Loss) {
	s.lost.add(l.First, l.Last)
	for i := range s.losses {
		o := &s.losses[i]
		switch {
		case o.Epoch != l.Epoch || o.Reason != l.Reason:
		case o.First <= l.First && l.Last <= o.Last:
			return
		case o.Last+1 == l.First:
			o.Last, o.Time = l.Last, l.Time
			return
		}
	}
	if len(s.losses) < maxListed {
		s.losses = append(s.losses, l)
	}
}
