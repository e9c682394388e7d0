package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
)

const (
	commitEvery = 250 * time.Millisecond // from the first pending sample to its commit
	houseEvery  = time.Second            // checkpoints and ages are looked at
	retryEvery  = 500 * time.Millisecond // while the outbox accepts nothing
	stateEvery  = 5 * time.Second        // statements are made, while the relay keeps up
	stateWithin = 10 * time.Second       // is what they promise
)

// Tags of outbox records.
const (
	tagMessage byte = 1 // envelope.Message
	tagHead    byte = 2 // envelope.Head, in preambles only
	tagAgain   byte = 3 // a message that was accepted before and is carried on from a segment that was given up
)

// committer is the one goroutine that gives numbers, seals and writes the
// outbox. What it has appended is accepted.
type committer struct {
	log      *outbox.Log
	append   func([]outbox.Record) (last uint64, err error) // log's
	intake   *intake
	sinks    func() []*sink
	logger   *slog.Logger
	events   func(stream.Event)
	word     func() word           // what the gateway says of itself in statements, and of what happened
	house    func(time.Time, bool) // looks after files of the state folder; true for the last time
	dropOld  bool                  // when_full: drop-oldest
	maxAge   time.Duration         // 0: no limit
	segment  int64                 // what the streams leave of the size of the outbox's segments
	now      func() time.Time
	damage   damage
	ages     ages
	lost     atomic.Uint64
	commits  atomic.Uint64
	messages atomic.Uint64
	given    atomic.Uint64 // position up to which the relay was given messages

	synchronised func() bool // whether now is: if not, nothing is too old

	mu    sync.Mutex // guards set and extra: the committer's, but for status and the relay
	set   *stream.Set
	extra []lostRun // loss records asked for

	// The committer's own.
	pending []stream.Pending           // what was drained; the set knows how far it is
	left    bool                       // more of it is to be built
	rate    eventRate                  // of its own events
	records []outbox.Record            // scratch
	encoded []byte                     // scratch that records point into
	told    []string                   // quarantined messages whose loss records are built
	doomed  *doomed                    // what is being given up, while that has not succeeded
	signed  map[envelope.Stream]uint64 // position of the last checkpoint that giving up came by
	stated  time.Time                  // when the newest statement was made
	stateAt uint64                     // a position not before it; the relay is to come by before the next

	owed  func(*committer) // a swap whose new decisions are in force, and whose rest is not yet
	swaps chan swap        // what is to change between two commits
	ended chan struct{}    // closed when run has returned
}

// swap changes what commits follow, between two of them. What is pending then is
// committed as was decided when it came.
type swap struct {
	drain func([]stream.Pending) []stream.Pending // takes what is pending, and puts the new decisions in force
	put   func(c *committer)                      // called with mu held, when that is committed
	done  chan struct{}
}

// word is what the gateway has to say besides what its machines do.
type word struct {
	clock  envelope.Clock
	policy [32]byte
	events []envelope.Sample
}

// lostRun asks for one loss record.
type lostRun struct {
	run    stream.Lost
	reason string
	file   string // of a message in quarantine; empty otherwise
}

// maxExtra is how many of them one commit takes.
const maxExtra = 512

// run commits until ctx ends. The error is one after which the outbox has to be
// opened again.
func (c *committer) run(ctx context.Context) error {
	defer close(c.ended)
	house := time.NewTicker(houseEvery)
	defer house.Stop()
	due := time.NewTimer(time.Hour)
	due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.intake.first:
			due.Reset(commitEvery)
			select {
			case <-c.intake.enough:
			case <-due.C:
			case <-ctx.Done():
				return nil
			}
			due.Stop()
		case <-house.C:
		case s := <-c.swaps:
			if err := c.swap(ctx, s); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
		if err := c.commit(ctx, c.build); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c.house(c.now(), false)
	}
}

// between has s done, and waits for it. It tells false where the committer ends
// instead.
func (c *committer) between(s swap) bool {
	select {
	case c.swaps <- s:
	case <-c.ended:
		return false
	}
	select {
	case <-s.done:
		return true
	case <-c.ended:
		return false
	}
}

