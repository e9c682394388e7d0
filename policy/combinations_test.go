package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// combination is one case of all: a point, a second one at its address or none,
// the policy around them, and the connection.
type combination struct {
	levels    []policy.Level
	standard  string // the default level
	label     string
	raised    string // by a rule of the policy; empty: by none
	released  bool
	twin      string // label of the point at the same address; "none" where there is none
	exception string // name of a row in exceptions
	grade     point.Security
	payload   string // name of a row in payloads
	wrap      bool
	hold      bool // if_readable
	stopped   bool // nothing of it leaves, for another reason
}

// ladder has two levels of each way to send, with all that a level may ask.
var ladder = []policy.Level{
	{Name: "open", Send: policy.SendClear},
	{Name: "public", Send: policy.SendClear, Connection: point.Authenticated},
	{Name: "internal", To: []string{"historian", "process"}, Connection: point.Authenticated},
	{Name: "restricted", To: []string{"process"}, Connection: point.Encrypted},
	{Name: "secret", Send: policy.SendWithheld},
}

// exceptions by name: what they allow, and whether their day is past.
var exceptions = map[string][]policy.Exception{
	"none":              nil,
	"encrypted":         {{Allow: policy.ConnectionNotEncrypted, Until: now.Add(time.Hour)}},
	"encrypted, past":   {{Allow: policy.ConnectionNotEncrypted, Until: now}},
	"authenticated":     {{Allow: policy.ConnectionNotAuthenticated, Until: now.Add(2 * time.Hour)}},
	"both, one is past": {{Allow: policy.ConnectionNotEncrypted, Until: now.Add(-time.Hour)}, {Allow: policy.ConnectionNotAuthenticated, Until: now.Add(time.Hour)}},
	"for another point": {{Allow: policy.ConnectionNotEncrypted, Until: now.Add(time.Hour), Why: "other"}, {Allow: policy.ConnectionNotAuthenticated, Until: now.Add(time.Hour), Why: "other"}},
}

// payloads by name: the format that the device encrypts in, and for whom.
var payloads = map[string]policy.Point{
	"plain":                 {},
	"for one reader":        {Passthrough: "cose", ReadableBy: []string{"process"}},
	"for two readers":       {Passthrough: "cose", ReadableBy: []string{"historian", "process"}},
	"for a stranger":        {Passthrough: "cose", ReadableBy: []string{"oem"}},
	"for a stranger beside": {Passthrough: "cose", ReadableBy: []string{"process", "oem"}},
	"for nobody":            {Passthrough: "cose"},
	"not accepted":          {Passthrough: "jwe", ReadableBy: []string{"process"}},
	"of no format":          {ReadableBy: []string{"process"}},
}

// otherOrder stands for a decision that the order of the points changes.
const otherOrder = "another one in another order"

func (c *combination) compile(all, other []policy.Pattern) (policy.Decision, time.Time) {
	p := policy.Policy{Levels: c.levels, Default: c.standard, Passthrough: policy.Passthrough{Accept: []string{"cose", ""}}}
	if c.hold {
		p.Passthrough.IfReadable = policy.HoldReadable
	}
	if c.raised != "" {
		p.Raise = []policy.Raise{{Points: all, Level: c.raised}}
	}
	if c.released {
		p.Released = []policy.Release{{Points: all}}
	}
	for _, e := range exceptions[c.exception] {
		if e.Points = all; e.Why == "other" {
			e.Points = other
		}
		p.Exceptions = append(p.Exceptions, e)
	}
	pt := payloads[c.payload]
	pt.Name, pt.Label, pt.Address, pt.Wrap = "a", c.label, "holding/1", c.wrap
	if c.stopped {
		pt.Withheld = "stopped"
	}
	points := []policy.Point{pt}
	if c.twin != "none" {
		points = append(points, policy.Point{Name: "b", Label: c.twin, Address: "holding/1", Withheld: "needs no exception"})
	}
	t := p.Compile("m", points, c.grade, now)
	d := t.Decisions[0]
	if len(points) > 1 {
		slices.Reverse(points)
		again := p.Compile("m", points, c.grade, now)
		if again.Decisions[1] != d || again.Until != t.Until {
			d.Rule = otherOrder
		}
	}
	return d, t.Until
}

// outcome is what DESIGN says becomes of a point.
type outcome struct {
	treatment string // clear, sealed, passthrough, withheld
	level     string // whose readers may have it; empty: no level fits
	wrap      bool
	readable  string // of a passthrough payload that is no ciphertext: sealed or withheld
	probation string // of one that has not proved yet that it is
	until     time.Time
}

