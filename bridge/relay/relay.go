package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

const (
	// A Send takes what should be stored in sendTime: nothing is freed before its end.
	// Where they are quickly there that is more than an uplink has under way, because
	// between two Sends both ends wait.
	leastMessages = 32
	firstMessages = 256
	batchMessages = 1024
	sendTime      = 2 * time.Second
	batchBytes    = 1 << 20
	firstPause    = 200 * time.Millisecond
	longestPause  = 10 * time.Second
)

// Named is an uplink with its name in the configuration.
type Named struct {
	Name   string
	Uplink Uplink
}

// Config says what to relay, and where to.
type Config struct {
	Queue Queue
	// Uplinks in order of preference: the first that works is used. All lead to
	// the same place, where a message that arrives twice counts once.
	Uplinks []Named
	Logger  *slog.Logger // nil: none

	// Events is told when an uplink becomes faulty, delivers again, or takes over
	// from another; once per change. It may be nil.
	Events func(name, text string)
	// Quarantine keeps a message that an uplink refused for good, durably when it
	// returns. On an error it is called again, and nothing else is sent before.
	// A record of the queue that cannot be read comes as a message with an empty
	// address whose body is the record. The message is valid during the call.
	Quarantine func(m envelope.Message, reason string) error

	BatchMessages int // in one Send, at the most; 1024 where it is 0
	BatchBytes    int // of bodies in one Send, but always one message; 1 MiB where it is 0
}

// Relay moves messages from one queue upstream.
type Relay struct {
	cfg    Config
	logger *slog.Logger
	now    func() time.Time
	freed  chan struct{} // Drain: something was freed
	ended  chan struct{} // closed when Run has returned

	// Owned by Run.
	links     []*link
	delivered *link // the one that stored something last
	keys      keyFrames
	most      int // messages in the next Send
	batch     []envelope.Message
	positions []uint64 // of the messages of batch

	mu     sync.Mutex // guards what follows
	status []Status
}

// New makes a relay of a complete configuration.
func New(cfg Config) (*Relay, error) {
	if cfg.Queue == nil || len(cfg.Uplinks) == 0 || cfg.Quarantine == nil {
		return nil, errors.New("a relay needs a queue, an uplink and a quarantine")
	}
	if cfg.BatchMessages < 0 || cfg.BatchBytes < 0 {
		return nil, fmt.Errorf("batches of %d messages and %d bytes", cfg.BatchMessages, cfg.BatchBytes)
	}
	if cfg.BatchMessages == 0 {
		cfg.BatchMessages = batchMessages
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = batchBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Events == nil {
		cfg.Events = func(string, string) {}
	}
	r := &Relay{
		cfg: cfg, logger: cfg.Logger, now: time.Now,
		freed: make(chan struct{}, 1), ended: make(chan struct{}),
		keys: newKeyFrames(cfg.Logger), most: min(firstMessages, cfg.BatchMessages),
	}
	for i, u := range cfg.Uplinks {
		r.links = append(r.links, &link{Named: u, index: i, pause: newPause()})
		r.status = append(r.status, Status{Name: u.Name, State: Connecting, Since: r.now()})
	}
	return r, nil
}

func newPause() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: firstPause, MaxInterval: longestPause, Multiplier: 2, RandomizationFactor: 0.5}
}

// Run relays until ctx ends, and then returns nil as soon as the uplink's Send
// does. An error is one of the queue that it cannot mend. It is called once.
func (r *Relay) Run(ctx context.Context) error {
	defer close(r.ended)
	r.cfg.Queue.Rewind()
	pause := newPause()
	for {
		entries, err := r.cfg.Queue.Next(ctx, r.most, r.cfg.BatchBytes)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, outbox.ErrClosed), errors.Is(err, outbox.ErrFailed):
			return err
		case err != nil:
			r.logger.Error("the outbox cannot be read", "error", err)
			if wait(ctx, pause.NextBackOff()) != nil {
				return nil
			}
			continue
		}
		pause.Reset()
		if err := r.relay(ctx, entries); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// Drain waits until Run has delivered all that is in the queue, or ctx ends.
func (r *Relay) Drain(ctx context.Context) error {
	for {
		n := r.cfg.Queue.Waiting()
		if n == 0 {
			return nil
		}
		select {
		case <-r.freed:
		case <-r.ended:
			return fmt.Errorf("the relay has ended; %d records are not delivered", n)
		case <-ctx.Done():
			return fmt.Errorf("%d records are not delivered: %w", n, ctx.Err())
		}
	}
}

// Close closes the uplinks. Call it after Run has returned.
func (r *Relay) Close() error {
	var errs []error
	for _, u := range r.cfg.Uplinks {
		if err := u.Uplink.Close(); err != nil {
			errs = append(errs, fmt.Errorf("cannot close uplink %s: %w", u.Name, err))
		}
	}
	return errors.Join(errs...)
}

// relay delivers what one Next gave. An error is ctx's or the queue's.
func (r *Relay) relay(ctx context.Context, entries []outbox.Entry) error {
	for i := range entries {
		e := &entries[i]
		m, err := message(e)
		switch {
		case err != nil:
			// deliver what comes before, so that freeing stays in order
			if err := r.deliver(ctx); err != nil {
				return err
			}
			if err := r.unreadable(ctx, e, err); err != nil {
				return err
			}
		case e.Context && m != nil && m.Address.Kind == envelope.KeyFrame:
			// It may be in force only behind what is before it.
			if err := r.deliver(ctx); err != nil {
				return err
			}
			r.keys.note(m)
		case e.Context:
		case m == nil:
			if err := r.deliver(ctx); err != nil {
				return err
			}
			if err := r.free(e.Position); err != nil {
				return err
			}
		default:
			r.batch = append(r.batch, *m)
			r.positions = append(r.positions, e.Position)
		}
	}
	return r.deliver(ctx)
}

// message reads an entry; nil where it is no message.
func message(e *outbox.Entry) (*envelope.Message, error) {
	if e.Tag != tagMessage && e.Tag != tagAgain {
		return nil, nil
	}
	m, err := envelope.ParseMessage(e.Data)
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// free gives the space of what is stored back to the queue.
func (r *Relay) free(position uint64) error {
	err := r.cfg.Queue.Free(position)
	if errors.Is(err, outbox.ErrClosed) || errors.Is(err, outbox.ErrFailed) {
		return err
	}
	if err != nil { // the next Free covers it
		r.logger.Error("what is delivered cannot be freed in the outbox", "error", err)
	}
	select {
	case r.freed <- struct{}{}:
	default:
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
