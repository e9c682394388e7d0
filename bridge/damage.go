package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/bridge/stream"
)

const (
	lostToDamage = "outbox damaged"
	lostAtMost   = "outbox damaged; at most these"
)

// recoverHeads rebuilds where each stream stood from an outbox just opened.
func recoverHeads(log *outbox.Log) (stream.Heads, error) {
	var heads stream.Heads
	err := log.Replay(func(e outbox.Entry) error {
		switch e.Tag {
		case tagHead:
			return heads.State(e.Data)
		case tagMessage:
			m, err := envelope.ParseMessage(e.Data)
			if err != nil {
				return err
			}
			if e.Position == 0 {
				return nil // a key frame that the preamble carries
			}
			return heads.Message(&m, e.Context)
		}
		return nil
	})
	if err != nil {
		return heads, fmt.Errorf("cannot recover the streams from the outbox: %w", err)
	}
	return heads, nil
}

// recoverStreams rebuilds where each stream stood, and what of them damage took.
func recoverStreams(log *outbox.Log, d *damage) (heads stream.Heads, lost []lostRun, err error) {
	if heads, err = recoverHeads(log); err != nil {
		return heads, nil, err
	}
	ends := make(map[envelope.Stream]end)
	heads.Each(func(id envelope.Stream, last, checkpoint uint64) { ends[id] = end{last, checkpoint} })
	found, err := d.find(ends, false)
	if err != nil {
		return heads, nil, err
	}
	known := mergeLost(append(found.lost, heads.Lost()...))
	before := len(heads.Lost())
	for id, n := range found.tails {
		heads.Skip(id, n)
	}
	for _, l := range known {
		lost = append(lost, lostRun{run: l, reason: lostToDamage})
	}
	for _, l := range heads.Lost()[before:] {
		lost = append(lost, lostRun{run: l, reason: lostAtMost})
	}
	return heads, lost, nil
}

// damage finds out which messages stood where the outbox is damaged.
type damage struct {
	log   *outbox.Log
	trust *envelope.Trust // in the gateway itself: what its checkpoints say

	mu    sync.Mutex    // not held while the outbox is read
	known []outbox.Lost // looked into before
	looks int           // that are over
}

// found is what a look at the damage gave.
type found struct {
	lost  []stream.Lost
	tails map[envelope.Stream]uint64 // numbers that may be lost behind the last one known
}

// end is where a stream ended.
type end struct{ sequence, checkpoint uint64 }

// find looks into damage that was not known before. Where sure is not set, the
// streams may have gone on behind their ends.
func (d *damage) find(ends map[envelope.Stream]end, sure bool) (found, error) {
	for {
		fresh, looks := d.fresh()
		if len(fresh) == 0 {
			return found{}, nil
		}
		s := damageScan{of: make(map[envelope.Stream]*place), trust: d.trust}
		err := s.run(d.log, func() []outbox.Lost { fresh, _ := d.fresh(); return fresh })
		if err != nil {
			return found{}, fmt.Errorf("cannot find out what the damage took: %w", err)
		}
		if d.note(s.ranges, looks) {
			return s.found(ends, sure), nil
		}
	}
}

// note makes the ranges known, unless others became known meanwhile: then the
// damage is to be looked at again, so that nothing is told twice.
func (d *damage) note(ranges []outbox.Lost, looks int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.looks != looks {
		return false
	}
	d.known = append(d.known, ranges...)
	d.looks++
	return true
}

// found gives what the scan came to.
func (s *damageScan) found(ends map[envelope.Stream]end, sure bool) found {
	f := found{tails: make(map[envelope.Stream]uint64)}
	for id, p := range s.of {
		if after := s.between(p.position, math.MaxUint64); after > 0 {
			p.doubtful = true
			if sure && ends[id].sequence > p.sequence {
				s.lost = append(s.lost, stream.Lost{Stream: id, Epoch: p.epoch, First: p.sequence + 1, Last: ends[id].sequence})
			} else if !sure {
				f.tails[id] = after
			}
		}
		if p.doubtful {
			p.giveUpUnsigned(s, func(n uint64) bool { return n > ends[id].checkpoint })
		}
	}
	f.lost = mergeLost(s.lost)
	return f
}

