package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/policy"
)

// planChanges are what a change of the configuration does: what
// `fieldseal plan --against … --json` prints.
type planChanges struct {
	Looser  int          `json:"looser"` // how many let somebody read more, or protect less
	Changes []planChange `json:"changes"`
}

// planChange is one thing that changes, for one or more points.
type planChange struct {
	Kind   string   `json:"kind"` // see the constants
	Looser bool     `json:"looser"`
	What   string   `json:"what"`
	Who    []string `json:"who,omitempty"`    // recipients it is about
	Points []string `json:"points,omitempty"` // machine/point; none where it is no matter of points

	rank int
}

// The kinds, worst first.
const (
	changeClear      = "clear"      // leaves in clear
	changeReadable   = "readable"   // somebody more can read it
	changeKey        = "key"        // a recipient has another key
	changeException  = "exception"  // one began, was extended or ended
	changeRule       = "rule"       // what the policy says, whether a point changes or not
	changePayload    = "payload"    // what the device encrypts, and what is asked of it
	changeProtection = "protection" // connection, padding, names
	changePlace      = "place"      // a name stands for something else
	changeUplink     = "uplink"     // where messages go
	changeGateway    = "gateway"    // who signs, metrics, outbox
	changeStops      = "stops"      // a point does not leave any more
	changeNew        = "new"
	changeGone       = "gone"
	changeStricter   = "stricter" // somebody can read it no longer
	changeOther      = "other"
)

var changeOrder = []string{
	changeClear, changeReadable, changeKey, changeException, changeRule, changePayload, changeProtection, changePlace, changeUplink, changeGateway,
	changeStops, changeNew, changeGone, changeStricter, changeOther,
}

// planDiffer compares two plans.
type planDiffer struct {
	out     []planChange
	unknown func(machine string) bool // nobody knows what it did before: problems left it out
}

// source is what a point reads.
type source struct{ endpoint, device, at string }

// known is a point with its machine.
type pointOf struct {
	machine *planMachine
	point   *planPoint
}

func (p pointOf) name() string { return p.machine.Machine + "/" + p.point.Point }

func (p pointOf) source() source { return source{p.machine.Endpoint, p.machine.Device, p.point.At} }

// comparePlans says what next does that before did not, worst first.
func comparePlans(before, next *plan) planChanges {
	d := &planDiffer{unknown: func(machine string) bool {
		return before.leftOut && !slices.ContainsFunc(before.Machines, func(m planMachine) bool { return m.Machine == machine })
	}}
	was, sources := map[string]pointOf{}, map[source][]pointOf{}
	for p := range before.points {
		was[p.name()] = p
		sources[p.source()] = append(sources[p.source()], p)
	}
	is := map[string]bool{}
	for p := range next.points {
		is[p.name()] = true
		if b, ok := was[p.name()]; ok {
			d.point(b, p)
		} else {
			d.newPoint(p, sources[p.source()])
		}
	}
	for p := range before.points {
		if !is[p.name()] {
			d.add(planChange{Kind: changeGone, What: "no longer read", Points: []string{p.name()}})
		}
	}
	d.machines(before, next)
	d.recipients(before, next)
	d.exceptions(before, next)
	d.rules(before, next)
	d.uplinks(before, next)
	d.gateway(before, next)
	d.others(before, next)
	slices.SortStableFunc(d.out, func(a, b planChange) int {
		return cmp.Or(loosest(a)-loosest(b), a.rank-b.rank)
	})
	out := planChanges{Changes: d.out}
	if out.Changes == nil {
		out.Changes = []planChange{}
	}
	for _, c := range d.out {
		if c.Looser {
			out.Looser++
		}
	}
	return out
}

func loosest(c planChange) int {
	if c.Looser {
		return 0
	}
	return 1
}

