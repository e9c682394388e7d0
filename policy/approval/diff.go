package approval

import (
	"fmt"
	"slices"

	"github.com/fieldseal/fieldseal/policy"
)

// Change is one thing that an approval changes, in a sentence for the approver.
type Change struct {
	Text   string
	Looser bool // somebody can read more, or with less protection, than before
}

// Diff tells what changes for whoever signs next after old was signed; all of
// it where old is nil. What is looser comes first. There is nothing where the
// two say the same.
func Diff(old, next *Approval) []Change {
	if old != nil && old.Kind != next.Kind {
		old = nil
	}
	d := &differ{old: old, next: next, first: old == nil}
	if d.first {
		d.old = &Approval{Kind: next.Kind}
	}
	switch next.Kind {
	case Policy:
		d.points()
		d.levels()
		d.standard()
		d.exceptions()
		d.passthrough()
	case Trust:
		d.gateways()
		d.recipients()
	}
	if len(d.out) == 0 && !d.first && old.Text() != next.Text() {
		d.same("nothing but the text of the %s: the same leaves, for the same people", next.Kind)
	}
	slices.SortStableFunc(d.out, func(a, b Change) int {
		switch {
		case a.Looser == b.Looser:
			return 0
		case a.Looser:
			return -1
		default:
			return 1
		}
	})
	return d.out
}

type differ struct {
	old, next *Approval
	first     bool // nothing was signed before
	out       []Change
}

func (d *differ) add(looser bool, format string, a ...any) {
	d.out = append(d.out, Change{fmt.Sprintf(format, a...), looser})
}

func (d *differ) looser(format string, a ...any) { d.add(true, format, a...) }
func (d *differ) same(format string, a ...any)   { d.add(false, format, a...) }

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
			b, ok := before.find(e.Machine, e.Point)
			switch {
			case ok:
				d.point(prefix, &b, e)
			case known:
				d.looser("%s%s: will leave %s (was %s), read from %s", prefix, e.name(), d.next.leaves(e), d.old.unlabelled(), e.source())
			default:
				d.looser("%s%s: will leave %s, read from %s", prefix, e.name(), d.next.leaves(e), e.source())
			}
		}
		for i := range before.Entries {
			e := &before.Entries[i]
			if _, ok := after.find(e.Machine, e.Point); !ok && d.old.leaves(e) != d.next.unlabelled() {
				d.same("%s%s: will no longer leave %s, but %s, if it is read at all", prefix, e.name(), d.old.leaves(e), d.next.unlabelled())
			}
		}
	}
}

// point compares one point that is in both tables.
func (d *differ) point(prefix string, b, e *Entry) {
	if b.Treatment != e.Treatment || b.Level != e.Level || !samePayload(*b, *e) {
		looser := openness(e.Treatment) > openness(b.Treatment) ||
			openness(e.Treatment) == openness(b.Treatment) && (d.next.rank(e.Level) < d.next.rank(b.Level) || e.Treatment == policy.Passed)
		d.add(looser, "%s%s: will leave %s (was %s)", prefix, e.name(), d.next.leaves(e), d.old.leaves(b))
	}
	if b.source() != e.source() {
		d.looser("%s%s: leaves %s, and will be read from %s (was %s)", prefix, e.name(), d.next.leaves(e), e.source(), b.source())
	}
}

func openness(t policy.Treatment) int {
	return slices.Index([]policy.Treatment{policy.Withheld, policy.Sealed, policy.Passed, policy.Clear}, t)
}

func (e *Entry) name() string { return e.Machine + "/" + e.Point }

// source says where a point is read.
func (e *Entry) source() string {
	s := plain(e.Endpoint)
	if e.Unit != "" {
		s += " unit " + plain(e.Unit)
	}
	return s + " " + plain(e.Address) + " as " + plain(e.Type)
}

// leaves says how a point leaves, and who can read it.
func (a *Approval) leaves(e *Entry) string {
	switch e.Treatment {
	case policy.Clear:
		return "in CLEAR"
	case policy.Passed:
		return "as the device encrypted it (" + plain(e.Format) + ", for " + people(e.ReadableBy) + ")"
	case policy.Withheld:
		return "not at all"
	default:
		l, _ := a.level(e.Level)
		return "sealed for " + people(l.To)
	}
}

// unlabelled says the same of a point that nobody labelled.
func (a *Approval) unlabelled() string {
	l, ok := a.level(a.Default)
	if !ok {
		return "unknown"
	}
	return l.leaves()
}

func (l Level) leaves() string {
	switch l.Send {
	case "clear":
		return "in CLEAR"
	case "withheld":
		return "not at all"
	default:
		return "sealed for " + people(l.To)
	}
}

func people(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return and(names)
}

func (a *Approval) level(name string) (Level, bool) {
	if i := a.rank(name); i < len(a.Levels) {
		return a.Levels[i], true
	}
	return Level{}, false
}

// rank gives the place of a level; one that there is not comes last.
func (a *Approval) rank(name string) int {
	i := slices.IndexFunc(a.Levels, func(l Level) bool { return l.Name == name })
	if i < 0 {
		return len(a.Levels)
	}
	return i
}
