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
}

// lasting is the key in the memory of later runs; empty for what is of one run,
// or of now. What grew is new.
func (n *note) lasting() string {
	kind, _, _ := strings.Cut(n.key, " ")
	switch {
	case !slices.Contains([]string{"gap", "gaps", "loss", "losses", "forgeries", "given", "missed"}, kind):
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
	keep  map[string]bool // what a later run need not tell
	seen  map[string]bool // early ones of the look before
	known map[string]bool // told by an earlier run, which ended well or saved its state
	quiet map[string]bool // gateways that were told to be silent
}

// maxTold bounds what is remembered as told.
const maxTold = 1 << 14

func put(m *map[string]bool, key string) {
	if *m == nil {
		*m = make(map[string]bool)
	}
	if len(*m) < maxTold {
		(*m)[key] = true
	}
}

// know notes that something was told.
func (w *watch) know(n *note) {
	if strings.HasPrefix(n.key, "forged ") {
		put(&w.fakes, n.key)
		return
	}
	put(&w.told, n.key)
	if key := n.lasting(); key != "" {
		put(&w.keep, key)
	}
}

// remember takes what an earlier run told.
func (w *watch) remember(keys []string) {
	w.known = make(map[string]bool, len(keys))
	for _, key := range keys {
		w.known[key] = true
		put(&w.keep, key)
	}
}

// list gives what was told, for the next run.
func (w *watch) list() []string { return slices.Sorted(maps.Keys(w.keep)) }

// look tells what is new, while reading goes on.
func (w *watch) look(r *receiver, now time.Time) {
	began := time.Now()
	seen := make(map[string]bool)
	lines := 0
	all := r.notes(now)
	if r.audit != nil {
		all = append(all, r.audit.notes()...)
	}
	for _, n := range all {
		if n.last || w.told[n.key] || w.fakes[n.key] || w.known[n.lasting()] {
			continue
		}
		if n.early {
			if seen[n.key] = true; !w.seen[n.key] {
				continue
			}
		}
		if lines++; lines > maxLines {
			continue
		}
		w.know(&n)
		r.say("%s", n.text)
	}
	if lines > maxLines {
		r.say("and %d things more; they come next", lines-maxLines)
	}
	w.seen = seen
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
	return r.broker && r.left == 0 && g.Silent
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
		all = append(all, note{key: "pending", last: true, text: fmt.Sprintf("%s: %d messages wait for the gateway's signature, the oldest of %s",
			count(streams, "stream"), waiting, oldest.Format(time.RFC3339Nano))})
	}
	if given > 0 {
		all = append(all, note{key: fmt.Sprint("given ", bits.Len64(given)), bad: true, count: given, text: fmt.Sprintf("%d messages were given up, of streams that nothing is known of", given)})
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
	for i, g := range s.Gaps {
		if i == maxLines {
			add(note{key: "gaps", bad: true, last: true}, "and %d ranges more are missing", len(s.Gaps)-i)
			break
		}
		add(note{key: fmt.Sprint("gap ", g.First, "-", g.Last), bad: true, early: true}, "messages %s are missing, and nobody says why", span(g))
	}
	if s.Missed > 0 {
		add(note{key: fmt.Sprint("missed ", bits.Len64(s.Missed)), bad: true, count: s.Missed}, "%d messages up to %d are missing, and nobody says why", s.Missed, s.Settled)
	}
	if s.Trimmed > 0 {
		add(note{key: fmt.Sprint("trimmed ", s.Trimmed), last: true}, "messages up to %d are no longer in the stream", s.Trimmed)
	}
	for i, l := range s.Losses {
		if i == maxLines {
			add(note{key: "losses", last: true}, "and %d ranges more are gone, signed by the gateway", len(s.Losses)-i)
			break
		}
		span := span(envelope.Range{First: l.First, Last: l.Last})
		add(note{key: fmt.Sprint("loss ", l.Epoch, " ", span, " ", l.Reason), early: true}, "messages %s are gone: %s (%s, signed by the gateway)", span, l.Reason, stamp(l.Time.UnixNano()))
	}
	for i, f := range s.Forgeries {
		if i == maxLines {
			add(note{key: "forgeries", bad: true, last: true}, "and %d more that are forged, rolled back or cloned", s.Forged-maxLines)
			break
		}
		out = append(out, note{key: forgeryKey(s.Stream, f.Class, f.Sequence), bad: true, text: fmt.Sprintf("%s: message %d: %s: %s", name, f.Sequence, f.Class, f.Reason)})
	}
	if len(s.Forgeries) == 0 && s.Forged > 0 { // of a run before this one
		add(note{key: fmt.Sprint("forgeries ", s.Forged), bad: true, last: true}, "%d messages were forged, rolled back or cloned", s.Forged)
	}
	for i, w := range s.Withheld {
		if i == maxLines {
			break
		}
		add(note{key: fmt.Sprint("withheld ", w.First), bad: true, early: true}, "messages %s were sent by %s, as the gateway's statement says, and did not come", span(w), stamp(s.StatedAt.UnixNano()))
	}
	if s.Unopened > 0 && r.audit == nil {
		add(note{key: "unopened", last: true}, "%d sealed messages are not for the identities given", s.Unopened)
	}
	if s.Pending > 0 {
		if overdue(s.Oldest, now) {
			add(note{key: "overdue", bad: true, early: true}, "signatures of messages since %s are late: that is longer than a gateway takes to sign: signatures are withheld, or somebody else made these messages",
				s.Oldest.Format(time.RFC3339Nano))
		}
	}
	if s.NoKeyFrame > 0 {
		add(note{key: "key", bad: true, early: true}, "%d messages wait for their key frame", s.NoKeyFrame)
	}
	if s.GivenUp > 0 {
		add(note{key: fmt.Sprint("given ", bits.Len64(s.GivenUp)), bad: true, count: s.GivenUp}, "%d messages or signatures were given up, as too much was waiting", s.GivenUp)
	}
	return out
}

// gatewayNotes tells of silence: where there is nobody to hear it is no fault of
// what was read, so that it counts only while a stream is followed, and in an
// audit.
func (r *receiver) gatewayNotes(g *envelope.GatewayReport) (out []note) {
	s := &g.Statement
	switch {
	case s.Sequence == 0 && r.broker && r.left == 0:
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
	case s.Sequence > 0 && r.live && r.left == 0 && s.Clock == envelope.ClockUnknown:
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