// points gives all points with their machines.
func (p *plan) points(yield func(pointOf) bool) {
	for i := range p.Machines {
		for k := range p.Machines[i].Points {
			if !yield(pointOf{&p.Machines[i], &p.Machines[i].Points[k]}) {
				return
			}
		}
	}
}

// add notes a change, with others of the same words.
func (d *planDiffer) add(c planChange) {
	c.rank = slices.Index(changeOrder, c.Kind)
	for i := range d.out {
		if o := &d.out[i]; o.Kind == c.Kind && o.Looser == c.Looser && o.What == c.What && len(c.Points) > 0 {
			o.Points = append(o.Points, c.Points...)
			return
		}
	}
	d.out = append(d.out, c)
}

// point compares one point that is in both.
func (d *planDiffer) point(was, is pointOf) {
	b, a, name := was.point, is.point, []string{is.name()}
	told := d.readers(was, is, "")
	switch {
	case a.Leaves == b.Leaves && a.Level == b.Level:
	case a.Leaves == policy.Withheld.String() && a.Leaves == b.Leaves:
		d.add(planChange{Kind: changeOther, What: fmt.Sprintf("is of level %s (was %s), and will not leave: %s", a.Level, b.Level, a.Why), Points: name})
	case a.Leaves == policy.Withheld.String():
		d.add(planChange{Kind: changeStops, What: "will stop: " + a.Why, Points: name})
	case b.Leaves == policy.Sealed.String() && a.Leaves == policy.Passed.String(): // only the file says that it is encrypted
		d.add(planChange{
			Kind: changePayload, Looser: true, Points: name,
			What: "will leave as the device encrypted it (" + a.Format + ", for " + people(a.Readers) + "), not sealed by the gateway any more",
		})
	case !told:
		d.add(planChange{Kind: changeOther, What: fmt.Sprintf("will leave %s (was %s)", a.leaving(), b.leaving()), Points: name})
	}
	if a.Leaves == policy.Withheld.String() || b.Leaves == policy.Withheld.String() {
		if a.readFrom() != b.readFrom() {
			d.add(planChange{Kind: changePlace, Looser: a.Leaves != policy.Withheld.String(), What: fmt.Sprintf("is read from %s (was %s)", a.readFrom(), b.readFrom()), Points: name})
		}
		return
	}
	for _, c := range []struct {
		less bool
		what string
	}{
		{grade(a.Asks) < grade(b.Asks), fmt.Sprintf("may be read over a connection that is %s (had to be %s)", a.Asks, b.Asks)},
		{b.Padded && !a.Padded, "the size will show"},
		{b.Hidden && !a.Hidden, "the name will show in addresses"},
		{b.Wrapped && !a.Wrapped, "will leave as the device encrypted it, not sealed again any more"},
	} {
		if c.less {
			d.add(planChange{Kind: changeProtection, Looser: true, What: c.what, Points: name})
		}
	}
	if a.Wrapped && !b.Wrapped {
		d.add(planChange{Kind: changeStricter, What: "will be sealed again for the level", Points: name})
	}
	if b.Leaves == policy.Passed.String() && a.Leaves == b.Leaves {
		d.payload(b, a, name)
	}
	switch x, y := b.Exception, a.Exception; {
	case y != nil && (x == nil || x.Allow != y.Allow):
		d.add(planChange{Kind: changeException, Looser: true, What: fmt.Sprintf("will need the exception %s until %s (%s)", y.Allow, y.Until, y.Why), Points: name})
	case x != nil && y == nil:
		d.add(planChange{Kind: changeStricter, What: "will need no exception any more", Points: name})
	}
	if a.At != b.At || a.Type != b.Type || a.Order != b.Order {
		d.add(planChange{Kind: changePlace, Looser: a.At != b.At, What: fmt.Sprintf("will be read from %s (was %s)", a.readFrom(), b.readFrom()), Points: name})
	}
	if a.EveryMS != b.EveryMS || a.Report != b.Report {
		d.add(planChange{Kind: changeOther, What: fmt.Sprintf("will be read every %s, sent %s (was every %s, %s)", milliseconds(a.EveryMS), a.Report, milliseconds(b.EveryMS), b.Report), Points: name})
	}
}

