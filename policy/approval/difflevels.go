package approval

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// levels compares what the levels mean.
func (d *differ) levels() {
	var kept []string
	for _, l := range d.next.Levels {
		what := "level " + l.Name
		if l.Name == d.next.Default {
			what += ", that of every point that nobody labelled"
		}
		o, ok := d.old.level(l.Name)
		if !ok {
			if l.Send == "withheld" {
				d.same("%s: new, leaves %s", what, l.leaves())
			} else {
				d.looser("%s: new, leaves %s, read over a connection that is %s", what, l.leaves(), asked(l.Connection))
			}
			continue
		}
		kept = append(kept, l.Name)
		d.level(what, o, l)
	}
	for _, o := range d.old.Levels {
		if _, ok := d.next.level(o.Name); !ok {
			d.same("level %s: removed", o.Name)
		}
	}
	if !slices.IsSortedFunc(kept, func(a, b string) int { return d.old.rank(a) - d.old.rank(b) }) {
		d.looser("the levels have another order, least sensitive first: %s", and(levelNames(d.next.Levels)))
	}
}

func (d *differ) level(what string, o, l Level) {
	switch {
	case o.Send != l.Send:
		sends := []string{"withheld", "sealed", "clear"}
		d.add(slices.Index(sends, l.Send) > slices.Index(sends, o.Send), "%s: will leave %s (was %s)", what, l.leaves(), o.leaves())
	default:
		if added := without(l.To, o.To); len(added) > 0 {
			d.looser("%s: %s can read it from now on, beside %s", what, and(added), people(without(l.To, added)))
		}
		if gone := without(o.To, l.To); len(gone) > 0 {
			d.same("%s: %s can no longer read what is sealed from now on", what, and(gone))
		}
	}
	if o.Connection != l.Connection {
		grades := []string{"any", "authenticated", "encrypted"}
		d.add(slices.Index(grades, l.Connection) < slices.Index(grades, o.Connection),
			"%s: is read over a connection that is %s (was %s)", what, asked(l.Connection), asked(o.Connection))
	}
	switch {
	case o.Pad && !l.Pad:
		d.looser("%s: sizes will no longer be hidden", what)
	case l.Pad && !o.Pad:
		d.same("%s: sizes will be hidden", what)
	}
	switch {
	case o.HideNames && !l.HideNames:
		d.looser("%s: names of points will no longer be hidden", what)
	case l.HideNames && !o.HideNames:
		d.same("%s: names of points will be hidden", what)
	}
}

func asked(grade string) string {
	if grade == "any" {
		return "of any kind"
	}
	return grade + " at least"
}

func levelNames(levels []Level) []string {
	var names []string
	for _, l := range levels {
		names = append(names, l.Name)
	}
	return names
}

// without gives the words of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// standard compares the default level.
func (d *differ) standard() {
	if d.first || d.old.Default == d.next.Default {
		return
	}
	d.add(d.next.rank(d.next.Default) < d.next.rank(d.old.Default), "points that nobody labelled: level %s, %s (was %s, %s)",
		d.next.Default, d.next.unlabelled(), d.old.Default, d.old.unlabelled())
}

