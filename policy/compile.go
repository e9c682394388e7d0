package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Table holds the decisions for one machine, in the order of its points.
type Table struct {
	Decisions []Decision
	// Until is the first instant at which an exception that bears on this
	// table ends, and it has to be compiled again; zero where none does.
	Until time.Time
}

// EndOfDays gives an instant past the end of every exception: what [Policy.Compile]
// is given as the time where the clock cannot be trusted. Everything else is then
// as it is at any other time.
func EndOfDays() time.Time { return time.Unix(1<<63-62135596801, 999_999_999) }

// Compile decides for each point of a machine how it leaves over a connection
// of the negotiated grade at the given time. It reads nothing but its
// arguments. The order of the points is kept. Time bears on exceptions alone: see
// [EndOfDays].
//
// The effective level is the strictest of the label (or the default, where
// nobody labelled the point), every raise that matches, and the levels of the
// points at the same address.
func (p *Policy) Compile(machine string, points []Point, negotiated point.Security, now time.Time) Table {
	levels := make([]int, len(points))
	rules := make([]string, len(points))
	for i := range points {
		levels[i], rules[i] = p.label(machine, &points[i])
	}
	p.unifyAddresses(points, levels, rules)

	t := Table{Decisions: make([]Decision, len(points))}
	for i := range points {
		level, rule := p.release(machine, &points[i], levels[i], rules[i])
		d, until := p.treat(machine, &points[i], level, rule, negotiated, now)
		t.Decisions[i] = d
		if !until.IsZero() && (t.Until.IsZero() || until.Before(t.Until)) {
			t.Until = until
		}
	}
	return t
}

// Level gives a level by name.
func (p *Policy) Level(name string) (Level, bool) {
	if i := p.index(name); i >= 0 {
		return p.Levels[i], true
	}
	return Level{}, false
}

// Stricter gives the name of the stricter of two levels. A name that the policy
// does not know counts as stricter than all.
func (p *Policy) Stricter(a, b string) string {
	i, j := p.index(a), p.index(b)
	if i < 0 || (j >= 0 && i >= j) {
		return a
	}
	return b
}

func (p *Policy) index(level string) int {
	return slices.IndexFunc(p.Levels, func(l Level) bool { return l.Name == level })
}

// place gives the place of a level; that of one which the policy does not know is
// past all others, and nothing leaves there.
func (p *Policy) place(level string) int {
	if i := p.index(level); i >= 0 {
		return i
	}
	return len(p.Levels)
}

// label gives a point's level from its own label and the raises.
func (p *Policy) label(machine string, pt *Point) (level int, rule string) {
	switch i := p.place(pt.Label); {
	case pt.Label == "":
		level, rule = p.place(p.Default), "policy default"
	case i == len(p.Levels): // the loader refuses this; whoever comes past it gets the strictest, if that seals
		level, rule = i, fmt.Sprintf("%s (unknown level %q)", pt.Where, pt.Label)
		if i > 0 && p.Levels[i-1].Send != SendClear {
			level--
		}
	default:
		level, rule = i, pt.Where
	}
	for i := range p.Raise {
		r := &p.Raise[i]
		to := p.place(r.Level)
		if to > level && matches(r.Points, machine, pt.Name) {
			level, rule = to, r.Where+" (raise)"
		}
	}
	return level, rule
}

// unifyAddresses gives all points at one address the strictest of their levels:
// a second name for a register must not be a way around its label.
func (p *Policy) unifyAddresses(points []Point, levels []int, rules []string) {
	strictest := make(map[string]int, len(points)) // address → index of the point that rules
	for i := range points {
		if j, seen := strictest[points[i].Address]; !seen || levels[i] > levels[j] {
			strictest[points[i].Address] = i
		}
	}
	for i := range points {
		if j := strictest[points[i].Address]; points[i].Address != "" && levels[j] > levels[i] {
			levels[i] = levels[j]
			rules[i] = fmt.Sprintf("%s (same address as %s)", rules[j], points[j].Name)
		}
	}
}

// release moves a point of a clear level that nobody released, or that nobody
// labelled, to the stricter of the next level that is not clear and the default.
func (p *Policy) release(machine string, pt *Point, level int, rule string) (int, string) {
	if level == len(p.Levels) || p.Levels[level].Send != SendClear {
		return level, rule
	}
	for i := range p.Released {
		if pt.Label != "" && matches(p.Released[i].Points, machine, pt.Name) {
			return level, p.Released[i].Where + " (released)"
		}
	}
	for level < len(p.Levels) && p.Levels[level].Send == SendClear {
		level++
	}
	why := " (labelled clear, not released)"
	if pt.Label == "" {
		why = " (clear, and nobody labelled it)"
	}
	return max(level, p.place(p.Default)), rule + why
}

// treat turns a level into a decision.
func (p *Policy) treat(machine string, pt *Point, level int, rule string, negotiated point.Security, now time.Time) (d Decision, until time.Time) {
	d = Decision{Treatment: Withheld, Rule: rule}
	if level == len(p.Levels) {
		d.Why = "the policy has no level that may send it"
		return d, until
	}
	l := &p.Levels[level]
	d.Level = l.Name
	passed := p.readableWithin(pt, l)
	if pt.Withheld != "" {
		d.Why = pt.Withheld
		return d, until
	}
	if l.Send == SendWithheld {
		d.Why = fmt.Sprintf("level %s sends nothing", l.Name)
		return d, until
	}
	if pt.Wrap && l.Send == SendClear {
		d.Why = fmt.Sprintf("level %s sends in clear, and the point asks to be sealed again", l.Name)
		return d, until
	}
	exposed := false
	if negotiated < l.Connection {
		e := p.exception(machine, pt.Name, l.Connection, now)
		if e != nil {
			until = e.Until
		} else if exposed = true; !passed {
			d.Why = fmt.Sprintf("level %s asks for a connection that is %s, this one is %s", l.Name, l.Connection, negotiated)
			return d, until
		}
	}
	switch {
	case passed:
		d.Treatment, d.Wrap = Passed, pt.Wrap
		// Only what the device did encrypt makes up for the connection, and
		// nothing may be sealed into a level that sends in clear.
		if exposed || l.Send == SendClear {
			d.Readable, d.Probation = Withheld, Withheld
		}
		if p.Passthrough.IfReadable == HoldReadable {
			d.Readable = Withheld
		}
	case l.Send == SendClear:
		d.Treatment = Clear
	default:
		d.Treatment = Sealed
	}
	return d, until
}

// readableWithin tells whether the device encrypts the point in an accepted
// format for people who all are within the level's recipients.
func (p *Policy) readableWithin(pt *Point, l *Level) bool {
	if pt.Passthrough == "" || len(pt.ReadableBy) == 0 || !slices.Contains(p.Passthrough.Accept, pt.Passthrough) {
		return false
	}
	for _, r := range pt.ReadableBy {
		if l.Send == SendSealed && !slices.Contains(l.To, r) {
			return false
		}
	}
	return true
}

// exception finds the one that permits less than asked and lasts longest.
func (p *Policy) exception(machine, name string, asked point.Security, now time.Time) *Exception {
	want := ConnectionNotAuthenticated
	if asked == point.Encrypted {
		want = ConnectionNotEncrypted
	}
	var best *Exception
	for i := range p.Exceptions {
		e := &p.Exceptions[i]
		if e.Allow != want || !now.Before(e.Until) || !matches(e.Points, machine, name) {
			continue
		}
		if best == nil || e.Until.After(best.Until) {
			best = e
		}
	}
	return best
}

func matches(patterns []Pattern, machine, name string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(machine, name) })
}
