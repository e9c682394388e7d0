package envelope

import (
	"maps"
	"slices"
	"time"
)

// streamState is the account of one stream.
type streamState struct {
	stream Stream
	share  *share
	epochs map[Epoch]*epochState
	heard  time.Time

	signed  ranges // numbers that a verified checkpoint covers, or is
	done    ranges // numbers that are settled: delivered, or with nothing to deliver
	oldest  uint64 // least of done that held samples or a payload; 0: none
	pruned  Epoch  // this epoch and those before it are let go; zero: none
	through uint64 // numbers up to here are no longer told apart
	missed  uint64 // so many of them did not come
	proven  int    // epochs that the gateway signed something in
	refused int    // epochs that are refused

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

	names   names
	entries map[string]*Entry // the catalogue, by name
	hidden  map[string]*Entry // and by the id in addresses
	known   int               // bytes of it
	stated  statedHead
	weighed int // bytes that the account of it takes, its epochs apart
	compact int // the same, when it was last made compact
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
	frame    *Message // the key frame itself, of a reader whose state is kept

	signed  ranges
	done    ranges
	waiting claims
	weighed int
}

// claims are the messages that wait, by the number that they claim.
type claims map[uint64][]*candidate

func (w *claims) put(n uint64, c *candidate) {
	if *w == nil {
		*w = make(claims)
	}
	(*w)[n] = append((*w)[n], c)
}

// slot is one number of one epoch.
type slot struct {
	epoch *epochState
	n     uint64
}

// epochOf gives the account of the message's epoch, made if there is none, and
// what making it took. It is nil for an epoch that was refused or let go.
func (r *Reader) epochOf(m *Message) (e *epochState, made int, err error) {
	s := r.streams[m.Address.Stream]
	if s == nil {
		share := r.shareOf(m.Address.Stream.Gateway)
		if r.full(share) {
			r.lapsed++
			return nil, 0, refuse(GivenUp, m, "the account is full; see ReaderOptions.MaxAccount")
		}
		s = newStream(m.Address.Stream, share)
		r.streams[m.Address.Stream] = s
		made += costStream
	}
	s.heard = r.options.Clock()
	if e = s.epochs[m.Epoch]; e != nil {
		if e.refused != "" {
			return nil, 0, refuse(e.refused, m, "epoch %v was refused", m.Epoch)
		}
		return e, made, nil
	}
	if s.pruned != (Epoch{}) && !s.pruned.before(m.Epoch) {
		if s.done.has(m.Sequence) {
			s.duplicates++
			return nil, 0, nil
		}
		r.lapse(s)
		return nil, 0, refuse(GivenUp, m, "its epoch is long over, and the account of it was let go")
	}
	r.prune(s, maxEpochs)
	e = &epochState{stream: s, id: m.Epoch}
	s.epochs[m.Epoch] = e
	return e, made + costEpoch, nil
}

func newStream(id Stream, share *share) *streamState {
	return &streamState{stream: id, share: share, epochs: make(map[Epoch]*epochState)}
}

// before tells whether a gateway began the epoch before the other one.
func (e Epoch) before(o Epoch) bool {
	return e.Start < o.Start || e.Start == o.Start && e.Number < o.Number
}

// admit tells whether the numbers low … high, which a signature proves to be of
// this epoch, fit what is known: one start counter has one instance, and epochs
// follow each other by counter as by number. What merely comes late fits; a
// numbering that went back, or goes on twice, does not, and then the epoch that
// was seen later is refused.
func (r *Reader) admit(e *epochState, m *Message, low, high uint64) error {
	if e.low != 0 && e.low <= low && high <= e.high {
		return nil
	}
	if other, known := r.starts[e.stream.stream.Gateway][e.id.Start]; known && other != e.id.Instance {
		return r.reject(e, Clone, m, "start counter %d has two instances, %x and %x", e.id.Start, other, e.id.Instance)
	}
	for _, o := range e.stream.epochs {
		if o == e || o.low == 0 || o.refused != "" {
			continue
		}
		switch {
		case e.id.before(o.id) && high < o.low, o.id.before(e.id) && low > o.high:
			continue
		case e.id.before(o.id):
			return r.reject(e, Rollback, m, "epoch %v comes after %v, which has a higher counter", e.id, o.id)
		default:
			return r.reject(e, Rollback, m, "epoch %v uses numbers that %v has used", e.id, o.id)
		}
	}
	return nil
}