// releases compares what may leave in clear, where a machine's file labels it so.
func (d *differ) releases() {
	before, after := map[string]string{}, map[string]string{}
	for _, r := range d.old.Released {
		for _, p := range r.Points {
			before[p] = r.Why
		}
	}
	for _, r := range d.next.Released {
		for _, p := range r.Points {
			after[p] = r.Why
		}
	}
	for _, p := range slices.Sorted(maps.Keys(after)) {
		switch was, ok := before[p]; {
		case !ok:
			d.looser("released: %s may leave in CLEAR where a machine's file labels it so, because %s", p, strconv.Quote(after[p]))
		case was != after[p]:
			d.same("released: %s, because %s (was %s)", p, strconv.Quote(after[p]), strconv.Quote(was))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[p]; !ok {
			d.same("no longer released: %s", p)
		}
	}
}

// raises compares which points are made stricter, whatever their labels.
func (d *differ) raises() {
	before, after := d.old.raised(), d.next.raised()
	for _, p := range slices.Sorted(maps.Keys(after)) {
		switch was, ok := before[p]; {
		case !ok:
			d.same("raised: %s has level %s at least", p, after[p])
		case was != after[p]:
			l, _ := d.next.level(after[p])
			o, known := d.old.level(was)
			looser := !known || d.next.rank(after[p]) < d.next.rank(was) || l.Send != "withheld" && len(without(l.To, o.To)) > 0
			d.add(looser, "raised: %s has level %s at least (was %s)", p, after[p], was)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[p]; !ok {
			d.looser("no longer raised: %s had level %s at least, whatever its label", p, before[p])
		}
	}
}

// raised gives the strictest level that each pattern is raised to.
func (a *Approval) raised() map[string]string {
	out := map[string]string{}
	for _, r := range a.Raise {
		for _, p := range r.Points {
			if was, ok := out[p]; !ok || a.rank(r.Level) > a.rank(was) {
				out[p] = r.Level
			}
		}
	}
	return out
}

// exceptions compares the exceptions by what they allow for which points. Of
// two for the same, the one that lasts longer counts.
func (d *differ) exceptions() {
	before, after := longest(d.old.Exceptions), longest(d.next.Exceptions)
	for _, e := range after {
		i := slices.IndexFunc(before, e.like)
		if i < 0 {
			d.looser("exception: %s, until %s, because %s", e.allows(), e.Until, strconv.Quote(e.Why))
			continue
		}
		switch o := before[i]; {
		case e.Until > o.Until:
			d.looser("exception prolonged: %s, until %s (was %s), because %s", e.allows(), e.Until, o.Until, strconv.Quote(e.Why))
		case e.Until < o.Until:
			d.same("exception shortened: %s, until %s (was %s)", e.allows(), e.Until, o.Until)
		case e.Why != o.Why:
			d.same("exception: %s, until %s, because %s (was %s)", e.allows(), e.Until, strconv.Quote(e.Why), strconv.Quote(o.Why))
		}
	}
	for _, o := range before {
		if !slices.ContainsFunc(after, o.like) {
			d.same("exception ended: %s (was until %s)", o.allows(), o.Until)
		}
	}
}

func longest(all []Exception) []Exception {
	var out []Exception
	for _, e := range all {
		switch i := slices.IndexFunc(out, e.like); {
		case i < 0:
			out = append(out, e)
		case e.Until > out[i].Until: // days sort as text
			out[i] = e
		}
	}
	return out
}

func (e Exception) like(o Exception) bool {
	return e.Allow == o.Allow && slices.Equal(e.Points, o.Points)
}

func (e Exception) allows() string {
	points := and(e.Points)
	if grade, ok := strings.CutPrefix(e.Allow, "connection-not-"); ok {
		return points + " may be read over a connection that is not " + grade
	}
	return points + ": " + e.Allow
}

// events compares who can read what gateways say of themselves.
func (d *differ) events() {
	if added := without(d.next.Events, d.old.Events); len(added) > 0 {
		d.looser("events: %s can read them from now on", and(added))
	}
	switch gone := without(d.old.Events, d.next.Events); {
	case len(gone) > 0 && len(d.next.Events) == 0:
		d.same("events: they stay at the gateways from now on (were read by %s)", and(gone))
	case len(gone) > 0:
		d.same("events: %s can no longer read them", and(gone))
	}
}

// passthrough compares what devices may encrypt themselves.
func (d *differ) passthrough() {
	if added := without(d.next.Accept, d.old.Accept); len(added) > 0 {
		d.looser("passthrough: payloads that devices encrypted as %s leave as they come", or(added))
	}
	if gone := without(d.old.Accept, d.next.Accept); len(gone) > 0 {
		d.same("passthrough: payloads as %s no longer leave as they come, but sealed", or(gone))
	}
	if !d.first && d.old.IfReadable != d.next.IfReadable {
		if d.next.IfReadable == "seal" {
			d.looser("passthrough: a payload that turns out to be readable is sealed and sent (was held back)")
		} else {
			d.same("passthrough: a payload that turns out to be readable is held back (was sealed and sent)")
		}
	}
}