func (c *committer) swap(ctx context.Context, s swap) error {
	drained := false
	err := c.commit(ctx, func(now time.Time) (left bool, err error) {
		if !drained { // from here on samples are decided anew, whatever becomes of this commit
			c.owed = s.put
			c.pending, drained = s.drain(c.pending[:0]), true
		}
		c.left, err = c.set.Build(c.pending, now)
		return c.left, err
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.pay()
	c.mu.Unlock()
	close(s.done)
	return nil
}

// pay does what a swap left to be done. Called with mu held, once all that was
// decided before it is built.
func (c *committer) pay() {
	if c.owed != nil {
		c.owed(c)
		c.owed = nil
	}
}

// finish commits what is pending and closes every epoch. It does not wait for
// an outbox that accepts nothing.
func (c *committer) finish() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.commit(ctx, c.build); err != nil {
		return err
	}
	c.house(c.now(), true)
	err := c.commit(ctx, func(now time.Time) (bool, error) { return false, c.set.Close(now) })
	if err != nil {
		return err
	}
	return c.commit(ctx, func(now time.Time) (bool, error) { return false, c.state(now, c.word()) })
}

// commit builds messages and offers them to the outbox until it has them, in as
// many parts as it takes. Once ctx has ended it offers them once.
func (c *committer) commit(ctx context.Context, build func(time.Time) (left bool, err error)) error {
	for {
		if err := c.flush(ctx); err != nil { // what an earlier commit was left with
			return err
		}
		expired, err := c.expire()
		if errors.Is(err, outbox.ErrFailed) {
			return fmt.Errorf("the outbox must be opened again: %w", err)
		} else if err != nil {
			c.logger.Error("messages past their age could not be given up", "error", err)
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
		c.mu.Lock()
		left, err := build(c.now())
		c.mu.Unlock()
		if err != nil {
			c.logger.Error("something could not be sealed and is lost", "error", err)
			for _, e := range c.rate.limit(nil, []stream.Event{{Name: "seal-failed", Text: err.Error()}}, c.now()) {
				c.events(e)
			}
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
		if !left && !expired {
			return nil
		}
	}
}

// flush offers what is built until the outbox has it. Nothing is built before.
func (c *committer) flush(ctx context.Context) error {
	for c.waiting() {
		err := c.offer()
		if err == nil {
			continue
		}
		if errors.Is(err, outbox.ErrFailed) || errors.Is(err, errAccount) {
			return fmt.Errorf("the outbox must be opened again: %w", err)
		}
		if errors.Is(err, outbox.ErrTooLarge) { // no later attempt would fare better
			err = fmt.Errorf("the outbox's segments are too small for this many streams; make max_size of the outbox larger, or have fewer machines, levels or recipients: %w", err)
			c.events(stream.Event{Name: "outbox-too-small", Text: err.Error()})
			return err
		}
		hold := errors.Is(err, outbox.ErrFull)
		why := err.Error()
		if isDiskFull(err) { // whose text names another file each time
			why = "no room is left on the disk of the state folder, or its quota is used up: make room there, or make max_size of the outbox smaller"
		}
		if c.intake.stall(why, hold) {
			c.logger.Error(stalledText(hold), "error", err)
			c.events(stream.Event{Name: "outbox-stalled", Text: why})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errStalled, err)
		case <-time.After(retryEvery):
		}
		if _, err := c.expire(); errors.Is(err, outbox.ErrFailed) {
			return fmt.Errorf("the outbox must be opened again: %w", err)
		}
	}
	if c.intake.resume() {
		c.logger.Info("the outbox accepts again")
		c.events(stream.Event{Name: "outbox-resumed"})
	}
	return nil
}

// stalledText says what becomes of samples in a stall.
func stalledText(hold bool) string {
	if hold {
		return "the outbox accepts nothing; machines are not polled until it does"
	}
	return fmt.Sprintf("the outbox accepts nothing; samples are kept in memory up to %d MiB, then machines are not polled until it does", maxPending>>20)
}

var (
	errStalled = errors.New("the outbox accepts nothing")
	errAccount = errors.New("what the outbox has does not fit the streams")
)

func (c *committer) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.set.Built()) > 0
}

