package main

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// note is one thing to tell of what came or did not.
type note struct {
	key   string // the same while it is the same thing
	bad   bool   // not in order
	early bool   // it may mend itself: told while reading goes on when it was there at two looks
	last  bool   // told at the end only
	count uint64 // how many; it grows, and is told again when it doubled
	text  string
	more  string // with %d, what is said instead of those beyond the first maxLines that have the same
}

// lasting is the key in the memory of later runs; empty for what is of one run,
// or of now. What grew is new.
func (n *note) lasting() string {
	kind, _, _ := strings.Cut(n.key, " ")
	switch {
	case !slices.Contains([]string{"gap", "loss", "forgeries", "given", "missed"}, kind):
		return ""
	case n.count > 0:
		return fmt.Sprint(n.key, " ", n.count)
	}
	return n.key
}

// watch tells each thing once while reading goes on.
type watch struct {
	at    time.Time // of the last look
	took  time.Duration
	told  map[string]bool // by key
	fakes map[string]bool // forgeries, by key: anybody can make many
	keep  map[string]bool // what a later run need not tell, of what the last look saw
	seen  map[string]bool // early ones of the look before
	known map[string]bool // told by an earlier run, which ended well or saved its state
	quiet map[string]bool // gateways that were told to be silent
}

// maxTold bounds what is remembered as told by names that anybody can make up,
// and what a later run is given.
const maxTold = 1 << 14

// know notes that something was told.
func (w *watch) know(n *note) {
	m := &w.told
	if strings.HasPrefix(n.key, "forged ") {
		if m = &w.fakes; len(*m) >= maxTold {
			return
		}
	}
	if *m == nil {
		*m = make(map[string]bool)
	}
	(*m)[n.key] = true
}

func (w *watch) knows(n *note) bool { return w.told[n.key] || w.fakes[n.key] || w.known[n.lasting()] }

// remember takes what an earlier run told.
func (w *watch) remember(keys []string) {
	w.known = make(map[string]bool, len(keys))
	w.keep = make(map[string]bool, len(keys))
	for _, key := range keys {
		w.known[key], w.keep[key] = true, true
	}
}

// list gives what was told, for the next run.
func (w *watch) list() []string { return slices.Sorted(maps.Keys(w.keep)) }

// retain makes anew what a later run need not tell: what was told and is so
// still. all says that nothing was put off. What is no longer so is let go of
// where much was told: it may come again, and is told again then.
func (w *watch) retain(notes []note, r *receiver, all bool) {
	here := make(map[string]bool, len(notes))
	forged := slices.DeleteFunc(slices.Collect(maps.Keys(w.keep)), func(key string) bool { return !strings.HasPrefix(key, "forgeries ") })
	w.keep = make(map[string]bool)
	for i := range notes {
		n := &notes[i]
		here[n.key] = true
		key := n.lasting()
		if key != "" && !strings.HasPrefix(key, "forgeries ") && w.knows(n) && len(w.keep) < maxTold {
			w.keep[key] = true
		}
	}
	// The next run is given a number of forgeries, and not each: it has all of them
	// told, or those of the run before.
	if all {
		forged = forged[:0]
		for s, n := range r.forged {
			forged = append(forged, (&note{key: "forgeries " + s.String(), count: n}).lasting())
		}
	}
	for _, key := range forged {
		w.keep[key] = true
	}
	for _, m := range []map[string]bool{w.told, w.fakes} {
		if len(m) >= maxTold {
			maps.DeleteFunc(m, func(key string, _ bool) bool { return !here[key] })
		}
	}
}

// crowd tells of many things of one kind the first, and then how many more.
type crowd struct {
	lines int
	of    map[string]int // by what is said of more
}

func (c *crowd) full(n *note) bool { return n.more != "" && c.of[n.more] >= maxLines }

func (c *crowd) tell(r *receiver, n *note) {
	if !c.full(n) {
		c.lines++
		r.say("%s", n.text)
	}
	if n.more != "" {
		if c.of == nil {
			c.of = make(map[string]int)
		}
		c.of[n.more]++
	}
}

func (c *crowd) rest(r *receiver) {
	for _, more := range slices.Sorted(maps.Keys(c.of)) {
		if n := c.of[more] - maxLines; n > 0 {
			r.say(more, n)
		}
	}
}

// look tells what is new, while reading goes on.
func (w *watch) look(r *receiver, now time.Time) {
	began := time.Now()
	seen := make(map[string]bool)
	var lines crowd
	later := 0
	all := r.notes(now)
	if r.audit != nil {
		all = append(all, r.audit.notes(r.reader)...)
		r.audit.keys.prune(r.reader)
	}
	for i := range all {
		n := &all[i]
		if n.last || w.knows(n) {
			continue
		}
		if n.early {
			if seen[n.key] = true; !w.seen[n.key] {
				continue
			}
		}
		if lines.lines >= maxLines && !lines.full(n) {
			later++
			continue
		}
		w.know(n)
		lines.tell(r, n)
	}
	lines.rest(r)
	if later > 0 {
		r.say("and %s more; they come next", count(later, "thing"))
	}
	w.seen = seen
	w.retain(all, r, later == 0)
	w.heard(r)
	w.at, w.took = now, time.Since(began)
}

