package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// carried is the table of a gateway that was not named: what a note said of it.
type carried struct {
	approval.Table
	own bool // the approver signed the same before
}

// tables gives what is signed for each gateway, and which of it is carried over.
// A gateway that is not named keeps what the note beside the policy says of it, so
// that approvers who sign one after the other sign the same, or else what the
// approver signed last; as long as the trust file lists it. The difference is
// against what the approver signed, wherever a table comes from.
func tables(all []*configs.Config, k known) (out []approval.Table, over []carried) {
	named := map[string]bool{}
	for _, c := range all {
		if !named[c.Gateway] {
			out = append(out, c.Table())
		}
		named[c.Gateway] = true
	}
	notes := []*approval.Approval{k.there, k.last}
	if k.there != nil && k.last != nil && k.there.Revision < k.last.Revision {
		slices.Reverse(notes)
	}
	for _, name := range slices.Sorted(maps.Keys(all[0].Trust.Gateways)) {
		for _, a := range notes {
			if named[name] || a == nil {
				continue
			}
			t, ok := a.Table(name)
			if !ok {
				continue
			}
			t.Entries = slices.DeleteFunc(slices.Clone(t.Entries), func(e approval.Entry) bool {
				_, known := all[0].Policy.Level(e.Level)
				return !known
			})
			c := carried{Table: t}
			if k.last != nil {
				before, ok := k.last.Table(name)
				c.own = ok && text(before) == text(t)
			}
			out, over, named[name] = append(out, t), append(over, c), true
		}
	}
	return out, over
}

// text gives a table as it would be signed alone.
func text(t approval.Table) string {
	return (&approval.Approval{Kind: approval.Policy, Tables: []approval.Table{t}}).Text()
}

// line says what a carried table holds: every point that leaves in clear by name,
// the others by number.
func (c carried) line(who, file string) string {
	count := map[policy.Treatment]int{}
	var clear []string
	for _, e := range c.Entries {
		count[e.Treatment]++
		if e.Treatment == policy.Clear {
			clear = append(clear, e.Machine+"/"+e.Point)
		}
	}
	var parts []string
	for _, t := range []policy.Treatment{policy.Clear, policy.Passed, policy.Sealed, policy.Withheld} {
		switch {
		case count[t] == 0:
		case t == policy.Clear:
			parts = append(parts, fmt.Sprintf("%d in CLEAR (%s)", count[t], list(clear)))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", count[t], t))
		}
	}
	if parts == nil {
		parts = []string{"nothing but the default"}
	}
	holds := strings.Join(parts, ", ")
	if c.own {
		return fmt.Sprintf("   %s is not named with -c and keeps what %s signed for it: %s", c.Gateway, who, holds)
	}
	return fmt.Sprintf(" ! %s is not named with -c and gets what the note beside %s says, which %s did not sign (it is shown above; name every gateway to see what its files say): %s",
		c.Gateway, filepath.Base(file), who, holds)
}
