package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	// probeEvery is how often the stream is looked at, whether gateways are
	// connected or not; probeAgain is that while it does not answer.
	probeEvery = 5 * time.Second
	probeAgain = time.Second
	probeTime  = 8 * time.Second // for one look
)

var errNotStored = errors.New("the stream does not store the prefix")

// errNotAsked is how a hub begins.
var errNotAsked = errors.New("the stream has not answered yet")

// readiness is what is known of the stream behind a hub.
type readiness struct {
	probe func(context.Context) error // nil: there is nothing to ask

	mu    sync.Mutex // guards what follows
	err   error
	asked bool
}

// Ready gives nil while the stream behind the hub can be reached, as it was found
// within the last seconds, else why not.
func (h *Hub) Ready() error { return h.ready.now() }

func (r *readiness) now() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probe != nil && !r.asked {
		return errNotAsked
	}
	return r.err
}

// watch asks again and again until ctx ends. It logs each change once.
func (r *readiness) watch(ctx context.Context, logger *slog.Logger) {
	if r.probe == nil {
		return
	}
	for {
		pause := probeEvery
		if r.ask(ctx, logger) != nil {
			pause = probeAgain
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

func (r *readiness) ask(ctx context.Context, logger *slog.Logger) error {
	err := r.probe(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.mu.Lock()
	before, first := r.err, !r.asked
	r.err, r.asked = err, true
	r.mu.Unlock()
	switch {
	case err != nil && (first || before == nil || before.Error() != err.Error()):
		logger.Error("nothing can be stored; gateways wait", "error", err)
	case err == nil && (first || before != nil):
		logger.Info("the stream answers")
	}
	return err
}

// askNATS looks at the stream that the hub stores in.
func (h *Hub) askNATS(ctx context.Context) error {
	c := h.cfg.NATS
	c.TLS = h.tls.Load()
	return Look(ctx, c)
}

// Look tells whether the stream can be reached and is there, as whoever reads it
// would find out, and reads nothing.
func Look(ctx context.Context, c nats.Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := nats.Consume(ctx, nats.ConsumeConfig{
		Servers: c.Servers, Stream: c.Stream, Prefix: c.Prefix, TLS: c.TLS, Name: "fieldseal hub", UntilEnd: true,
		Begin: func(e nats.Extent) error {
			if !e.Stores(c.Prefix) {
				return errNotStored
			}
			return nil
		},
	}, func(envelope.Message) error { return nil })
	if err == nil {
		return nil
	}
	if errors.Is(err, errNotStored) {
		return fmt.Errorf("the stream %s does not store %s.>, and so nothing that gateways send; add it to the stream's subjects upstream, or correct prefix", c.Stream, c.Prefix)
	}
	var fault *envelope.Fault
	if errors.As(err, &fault) {
		return fmt.Errorf("the stream %s cannot be used: %w (a hub's user publishes to %s.> and to $JS.API.STREAM.INFO.%s, and subscribes to _INBOX.>)",
			c.Stream, fault, c.Prefix, c.Stream)
	}
	return fmt.Errorf("NATS does not answer: %w", err)
}
