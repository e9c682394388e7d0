package bridge

import (
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/stream"
)

// eventEvery is how often an event of one name is written of one point, at most:
// a device must not be able to flood the event log.
const eventEvery = time.Minute

// eventRate keeps one machine's events from flooding the event log. The zero
// value is ready.
type eventRate struct {
	of      map[eventOf]*toldEvent
	waiting bool // some were suppressed and not counted in another yet
}

type eventOf struct{ point, name string }

type toldEvent struct {
	at         time.Time // of the last one written
	newest     stream.Event
	suppressed int
}

// limit appends those of the events that are to be written now. What is left out
// is counted in the next one of its kind, at the latest when the interval is
// over and limit is called.
func (r *eventRate) limit(dst, events []stream.Event, now time.Time) []stream.Event {
	for _, e := range events {
		k := eventOf{e.Point, e.Name}
		t := r.of[k]
		if t != nil && t.recent(now) {
			t.newest, r.waiting = e, true
			t.suppressed++
			continue
		}
		if t == nil {
			t = &toldEvent{}
			if r.of == nil {
				r.of = make(map[eventOf]*toldEvent)
			}
			r.of[k] = t
		}
		t.newest = e
		dst = append(dst, t.tell(now))
	}
	if !r.waiting {
		return dst
	}
	r.waiting = false
	for _, t := range r.of {
		switch {
		case t.suppressed == 0:
		case t.recent(now):
			r.waiting = true
		default:
			t.suppressed-- // the newest is told
			dst = append(dst, t.tell(now))
		}
	}
	return dst
}

func (t *toldEvent) recent(now time.Time) bool {
	since := now.Sub(t.at)
	return since >= 0 && since < eventEvery // a clock that was set back holds nothing up
}

func (t *toldEvent) tell(now time.Time) stream.Event {
	e := t.newest
	if t.suppressed > 0 {
		e.Text = fmt.Sprintf("%s (%d more like it since the one before)", e.Text, t.suppressed)
	}
	t.at, t.suppressed = now, 0
	return e
}
