package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

// deliver sends the batch until all of it is stored upstream or in quarantine,
// and forgets it. An error is ctx's or the queue's.
func (r *Relay) deliver(ctx context.Context) error {
	defer func() {
		clear(r.batch)
		r.batch, r.positions = r.batch[:0], r.positions[:0]
	}()
	batch, positions := r.batch, r.positions
	sent := 0 // so many of batch were given to an uplink before
	for len(batch) > 0 {
		l, err := r.ready(ctx)
		if err != nil {
			return err
		}
		if ok, err := r.sendKeys(ctx, l); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		began := r.now()
		n, sendErr := r.send(ctx, l, batch)
		if sent == 0 { // else some of it was on its way already
			r.nextBatch(n, r.now().Sub(began))
		}
		r.resent(l, min(n, sent))
		sent = len(batch) - n
		if n > 0 {
			if err := r.free(positions[n-1]); err != nil {
				return err
			}
			r.keys.stored(batch[:n], l)
			batch, positions = batch[n:], positions[n:]
		}
		var refused *envelope.Refused
		if errors.As(sendErr, &refused) && len(batch) > 0 {
			if err := r.quarantine(ctx, l, &batch[0], refused.Reason); err != nil {
				return err
			}
			if err := r.free(positions[0]); err != nil {
				return err
			}
			batch, positions = batch[1:], positions[1:]
		}
	}
	return nil
}

// nextBatch says how many messages the next Send takes, of which the last one stored n in
// the time.
func (r *Relay) nextBatch(n int, took time.Duration) {
	fits := float64(n) * float64(sendTime) / float64(max(took, 1))
	r.most = int(min(max(fits, leastMessages), float64(r.cfg.BatchMessages)))
}

// send gives messages to an uplink, and notes what that says about it. The error
// is the uplink's, and dealt with unless it is *envelope.Refused.
func (r *Relay) send(ctx context.Context, l *link, batch []envelope.Message) (int, error) {
	n, err := l.Uplink.Send(ctx, batch)
	if n < 0 || n > len(batch) || n < len(batch) && err == nil {
		err = fmt.Errorf("uplink %s says that it stored %d of %d messages: %w", l.Name, n, len(batch), err)
		n = 0
	}
	if n == len(batch) {
		err = nil
	}
	if n > 0 {
		r.stored(l, batch[:n])
	}
	var refused *envelope.Refused
	switch {
	case err == nil, errors.As(err, &refused):
		r.works(l)
	case ctx.Err() == nil:
		r.failed(l, err, n > 0)
	}
	return n, err
}

// sendKeys sends the key frames in force that were not sent on the connection of
// l, before data goes on. It returns false where that did not work.
func (r *Relay) sendKeys(ctx context.Context, l *link) (bool, error) {
	for {
		due := r.keys.due(l)
		if len(due) == 0 {
			return true, nil
		}
		due = due[:min(len(due), r.cfg.BatchMessages)]
		n, err := r.send(ctx, l, due)
		r.resent(l, n)
		r.keys.stored(due[:n], l)
		var refused *envelope.Refused
		switch {
		case errors.As(err, &refused):
			if err := r.quarantine(ctx, l, &due[n], refused.Reason); err != nil {
				return false, err
			}
			r.keys.forget(&due[n])
		case err != nil:
			return false, ctx.Err()
		}
	}
}

// quarantine keeps a message that l refused, before anything else goes on.
func (r *Relay) quarantine(ctx context.Context, l *link, m *envelope.Message, reason string) error {
	r.logger.Error("message refused", "uplink", l.Name, "stream", m.Address.Stream, "kind", m.Address.Kind,
		"sequence", m.Sequence, "reason", reason)
	if err := r.keep(ctx, m, reason); err != nil {
		return err
	}
	r.change(l, func(s *Status) { s.Quarantined++ })
	return nil
}

func (r *Relay) keep(ctx context.Context, m *envelope.Message, reason string) error {
	pause := newPause()
	for {
		err := r.cfg.Quarantine(*m, reason)
		if err == nil {
			return nil
		}
		r.logger.Error("quarantine does not work; nothing is sent until it does", "error", err)
		if err := wait(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

// unreadable keeps a record that is no message any more. The log authenticates
// what it gives, so only a change of the format can be the cause.
func (r *Relay) unreadable(ctx context.Context, e *outbox.Entry, cause error) error {
	r.logger.Error("a record of the outbox cannot be read", "position", e.Position, "error", cause)
	if e.Context {
		return nil
	}
	m := envelope.Message{Body: e.Data}
	sum := sha256.Sum256(e.Data)
	copy(m.ID[:], sum[:])
	if err := r.keep(ctx, &m, cause.Error()); err != nil {
		return err
	}
	return r.free(e.Position)
}
