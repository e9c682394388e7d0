package envelope

import (
	"math"
	"slices"
)

// A reader has to stay small whatever arrives. What waits is bounded by
// MaxPending, and is given up when there is more. What is known of streams and
// epochs is bounded by MaxAccount: where it is full, no stream is begun, and the
// streams that go on keep of their past only what they need. Gateways share the
// account, so that one of them cannot use up that of the others.
const (
	maxOwed      = 1 << 15 // signed digests kept of messages that did not come
	maxRecent    = 1 << 14 // digests kept of settled messages
	maxClaims    = 64      // different messages kept that claim one number
	maxListed    = 1 << 13 // forgeries and losses listed, of all streams
	maxForgeries = 128     // forgeries listed of one stream
	maxLosses    = 1024    // losses listed of one stream
	maxEpochs    = 256     // epochs of one stream that are told apart
	maxRanges    = 1 << 13 // ranges of numbers of one stream that are told apart
	maxRefused   = 64      // refused epochs of one stream that are remembered

	// The same, where the account is full.
	fewEpochs = 2
	fewRanges = 16
	fewListed = 8
)

// What things take in memory, about.
const (
	costStream = 1024
	costEpoch  = 512
	costKey    = 768 // an AES-GCM key, ready for use
	costLink   = 96  // of the chain of checkpoints
	costListed = 384
)

// share is what the streams of one gateway take.
type share struct {
	owed  int
	books int
}

// shareOf gives the share of a gateway. Without trust there is one for all:
// anybody can make up a name.
func (r *Reader) shareOf(gateway string) *share {
	if r.options.Trust == nil {
		gateway = ""
	}
	s := r.shares[gateway]
	if s == nil {
		s = &share{}
		r.shares[gateway] = s
	}
	return s
}

// gateways is among how many the account is divided.
func (r *Reader) gateways() int {
	if r.options.Trust == nil {
		return 1
	}
	return max(1, len(r.options.Trust.Gateways))
}

// full tells whether the account takes no more of a gateway.
func (r *Reader) full(s *share) bool {
	return r.books >= r.options.MaxAccount && s.books >= r.options.MaxAccount/r.gateways()
}

// tally brings the account up to date after something came of an epoch.
func (r *Reader) tally(e *epochState) {
	s := e.stream
	w := costEpoch + 16*(cap(e.signed)+cap(e.done))
	if e.key != nil {
		w += costKey
	}
	if e.frame != nil {
		w += len(e.frame.Body)
	}
	r.add(s.share, w-e.weighed)
	e.weighed = w
	r.tallyStream(s)
}

func (r *Reader) tallyStream(s *streamState) {
	w := s.weight()
	r.add(s.share, w-s.weighed)
	s.weighed = w
	switch {
	case r.full(s.share):
		r.compact(s)
	case len(s.done) > maxRanges || len(s.signed) > maxRanges || len(s.lost) > maxRanges:
		r.collapse(s, maxRanges/2)
		r.tallyStream(s)
	}
}

// weight is what a stream takes in memory, about, its epochs apart.
func (s *streamState) weight() int {
	return costStream + 16*(cap(s.signed)+cap(s.done)+cap(s.lost)) + costLink*(len(s.ends)+len(s.wanted)) +
		costListed*(len(s.losses)+len(s.forgeries)) + s.names.bytes + s.known
}

// compact keeps of a stream's past only what it needs to go on.
func (r *Reader) compact(s *streamState) {
	if s.compact == s.weighed {
		return // nothing was added since
	}
	s.names = names{}
	r.prune(s, fewEpochs)
	r.collapse(s, fewRanges)
	if len(s.ends)+len(s.wanted) > fewListed {
		s.ends, s.wanted = nil, nil
		r.lapse(s)
	}
	if s.known > costEntry*fewRanges {
		s.entries, s.hidden, s.known = nil, nil, 0
		r.lapse(s)
	}
	if n := len(s.forgeries); n > fewListed {
		s.forgeries = slices.Clone(s.forgeries[:fewListed])
		r.listed -= n - fewListed
	}
	if n := len(s.losses); n > fewListed {
		s.losses = slices.Clone(s.losses[n-fewListed:])
		r.listed -= n - fewListed
		r.lapse(s)
	}
	w := s.weight()
	r.add(s.share, w-s.weighed)
	s.weighed, s.compact = w, w
}

