package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// flight is what Send published at one go and waits for. Its front counts:
// messages are stored when all before them are.
type flight struct {
	uplink *Uplink
	link   *link
	batch  []envelope.Message
	inbox  string // answers to message i arrive on inbox + i

	acked []bool
	head  int   // so many from the front are stored
	sent  int   // so many are published
	end   int   // the first that was not taken, else len(batch)
	err   error // why batch[end] was not taken
}

// fail notes that message i was not taken. Those before it are waited for.
func (f *flight) fail(i int, err error) {
	if i < f.end {
		f.end, f.err = i, err
	}
}

// wait takes one answer. Its error ends the flight.
func (f *flight) wait(ctx context.Context, idle *time.Timer) error {
	select {
	case m := <-f.link.acks:
		f.take(m)
		return nil
	case err := <-f.link.problems:
		return f.problem(err)
	case <-f.link.gone:
		f.takeAll()
		return f.unlessDone(f.link.reason())
	case <-ctx.Done():
		f.takeAll()
		return f.unlessDone(ctx.Err())
	case <-idle.C:
		f.takeAll()
		return f.unlessDone(fmt.Errorf("no word from %s for %v: %w", f.link.server, f.uplink.patience, errSilent))
	}
}

// interrupted is wait for the time when there is more to publish.
func (f *flight) interrupted(ctx context.Context, idle *time.Timer) error {
	select {
	case <-ctx.Done():
	case <-idle.C:
		idle.Reset(0) // for wait
	default:
		return nil
	}
	return f.wait(ctx, idle)
}

// unlessDone drops an error that no longer matters.
func (f *flight) unlessDone(err error) error {
	if f.head >= f.end {
		return nil
	}
	return err
}

// takeAll takes the answers that are there already.
func (f *flight) takeAll() {
	for {
		select {
		case m := <-f.link.acks:
			f.take(m)
		default:
			return
		}
	}
}

// take counts one answer. One to an earlier flight has another inbox.
func (f *flight) take(m *nats.Msg) {
	number, mine := strings.CutPrefix(m.Subject, f.inbox)
	if !mine {
		return
	}
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= f.sent {
		return
	}
	if err := judge(m, f.uplink.cfg.Stream); err != nil {
		f.fail(i, err)
	} else {
		f.acked[i] = true
	}
	for f.head < f.end && f.acked[f.head] {
		f.head++
	}
}

// problem takes what the server said beside the answers. A message that its
// permissions deny gets no answer: the cause is here only, with its subject.
func (f *flight) problem(err error) error {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		if f := fault(err); f != nil {
			return f
		}
		f.uplink.cfg.Logger.Warn("the server complains", "error", err)
		return nil
	}
	for i := f.head; i < f.sent; i++ {
		if strings.Contains(err.Error(), `"`+Subject(f.uplink.cfg.Prefix, f.batch[i].Address)+`"`) {
			if !f.acked[i] {
				f.fail(i, fault(err))
				return nil
			}
		}
	}
	return fault(err)
}
