package approval

import (
	"fmt"
	"slices"

	"github.com/fieldseal/fieldseal/policy"
)

// Verdict says how a point stands to what was signed. The zero value is a point
// that leaves as its file says, and as it was signed.
type Verdict struct {
	Refused  string // why it does not leave as its file says
	Stricter string // the level that its file gives it and nobody signed: a stricter one needs no approval
}

// Judge gives the points of a machine as the policy may see them: what its file
// says, but for what nobody signed.
//
// A label counts where nobody can read the point by it who could not read it as
// it was signed; a point that is not in the table was signed as one that nobody
// labelled. Any other label is as if it were not there: the point has the
// default level, or the one that was signed for it where that is stricter. What
// was signed as stricter than the default stays so, for its name and for its
// address. What passes through and was not signed for it is sealed like any
// other. A point that no level of the policy suits does not leave at all.
//
// The order of the points is kept, and nothing that is given is changed. A nil
// approval, or one for another policy, approves nothing.
func (a *Approval) Judge(gateway string, m Machine, p *policy.Policy) ([]policy.Point, []Verdict) {
	j := a.judge(gateway, &m, p)
	verdicts := make([]Verdict, len(j.points))
	// A second round finds nothing, unless making one point stricter bears on
	// another. It ends in any case: label, passthrough and all go once each.
	for range 3*len(j.points) + 1 {
		changed := false
		for i, d := range compile(p, m.Name, j.points) {
			why, label, pass := j.refuses(i, d)
			if why != "" && j.restrict(i, why, label, pass) {
				verdicts[i].Refused, changed = why, true
			}
		}
		if !changed {
			break
		}
	}
	for i, d := range compile(p, m.Name, j.points) {
		b := &j.bounds[i]
		if verdicts[i].Refused == "" && rank(p, d.Level) > rank(p, b.plain) && !(b.same && b.entry.Level == d.Level) {
			verdicts[i].Stricter = d.Level
		}
	}
	return j.points, verdicts
}

// judgement is one machine that is held against what was signed.
type judgement struct {
	p      *policy.Policy
	m      *Machine
	none   string // why nothing was signed at all
	points []policy.Point
	bounds []bound
}

// bound is what was signed of one point.
type bound struct {
	plain   string // the level that it has where nobody labels it: the default, or a raise
	entry   Entry  // the one of its name
	listed  bool   // there is one
	same    bool   // and the point is read from where that says
	differs string // else in what
	floors  []floor
}

// floor is a level that a point may not be looser than, by what was signed of
// its name or of its address, and why.
type floor struct{ level, why string }

func (a *Approval) judge(gateway string, m *Machine, p *policy.Policy) *judgement {
	j := &judgement{p: p, m: m, points: labels(m)}
	table, none := a.table(gateway, p)
	j.none = none
	known := table.knows(m)
	at := overlaps{of: map[[3]string][]overlap{}, m: m}
	for i := range table.Entries {
		e := &table.Entries[i]
		// Few of a large plant's table. What reads a device that is in it under this
		// name can only meet what was signed of that.
		if known && e.Endpoint != m.Endpoint && !isIdentity(e.Unit) || !known && rank(p, e.Level) <= rank(p, p.Default) {
			continue
		}
		at.add(e, known)
	}
	bare := make([]policy.Point, len(m.Points))
	for i := range bare {
		bare[i].Name = m.Points[i].Policy.Name
	}
	for i, d := range compile(p, m.Name, bare) {
		pt := &m.Points[i]
		b := bound{plain: d.Level}
		b.entry, b.listed = table.find(m.Name, pt.Policy.Name)
		if b.listed {
			b.differs = moved(m, i, &b.entry)
			b.same = b.differs == ""
		}
		if b.listed && !b.same && rank(p, b.entry.Level) > rank(p, b.plain) {
			b.floors = append(b.floors, floor{b.entry.Level, "level " + b.entry.Level + " was signed for this name"})
		}
		if !b.same {
			for _, e := range at.with(pt, known) {
				if rank(p, e.Level) <= rank(p, b.plain) {
					continue
				}
				why := "level " + e.Level + " was signed for the same address, as " + e.name()
				if !known && place(e.Endpoint, e.Unit, "") != place(m.Endpoint, pt.Unit, "") {
					why = "nothing was signed of the device that it is read from, which may be another name of the one with " +
						e.name() + ", for which level " + e.Level + " was signed at this address"
				}
				b.floors = append(b.floors, floor{e.Level, why})
			}
		}
		j.bounds = append(j.bounds, b)
	}
	return j
}

// table gives what was signed for a gateway, and why nothing was.
func (a *Approval) table(gateway string, p *policy.Policy) (t Table, none string) {
	if a == nil || a.Kind != Policy || a.File != p.Digest {
		return Table{}, "this policy is not signed"
	}
	t, ok := a.Table(gateway)
	if !ok {
		return Table{}, "nothing was signed for gateway " + gateway
	}
	return t, ""
}