// heard tells of gateways that were silent, and are no longer.
func (w *watch) heard(r *receiver) {
	for _, g := range r.reader.Gateways() {
		key := g.Gateway
		switch {
		case r.silent(&g) && w.told[silentKey(&g)]:
			if w.quiet == nil {
				w.quiet = make(map[string]bool)
			}
			w.quiet[key] = true
		case !g.Silent && w.quiet[key]:
			delete(w.quiet, key)
			r.say("gateway %s is heard again", g.Gateway)
		}
	}
}

func forgeryKey(s envelope.Stream, class envelope.Class, sequence uint64) string {
	return fmt.Sprintf("forged %v %s %d", s, class, sequence)
}

func silentKey(g *envelope.GatewayReport) string {
	return fmt.Sprintf("silent %s %d %d", g.Gateway, g.Statement.Start, g.Statement.Sequence)
}

// silent tells whether a gateway should have been heard. In files and in what
// was read up to an end, nobody can be heard who speaks later; and while what is
// old is being read, what is new is still to come.
func (r *receiver) silent(g *envelope.GatewayReport) bool {
	return r.broker && g.Silent && r.caughtUp(g)
}

// patience is how long a gateway may be unheard while what was there at the start
// is still being read.
const patience = time.Minute

// caughtUp tells whether what a gateway said until now was read. A broker says how
// much is left, and one that always says something must not hide a silence: who
// has read on for so long by the own clock, and heard nothing, waits no longer.
func (r *receiver) caughtUp(g *envelope.GatewayReport) bool {
	switch {
	case !r.broker:
		return false
	case r.left == 0:
		return true
	case !r.live:
		return false
	}
	since, wait := r.began, 3*g.Statement.Interval
	if g.Heard.After(since) {
		since = g.Heard
	}
	if wait == 0 || r.position < r.goal {
		wait = max(wait, patience)
	}
	return time.Since(since) > wait
}

// notes gives everything there is to tell.
func (r *receiver) notes(now time.Time) (all []note) {
	given := r.reader.GivenUp()
	var waiting, streams int
	var oldest time.Time
	for _, s := range r.reader.Report() {
		all = append(all, r.streamNotes(&s, now)...)
		given -= min(given, s.GivenUp)
		if s.Pending > 0 {
			if streams++; waiting == 0 || s.Oldest.Before(oldest) {
				oldest = s.Oldest
			}
			waiting += s.Pending
		}
	}
	if waiting > 0 {
		all = append(all, note{key: "pending", last: true, text: fmt.Sprintf("%s: %s for the gateway's signature, the oldest of %s",
			count(streams, "stream"), does(waiting, "message", "wait"), oldest.Format(time.RFC3339Nano))})
	}
	if given > 0 {
		all = append(all, note{key: fmt.Sprint("given ", bits.Len64(given)), bad: true, count: given, text: were(given, "message") + " given up, of streams that nothing is known of"})
	}
	for _, g := range r.reader.Gateways() {
		all = append(all, r.gatewayNotes(&g)...)
	}
	return all
}

