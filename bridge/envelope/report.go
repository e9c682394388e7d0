package envelope

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// StreamReport is a reader's account of one stream.
type StreamReport struct {
	Stream  Stream
	Epochs  []EpochReport // in the order the gateway began them; the newest, where there are very many
	Heard   time.Time     // when the last message came, by the reader's clock
	Highest uint64        // greatest number of what is here or was signed for; what was refused or turned out forged does not count

	// Gaps are the numbers from 1 to Highest of which no message is here and
	// which no loss record explains. A number behind SignedThrough is the word
	// of the message that bears it alone.
	Gaps []Range
	// Trimmed is the last number before those that the source still has, with
	// [ReaderOptions].Trimmed; 0 if it has all.
	Trimmed uint64
	// Settled is the number up to which numbers are no longer told apart, since
	// there were too many holes; 0 as a rule. Missed of them did not come, and no
	// loss record explains them; Gaps begin behind Settled.
	Settled, Missed uint64
	// Withheld are the numbers behind Highest of which a statement says that the
	// gateway has sent them, and which did not come: on their way still, or cut
	// off. No loss record explains them.
	Withheld []Range
	Stated   uint64    // the stream's head by the newest statement over it; 0: there is none
	StatedAt time.Time // the time of that statement
	// Losses are what the gateway signed for as gone. Without a trust file
	// anybody may have written them.
	Losses []Loss
	// SignedThrough is the greatest number that a verified checkpoint covers.
	SignedThrough uint64

	Pending    int       // samples and payloads that wait for their signature, in messages; 0 without a trust file
	Oldest     time.Time // the time that the oldest of them bears: nobody has signed for it
	NoKeyFrame int       // sealed ones of them, and signed ones, that wait for their key frame
	Unopened   uint64    // delivered unopened: none of the identities can open them
	GivenUp    uint64    // let go because too much was waiting
	Duplicates uint64    // repeats that were put aside

	Forged    uint64    // forgeries, rollbacks and clones
	Forgeries []Forgery // the first of them
}

// EpochReport is a reader's account of one epoch.
type EpochReport struct {
	Epoch    Epoch
	Received []Range // numbers that came: settled, and waiting
	Closed   bool    // its closing checkpoint came
	Refused  Class   // rollback or clone: nothing of it is delivered
}

// Forgery is a message that is not what its gateway sent under its number, or
// that the gateway cannot have sent while all was well with it.
type Forgery struct {
	Epoch    Epoch
	Sequence uint64
	Class    Class // Forged, Rollback or Clone
	Reason   string
}

// Report gives the account of every stream, sorted by name. It changes nothing.
func (r *Reader) Report() []StreamReport {
	out := make([]StreamReport, 0, len(r.streams))
	for _, s := range r.streams {
		out = append(out, s.account(r.options.Trimmed, r.options.Trust != nil))
	}
	slices.SortFunc(out, func(a, b StreamReport) int {
		return a.Stream.compare(b.Stream)
	})
	return out
}

func (s *streamState) account(trimmed, trust bool) StreamReport {
	p := StreamReport{
		Stream: s.stream, Heard: s.heard, Highest: max(s.done.last(), s.signed.last()), SignedThrough: s.signed.last(),
		Unopened: s.unopened, GivenUp: s.givenUp, Duplicates: s.duplicates,
		Losses: slices.Clone(s.losses), Forged: s.forged, Forgeries: slices.Clone(s.forgeries),
	}
	here := slices.Clone(s.done)
	oldest := s.oldest
	for _, e := range s.epochs {
		received := slices.Clone(e.done)
		for n, claims := range e.waiting {
			received.add(n, n)
			here.add(n, n)
			p.Highest = max(p.Highest, n)
			for _, c := range claims {
				if !c.silent && s.oldest == 0 && (oldest == 0 || oldest > n) {
					oldest = n
				}
				if trust && !c.signed && !c.silent { // a key frame and a loss record bear a signature of their own
					p.Pending++
					if t := time.Unix(0, c.delivery.Time).UTC(); p.Oldest.IsZero() || t.Before(p.Oldest) {
						p.Oldest = t
					}
				}
				if c.sealed() {
					p.NoKeyFrame++
				}
			}
		}
		p.Epochs = append(p.Epochs, EpochReport{Epoch: e.id, Received: received, Closed: e.closed != 0, Refused: e.refused})
	}
	slices.SortFunc(p.Epochs, func(a, b EpochReport) int {
		return a.Epoch.compare(b.Epoch)
	})
	for _, l := range s.lost {
		here.add(l.First, l.Last)
	}
	from := uint64(1)
	if trimmed {
		if oldest == 0 {
			oldest = p.Highest + 1
		}
		if len(here.missing(1, oldest-1)) > 0 {
			from, p.Trimmed = oldest, oldest-1
		}
	}
	p.Settled, p.Missed = s.through, s.missed
	p.Gaps = here.missing(max(from, s.through+1), p.Highest)
	if p.Stated = s.stated.sequence; p.Stated > 0 {
		p.StatedAt = unixTime(s.stated.time)
		p.Withheld = here.missing(p.Highest+1, p.Stated)
	}
	return p
}

// compare sorts streams by name.
func (s Stream) compare(o Stream) int {
	return cmp.Or(cmp.Compare(s.Gateway, o.Gateway), cmp.Compare(s.Machine, o.Machine), cmp.Compare(s.Level, o.Level))
}

// compare sorts epochs in the order in which a gateway begins them.
func (e Epoch) compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Start, o.Start), cmp.Compare(e.Number, o.Number), bytes.Compare(e.Instance[:], o.Instance[:]))
}