// fresh gives the damage that is not known, and how many looks there were.
func (d *damage) fresh() (ranges []outbox.Lost, looks int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ranges = d.log.Damage()
	for _, k := range d.known {
		var out []outbox.Lost
		for _, r := range ranges {
			if r.First < k.First {
				out = append(out, outbox.Lost{First: r.First, Last: min(r.Last, k.First-1), AtMost: r.AtMost})
			}
			if r.Last > k.Last {
				out = append(out, outbox.Lost{First: max(r.First, k.Last+1), Last: r.Last, AtMost: r.AtMost})
			}
		}
		ranges = out
	}
	return ranges, d.looks
}

// damageScan reads the outbox and notes where numbers of a stream are missing
// while damage lies in between. Numbers that are missing without it were
// delivered before they were damaged.
type damageScan struct {
	trust    *envelope.Trust
	of       map[envelope.Stream]*place
	ranges   []outbox.Lost
	heads    []envelope.Head // of a preamble, until the position behind it is known
	preamble bool            // one came: a stream that it does not name had no message
	lost     []stream.Lost
}

// place is how far a stream is known.
type place struct {
	sequence uint64
	position uint64
	epoch    envelope.Epoch
	unsigned []envelope.Message // since the last checkpoint
	doubtful bool               // a checkpoint that signed them may be lost
}

func (s *damageScan) run(log *outbox.Log, ranges func() []outbox.Lost) error {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // do not wait for more
	end := log.Stats().LastPosition
	r := log.Reader()
	for position := uint64(0); position < end; {
		entries, err := r.Next(ended, 4096, 1<<20)
		if errors.Is(err, context.Canceled) {
			break
		} else if err != nil {
			return err
		}
		s.ranges = ranges()
		for i := range entries {
			if err := s.entry(&entries[i]); err != nil {
				return err
			}
			position = max(position, entries[i].Position)
		}
	}
	s.ranges = ranges()
	return nil
}

func (s *damageScan) entry(e *outbox.Entry) error {
	if e.Tag == tagHead {
		h, err := envelope.ParseHead(e.Data)
		s.heads = append(s.heads, h)
		return err
	}
	if e.Position == 0 {
		return nil
	}
	for i := range s.heads {
		h := &s.heads[i]
		s.note(h.Stream, h.Epoch, h.Sequence+1, h.Sequence, e.Position)
		if p := s.of[h.Stream]; p.doubtful {
			p.giveUpUnsigned(s, func(n uint64) bool { return n > h.CheckpointSequence })
		}
	}
	s.preamble = s.preamble || len(s.heads) > 0
	s.heads = s.heads[:0]
	if e.Tag != tagMessage {
		return nil
	}
	m, err := envelope.ParseMessage(e.Data)
	if err != nil {
		return err
	}
	if m.Address.Kind == envelope.Statement {
		return nil // of no stream
	}
	s.note(m.Address.Stream, m.Epoch, m.Sequence, m.Sequence, e.Position)
	s.of[m.Address.Stream].message(s, &m)
	return nil
}

// message keeps what has no signature yet, until its checkpoint comes.
func (p *place) message(s *damageScan, m *envelope.Message) {
	if m.Address.Kind != envelope.Checkpoint {
		kept := *m
		kept.Body = bytes.Clone(m.Body)
		p.unsigned = append(p.unsigned, kept)
		return
	}
	if p.doubtful {
		p.giveUpUnsigned(s, signedBy(m, p.unsigned, s.trust))
	}
	p.unsigned, p.doubtful = p.unsigned[:0], false
}

// giveUpUnsigned counts as lost what lost its checkpoint: it arrives, but nobody
// can tell that it is the gateway's.
func (p *place) giveUpUnsigned(s *damageScan, signed func(n uint64) bool) {
	p.unsigned = slices.DeleteFunc(p.unsigned, func(m envelope.Message) bool {
		if signed(m.Sequence) {
			return false
		}
		s.lost = append(s.lost, addLost(nil, &m)...)
		return true
	})
}

