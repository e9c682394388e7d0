package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	// batch is how many messages are published at one go: half a window. While their
	// acknowledgements are waited for, the other half arrives.
	batch = dtls.WindowMessages / 2
	// storeTime is what they should be stored in, or they are fewer: the gateway hears
	// of them together, and gives up when it hears nothing for some seconds.
	storeTime = time.Second
	// few is how many are worth publishing where no more wait, or take so long.
	few = 8
	// gatherTime is how long a message waits for others to be published with it.
	gatherTime = 300 * time.Microsecond
	// pulse is how often a gateway that waits hears that the hub is there.
	pulse = time.Second
	// The bounds of the pause before a stream that does not store is asked again.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

// item is one message of a gateway, or why it is refused.
type item struct {
	number  uint64
	message envelope.Message
	refuse  string
}

// session is one connection of one gateway.
type session struct {
	hub      *Hub
	peer     *dtls.Peer
	gateway  string
	upstream Upstream
	logger   *slog.Logger
	began    time.Time
	order    uint64 // guarded by the hub's mutex
	messages bucket // owned by receive
	bytes    bucket // owned by receive

	// Of received messages, those that are not answered wait: in the queue, or with
	// the upstream. Never more than the window that was granted.
	queue    chan item
	waiting  atomic.Int64
	weight   atomic.Int64 // of those waiting, in bytes of bodies
	received atomic.Uint64
	stored   atomic.Uint64
	refused  atomic.Uint64

	ctx    context.Context //nolint:containedctx // the life of the session
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards what follows
	busy  string     // why the upstream stores nothing; empty while it does
	spoke time.Time  // the last word to the gateway
}