// design says what DESIGN says of a combination, sentence by sentence. It knows
// levels by their places and nothing of how the policy finds out.
func design(c *combination) outcome {
	place := func(level string) int { // strictest last; what nobody knows is stricter than all
		for i := range c.levels {
			if c.levels[i].Name == level {
				return i
			}
		}
		return len(c.levels)
	}
	last := len(c.levels) - 1
	// "A point that nobody labelled has the policy's default level." "Effective
	// level = the stricter of the point's label and every matching raise."
	effective := func(label string) int {
		if label == "" {
			label = c.standard
		}
		e := place(label)
		if e > last && label != c.standard && c.levels[last].Send != policy.SendClear {
			e = last // a slip of a label leaves as the strictest, if that does not send in clear
		}
		if c.raised != "" {
			e = max(e, place(c.raised))
		}
		return e
	}
	e := effective(c.label)
	// "The same address in two points takes the stricter level."
	if c.twin != "none" {
		e = max(e, effective(c.twin))
	}
	// "Clear needs both: the label and the release. One without the other: the
	// point leaves as the stricter of the next level and the default."
	if e <= last && c.levels[e].Send == policy.SendClear && !(c.released && c.label != "") {
		for e <= last && c.levels[e].Send == policy.SendClear {
			e++
		}
		e = max(e, place(c.standard))
	}
	if e > last {
		return outcome{treatment: "withheld"}
	}
	l := c.levels[e]
	nothing := outcome{treatment: "withheld", level: l.Name}
	if c.stopped || l.Send == policy.SendWithheld {
		return nothing
	}
	if c.wrap && l.Send == policy.SendClear { // there is nobody to seal it for
		return nothing
	}
	// "A payload the device encrypted satisfies 'sealed' and 'encrypted' if its
	// readable_by is within the level's to."
	encrypted := false
	switch c.payload {
	case "for one reader":
		encrypted = true // process may read each level that seals
	case "for two readers":
		encrypted = l.Send == policy.SendClear || l.Name == "internal"
	case "for a stranger", "for a stranger beside":
		encrypted = l.Send == policy.SendClear
	}
	// "What the field connection must have, measured against what was negotiated",
	// but for a dated exception that is not past.
	safe := c.grade >= l.Connection
	var until time.Time
	if !safe {
		allows := map[point.Security]policy.Allow{point.Encrypted: policy.ConnectionNotEncrypted, point.Authenticated: policy.ConnectionNotAuthenticated}[l.Connection]
		for _, e := range exceptions[c.exception] {
			if e.Allow == allows && e.Until.After(now) && e.Why != "other" {
				safe, until = true, e.Until
			}
		}
	}
	switch {
	case encrypted:
		out := outcome{treatment: "passthrough", level: l.Name, wrap: c.wrap, readable: "withheld", probation: "withheld", until: until}
		// "What claims to be ciphertext and is not is never forwarded as it is": it
		// is sealed, where that level may seal what came over that connection.
		if safe && l.Send == policy.SendSealed {
			out.readable, out.probation = "sealed", "sealed"
		}
		if c.hold {
			out.readable = "withheld"
		}
		return out
	case !safe:
		return nothing
	case l.Send == policy.SendClear:
		return outcome{treatment: "clear", level: l.Name, until: until}
	default:
		return outcome{treatment: "sealed", level: l.Name, until: until}
	}
}

