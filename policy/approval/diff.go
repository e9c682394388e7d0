package approval

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/policy"
)

// Change is one thing that an approval changes, in a sentence for the approver.
type Change struct {
	Text   string
	Looser bool // somebody can read more, or with less protection, than before
}

// Diff tells what changes for whoever signs next after old was signed; all of
// it where old is nil. What is looser comes first. There is nothing where the
// two say the same, and something wherever their texts differ.
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
		d.releases()
		d.raises()
		d.exceptions()
		d.passthrough()
		d.events()
		d.rest()
	case Trust:
		d.gateways()
		d.recipients()
	}
	if len(d.out) == 0 && !d.first && old.Text() != next.Text() {
		d.others()
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
		l, _ := a.level(e.Level)
		return e.encrypted(l)
	case policy.Withheld:
		return "not at all"
	default:
		l, _ := a.level(e.Level)
		return "sealed for " + people(l.To)
	}
}

// encrypted says what a payload is that the device encrypted.
func (e *Entry) encrypted(l Level) string {
	s := "as the device encrypted it (" + plain(e.Format) + ", for " + people(e.ReadableBy)
	if e.DeviceKey != "" {
		s += ", signed with " + plain(e.DeviceKey)
	}
	if len(e.KeyIDs) > 0 {
		s += ", with the key " + or(e.KeyIDs)
	}
	s += ")"
	if e.Wrap {
		s += ", sealed again for " + people(l.To)
	}
	return s
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

// rest compares what is none of the other things.
func (d *differ) rest() {
	if d.first {
		return
	}
	if d.old.Name != d.next.Name {
		d.looser("this is policy %s (was %s)", d.next.Name, d.old.Name)
	}
	if d.next.LeastTrust < d.old.LeastTrust {
		d.looser("it takes effect with revision %d of the trust file already (was %d)", d.next.LeastTrust, d.old.LeastTrust)
	}
}

// others says what differs where nothing was found to say: the file alone, or
// lines that have no words here.
func (d *differ) others() {
	strip := func(a *Approval) string {
		same := *a
		same.Revision, same.File, same.LeastTrust = 0, [32]byte{}, 0
		return same.Text()
	}
	before, after := strings.Split(strip(d.old), "\n"), strings.Split(strip(d.next), "\n")
	if slices.Equal(before, after) {
		if d.next.Kind == Trust {
			d.same("nothing that is signed, but the revision or the file's own text: gateways and recipients with their keys and limits are the same")
			return
		}
		d.same("nothing that is signed, but the revision or the file's own text, such as comments: " +
			"levels, default, releases, raises, passthrough, exceptions and the points of all gateways are the same")
		return
	}
	for _, line := range without(after, before) {
		d.looser("the note has another line now: %s", line)
	}
	for _, line := range without(before, after) {
		d.looser("the note has this line no longer: %s", line)
	}
	if len(d.out) == 0 {
		d.looser("the note has its lines in another order")
	}
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
