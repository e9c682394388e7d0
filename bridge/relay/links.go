package relay

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const (
	patience   = 5                // failures without progress, before the next uplink is tried
	longEnough = 8 * time.Second  // without progress, too, where there was more than one failure
	sayEvery   = 10 * time.Minute // in the log, that an uplink still does not deliver
	probeEvery = 30 * time.Second // one that failed, while another is there
)

// link is what the relay knows of an uplink.
type link struct {
	Named
	index    int // in Relay.status
	pause    *backoff.ExponentialBackOff
	failures int       // since something was stored
	failing  time.Time // since when; the first of them
	said     time.Time // when the log was told last
	givenUp  bool      // another uplink is preferred, but for probes
	retryAt  time.Time // not before
	fault    string    // the one that an event told of, until it delivers again
}

// ready waits until there is something to try, and gives it: the first uplink
// that is not given up, or one given up whose time for a probe has come.
func (r *Relay) ready(ctx context.Context) (*link, error) {
	var next *link
	for _, l := range r.links {
		if !l.givenUp || !r.now().Before(l.retryAt) {
			next = l
			break
		}
		if next == nil || l.retryAt.Before(next.retryAt) {
			next = l
		}
	}
	if err := wait(ctx, next.retryAt.Sub(r.now())); err != nil {
		return nil, err
	}
	return next, nil
}

// works notes an answer of l that says that it is well.
func (r *Relay) works(l *link) {
	l.failures, l.givenUp, l.retryAt = 0, false, time.Time{}
	l.pause.Reset()
	r.setState(l, Delivering, "")
	before, fault := r.delivered, l.fault
	r.delivered, l.fault = l, ""
	switch {
	case before != nil && before != l:
		r.logger.Info("another uplink delivers", "uplink", l.Name, "instead_of", before.Name)
		r.cfg.Events("uplink-changed", l.Name+" delivers instead of "+before.Name)
	case fault != "":
		r.logger.Info("the uplink delivers again", "uplink", l.Name)
		r.cfg.Events("uplink-delivers", l.Name+" delivers again")
	}
}

// failed notes an error of l that is no refusal.
func (r *Relay) failed(l *link, err error, progress bool) {
	now := r.now()
	if progress {
		l.failures = 0
		l.pause.Reset()
		r.delivered = cmp.Or(r.delivered, l)
	}
	if l.failures == 0 {
		l.failing = now
	}
	l.failures++
	var fault *envelope.Fault
	isFault := errors.As(err, &fault)
	tired := l.failures >= patience || l.failures > 1 && now.Sub(l.failing) >= longEnough
	l.givenUp = len(r.links) > 1 && (l.givenUp || isFault || tired)
	pause := l.pause.NextBackOff()
	if l.givenUp && slices.ContainsFunc(r.links, func(o *link) bool { return !o.givenUp }) {
		pause = max(pause, probeEvery)
	}
	l.retryAt = now.Add(pause)
	if l.givenUp { // where no other is left, none of them waits for its probe
		for _, o := range r.links {
			if pause < probeEvery && o.retryAt.After(l.retryAt) {
				o.retryAt = l.retryAt
			}
		}
	}
	if !isFault {
		r.setState(l, Connecting, err.Error())
		// A month without a network must not fill the log with one sentence.
		if l.failures == 1 || now.Sub(l.said) >= sayEvery {
			l.said = now
			r.logger.Warn("the uplink does not deliver", "uplink", l.Name, "error", err, "failures", l.failures, "again_in", pause.Round(time.Millisecond))
		}
		return
	}
	r.setState(l, Faulty, err.Error())
	if l.fault != fault.What {
		l.fault = fault.What
		r.logger.Error("the uplink is faulty", "uplink", l.Name, "error", err)
		r.cfg.Events("uplink-faulty", l.Name+": "+err.Error())
	}
}