// collapse makes one of the oldest ranges of a stream, where they are more than
// so many: what is missing between them is counted, and no longer waited for.
func (r *Reader) collapse(s *streamState, most int) {
	through := s.through
	for _, x := range []ranges{s.done, s.signed, s.lost} {
		if len(x) > most {
			through = max(through, x[len(x)-most].First-1)
		}
	}
	if through == s.through {
		return
	}
	here := slices.Clone(s.done)
	for _, l := range s.lost {
		here.add(l.First, l.Last)
	}
	from := s.through + 1
	if r.options.Trimmed {
		from = max(from, s.oldest)
	}
	s.missed += count(here.missing(from, through))
	for _, e := range s.epochs {
		for n, claims := range e.waiting {
			for _, c := range claims {
				if n <= through {
					r.drop(c)
					r.lapse(s)
				}
			}
			if n <= through {
				delete(e.waiting, n)
			}
		}
		r.settleDebts(e, through)
		e.done.collapse(min(through, e.done.last()))
		e.signed.collapse(min(through, e.signed.last()))
	}
	s.through = through
	s.done.collapse(through)
	s.signed.collapse(min(through, s.signed.last()))
	s.lost.collapse(min(through, s.lost.last()))
	r.lapse(s)
}

// settleDebts lets go of the signed digests up to a number, whose messages did
// not come.
func (r *Reader) settleDebts(e *epochState, through uint64) {
	for _, at := range r.debts(e, through) {
		r.paid(at)
	}
}

// debts gives the signed digests up to a number, in order.
func (r *Reader) debts(e *epochState, through uint64) (out []slot) {
	if e.stream.share.owed == 0 {
		return nil
	}
	for _, x := range e.signed {
		for _, gap := range e.done.missing(x.First, min(x.Last, through)) {
			for n := gap.First; n <= gap.Last; n++ {
				if at := (slot{e, n}); len(r.owed) > 0 {
					if _, owed := r.owed[at]; owed {
						out = append(out, at)
					}
				}
			}
		}
	}
	return out
}

func (r *Reader) add(s *share, n int) {
	r.books += n
	s.books += n
}

// prune lets go of the oldest epochs of a stream that has more than so many, and
// notes that they are over. The stream's numbers stay known.
func (r *Reader) prune(s *streamState, most int) {
	for _, e := range s.epochs {
		if s.refused <= maxRefused {
			break
		}
		if e.refused != "" {
			s.refused--
			r.leave(e) // it will be judged again
		}
	}
	n := s.proven
	if r.options.Trust == nil {
		n = len(s.epochs)
	}
	if n <= most {
		return
	}
	proven := make([]*epochState, 0, n)
	for _, e := range s.epochs {
		if e.low != 0 || r.options.Trust == nil {
			proven = append(proven, e)
		}
	}
	slices.SortFunc(proven, func(a, b *epochState) int {
		if a.id.before(b.id) {
			return -1
		}
		return 1
	})
	for _, e := range proven[:max(0, len(proven)-(most+1)/2)] {
		s.pruned = e.id
		r.leave(e)
	}
	for _, e := range s.epochs { // what nobody signed for, and is before them
		if e.low == 0 && !s.pruned.before(e.id) {
			r.leave(e)
		}
	}
}

// leave lets go of an epoch, and gives up what waits in it.
func (r *Reader) leave(e *epochState) {
	s := e.stream
	for _, claims := range e.waiting {
		for _, c := range claims {
			r.drop(c)
			r.lapse(s)
		}
	}
	r.settleDebts(e, math.MaxUint64)
	if e.low != 0 {
		s.proven--
	}
	e.waiting, e.key, e.frame, e.released = nil, nil, nil, true
	r.add(s.share, -e.weighed)
	e.weighed = 0
	delete(s.epochs, e.id)
}

// forget lets go of an epoch, and then of a stream, of which nothing is known:
// anybody can make up their names.
func (r *Reader) forget(e *epochState) {
	s := e.stream
	if s.epochs[e.id] == e && e.low == 0 && e.refused == "" && e.state == noKeyFrame && len(e.waiting) == 0 && len(e.done) == 0 {
		r.add(s.share, -e.weighed)
		e.weighed = 0
		delete(s.epochs, e.id)
	}
	if len(s.epochs) == 0 && s.forged == 0 && len(s.losses) == 0 && s.stated.sequence == 0 && len(s.done) == 0 {
		r.add(s.share, -s.weighed)
		s.weighed = 0
		delete(r.streams, s.stream)
	}
}

// learn takes in a catalogue that counts.
func (r *Reader) learn(s *streamState, entries []Entry) {
	if s.entries == nil {
		s.entries, s.hidden = make(map[string]*Entry), make(map[string]*Entry)
	}
	for i := range entries {
		e := &entries[i]
		old := s.entries[e.Name]
		if old == nil && (len(s.entries) >= maxEntries || r.full(s.share)) {
			r.lapse(s)
			continue
		}
		if old != nil {
			s.known -= weighEntry(old)
			delete(s.hidden, old.ID)
		}
		s.known += weighEntry(e)
		s.entries[e.Name] = e
		if e.ID != "" {
			s.hidden[e.ID] = e
		}
	}
}

// maxEntries is how many points of one stream are known by name.
const maxEntries = 1 << 14
