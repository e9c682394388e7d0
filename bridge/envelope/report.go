package envelope

import (
	"cmp"
	"slices"
	"time"
)

// StreamReport is a reader's account of one stream.
type StreamReport struct {
	Stream  Stream
	Epochs  []EpochReport // in the order the gateway began them
	Heard   time.Time     // when the last message came, by the reader's clock
	Highest uint64        // greatest number that came or was signed for

	// Gaps are the numbers from 1 to Highest of which no message is here and
	// which no loss record explains. A number behind SignedThrough is the word
	// of the message that bears it alone.
	Gaps []Range
	// Losses are what the gateway signed for as gone. Without a trust file
	// anybody may have written them.
	Losses []Loss
	// SignedThrough is the greatest number that a verified checkpoint covers.
	SignedThrough uint64

	Pending    int       // messages that wait for their signature
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
		out = append(out, s.account())
	}
	slices.SortFunc(out, func(a, b StreamReport) int {
		return cmp.Or(cmp.Compare(a.Stream.Gateway, b.Stream.Gateway),
			cmp.Compare(a.Stream.Machine, b.Stream.Machine), cmp.Compare(a.Stream.Level, b.Stream.Level))
	})
	return out
}

func (s *streamState) account() StreamReport {
	p := StreamReport{
		Stream: s.stream, Heard: s.heard, Highest: s.highest, SignedThrough: s.signed.last(),
		Unopened: s.unopened, GivenUp: s.givenUp, Duplicates: s.duplicates,
		Losses: slices.Clone(s.losses), Forged: s.forged, Forgeries: slices.Clone(s.forgeries),
	}
	here := slices.Clone(s.done)
	for _, e := range s.epochs {
		received := slices.Clone(e.done)
		for n, claims := range e.waiting {
			if e.refused != "" {
				break
			}
			received.add(n, n)
			here.add(n, n)
			for _, c := range claims {
				if !c.signed {
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
		return cmp.Or(cmp.Compare(a.Epoch.Start, b.Epoch.Start), cmp.Compare(a.Epoch.Number, b.Epoch.Number),
			slices.Compare(a.Epoch.Instance[:], b.Epoch.Instance[:]))
	})
	for _, l := range s.lost {
		here.add(l.First, l.Last)
	}
	p.Gaps = here.missing(1, s.highest)
	return p
}
