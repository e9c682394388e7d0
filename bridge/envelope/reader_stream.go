package envelope

import "time"

// streamState is the account of one stream.
type streamState struct {
	stream Stream
	epochs map[Epoch]*epochState
	heard  time.Time

	signed  ranges // numbers that a verified checkpoint covers, or is
	done    ranges // numbers that are settled: delivered, or with nothing to deliver
	highest uint64

	// The chain of checkpoints, where a neighbour is still missing: the hash of
	// the checkpoint at a number, and what the next one said it should be.
	ends   map[uint64][32]byte
	wanted map[uint64][32]byte

	losses     []Loss
	lost       ranges
	forgeries  []Forgery
	forged     uint64
	duplicates uint64
	unopened   uint64
	givenUp    uint64

	names names
}

// keyState says what is known of an epoch's key.
type keyState uint8

const (
	noKeyFrame keyState = iota
	opened
	notOpened // the key frame came, and no identity opens it
)

// epochState is the account of one epoch.
type epochState struct {
	stream  *streamState
	id      Epoch
	refused Class // rollback or clone: nothing of it is delivered

	released bool // complete: what it needed to open and decide is gone

	low, high uint64 // least and greatest number that a signature proves to be of this epoch
	closed    uint64 // number of the closing checkpoint

	state    keyState
	key      *frameKey
	keyFrame [32]byte // hash of the key frame, once it came

	signed  ranges
	done    ranges
	decided map[uint64][16]byte // digests that count: signed ones of messages that did not come yet, and recent ones
	recent  []uint64            // numbers of done messages whose digest is kept
	waiting map[uint64][]*candidate
}

const (
	maxRecent  = 1024    // digests kept of an epoch's settled messages, to tell a forgery from a repeat
	maxDecided = 1 << 18 // digests kept of messages that did not come
	maxClaims  = 8       // different messages kept that claim one number
	maxListed  = 1024    // forgeries and losses listed in a report, each
)

// epochOf gives the account of the message's epoch, made if there is none.
func (r *Reader) epochOf(m *Message) (*epochState, error) {
	s := r.streams[m.Address.Stream]
	if s == nil {
		if len(r.streams) >= maxStreams {
			return nil, refuse(GivenUp, m, "%d streams are more than a reader keeps account of", len(r.streams))
		}
		s = &streamState{
			stream: m.Address.Stream, epochs: make(map[Epoch]*epochState),
			ends: make(map[uint64][32]byte), wanted: make(map[uint64][32]byte),
		}
		r.streams[m.Address.Stream] = s
	}
	e := s.epochs[m.Epoch]
	if e == nil {
		e = &epochState{
			stream: s, id: m.Epoch,
			decided: make(map[uint64][16]byte), waiting: make(map[uint64][]*candidate),
		}
		s.epochs[m.Epoch] = e
	}
	s.heard = r.options.Clock()
	if e.refused != "" {
		return e, refuse(e.refused, m, "epoch %v was refused", m.Epoch)
	}
	return e, nil
}

// before tells whether a gateway began the epoch before the other one.
func (e Epoch) before(o Epoch) bool {
	return e.Start < o.Start || e.Start == o.Start && e.Number < o.Number
}

// admit checks that the numbers low … high, which a signature proves to be of
// this epoch, fit what is known: one start counter has one instance, and epochs
// follow each other by counter as by number. What merely comes late fits; a
// numbering that went back, or goes on twice, does not, and then the epoch that
// was seen later is refused.
func (e *epochState) admit(m *Message, low, high uint64) error {
	if e.low != 0 && e.low <= low && high <= e.high {
		return nil
	}
	for _, o := range e.stream.epochs {
		if o == e || o.low == 0 || o.refused != "" {
			continue
		}
		switch {
		case o.id.Start == e.id.Start && o.id.Instance != e.id.Instance:
			return e.reject(Clone, m, "epochs %v and %v have one start counter and two instances", o.id, e.id)
		case e.id.before(o.id) && high < o.low, o.id.before(e.id) && low > o.high:
			continue
		case e.id.before(o.id):
			return e.reject(Rollback, m, "epoch %v comes after %v, which has a higher counter", e.id, o.id)
		default:
			return e.reject(Rollback, m, "epoch %v uses numbers that %v has used", e.id, o.id)
		}
	}
	if e.low == 0 || low < e.low {
		e.low = low
	}
	e.high = max(e.high, high)
	return nil
}

// reject refuses the message, and the whole epoch if nothing of it was admitted.
func (e *epochState) reject(class Class, m *Message, format string, args ...any) error {
	if e.low == 0 {
		e.refused = class
	}
	return e.refuse(class, m, format, args...)
}

// refuse refuses the message, and reports it.
func (e *epochState) refuse(class Class, m *Message, format string, args ...any) error {
	err := refuse(class, m, format, args...)
	e.stream.report(e.id, err)
	return err
}

// report puts a forgery, rollback or clone on the list.
func (s *streamState) report(e Epoch, r *Refusal) {
	s.forged++
	if len(s.forgeries) < maxListed {
		s.forgeries = append(s.forgeries, Forgery{Epoch: e, Sequence: r.Sequence, Class: r.Class, Reason: r.Reason})
	}
}

// settle notes that nothing more is to come of a number, and what it was.
func (e *epochState) settle(n uint64, digest [16]byte) {
	e.done.add(n, n)
	e.stream.done.add(n, n)
	e.decided[n] = digest
	e.recent = append(e.recent, n)
	if len(e.recent) >= 2*maxRecent {
		for _, old := range e.recent[:maxRecent] {
			delete(e.decided, old)
		}
		e.recent = append(e.recent[:0], e.recent[maxRecent:]...)
	}
	delete(e.waiting, n)
}

// release lets go of what a complete epoch no longer needs.
func (e *epochState) release() {
	if e.closed == 0 || len(e.done) != 1 || e.done[0] != (Range{e.low, e.closed}) || len(e.waiting) > 0 {
		return
	}
	if e.low == 1 || e.state != noKeyFrame || e.stream.done.has(e.low-1) {
		e.released, e.key, e.recent = true, nil, nil
		e.decided = make(map[uint64][16]byte)
	}
}