// prove notes what admit let through, of a message that is not refused.
func (r *Reader) prove(e *epochState, low, high uint64) {
	r.began(e.stream.stream.Gateway, e.id.Start, e.id.Instance)
	if e.low == 0 {
		e.stream.proven++
	}
	if e.low == 0 || low < e.low {
		e.low = low
	}
	e.high = max(e.high, high)
}

// maxStarts is of how many starts of a gateway the instance is remembered.
const maxStarts = 256

// began notes the instance of a start counter, of which there is one.
func (r *Reader) began(gateway string, start uint64, instance [8]byte) {
	starts := r.starts[gateway]
	if _, known := starts[start]; known {
		return
	}
	if starts == nil {
		starts = make(map[uint64][8]byte)
		r.starts[gateway] = starts
	}
	starts[start] = instance
	if len(starts) > maxStarts {
		delete(starts, slices.Min(slices.Collect(maps.Keys(starts))))
	}
}

// reject refuses the message, and the whole epoch with what waits in it if
// nothing of it was admitted.
func (r *Reader) reject(e *epochState, class Class, m *Message, format string, args ...any) error {
	if e.low == 0 {
		e.refused = class
		e.stream.refused++
		for _, n := range slices.Sorted(maps.Keys(e.waiting)) {
			for _, c := range e.waiting[n] {
				r.drop(c)
				r.report(e.stream, e.id, &Refusal{Class: class, Sequence: n, Reason: "its epoch was refused"})
			}
		}
		e.waiting = nil
	}
	return r.refuse(e, class, m, format, args...)
}

// refuse refuses the message, and reports it.
func (r *Reader) refuse(e *epochState, class Class, m *Message, format string, args ...any) error {
	err := refuse(class, m, format, args...)
	r.report(e.stream, e.id, err)
	return err
}

// report puts a forgery, rollback or clone on the list.
func (r *Reader) report(s *streamState, e Epoch, x *Refusal) {
	s.forged++
	if len(s.forgeries) < maxForgeries && r.listed < maxListed {
		r.listed++
		s.forgeries = append(s.forgeries, Forgery{Epoch: e, Sequence: x.Sequence, Class: x.Class, Reason: x.Reason})
	}
}

// settled notes that nothing more is to come of a number, and what it was.
func (r *Reader) settled(e *epochState, n uint64, digest [16]byte) {
	at := slot{e, n}
	e.done.add(n, n)
	e.stream.done.add(n, n)
	if e.signed.has(n) {
		r.paid(at)
	}
	delete(e.waiting, n)
	r.remember(at, digest)
}

// remember keeps the digest of what was delivered or settled, for a while.
func (r *Reader) remember(at slot, digest [16]byte) {
	r.recent[at] = digest
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, at)
		return
	}
	delete(r.recent, r.ring[r.next])
	r.ring[r.next] = at
	r.next = (r.next + 1) % maxRecent
}

// paid lets go of a signed digest.
func (r *Reader) paid(at slot) {
	if _, owed := r.owed[at]; owed {
		delete(r.owed, at)
		at.epoch.stream.share.owed--
	}
}

// release lets go of what a complete epoch no longer needs.
func (r *Reader) release(e *epochState) {
	if e.closed == 0 || len(e.done) != 1 || e.done[0] != (Range{e.low, e.closed}) || len(e.waiting) > 0 {
		return
	}
	if e.low == 1 || e.state != noKeyFrame || e.stream.done.has(e.low-1) {
		e.released, e.key, e.frame, e.waiting = true, nil, nil, nil
	}
}
