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
	changeProtection = "protection" // connection, padding, names
	changePlace      = "place"      // a name stands for something else
	changeUplink     = "uplink"     // where messages go
	changeStops      = "stops"      // a point does not leave any more
	changeNew        = "new"
	changeGone       = "gone"
	changeStricter   = "stricter" // somebody can read it no longer
	changeOther      = "other"
)

var changeOrder = []string{
	changeClear, changeReadable, changeKey, changeException, changeProtection, changePlace, changeUplink,
	changeStops, changeNew, changeGone, changeStricter, changeOther,
}

// planDiffer compares two plans.
type planDiffer struct{ out []planChange }

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
	d := &planDiffer{}
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
	d.uplinks(before, next)
	if more := without(next.Events, before.Events); len(more) > 0 {
		d.add(planChange{Kind: changeReadable, Looser: true, What: "events will be readable by " + people(more), Who: more})
	}
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
	case a.Leaves == policy.Withheld.String():
		d.add(planChange{Kind: changeStops, What: "will stop: " + a.Why, Points: name})
	case !told:
		d.add(planChange{Kind: changeOther, What: fmt.Sprintf("will leave %s (was %s)", a.leaving(), b.leaving()), Points: name})
	}
	if a.Leaves == policy.Withheld.String() || b.Leaves == policy.Withheld.String() {
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
	case len(same) > 0:
		d.readers(same[0], is, ", which read what "+same[0].name()+" does")
	case a.Leaves == policy.Clear.String():
		c.Kind, c.Looser, c.What = changeClear, true, "new, will leave in CLEAR"
	case a.Leaves == policy.Withheld.String():
		c.What, c.Who = "new, will not leave: "+a.Why, nil
	}
	d.add(c)
}

// machines compares where machines are read, and how that is secured.
func (d *planDiffer) machines(before, next *plan) {
	for i := range next.Machines {
		a := &next.Machines[i]
		k := slices.IndexFunc(before.Machines, func(m planMachine) bool { return m.Machine == a.Machine })
		if k < 0 {
			continue
		}
		b := &before.Machines[k]
		if grade(a.Connection) < grade(b.Connection) {
			d.add(planChange{Kind: changeProtection, Looser: true, What: fmt.Sprintf("%s will be read over a connection that is %s (was %s)", a.Machine, a.Connection, b.Connection)})
		}
		if a.Endpoint != b.Endpoint || a.Device != b.Device {
			d.add(planChange{Kind: changePlace, Looser: true, What: fmt.Sprintf("%s will be read at %s (was %s)", a.Machine, a.where(), b.where())})
		}
		if a.peer != b.peer {
			d.add(planChange{Kind: changePlace, Looser: true, What: fmt.Sprintf("%s will have to show the certificate %s (was %s)", a.Machine, cmp.Or(a.peer, "none"), cmp.Or(b.peer, "none"))})
		}
	}
}

func (m *planMachine) where() string {
	if m.Device == "" {
		return m.Endpoint
	}
	return m.Endpoint + " unit " + m.Device
}

// recipients compares the trust files: whoever has a new key reads what is for
// the name from now on.
func (d *planDiffer) recipients(before, next *plan) {
	for _, a := range next.Recipients {
		reads := 0
		for _, r := range next.Readers {
			if r.Recipient == a.Recipient {
				reads += r.Points
			}
		}
		k := slices.IndexFunc(before.Recipients, func(b planRecipient) bool { return b.Recipient == a.Recipient })
		if k < 0 {
			d.add(planChange{Kind: changeKey, Looser: reads > 0, What: fmt.Sprintf("new recipient %s, who reads %s", a.Recipient, count(reads, "point")), Who: []string{a.Recipient}})
			continue
		}
		for _, key := range without(a.Keys, before.Recipients[k].Keys) {
			d.add(planChange{
				Kind: changeKey, Looser: true, Who: []string{a.Recipient},
				What: fmt.Sprintf("recipient %s has the new key %s: whoever holds it reads %s", a.Recipient, key, count(reads, "point")),
			})
		}
		for _, key := range without(before.Recipients[k].Keys, a.Keys) {
			d.add(planChange{Kind: changeStricter, What: fmt.Sprintf("recipient %s has the key %s no longer", a.Recipient, key), Who: []string{a.Recipient}})
		}
	}
	for _, b := range before.Recipients {
		if !slices.ContainsFunc(next.Recipients, func(a planRecipient) bool { return a.Recipient == b.Recipient }) {
			d.add(planChange{Kind: changeStricter, What: "no recipient " + b.Recipient + " any more", Who: []string{b.Recipient}})
		}
	}
}

// exceptions compares those of the policies, whoever needs them.
func (d *planDiffer) exceptions(before, next *plan) {
	same := func(a, b planException) bool { return a.Allow == b.Allow && slices.Equal(a.Points, b.Points) }
	for _, a := range next.Exceptions {
		k := slices.IndexFunc(before.Exceptions, func(b planException) bool { return same(a, b) })
		name := "exception " + a.Allow + " for " + strings.Join(a.Points, ", ")
		switch {
		case k < 0:
			d.add(planChange{Kind: changeException, Looser: true, What: fmt.Sprintf("new %s until %s (%s): %s need it", name, a.Until, a.Why, count(a.Used, "point"))})
		case a.Until > before.Exceptions[k].Until:
			d.add(planChange{Kind: changeException, Looser: true, What: fmt.Sprintf("%s lasts until %s (was %s)", name, a.Until, before.Exceptions[k].Until)})
		case a.Until < before.Exceptions[k].Until:
			d.add(planChange{Kind: changeStricter, What: fmt.Sprintf("%s ends with %s already (was %s)", name, a.Until, before.Exceptions[k].Until)})
		}
	}
	for _, b := range before.Exceptions {
		if !slices.ContainsFunc(next.Exceptions, func(a planException) bool { return same(a, b) }) {
			d.add(planChange{Kind: changeStricter, What: "the exception " + b.Allow + " for " + strings.Join(b.Points, ", ") + " is gone"})
		}
	}
}

// uplinks compares where messages go: another place sees what stays visible.
func (d *planDiffer) uplinks(before, next *plan) {
	say := func(u planUplink) string { return strings.TrimSpace(u.Kind + ", " + u.To + " " + u.Prefix) }
	for _, a := range next.Upstream.Uplinks {
		k := slices.IndexFunc(before.Upstream.Uplinks, func(b planUplink) bool { return b.Uplink == a.Uplink })
		switch {
		case k < 0:
			d.add(planChange{Kind: changeUplink, Looser: true, What: "new uplink " + a.Uplink + ": " + say(a)})
		case say(a) != say(before.Upstream.Uplinks[k]) || a.Servers != before.Upstream.Uplinks[k].Servers:
			d.add(planChange{Kind: changeUplink, Looser: true, What: fmt.Sprintf("the uplink %s will lead to %s at %s (was %s at %s)", a.Uplink, say(a), a.Servers, say(before.Upstream.Uplinks[k]), before.Upstream.Uplinks[k].Servers)})
		}
	}
	for _, b := range before.Upstream.Uplinks {
		if !slices.ContainsFunc(next.Upstream.Uplinks, func(a planUplink) bool { return a.Uplink == b.Uplink }) {
			d.add(planChange{Kind: changeUplink, What: "no uplink " + b.Uplink + " any more"})
		}
	}
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
