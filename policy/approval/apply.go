package approval

import (
	"fmt"
	"slices"

	"github.com/fieldseal/fieldseal/policy"
)

// Apply gives the points of a machine as the policy may see them: what its file
// says, but for what nobody signed. A point that would leave more openly than an
// unlabelled one, and stands in the signed table in no such way, gets the
// default level; one that would pass through and was not signed for it is sealed
// like any other. What is stricter than signed is left alone. The order of the
// points is kept, and nothing that is given is changed.
//
// A nil approval, or one for another policy, approves nothing.
func (a *Approval) Apply(gateway string, m Machine, p *policy.Policy) []policy.Point {
	points, _ := a.Judge(gateway, m, p)
	return points
}

// Judge gives the same points as [Approval.Apply], and for each of them why it
// is not as its file says; empty where it is.
func (a *Approval) Judge(gateway string, m Machine, p *policy.Policy) (points []policy.Point, whys []string) {
	points = labels(&m)
	whys = make([]string, len(points))
	table, signed := a.table(gateway, p)
	// A second round finds nothing, unless making one point stricter could make
	// another looser; it ends in any case, as no point is changed back.
	for range 2*len(points) + 1 {
		changed := false
		for i, d := range compile(p, m.Name, points) {
			e, listed := table.find(m.Name, points[i].Name)
			why, label, pass := refused(p, d, &m, i, e, listed)
			if why == "" {
				continue
			}
			if signed != "" {
				why = signed
			}
			if restrict(&points[i], p.Default, why, label, pass) {
				whys[i], changed = why, true
			}
		}
		if !changed {
			break
		}
	}
	return points, whys
}

// table gives what was signed for a gateway, and why nothing was.
func (a *Approval) table(gateway string, p *policy.Policy) (t Table, none string) {
	switch {
	case a == nil || a.Kind != Policy || a.File != p.Digest:
		return Table{}, "this policy is not signed"
	default:
		for _, t := range a.Tables {
			if t.Gateway == gateway {
				return t, ""
			}
		}
		return Table{}, "nothing was signed for gateway " + gateway
	}
}

// refused tells why a decision goes beyond what was signed, and what has to go:
// the label or the passthrough. why is empty where it does not.
func refused(p *policy.Policy, d policy.Decision, m *Machine, i int, e Entry, listed bool) (why string, label, pass bool) {
	if !isOpen(p, d) {
		return "", false, false
	}
	pt := &m.Points[i]
	looser, passed := rank(p, d.Level) < rank(p, p.Default), d.Treatment == policy.Passed
	if !listed {
		return "nothing was signed for this point", looser, passed
	}
	for _, f := range []struct{ what, now, signed string }{
		{"endpoint", m.Endpoint, e.Endpoint},
		{"unit", pt.Unit, e.Unit},
		{"address", pt.Address, e.Address},
		{"type", pt.Type, e.Type},
	} {
		if f.now != f.signed {
			return fmt.Sprintf("%s is %s, and %s was signed", f.what, plain(f.now), plain(f.signed)), looser, passed
		}
	}
	switch now := entry(m, i, d); {
	case looser && rank(p, d.Level) < rank(p, e.Level):
		return fmt.Sprintf("level would be %s, and %s was signed", d.Level, e.Level), true, passed && !samePayload(now, e)
	case passed && !samePayload(now, e):
		return "another passthrough was signed, or none", false, true
	case d.Treatment == policy.Clear && e.Treatment != policy.Clear:
		return fmt.Sprintf("it would leave in clear, and %s was signed", e.Treatment), true, false
	}
	return "", false, false
}

func samePayload(a, b Entry) bool {
	return a.Treatment == b.Treatment && a.Format == b.Format && slices.Equal(a.ReadableBy, b.ReadableBy)
}

// restrict takes the label or the passthrough from a point, and tells whether
// there was one to take.
func restrict(pt *policy.Point, standard, why string, label, pass bool) bool {
	before := pt.Label
	if label || pt.Label == "" { // with a label, the decision's rule says why
		pt.Label = standard
	}
	changed := before != pt.Label
	if pass && pt.Passthrough != "" {
		pt.Passthrough, pt.ReadableBy = "", nil
		changed = true
	}
	if changed {
		pt.Where = "not approved: " + why + " (" + pt.Where + ")"
	}
	return changed
}