// newSession makes a session that lives no longer than ctx. Its cancel must be
// called.
func newSession(ctx context.Context, h *Hub, peer *dtls.Peer, gateway string, upstream Upstream, logger *slog.Logger) *session {
	l := h.cfg.Limits
	s := &session{
		hub: h, peer: peer, gateway: gateway, upstream: upstream, logger: logger, began: time.Now(),
		messages: bucket{rate: float64(l.MessagesPerSecond)}, bytes: bucket{rate: float64(l.BytesPerSecond)},
		queue: make(chan item, dtls.WindowMessages),
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// errEnded ends a session whose gateway was told why.
var errEnded = errors.New("ended by the hub")

// run serves the gateway until the connection or the session ends, and says why.
func (s *session) run() error {
	var wg sync.WaitGroup
	wg.Go(func() { s.cancel(s.store(s.ctx)) })
	wg.Go(func() { s.cancel(s.beat(s.ctx)) })
	wg.Go(func() { s.cancel(s.receive(s.ctx)) })
	<-s.ctx.Done()
	_ = s.peer.Close() // ends receive
	wg.Wait()
	return context.Cause(s.ctx)
}

// end tells the gateway why its connection ends, and ends it.
func (s *session) end(what, instead string, cause error) {
	s.logger.Warn(what, "error", cause)
	_ = s.peer.Fault(what+": "+cause.Error(), instead)
	s.cancel(errEnded)
}

// receive takes what the gateway sends. Its error ends the session.
func (s *session) receive(ctx context.Context) error {
	for {
		number, m, err := s.peer.Receive()
		var unreadable *dtls.Unreadable
		if err != nil && !errors.As(err, &unreadable) {
			return err
		}
		s.received.Add(1)
		s.hub.count.received.Add(1)
		i := item{number: number, message: m}
		switch {
		case err != nil:
			i.refuse = err.Error()
		case m.Address.Stream.Gateway != s.gateway:
			s.hub.count.impostors.Add(1)
			i.refuse = fmt.Sprintf("it is of the gateway %q, and came from %q", m.Address.Stream.Gateway, s.gateway)
		}
		weight := s.weight.Add(int64(len(m.Body)))
		if n := s.waiting.Add(1); n > dtls.WindowMessages || n > 1 && weight > dtls.WindowBytes {
			return fmt.Errorf("the gateway sends more than its window: %d messages, %d bytes", n, weight)
		}
		s.queue <- i // has room for a window
		if err := errors.Join(s.messages.take(ctx, 1), s.bytes.take(ctx, float64(len(m.Body)))); err != nil {
			return err
		}
	}
}

// store publishes what the gateway sent, in order, and says how far it is
// stored. Its error ends the session.
func (s *session) store(ctx context.Context) error {
	items := make([]item, 0, batch)
	messages := make([]envelope.Message, 0, batch)
	most := few
	for {
		items, messages = items[:0], messages[:0]
		select {
		case i := <-s.queue:
			items = append(items, i)
		case <-ctx.Done():
			return ctx.Err()
		}
		items = s.gather(ctx, items, most)
		last := &items[len(items)-1]
		for _, i := range items {
			if i.refuse == "" {
				messages = append(messages, i.message)
			}
		}
		began := time.Now()
		if err := s.publish(ctx, items[0].number, messages); err != nil {
			return err
		}
		if len(messages) > 0 {
			most = nextBatch(len(messages), time.Since(began))
		}
		if last.refuse != "" {
			if err := s.refuse(last.number, &last.message, last.refuse); err != nil {
				return err
			}
		}
		clear(items)
		clear(messages)
	}
}

// nextBatch says how many messages are published next, where n were stored in the time.
func nextBatch(n int, took time.Duration) int {
	fits := float64(n) * float64(storeTime) / float64(max(took, 1))
	return int(min(max(fits, few), batch))
}

// gather takes what else is in the queue, up to most or the first that is refused.
// Where that is little it waits a moment for more: publishing and acknowledging a
// few at a time costs as much as many.
func (s *session) gather(ctx context.Context, items []item, most int) []item {
	moment := time.NewTimer(gatherTime)
	defer moment.Stop()
	for items[len(items)-1].refuse == "" && len(items) < most {
		if len(items) >= few && len(s.queue) == 0 {
			break
		}
		select {
		case i := <-s.queue:
			items = append(items, i)
		case <-moment.C:
			return items
		case <-ctx.Done():
			return items
		}
	}
	return items
}

// publish stores messages, of which the first has the number given. It goes on
// trying until they are stored or refused, or the session ends.
func (s *session) publish(ctx context.Context, number uint64, messages []envelope.Message) error {
	pause := backoff.ExponentialBackOff{InitialInterval: firstPause, MaxInterval: longestPause, Multiplier: 2, RandomizationFactor: 0.5}
	for len(messages) > 0 {
		n, err := s.upstream.Send(ctx, messages)
		if n > 0 {
			if err := s.acknowledge(number+uint64(n)-1, messages[:n]); err != nil {
				return err
			}
			number += uint64(n)
			messages = messages[n:]
			pause.Reset()
		}
		var (
			refused *envelope.Refused
			fault   *envelope.Fault
		)
		switch {
		case len(messages) == 0:
			return nil
		case errors.As(err, &refused):
			if err := s.refuse(number, &messages[0], refused.Reason); err != nil {
				return err
			}
			number, messages = number+1, messages[1:]
			continue
		case errors.As(err, &fault):
			s.hub.count.faults.Add(1)
			s.end(fault.What, fault.Instead, err)
			return errEnded
		case ctx.Err() != nil:
			return ctx.Err()
		}
		s.setBusy(fmt.Sprint(err))
		wait := time.NewTimer(pause.NextBackOff())
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// acknowledge tells the gateway that everything up to number is stored.
func (s *session) acknowledge(number uint64, messages []envelope.Message) error {
	if err := s.peer.Stored(number); err != nil {
		return err
	}
	s.stored.Add(uint64(len(messages)))
	s.hub.count.stored.Add(uint64(len(messages)))
	s.answered(messages)
	s.setBusy("")
	return nil
}

// refuse tells the gateway that one message can never be accepted.
func (s *session) refuse(number uint64, m *envelope.Message, reason string) error {
	if err := s.peer.Refuse(number, reason); err != nil {
		return err
	}
	s.hub.count.refused.Add(1)
	// A gateway that sends nothing else must not fill the log.
	if n := s.refused.Add(1); n&(n-1) == 0 {
		s.logger.Warn("a message is refused", "stream", m.Address.Stream, "sequence", m.Sequence, "reason", reason, "refused", n)
	}
	s.answered([]envelope.Message{*m})
	return nil
}

// answered takes messages off the gateway's window.
func (s *session) answered(messages []envelope.Message) {
	weight := 0
	for i := range messages {
		weight += len(messages[i].Body)
	}
	s.weight.Add(-int64(weight))
	s.waiting.Add(-int64(len(messages)))
	s.mu.Lock()
	s.spoke = time.Now()
	s.mu.Unlock()
}

func (s *session) setBusy(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason != "" && s.busy == "" {
		s.logger.Warn("nothing can be stored", "error", reason)
	}
	s.busy = reason
}

// beat tells a gateway that waits that the hub is there, and ends the session of
// one that is not.
func (s *session) beat(ctx context.Context) error {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	bytes, heard := s.peer.Received(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		if b := s.peer.Received(); b != bytes {
			bytes, heard = b, now
		}
		if idle := s.hub.cfg.Limits.Idle; now.Sub(heard) > idle {
			s.hub.count.reaped.Add(1)
			return fmt.Errorf("nothing from the gateway for %v", idle)
		}
		s.mu.Lock()
		busy, quiet := s.busy, now.Sub(s.spoke) >= pulse
		s.mu.Unlock()
		if s.waiting.Load() == 0 || !quiet {
			continue
		}
		if busy == "" {
			busy = "the stream has not acknowledged yet"
		}
		if err := s.peer.Busy(busy); err != nil {
			return err
		}
	}
}