// moved tells in what a point is not the one that was signed; empty where it is
// read from there.
func moved(m *Machine, i int, e *Entry) string {
	pt := &m.Points[i]
	device := "unit"
	switch {
	case isServer(m.Endpoint, pt.Unit) || isServer(e.Endpoint, e.Unit):
		device = "server certificate"
	case isIdentity(pt.Unit) || isIdentity(e.Unit):
		device = "device"
	}
	for _, f := range []struct{ what, now, signed string }{
		{"endpoint", m.Endpoint, e.Endpoint},
		{device, pt.Unit, e.Unit},
		{"address", pt.Address, e.Address},
		{"type", pt.Type, e.Type},
	} {
		if f.now != f.signed {
			return fmt.Sprintf("%s is %s, and %s was signed", f.what, plain(f.now), plain(f.signed))
		}
	}
	return ""
}

// allows tells whether a point may have a level, and why it may not.
func (j *judgement) allows(i int, level string) (why string) {
	b := &j.bounds[i]
	for _, f := range b.floors {
		if !within(j.p, level, f.level) {
			return f.why
		}
	}
	switch {
	case b.same && within(j.p, level, b.entry.Level):
		return ""
	case b.same && rank(j.p, b.entry.Level) > rank(j.p, b.plain):
		return fmt.Sprintf("level would be %s, and %s was signed", level, b.entry.Level)
	case within(j.p, level, b.plain):
		return ""
	case b.same:
		return fmt.Sprintf("level would be %s, and %s was signed", level, b.entry.Level)
	case b.listed:
		return b.differs
	case rank(j.p, level) > rank(j.p, b.plain):
		return fmt.Sprintf("nothing was signed for this point, and who reads level %s may not all read level %s", level, b.plain)
	default:
		return "nothing was signed for this point"
	}
}

// refuses tells why a decision goes beyond what was signed, and what has to go:
// the label or the passthrough. why is empty where it does not.
func (j *judgement) refuses(i int, d policy.Decision) (why string, label, pass bool) {
	if d.Treatment == policy.Withheld {
		return "", false, false
	}
	b, now := &j.bounds[i], entry(j.m, i, d)
	pass = d.Treatment == policy.Passed && !(b.same && samePayload(now, b.entry))
	switch why = j.allows(i, d.Level); {
	case why != "":
		label = true
	case pass && b.same:
		why = "another passthrough was signed, or none"
	case pass && b.listed:
		why = b.differs
	case pass:
		why = "nothing was signed for this point"
	case d.Treatment == policy.Clear && b.entry.Treatment != policy.Clear:
		why, label = fmt.Sprintf("it would leave in clear, and %s was signed", b.entry.Treatment), true
	case d.Treatment == policy.Sealed && b.same && b.entry.Treatment == policy.Passed && rank(j.p, d.Level) < rank(j.p, b.plain):
		why, label = "the gateway would seal it for all who read level "+d.Level+", and passthrough was signed", true
	}
	if why != "" && j.none != "" {
		why = j.none
	}
	return why, label, pass
}

func samePayload(a, b Entry) bool {
	return a.Wrap == b.Wrap && sameInside(a, b)
}

// sameInside compares all but whether the payloads are sealed again.
func sameInside(a, b Entry) bool {
	return a.Treatment == b.Treatment && a.Format == b.Format && slices.Equal(a.ReadableBy, b.ReadableBy) &&
		a.DeviceKey == b.DeviceKey && slices.Equal(a.KeyIDs, b.KeyIDs)
}

// restrict takes the label or the passthrough from a point; where there is none
// to take any more, nothing of the point leaves. It tells whether something
// changed.
func (j *judgement) restrict(i int, why string, label, pass bool) bool {
	pt, changed := &j.points[i], false
	set := func(level string) {
		changed = changed || pt.Label != level
		pt.Label = level
	}
	switch instead := j.instead(i); {
	case !label && pt.Label == "": // with a label, the decision's rule says why
		set(j.p.Default)
	case !label:
	case instead == "" || pt.Label == instead:
		changed = pt.Withheld == ""
		pt.Withheld = why + ", and no level is for both"
	default:
		set(instead)
	}
	if pass && pt.Passthrough != "" {
		pt.Passthrough, pt.ReadableBy, pt.Wrap = "", nil, false
		changed = true
	}
	if changed {
		pt.Where = "not approved: " + why + " (" + pt.Where + ")"
	}
	return changed
}

// instead gives the label that a point has in place of one that does not count:
// the default, or the first stricter one that what was signed allows; empty
// where there is none.
func (j *judgement) instead(i int) string {
	b := &j.bounds[i]
	if j.allows(i, b.plain) == "" {
		return j.p.Default
	}
	for _, l := range j.p.Levels[min(max(rank(j.p, b.plain), 0), len(j.p.Levels)):] {
		if l.Send != policy.SendClear && j.allows(i, l.Name) == "" {
			return l.Name
		}
	}
	return ""
}

// within tells whether a level is as strict as another one: not before it in the
// policy, nobody reads it who does not read the other, and it asks as much of
// the connection.
func within(p *policy.Policy, level, other string) bool {
	if level == other {
		return true
	}
	a, okA := p.Level(level)
	b, okB := p.Level(other)
	switch {
	case !okA || !okB || rank(p, level) < rank(p, other):
		return false
	case a.Send == policy.SendWithheld:
		return true
	case b.Send == policy.SendWithheld || a.Connection < b.Connection:
		return false
	case b.Send == policy.SendClear:
		return true
	default:
		return a.Send == policy.SendSealed && len(without(a.To, b.To)) == 0
	}
}