// build drains the sinks, unless something drained before is left, and builds
// this commit's messages. Called with mu held.
func (c *committer) build(now time.Time) (left bool, err error) {
	var w word
	if !c.left {
		c.pay()
		c.pending = c.pending[:0]
		c.intake.drained()
		for _, s := range c.sinks() {
			c.pending = s.drain(c.pending)
		}
		if w = c.word(); len(w.events) > 0 && c.set.Has(eventLevel) {
			c.pending = append(c.pending, stream.Samples(eventMachine, eventLevel, w.events))
		}
	}
	fresh := !c.left
	c.left, err = c.set.Build(c.pending, now)
	if since := now.Sub(c.stated); fresh && (since >= stateEvery || since < 0) && c.given.Load() >= c.stateAt {
		err = errors.Join(err, c.state(now, w))
	}
	n := min(len(c.extra), maxExtra)
	for _, l := range c.extra[:n] {
		err = errors.Join(err, c.set.Lost([]stream.Lost{l.run}, l.reason, now))
		if l.file != "" {
			c.told = append(c.told, l.file)
		}
	}
	c.extra = c.extra[n:]
	return c.left || !fresh || len(c.extra) > 0, err
}

// state builds a statement. One waits in the outbox at a time: while nothing is
// delivered, more of them would say nothing more.
func (c *committer) state(now time.Time, w word) error {
	c.stated = now
	return c.set.State(now, w.clock, stateWithin, w.policy)
}

// offer appends once, making room by the overflow rule where that was declared.
func (c *committer) offer() error {
	if c.doomed != nil {
		return c.drop()
	}
	c.encode()
	_, err := c.append(c.records)
	switch {
	case errors.Is(err, outbox.ErrFull) && (c.dropOld || c.log.Stats().Messages == 0):
		// Where nothing waits, what fills it is kept for its preamble, because
		// the newest one is damaged: nothing is lost with it.
		return c.giveUp(reasonOverflow)
	case isDiskFull(err) && c.dropOld:
		if up := c.giveUp(reasonDisk); !errors.Is(up, errNothingOlder) {
			return up
		}
	}
	if err != nil {
		return err
	}
	return c.accept()
}

func (c *committer) accept() error {
	last := c.log.Stats().LastPosition
	c.ages.accepted(last, c.now())
	c.mu.Lock()
	c.commits.Add(1)
	c.messages.Add(uint64(len(c.set.Built())))
	if slices.ContainsFunc(c.set.Built(), func(m envelope.Message) bool { return m.Address.Kind == envelope.Statement }) {
		c.stateAt = last
	}
	err := c.set.Accept()
	c.mu.Unlock()
	for _, file := range c.told {
		if err := markExplained(file); err != nil { // then it is explained again after the next start
			c.logger.Error("a message in quarantine cannot be marked as explained", "file", file, "error", err)
		}
	}
	c.told = c.told[:0]
	if err != nil {
		return fmt.Errorf("%w: %w", errAccount, err)
	}
	return nil
}

// explain asks for loss records in the next commit.
func (c *committer) explain(runs ...lostRun) {
	for _, l := range runs {
		c.lost.Add(l.run.Last - l.run.First + 1)
	}
	c.mu.Lock()
	c.extra = append(c.extra, runs...)
	c.mu.Unlock()
	signal(c.intake.first)
}

// encode fills records with what is built.
func (c *committer) encode() {
	c.mu.Lock()
	defer c.mu.Unlock()
	messages := c.set.Built()
	c.encoded, c.records = c.encoded[:0], c.records[:0]
	ends := make([]int, len(messages))
	for i := range messages {
		c.encoded = envelope.AppendMessage(c.encoded, &messages[i])
		ends[i] = len(c.encoded)
	}
	at := 0
	for _, end := range ends {
		c.records = append(c.records, outbox.Record{Tag: tagMessage, Data: c.encoded[at:end:end]})
		at = end
	}
}

// preamble is what each segment of the outbox begins with: the head of every
// stream, and the key frames of the open epochs.
func (c *committer) preamble() []outbox.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	var recs []outbox.Record
	c.set.Each(func(head *envelope.Head, keyFrame *envelope.Message) {
		recs = append(recs, outbox.Record{Tag: tagHead, Data: head.Append(nil)})
		if keyFrame != nil {
			recs = append(recs, outbox.Record{Tag: tagMessage, Data: envelope.AppendMessage(nil, keyFrame)})
		}
	})
	return recs
}

// streams tells where each stream stands.
func (c *committer) streams() []status.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []status.Stream
	c.set.Each(func(h *envelope.Head, _ *envelope.Message) {
		out = append(out, status.Stream{
			Machine: h.Stream.Machine, Level: h.Stream.Level, Epoch: h.Epoch.String(),
			Accepted: h.Sequence, Signed: h.CheckpointSequence,
		})
	})
	return out
}