func grade(s string) int { return slices.Index([]string{"any", "authenticated", "encrypted"}, s) }

func (p *planPoint) readFrom() string {
	return strings.TrimSpace(p.At + " as " + p.Type + " " + p.Order)
}

func (p *planPoint) leaving() string {
	switch p.Leaves {
	case policy.Clear.String():
		return "in clear"
	case policy.Withheld.String():
		return "not at all"
	}
	return p.Leaves + " as " + p.Level
}

// readers says who reads a point that did not, and who does no longer, and tells
// whether there was something to say.
func (d *planDiffer) readers(was, is pointOf, as string) (told bool) {
	b, a := was.point, is.point
	c := planChange{Points: []string{is.name()}}
	more, less := without(a.Readers, b.Readers), without(b.Readers, a.Readers)
	switch {
	case slices.Equal(more, []string{everybody}):
		c.Kind, c.Looser, c.Who = changeClear, true, more
		c.What = "will leave in CLEAR" + as + " (was for " + people(b.Readers) + ")"
	case len(less) > 0 && slices.Contains(b.Readers, everybody):
		c.Kind, c.Who, c.What = changeStricter, a.Readers, "will not leave in clear any more"+as+", but for "+people(a.Readers)
	case len(more) > 0 && !slices.Contains(b.Readers, everybody):
		c.Kind, c.Looser, c.Who = changeReadable, true, more
		c.What = "will be readable by " + people(more) + as + " (was for " + people(b.Readers) + ")"
	case len(less) > 0 && len(a.Readers) > 0:
		c.Kind, c.Who, c.What = changeStricter, less, "will not be readable by "+people(less)+as+" any more"
	default:
		return false
	}
	d.add(c)
	return true
}

// newPoint looks at a point that was not there. One that reads what another name
// stood for must not be a way around that one's readers.
func (d *planDiffer) newPoint(is pointOf, same []pointOf) {
	a := is.point
	c := planChange{Kind: changeNew, What: "new, will leave " + a.leaving() + ", for " + people(a.Readers), Who: a.Readers, Points: []string{is.name()}}
	switch {
	case len(same) > 0 && !d.unknown(is.machine.Machine):
		d.readers(same[0], is, ", which read what "+same[0].name()+" does")
	case a.Leaves == policy.Clear.String():
		c.Kind, c.Looser, c.What = changeClear, true, "new, will leave in CLEAR"
	case a.Leaves == policy.Withheld.String():
		c.What, c.Who = "new, will not leave: "+a.Why, nil
	case d.unknown(is.machine.Machine): // perhaps it is not new at all
		c.Looser = true
		c.What += "; what it is compared with leaves out what has problems, so nobody knows how it left"
	}
	d.add(c)
}

// print writes the changes for people.
func (c planChanges) print(w io.Writer, against string) error {
	out := &planPrinter{w: plainWriter{w}}
	if len(c.Changes) == 0 {
		out.line("nothing changes against %s", against)
		return out.err
	}
	out.wrap("", fmt.Sprintf("against %s, as if both were signed: %s, %d of them let somebody read more or protect less (!)", against, count(len(c.Changes), "change"), c.Looser))
	for _, change := range c.Changes {
		mark := "   "
		if change.Looser {
			mark = " ! "
		}
		text := change.What
		if len(change.Points) > 0 {
			text = somePoints(change.Points) + ": " + text
		}
		for i, s := range wrapped(mark, text) {
			if i > 0 {
				s = "     " + strings.TrimPrefix(s, mark)
			}
			out.line("%s", s)
		}
	}
	return out.err
}

// somePoints lists the first points, and how many more there are.
func somePoints(names []string) string {
	return strings.Join(first(names, 5), ", ")
}

// without gives what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
