package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	intake   *intake
	sinks    func() []*sink
	logger   *slog.Logger
	events   func(stream.Event)
	dropOld  bool          // when_full: drop-oldest
	maxAge   time.Duration // 0: no limit
	now      func() time.Time
	lost     atomic.Uint64
	commits  atomic.Uint64
	messages atomic.Uint64

	mu      sync.Mutex // guards set and extra: the committer's, but for status
	set     *stream.Set
	extra   []lostRun        // loss records asked for by the relay
	pending []stream.Pending // scratch
	records []outbox.Record  // scratch
	encoded []byte           // scratch that records point into

	// The committer's own: what is to be given up, while that has not succeeded.
	explained bool            // its loss records are built
	carried   []outbox.Record // what of it is carried on
	doomed    uint64          // how many messages of it are lost
}

type lostRun struct {
	run    stream.Lost
	reason string
}

// run commits until ctx ends. The error is one after which the outbox has to be
// opened again.
func (c *committer) run(ctx context.Context) error {
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
		}
		if err := c.commit(ctx, c.build); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
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
	return c.commit(ctx, c.set.Close)
}

// commit builds messages and offers them to the outbox until it has them. Once
// ctx has ended it offers them once.
func (c *committer) commit(ctx context.Context, build func(time.Time) error) error {
	if err := c.expire(); errors.Is(err, outbox.ErrFailed) {
		return fmt.Errorf("the outbox must be opened again: %w", err)
	} else if err != nil {
		c.logger.Error("messages past their age could not be given up", "error", err)
	}
	c.mu.Lock()
	err := build(c.now())
	waiting := len(c.set.Built()) > 0
	c.mu.Unlock()
	if err != nil {
		c.logger.Error("samples could not be sealed and are lost", "error", err)
		c.events(stream.Event{Name: "seal-failed", Text: err.Error()})
	}
	if !waiting {
		return nil
	}
	for {
		err := c.offer()
		if err == nil {
			break
		}
		if errors.Is(err, outbox.ErrFailed) {
			return fmt.Errorf("the outbox must be opened again: %w", err)
		}
		if c.intake.stall(err.Error(), errors.Is(err, outbox.ErrFull)) {
			c.logger.Error("the outbox accepts nothing; machines are not polled until it does", "error", err)
			c.events(stream.Event{Name: "outbox-stalled", Text: err.Error()})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the outbox accepts nothing: %w", err)
		case <-time.After(retryEvery):
		}
	}
	if c.intake.resume() {
		c.logger.Info("the outbox accepts again")
		c.events(stream.Event{Name: "outbox-resumed"})
	}
	return nil
}

// build drains the sinks and builds this commit's messages. Called with mu held.
func (c *committer) build(now time.Time) error {
	c.pending = c.pending[:0]
	c.intake.drained()
	for _, s := range c.sinks() {
		c.pending = s.drain(c.pending)
	}
	err := c.set.Build(c.pending, now)
	for _, l := range c.extra {
		err = errors.Join(err, c.set.Lost([]stream.Lost{l.run}, l.reason, now))
	}
	c.extra = nil
	return err
}

// offer appends once, making room by the overflow rule where that was declared.
func (c *committer) offer() error {
	c.encode()
	_, err := c.log.Append(c.records)
	if errors.Is(err, outbox.ErrFull) && c.dropOld {
		return c.giveUp("overflow")
	}
	if err != nil {
		return err
	}
	return c.accept()
}

func (c *committer) accept() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits.Add(1)
	c.explained, c.carried = false, nil
	c.messages.Add(uint64(len(c.set.Built())))
	return c.set.Accept()
}

// expire gives up the oldest segments while they are past the maximum age.
func (c *committer) expire() error {
	if c.maxAge <= 0 {
		return nil
	}
	for {
		t, ok := c.log.OldestTime()
		if !ok || c.now().Sub(t) < c.maxAge {
			return nil
		}
		if err := c.giveUp("expired"); errors.Is(err, errNothingOlder) {
			return nil // what is too old stands in the segment that is being written
		} else if err != nil {
			return err
		}
	}
}

var errNothingOlder = errors.New("the outbox is full and has no older segment to give up")

// giveUp appends what is built and loss records for the oldest segment, and
// gives that up. Key frames, checkpoints and loss records in it are carried on:
// only data is ever lost.
func (c *committer) giveUp(reason string) error {
	if !c.explained {
		if err := c.explainOldest(reason); err != nil {
			return err
		}
	}
	c.encode()
	if err := c.log.DropOldest(append(c.records, c.carried...)); err != nil {
		return err // the loss records stay built, for the next attempt
	}
	c.lost.Add(c.doomed)
	c.logger.Warn("messages were given up", "reason", reason, "messages", c.doomed)
	c.events(stream.Event{Name: "outbox-" + reason, Text: fmt.Sprintf("%d messages given up; loss records say which", c.doomed)})
	return c.accept()
}

// explainOldest builds the loss records of the oldest segment, once.
func (c *committer) explainOldest(reason string) error {
	var lost []stream.Lost
	c.carried, c.doomed = nil, 0
	ok, err := c.log.Oldest(func(e outbox.Entry) error {
		if e.Tag != tagMessage && e.Tag != tagAgain {
			return nil
		}
		m, err := envelope.ParseMessage(e.Data)
		if err != nil {
			return fmt.Errorf("cannot read message %d of the outbox: %w", e.Position, err)
		}
		if m.Address.Kind == envelope.Data || m.Address.Kind == envelope.Passthrough {
			lost = addLost(lost, &m)
			c.doomed++
		} else {
			c.carried = append(c.carried, outbox.Record{Tag: tagAgain, Data: append([]byte(nil), e.Data...)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !ok {
		return errNothingOlder
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.set.Lost(lost, reason, c.now()); err != nil {
		return err
	}
	c.explained = true
	return nil
}

// addLost adds one message to the runs.
func addLost(runs []stream.Lost, m *envelope.Message) []stream.Lost {
	for i := range runs {
		r := &runs[i]
		if r.Stream == m.Address.Stream && r.Epoch == m.Epoch && r.Last+1 == m.Sequence {
			r.Last = m.Sequence
			return runs
		}
	}
	return append(runs, stream.Lost{Stream: m.Address.Stream, Epoch: m.Epoch, First: m.Sequence, Last: m.Sequence})
}

// explain asks for a loss record of one message in the next commit.
func (c *committer) explain(m *envelope.Message, reason string) {
	c.lost.Add(1)
	c.mu.Lock()
	c.extra = append(c.extra, lostRun{addLost(nil, m)[0], reason})
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

// recoverHeads rebuilds where each stream stood from an outbox just opened.
func recoverHeads(log *outbox.Log) (stream.Heads, error) {
	heads := make(stream.Heads)
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
			return heads.Message(&m)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot recover the streams from the outbox: %w", err)
	}
	return heads, nil
}
