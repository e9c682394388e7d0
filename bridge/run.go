package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/relay"
)

// How long the parts of a shutdown may take. Together they stay below 8 s.
const (
	sourcesEnd = 2500 * time.Millisecond
	drainEnd   = 4 * time.Second
)

// Run polls and delivers until ctx ends, then commits what is pending, closes
// the epochs and gives the relay a few seconds; hurry, when closed, skips those.
// It returns an error where the gateway cannot go on and has to be started
// again.
func (g *Gateway) Run(ctx context.Context, hurry <-chan struct{}) error {
	stopped, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	var rest sync.WaitGroup
	g.reloading.Lock()
	g.stopped, g.endRelay = stopped, func() {}
	for _, e := range g.endpoints {
		g.run(e)
	}
	g.reloading.Unlock()
	commits := make(chan error, 1)
	go func() {
		err := g.committer.run(stopped)
		if err != nil {
			stop(err)
		}
		commits <- err
	}()
	rest.Go(func() { g.watchClock(stopped) })
	relaying, endRelay := context.WithCancel(context.Background())
	defer endRelay()
	rest.Go(func() {
		if err := g.relays(relaying); err != nil {
			stop(fmt.Errorf("the relay ended: %w", err))
		}
	})

	<-stopped.Done()
	g.logger.Info("stopping")
	g.reloading.Lock() // there is none from now on
	defer g.reloading.Unlock()
	waitFor(func() {
		g.sources.Wait()
		g.workers.Wait()
	}, sourcesEnd)
	err := <-commits
	if err == nil {
		err = g.committer.finish()
	}
	if errors.Is(err, errStalled) { // a full outbox may still be delivered
		g.logger.Error("what was read last could not be accepted and is lost", "error", err)
		err = nil
	}
	if err == nil {
		g.drain(hurry)
	}
	endRelay()
	rest.Wait()
	if cause := context.Cause(stopped); ctx.Err() == nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return errors.Join(err, g.Close())
}

// run begins to read an endpoint. Called with reloading held.
func (g *Gateway) run(e *endpoint) {
	ctx, stop := context.WithCancel(g.stopped)
	e.stop, e.ended = stop, make(chan struct{})
	g.sources.Go(func() {
		defer close(e.ended)
		defer stop()
		g.supervise(ctx, e)
	})
}

// relays runs the relay, and each that a reload puts in its place, until ctx
// ends.
func (g *Gateway) relays(ctx context.Context) error {
	for {
		one, end := context.WithCancel(ctx)
		g.mu.Lock()
		r := g.relay
		g.relaying, g.endRelay = r, end
		g.mu.Unlock()
		err := r.Run(one)
		end()
		if g.relayInForce() != r {
			if err := r.Close(); err != nil {
				g.logger.Error("an uplink that is no more cannot be closed", "error", err)
			}
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (g *Gateway) relayInForce() *relay.Relay {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.relay
}

// drain gives the relay time to deliver what is in the outbox.
func (g *Gateway) drain(hurry <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), drainEnd)
	defer cancel()
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := g.relayInForce().Drain(ctx); err != nil {
		g.logger.Info("what is not delivered stays in the outbox", "messages", g.log.Stats().Messages)
	}
}

// Close gives everything back, of a gateway that is not run: [Gateway.Run] does
// it by itself.
func (g *Gateway) Close() error {
	var errs []error
	if g.clock != nil {
		errs = append(errs, g.clock.Save(0))
	}
	if g.relay != nil {
		errs = append(errs, g.relay.Close())
	}
	if g.log != nil {
		errs = append(errs, g.log.Close())
	}
	if g.events != nil {
		errs = append(errs, g.events.close())
	}
	return errors.Join(append(errs, g.lock.Close())...)
}

// waitFor waits until f returns, but no longer than d.
func waitFor(f func(), d time.Duration) {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
	}
}