// forbidden says which sentence of DESIGN a decision breaks, whatever the rest of
// it says; empty where none.
func forbidden(c *combination, d policy.Decision) string {
	if d.Rule == otherOrder {
		return "a decision does not depend on the order of the points"
	}
	i := slices.IndexFunc(c.levels, func(l policy.Level) bool { return l.Name == d.Level })
	if d.Treatment == policy.Withheld {
		if d.Why == "" || d.Wrap || d.Readable != policy.Sealed || d.Probation != policy.Sealed {
			return "what is withheld says why, and nothing else"
		}
		return ""
	}
	l := c.levels[i]
	excepted := false
	for _, e := range exceptions[c.exception] {
		right := e.Allow == policy.ConnectionNotEncrypted && l.Connection == point.Encrypted || e.Allow == policy.ConnectionNotAuthenticated && l.Connection == point.Authenticated
		excepted = excepted || right && now.Before(e.Until) && e.Why != "other"
	}
	safe := c.grade >= l.Connection || excepted
	labelled := slices.IndexFunc(c.levels, func(l policy.Level) bool { return l.Name == c.label })
	sealing := func(name string) bool {
		return name != "" && !slices.ContainsFunc(c.levels, func(l policy.Level) bool { return l.Name == name && l.Send == policy.SendClear })
	}
	pt := payloads[c.payload]
	switch {
	case d.Why != "":
		return "what leaves has no reason why it does not"
	case c.stopped || l.Send == policy.SendWithheld:
		return "a level that sends nothing sends nothing"
	case d.Treatment != policy.Passed && !safe:
		return "plaintext came over a connection that falls short"
	case d.Treatment != policy.Passed && (d.Wrap || d.Readable != policy.Sealed || d.Probation != policy.Sealed):
		return "only what passes through is wrapped, or readable"
	case d.Treatment == policy.Sealed && (l.Send != policy.SendSealed || len(l.To) == 0):
		return "sealed for nobody"
	case d.Treatment == policy.Clear && (l.Send != policy.SendClear || !c.released || labelled < 0 || c.levels[labelled].Send != policy.SendClear):
		return "clear without label and release"
	case d.Treatment == policy.Clear && (sealing(c.raised) || c.twin != "none" && (c.twin == "" && sealing(c.standard) || sealing(c.twin))):
		return "clear over a raise, or over the label of another name for it"
	case c.wrap && (d.Treatment == policy.Clear || d.Treatment == policy.Passed && !d.Wrap):
		return "what is to be sealed again leaves as it is"
	case d.Wrap && (!c.wrap || l.Send != policy.SendSealed):
		return "sealed again for nobody, or where nobody asked"
	case d.Treatment == policy.Passed && (pt.Passthrough != "cose" || len(pt.ReadableBy) == 0):
		return "passed in a format that is not accepted, or for nobody"
	case d.Treatment == policy.Passed && l.Send == policy.SendSealed && slices.ContainsFunc(pt.ReadableBy, func(r string) bool { return !slices.Contains(l.To, r) }):
		return "passed to people who do not read the level"
	case d.Treatment == policy.Passed && d.Readable != policy.Withheld && (d.Readable != policy.Sealed || c.hold || !safe || l.Send != policy.SendSealed):
		return "what is readable is let out"
	case d.Treatment == policy.Passed && d.Probation != policy.Withheld && (d.Probation != policy.Sealed || !safe || l.Send != policy.SendSealed):
		return "what is on probation is let out"
	}
	return ""
}

func names[T any](m map[string]T) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Every combination of labels, raises, releases, exceptions, connections, ways to
// send and payloads leaves as DESIGN says, and none leaves in clear what must not.
func TestEveryCombination(t *testing.T) {
	all, other := patterns(t, "other/a", "m/*"), patterns(t, "m/c", "other/*")
	labels := []string{"", "nonsense"}
	for _, l := range ladder {
		labels = append(labels, l.Name)
	}
	count, seen, wrong := 0, map[string]int{}, 0
	check := func(c combination) {
		count++
		d, until := c.compile(all, other)
		got := outcome{treatment: d.Treatment.String(), level: d.Level, wrap: d.Wrap, until: until}
		if d.Treatment == policy.Passed {
			got.readable, got.probation = d.Readable.String(), d.Probation.String()
		}
		seen[got.treatment]++
		if want, broken := design(&c), forbidden(&c, d); (got != want || broken != "") && wrong < 10 {
			wrong++
			t.Errorf("%+v\n got  %+v\n want %+v\n %s", c, got, want, broken)
		}
	}
	for _, standard := range []string{"internal", "restricted", "secret", "public"} { // the loader refuses the last one
		for _, label := range labels {
			for _, raised := range []string{"", "nonsense", "public", "restricted", "secret"} {
				for _, twin := range []string{"none", "", "restricted"} {
					for _, exception := range names(exceptions) {
						for _, payload := range names(payloads) {
							for bits := range 3 * 8 {
								check(combination{
									levels: ladder, standard: standard, label: label, raised: raised, twin: twin, exception: exception, payload: payload,
									grade: point.Security(bits % 3), released: bits/3&1 != 0, wrap: bits/3&2 != 0, hold: bits/3&4 != 0,
								})
							}
						}
					}
				}
			}
		}
	}
	// A plant that has no level which seals, and points that nothing leaves of.
	for _, label := range labels {
		for _, payload := range names(payloads) {
			for bits := range 3 * 8 {
				c := combination{
					levels: ladder[:2], standard: "none", label: label, twin: "none", exception: "none", payload: payload,
					grade: point.Security(bits % 3), released: bits/3&1 != 0, wrap: bits/3&2 != 0, hold: bits/3&4 != 0,
				}
				check(c)
				c.twin = "open" // what has no level takes none from another name for it
				check(c)
				c.twin = "none"
				c.levels, c.standard, c.stopped = ladder, "internal", true
				check(c)
			}
		}
	}
	for _, treatment := range []string{"clear", "sealed", "passthrough", "withheld"} {
		if seen[treatment] < 1000 {
			t.Errorf("%d of %d are %s: the table looks at little of it", seen[treatment], count, treatment)
		}
	}
	t.Log(fmt.Sprint(count, " combinations: ", seen))
}