func (r *receiver) streamNotes(s *envelope.StreamReport, now time.Time) (out []note) {
	name := s.Stream.String()
	add := func(n note, format string, a ...any) {
		n.key += " " + name
		n.text = name + ": " + fmt.Sprintf(format, a...)
		out = append(out, n)
	}
	for _, g := range s.Gaps {
		add(note{key: fmt.Sprint("gap ", g.First, "-", g.Last), bad: true, early: true, more: "and %d ranges more are missing"}, "messages %s are missing, and nobody says why", span(g))
	}
	if s.Missed > 0 {
		add(note{key: fmt.Sprint("missed ", bits.Len64(s.Missed)), bad: true, count: s.Missed}, "%s missing of those up to %d, and nobody says why", are(s.Missed, "message"), s.Settled)
	}
	if s.Trimmed > 0 {
		add(note{key: fmt.Sprint("trimmed ", s.Trimmed), last: true}, "messages up to %d are no longer in the stream", s.Trimmed)
	}
	for _, l := range s.Losses {
		span := span(envelope.Range{First: l.First, Last: l.Last})
		add(note{key: fmt.Sprint("loss ", l.Epoch, " ", span, " ", l.Reason), early: true, more: "and %d ranges more are gone, signed by the gateway"}, "messages %s are gone: %s (%s, signed by the gateway)", span, l.Reason, stamp(l.Time.UnixNano()))
	}
	out = append(out, r.forgeryNotes(s)...)
	for i, w := range s.Withheld {
		if i == maxLines {
			break
		}
		add(note{key: fmt.Sprint("withheld ", w.First), bad: true, early: true}, "messages %s were sent by %s, as the gateway's statement says, and did not come", span(w), stamp(s.StatedAt.UnixNano()))
	}
	if s.Unopened > 0 && r.audit == nil {
		add(note{key: "unopened", last: true}, "%s not for the identities given", are(s.Unopened, "sealed message"))
	}
	if s.Pending > 0 {
		if overdue(s.Oldest, now) {
			add(note{key: "overdue", bad: true, early: true}, "signatures of messages since %s are late: that is longer than a gateway takes to sign: signatures are withheld, or somebody else made these messages",
				s.Oldest.Format(time.RFC3339Nano))
		}
	}
	if s.NoKeyFrame > 0 {
		add(note{key: "key", bad: true, early: true}, "%s for the key frame", does(s.NoKeyFrame, "message", "wait"))
	}
	if s.GivenUp > 0 {
		add(note{key: fmt.Sprint("given ", bits.Len64(s.GivenUp)), bad: true, count: s.GivenUp}, "%s given up, as too much was waiting", were(s.GivenUp, "message or signature"))
	}
	for i := range out {
		if out[i].more != "" {
			out[i].more = strings.ReplaceAll(name, "%", "%%") + ": " + out[i].more
		}
	}
	return out
}

// forgeryNotes tells of what is forged, rolled back or cloned: of this run each
// that the reader lists, of those before it how many.
func (r *receiver) forgeryNotes(s *envelope.StreamReport) (out []note) {
	if s.Forged == 0 {
		return nil
	}
	name, before := s.Stream.String(), r.before[s.Stream]
	r.forged[s.Stream] = s.Forged
	if before > 0 {
		out = append(out, note{key: "forgeries " + name, bad: true, count: before, text: fmt.Sprintf("%s: %s forged, rolled back or cloned", name, were(before, "message"))})
	}
	for _, f := range s.Forgeries {
		out = append(out, note{
			key: forgeryKey(s.Stream, f.Class, f.Sequence), bad: true, more: "and %d more that are forged, rolled back or cloned",
			text: fmt.Sprintf("%s: message %d: %s: %s", name, f.Sequence, f.Class, f.Reason),
		})
	}
	if n := s.Forged - min(s.Forged, before+uint64(len(s.Forgeries))); n > 0 {
		out = append(out, note{key: fmt.Sprint("unlisted ", bits.Len64(n), " ", name), bad: true, text: fmt.Sprintf("%s: and %d that are not listed are forged, rolled back or cloned", name, n)})
	}
	return out
}

// gatewayNotes tells of silence: where there is nobody to hear it is no fault of
// what was read, so that it counts only while a stream is followed, and in an
// audit.
func (r *receiver) gatewayNotes(g *envelope.GatewayReport) (out []note) {
	s := &g.Statement
	switch {
	case s.Sequence == 0 && r.caughtUp(g):
		out = append(out, note{
			key: "unstated " + g.Gateway, bad: r.audit != nil, early: true,
			text: fmt.Sprintf("gateway %s has made no statement: nobody can tell whether its newest messages are withheld", g.Gateway),
		})
	case s.Sequence > 0 && r.silent(g):
		out = append(out, note{
			key: silentKey(g), bad: r.live || r.audit != nil, early: true,
			text: fmt.Sprintf("gateway %s is silent: its last statement is of %s and promised the next within %v; it is down or cut off, or its messages are withheld%s",
				g.Gateway, stamp(s.Time.UnixNano()), s.Interval, untrusted(s.Clock)),
		})
	case s.Sequence > 0 && r.live && r.caughtUp(g) && s.Clock == envelope.ClockUnknown:
		out = append(out, note{key: "clock " + g.Gateway, early: true, text: "gateway " + g.Gateway + " does not trust its clock: how late its messages come cannot be told"})
	}
	return out
}

func untrusted(c envelope.Clock) string {
	if c == envelope.ClockUnknown {
		return " (it does not trust its clock)"
	}
	return ""
}

// does gives "1 message waits" and "2 messages wait".
func does[N int | uint64](n N, thing, verb string) string {
	if n == 1 {
		verb += "s"
	}
	return count(n, thing) + " " + verb
}

func are[N int | uint64](n N, thing string) string {
	if n == 1 {
		return count(n, thing) + " is"
	}
	return count(n, thing) + " are"
}

func were[N int | uint64](n N, thing string) string {
	if n == 1 {
		return count(n, thing) + " was"
	}
	return count(n, thing) + " were"
}
