package bridge

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fieldseal/fieldseal/bridge/clock"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	clockEvery = time.Second // the clock and the exceptions are looked at
	markEvery  = time.Hour   // the mark is written, while it rises
	endsSoon   = 30 * 24 * time.Hour
	soonEvery  = 24 * time.Hour // it is said again
)

// openClock begins to judge the clock. Where the mark cannot be read the gateway
// starts all the same: what needs no exception goes on.
func (g *Gateway) openClock(o *Options) {
	var err error
	g.clock, err = clock.Open(clock.Options{File: filepath.Join(g.config.State, "clock"), Now: g.now, Synchronised: o.Synchronised})
	if err != nil {
		g.logger.Error("the clock has no mark", "error", err)
		g.events.write(stream.Event{Name: "clock-mark-unreadable", Text: err.Error()})
	}
}

func (g *Gateway) synchronised() bool { return g.clock.Read().Trust == clock.Synchronised }

// dated is when the outbox says that messages came: not before the mark, so that
// what came while the clock was not set is not years old once it is.
func (g *Gateway) dated() time.Time {
	if r := g.clock.Read(); r.Now.Before(r.Mark) {
		return r.Mark
	}
	return g.now()
}

// watchClock says what becomes of the clock, of the exceptions and of the gateway's
// certificates, and has the sinks decide anew, until ctx ends. What samples are
// taken meanwhile does not wait for it: sinks look for themselves.
func (g *Gateway) watchClock(ctx context.Context) {
	w := clockWatch{told: make(map[exceptionID]*toldException)}
	certificates := certificateWatch{keys: g.keys, said: make(map[string]time.Time)}
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		r := g.clock.Read()
		every := markEvery
		for _, e := range w.look(&r, g.configuration().Policy.Exceptions) {
			g.logger.Warn(e.Name, "text", e.Text)
			g.events.write(e)
			every = 0 // what ended stays so, if the power fails now
		}
		if r.Trust != clock.Untrusted {
			for _, e := range certificates.look(r.Now, g.configuration()) {
				g.logger.Warn(e.Name, "text", e.Text)
				g.events.write(e)
			}
		}
		err := g.clock.Save(every)
		if err != nil && !w.notKept {
			g.happened("clock-mark-not-kept", err.Error())
		}
		w.notKept = err != nil
		for _, s := range g.allSinks() {
			s.guarded(s.keepDeciding)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// clockWatch is what was said of the clock and of the exceptions.
type clockWatch struct {
	looked  bool
	trust   clock.Trust
	behind  bool
	notKept bool
	told    map[exceptionID]*toldException
}

type exceptionID struct {
	where string
	until time.Time
}

type toldException struct {
	over bool
	soon time.Time // that it ends soon was said last
}

// look gives the events of what changed. While the clock is not trusted nothing
// is said of the exceptions one by one: none of them ended.
func (w *clockWatch) look(r *clock.Reading, exceptions []policy.Exception) (events []stream.Event) {
	say := func(name, text string) { events = append(events, stream.Event{Name: name, Text: text}) }
	is, was := r.Trust != clock.Untrusted, w.trust != clock.Untrusted
	switch {
	case !is && (was || !w.looked):
		say("clock-untrusted", r.Why+"; until then no exception counts")
	case is && !was && w.looked:
		say("clock-trusted", fmt.Sprintf("it is %s and says %s", clockGrade(r.Trust), r.Now.UTC().Format(time.RFC3339)))
	}
	behind := is && r.Why != ""
	if behind && !w.behind {
		say("clock-behind", r.Why)
	}
	w.trust, w.behind, w.looked = r.Trust, behind, true
	if !is {
		return events
	}
	for i := range exceptions {
		e := &exceptions[i]
		id := exceptionID{e.Where, e.Until}
		t := w.told[id]
		if t == nil {
			t = &toldException{}
			w.told[id] = t
		}
		over := !r.Deciding.Before(e.Until)
		what := fmt.Sprintf("%s (%s, until %s)", e.Allow, e.Where, e.Until.AddDate(0, 0, -1).Format(time.DateOnly))
		switch {
		case over && !t.over:
			say("exception-ended", what+": the points that it covered stop, but for those whose connection has what their level asks")
		case !over && t.over:
			say("exception-counts-again", what+": it had ended by a clock that stood ahead")
		}
		t.over = over
		if left := e.Until.Sub(r.Deciding); !over && left <= endsSoon && r.Deciding.Sub(t.soon).Abs() >= soonEvery {
			t.soon = r.Deciding
			say("exception-ends-soon", fmt.Sprintf("%s: %d days are left; mend what it is for, or have the approvers sign a later day", what, int(left/(24*time.Hour))))
		}
	}
	return events
}

// clockGrade is how statements, and the status, call it.
func clockGrade(t clock.Trust) envelope.Clock {
	switch t {
	case clock.Synchronised:
		return envelope.ClockSynchronised
	case clock.BeyondMark:
		return envelope.ClockPlausible
	}
	return envelope.ClockUnknown
}

func clockStatus(r *clock.Reading) status.Clock {
	return status.Clock{Trusted: r.Trust != clock.Untrusted, How: clockGrade(r.Trust).String(), Mark: r.Mark.UTC(), Why: r.Why}
}
