package approval

import (
	"slices"

	"github.com/fieldseal/fieldseal/policy"
)

// points compares the tables.
func (d *differ) points() {
	var names []string
	for _, t := range slices.Concat(d.old.Tables, d.next.Tables) {
		names = append(names, t.Gateway)
	}
	names = sorted(names)
	for _, name := range names {
		prefix := ""
		if len(names) > 1 {
			prefix = name + ": "
		}
		before, known := d.old.Table(name)
		after, _ := d.next.Table(name)
		for i := range after.Entries {
			e := &after.Entries[i]
			switch b, ok := before.find(e.Machine, e.Point); {
			case ok:
				d.point(prefix, &b, e)
			case d.next.ordinary(e):
				d.add(known, "%s%s: is read from %s, and leaves %s like what nobody labelled: it is of another device than what has a stricter level at the same address",
					prefix, e.name(), e.source(), d.next.leaves(e))
			case known:
				d.add(d.opens(e, d.old.bare()), "%s%s: will leave %s (was %s), read from %s", prefix, e.name(), d.next.leaves(e), d.old.unlabelled(), e.source())
			default:
				d.add(d.opens(e, d.next.bare()), "%s%s: will leave %s, read from %s", prefix, e.name(), d.next.leaves(e), e.source())
			}
		}
		for i := range before.Entries {
			e := &before.Entries[i]
			switch _, ok := after.find(e.Machine, e.Point); {
			case ok, d.next.ordinary(e):
			case e.Treatment == policy.Withheld:
				d.add(d.opens(d.next.bare(), e), "%s%s: will leave %s (was not at all), if it is read at all", prefix, e.name(), d.next.unlabelled())
			default:
				d.add(d.opens(d.next.bare(), e), "%s%s: will no longer leave %s, but %s, if it is read at all", prefix, e.name(), d.old.leaves(e), d.next.unlabelled())
			}
		}
	}
}

// point compares one point that is in both tables.
func (d *differ) point(prefix string, b, e *Entry) {
	if b.Treatment != e.Treatment || b.Level != e.Level || !samePayload(*b, *e) {
		is, was := d.next.leaves(e), d.old.leaves(b)
		if is == was { // for the same people, at another level
			is += d.besides(e, b)
			was = "of level " + plain(b.Level)
		}
		d.add(d.opens(e, b), "%s%s: will leave %s (was %s)", prefix, e.name(), is, was)
	}
	if b.source() != e.source() {
		d.looser("%s%s: leaves %s, and will be read from %s (was %s)", prefix, e.name(), d.next.leaves(e), e.source(), b.source())
	}
}

// besides says what another level changes for a point besides its readers.
func (d *differ) besides(e, b *Entry) string {
	is, _ := d.next.level(e.Level)
	was, _ := d.old.level(b.Level)
	s := " as of level " + plain(e.Level)
	if is.Connection != was.Connection {
		s += ", read over a connection that is " + plain(is.Connection) + " (was " + plain(was.Connection) + ")"
	}
	for _, c := range []struct {
		is, was bool
		what    string
	}{{is.Pad, was.Pad, "its size"}, {is.HideNames, was.HideNames, "its name"}} {
		switch {
		case c.was && !c.is:
			s += ", " + c.what + " will show"
		case c.is && !c.was:
			s += ", " + c.what + " will be hidden"
		}
	}
	return s
}

// ordinary tells whether an entry is of a point that leaves like one that nobody
// labelled.
func (a *Approval) ordinary(e *Entry) bool {
	return e.Level == a.Default && e.Treatment != policy.Passed
}

// bare gives an entry as that of a point that nobody labelled.
func (a *Approval) bare() *Entry {
	e := &Entry{Level: a.Default}
	if l, _ := a.level(a.Default); l.Send == "withheld" {
		e.Treatment = policy.Withheld
	}
	return e
}

// opens tells whether a point that leaves as one entry of the next approval says
// is looser than as one of the old or the next: to more people, more openly, or
// at a level before it.
func (d *differ) opens(now, was *Entry) bool {
	if now.Treatment == policy.Withheld {
		return false
	}
	of := d.old
	if d.first {
		of = d.next
	}
	l, _ := d.next.level(now.Level)
	o, _ := of.level(was.Level)
	switch {
	case openness(now.Treatment) > openness(was.Treatment):
		return true
	case now.Treatment != policy.Clear && was.Treatment == policy.Clear:
		return false
	case now.Wrap && !was.Wrap && now.Level == was.Level && sameInside(*now, *was):
		return false
	case now.Treatment == policy.Passed, d.next.rank(now.Level) < d.next.rank(was.Level) && was.Treatment != policy.Passed:
		return true
	case was.Treatment == policy.Passed:
		return len(without(l.To, was.ReadableBy)) > 0
	default:
		return now.Treatment == policy.Sealed && len(without(l.To, o.To)) > 0
	}
}

func openness(t policy.Treatment) int {
	return slices.Index([]policy.Treatment{policy.Withheld, policy.Sealed, policy.Passed, policy.Clear}, t)
}