// signedBy tells which of the messages a checkpoint signs, as a receiver finds
// out.
func signedBy(checkpoint *envelope.Message, messages []envelope.Message, trust *envelope.Trust) func(uint64) bool {
	first := checkpoint.Sequence
	r := envelope.NewReader(envelope.ReaderOptions{Trust: trust})
	note := func(m *envelope.Message) {
		deliveries, _ := r.Read(m) // a refusal is no delivery
		for _, d := range deliveries {
			first = min(first, d.Sequence)
		}
	}
	for i := range messages {
		note(&messages[i])
	}
	note(checkpoint)
	return func(n uint64) bool { return n >= first }
}

// note takes in that at a position a stream goes on with the number next, and
// is known up to the number through.
func (s *damageScan) note(id envelope.Stream, epoch envelope.Epoch, next, through, position uint64) {
	p := s.of[id]
	if p == nil {
		p = &place{}
		if !s.preamble {
			p.sequence = next - 1
		}
		s.of[id] = p
	}
	if next > p.sequence+1 && s.between(p.position, position) > 0 {
		s.lost = append(s.lost, stream.Lost{Stream: id, Epoch: epoch, First: p.sequence + 1, Last: next - 1})
		p.doubtful = true
	}
	if through >= p.sequence {
		p.sequence, p.position, p.epoch = through, position, epoch
	}
}

// between counts the damaged positions between two others.
func (s *damageScan) between(after, before uint64) (n uint64) {
	for _, r := range s.ranges {
		if first, last := max(r.First, after+1), min(r.Last, before-1); first <= last {
			n += last - first + 1
		}
	}
	return n
}

// mergeLost joins what overlaps or touches within an epoch.
func mergeLost(lost []stream.Lost) []stream.Lost {
	slices.SortFunc(lost, func(a, b stream.Lost) int {
		switch {
		case a.Stream != b.Stream:
			return slices.Compare([]string{a.Stream.Machine, a.Stream.Level}, []string{b.Stream.Machine, b.Stream.Level})
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	var out []stream.Lost
	for _, l := range lost {
		if n := len(out); n > 0 && out[n-1].Stream == l.Stream && l.First <= out[n-1].Last+1 && (out[n-1].Epoch == l.Epoch || l.Last <= out[n-1].Last) {
			out[n-1].Last = max(out[n-1].Last, l.Last)
			continue
		}
		out = append(out, l)
	}
	return out
}

// explainDamage asks for loss records of what damage took, where some was found
// that was not known before.
func (c *committer) explainDamage() {
	if len(c.log.Damage()) == 0 {
		return
	}
	ends := make(map[envelope.Stream]end)
	c.mu.Lock()
	c.set.Each(func(h *envelope.Head, _ *envelope.Message) { ends[h.Stream] = end{h.Sequence, h.CheckpointSequence} })
	c.mu.Unlock()
	f, err := c.damage.find(ends, true)
	if err != nil {
		c.logger.Error("the outbox was damaged", "error", err)
		return
	}
	if len(f.lost) == 0 {
		return
	}
	runs := make([]lostRun, len(f.lost))
	for i, l := range f.lost {
		runs[i] = lostRun{run: l, reason: lostToDamage}
	}
	c.reportDamage(runs)
	c.explain(runs...)
}

// reportDamage says what damage took.
func (c *committer) reportDamage(lost []lostRun) {
	var n uint64
	for _, l := range lost {
		n += l.run.Last - l.run.First + 1
		c.logger.Error("the outbox was damaged", "stream", l.run.Stream, "first", l.run.First, "last", l.run.Last, "reason", l.reason)
	}
	c.events(stream.Event{Name: "outbox-damaged", Text: fmt.Sprintf("%d messages lost; loss records say which", n)})
}

// watchedQueue is the relay's way to the outbox. Damage is found when the relay
// comes by, and is forgotten when it has gone on.
type watchedQueue struct {
	relay.Queue
	committer *committer
}

// Next implements relay.Queue.
func (q watchedQueue) Next(ctx context.Context, maxRecords, maxBytes int) ([]outbox.Entry, error) {
	entries, err := q.Queue.Next(ctx, maxRecords, maxBytes)
	if n := len(entries); n > 0 {
		q.committer.given.Store(max(entries[n-1].Position, q.committer.given.Load()))
	}
	q.committer.explainDamage()
	return entries, err
}
