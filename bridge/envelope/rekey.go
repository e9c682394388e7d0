package envelope

import (
	"bytes"
	"slices"
	"time"
)

// How long one key serves. A gateway begins a new epoch with each start, since
// the key is in memory only, and whenever [Sealer.Due] says so.
const (
	MaxFrames   = 1 << 24          // frames under one key
	MinLife     = 15 * time.Minute // the least that EpochConfig.Life may be
	DefaultLife = time.Hour        // and the most
)

// maxFrames is how many frames one key seals at all. A commit that has begun may
// go beyond MaxFrames; nothing goes beyond this.
const maxFrames = 1 << 32

// life puts a configured life within its bounds.
func life(d time.Duration) time.Duration {
	if d <= 0 {
		return DefaultLife
	}
	return min(max(d, MinLife), DefaultLife)
}

// Due tells whether the stream needs a new epoch: the key has served for its
// life or for [MaxFrames], the clock was set back by more than a minute, or the
// recipients are others than those that it was made for. The last is what revokes
// a recipient: it cannot open the next epoch, and keeps what it has.
func (s *Sealer) Due(now time.Time, recipients []Recipient) bool {
	age := now.Sub(s.since)
	return s.frames >= MaxFrames || age >= life(s.config.Life) || age < -time.Minute || !sameRecipients(s.config.Recipients, recipients)
}

// sameRecipients compares two sets of keys, in whatever order.
func sameRecipients(a, b []Recipient) bool {
	thumbprints := func(all []Recipient) (out [][]byte) {
		for i := range all {
			out = append(out, all[i].thumbs[:])
		}
		slices.SortFunc(out, bytes.Compare)
		return slices.CompactFunc(out, bytes.Equal)
	}
	return slices.EqualFunc(thumbprints(a), thumbprints(b), bytes.Equal)
}
