package approval_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// change edits the point of a machine.
func change(name string, edit func(*approval.Point)) func(*approval.Machine) {
	return func(m *approval.Machine) {
		i := slices.IndexFunc(m.Points, func(p approval.Point) bool { return p.Policy.Name == name })
		edit(&m.Points[i])
	}
}

func label(name, level string) func(*approval.Machine) {
	return change(name, func(p *approval.Point) { p.Policy.Label = level })
}

func TestApply(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*approval.Machine)
		point  string
		level  string
		treat  policy.Treatment
		refuse string // in the rule
	}{
		{"as signed, clear", nil, "state", "public", policy.Clear, ""},
		{"as signed, looser than the default", nil, "oil-level", "internal", policy.Sealed, ""},
		{"as signed, passthrough", nil, "torque-log", "restricted", policy.Passed, ""},
		{"at the default", nil, "ram-force", "restricted", policy.Sealed, ""},
		{"unlabelled", nil, "unlabelled", "restricted", policy.Sealed, ""},
		{"raised", nil, "recipe-step", "restricted", policy.Sealed, ""},

		{"default loosened", label("ram-force", "internal"), "ram-force", "restricted", policy.Sealed, "not approved: nothing was signed for this point (press-3.yaml:22)"},
		{"unlabelled loosened", label("unlabelled", "internal"), "unlabelled", "restricted", policy.Sealed, "nothing was signed"},
		{"default labelled clear, not released", label("ram-force", "public"), "ram-force", "restricted", policy.Sealed, ""},
		{"internal labelled clear, not released", label("oil-level", "public"), "oil-level", "restricted", policy.Sealed, ""},
		{"clear made internal", label("state", "internal"), "state", "internal", policy.Sealed, ""},
		{"clear made restricted", label("state", "restricted"), "state", "restricted", policy.Sealed, ""},
		{"clear made secret", label("state", "secret"), "state", "secret", policy.Withheld, ""},
		{"internal made secret", label("oil-level", "secret"), "oil-level", "secret", policy.Withheld, ""},
		{"label taken away", label("oil-level", ""), "oil-level", "restricted", policy.Sealed, ""},
		{"unknown label", label("oil-level", "oops"), "oil-level", "secret", policy.Withheld, ""},

		{"clear: another register", change("state", func(p *approval.Point) { p.Address = "holding/130" }), "state", "restricted", policy.Sealed, "address is holding/130, and holding/120 was signed"},
		{"clear: another unit", change("state", func(p *approval.Point) { p.Unit = "2" }), "state", "restricted", policy.Sealed, "unit is 2"},
		{"clear: another type", change("state", func(p *approval.Point) { p.Type = "bytes[240]" }), "state", "restricted", policy.Sealed, "type is bytes[240]"},
		{"clear: another endpoint", func(m *approval.Machine) { m.Endpoint = "tcp://10.20.3.14:502" }, "state", "restricted", policy.Sealed, "endpoint is tcp://10.20.3.14:502"},
		{"internal: another register", change("oil-level", func(p *approval.Point) { p.Address = "holding/130" }), "oil-level", "restricted", policy.Sealed, "address is"},
		{"internal: another endpoint", func(m *approval.Machine) { m.Endpoint = "tcp://10.20.3.14:502" }, "oil-level", "restricted", policy.Sealed, "endpoint is"},
		{"passthrough: another endpoint", func(m *approval.Machine) { m.Endpoint = "tcp://10.20.3.14:502" }, "torque-log", "restricted", policy.Sealed, "endpoint is"},
		{"default: another register", change("ram-force", func(p *approval.Point) { p.Address = "holding/130" }), "ram-force", "restricted", policy.Sealed, ""},
		{"clear, made internal at another register", change("state", func(p *approval.Point) { p.Address, p.Policy.Label = "holding/130", "internal" }), "state", "restricted", policy.Sealed, "address is"},
		{"clear, made secret at another register", change("state", func(p *approval.Point) { p.Address, p.Policy.Label = "holding/130", "secret" }), "state", "secret", policy.Withheld, ""},

		{"passthrough: another format", change("torque-log", func(p *approval.Point) { p.Policy.Passthrough = "jwe" }), "torque-log", "restricted", policy.Sealed, "another passthrough"},
		{"passthrough: other readers", change("torque-log", func(p *approval.Point) { p.Policy.ReadableBy = []string{"escrow"} }), "torque-log", "restricted", policy.Sealed, "another passthrough"},
		{"passthrough: the same readers, otherwise written", change("torque-log", func(p *approval.Point) {
			p.Policy.ReadableBy = []string{"process-engineering", "process-engineering"}
		}), "torque-log", "restricted", policy.Passed, ""},
		{"passthrough, where none was signed", change("ram-force", func(p *approval.Point) { p.Policy.Passthrough, p.Policy.ReadableBy = "cose", []string{"escrow"} }), "ram-force", "restricted", policy.Sealed, "nothing was signed"},
		{"passthrough, unlabelled", change("unlabelled", func(p *approval.Point) { p.Policy.Passthrough, p.Policy.ReadableBy = "cose", []string{"escrow"} }), "unlabelled", "restricted", policy.Sealed, "not approved: nothing was signed for this point (press-3.yaml:30)"},
		{"passthrough, of a point signed as sealed", change("oil-level", func(p *approval.Point) { p.Policy.Passthrough, p.Policy.ReadableBy = "cose", []string{"escrow"} }), "oil-level", "internal", policy.Sealed, "another passthrough"},
		{"passthrough at a looser level", label("torque-log", "internal"), "torque-log", "restricted", policy.Passed, "level would be internal, and restricted was signed"},
		{"passthrough taken away", change("torque-log", func(p *approval.Point) { p.Policy.Passthrough = "" }), "torque-log", "restricted", policy.Sealed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, a, m := plant(t), signedPolicy(t), press3()
			if c.edit != nil {
				c.edit(&m)
			}
			given := fmt.Sprint(m)
			points := a.Apply(gateway, m, p)
			require.Equal(t, given, fmt.Sprint(m), "nothing that is given is changed")
			i := slices.IndexFunc(points, func(p policy.Point) bool { return p.Name == c.point })
			d := p.Compile(m.Name, points, point.Encrypted, time.Now()).Decisions[i]
			require.Equal(t, c.level, d.Level)
			require.Equal(t, c.treat.String(), d.Treatment.String())
			_, whys := a.Judge(gateway, m, p)
			if c.refuse == "" {
				require.NotContains(t, points[i].Where, "not approved")
				require.Empty(t, whys[i])
				return
			}
			require.NotEmpty(t, whys[i])
			require.Contains(t, points[i].Where, "not approved: "+whys[i])
			require.Contains(t, points[i].Where, "not approved: ")
			require.Contains(t, points[i].Where, c.refuse)
			require.Contains(t, d.Rule, "not approved: ", "the decision says why")
		})
	}
}

func TestApplyWithoutApproval(t *testing.T) {
	p, m := plant(t), press3()
	other := plant(t)
	other.Digest[0]++
	for name, a := range map[string]*approval.Approval{
		"none": nil, "of a trust file": approval.OfTrust(trust()), "of another policy": approval.OfPolicy(other, approval.Resolve(gateway, []approval.Machine{m}, other)),
		"of another gateway": approval.OfPolicy(p, approval.Resolve("gw-2", []approval.Machine{m}, p)),
		"without a table":    approval.OfPolicy(p),
	} {
		for i, d := range p.Compile(m.Name, a.Apply(gateway, m, p), point.Encrypted, time.Now()).Decisions {
			require.Equal(t, "restricted", d.Level, "%s: %s", name, m.Points[i].Policy.Name)
			require.Equal(t, policy.Sealed, d.Treatment, "%s: %s", name, m.Points[i].Policy.Name)
		}
	}
}

func TestPassthroughThatBecomesClearIsNotSigned(t *testing.T) {
	p, m := plant(t), press3()
	change("state", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "cose", []string{"anybody"} })(&m)
	a := approval.OfPolicy(p, approval.Resolve(gateway, []approval.Machine{m}, p))
	require.Contains(t, a.Text(), "point press-3/state passthrough level=public")
	d := p.Compile(m.Name, a.Apply(gateway, m, p), point.Encrypted, time.Now()).Decisions[0]
	require.Equal(t, policy.Passed, d.Treatment)

	change("state", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "", nil })(&m)
	d = p.Compile(m.Name, a.Apply(gateway, m, p), point.Encrypted, time.Now()).Decisions[0]
	require.Equal(t, "restricted", d.Level)
	require.Contains(t, d.Rule, "it would leave in clear, and passthrough was signed")
}

// drawMachine makes a machine with few names, addresses and labels, so that
// they meet.
func drawMachine(t *rapid.T, what string) approval.Machine {
	one := func(kind string, words ...string) string { return rapid.SampledFrom(words).Draw(t, what+kind) }
	m := approval.Machine{Name: "m", Endpoint: one("endpoint", "tcp://a:1", "tcp://a:1", "tcp://a:1", "tcp://b:1")}
	for _, name := range []string{"a", "b", "c", "d", "recipe"} {
		if !rapid.Bool().Draw(t, what+"has") {
			continue
		}
		address := one("address", "1", "2", "3")
		pt := approval.Point{Unit: one("unit", "1", "1", "1", "2"), Address: address, Type: one("type", "int16", "int16", "int32")}
		pt.Policy = policy.Point{Name: name, Label: one("label", "", "open", "public", "internal", "restricted", "secret", "oops"), Where: "m.yaml:1"}
		if rapid.Bool().Draw(t, what+"groups") {
			pt.Policy.Address = address
		}
		if rapid.IntRange(0, 3).Draw(t, what+"passes") == 0 {
			pt.Policy.Passthrough = one("format", "cose", "jwe", "opaque")
			pt.Policy.ReadableBy = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 3).Draw(t, what+"readers")
		}
		m.Points = append(m.Points, pt)
	}
	return m
}

func drawPolicy(t *rapid.T) *policy.Policy {
	pick := func(words ...string) []policy.Pattern {
		var out []policy.Pattern
		for _, w := range rapid.SliceOfDistinct(rapid.SampledFrom(words), rapid.ID).Draw(t, "patterns") {
			p, err := policy.ParsePattern(w)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, p)
		}
		return out
	}
	return &policy.Policy{
		Name: "p", Revision: 1, Digest: [32]byte{1},
		Levels: []policy.Level{
			{Name: "open", Send: policy.SendClear},
			{Name: "public", Send: policy.SendClear},
			{Name: "internal", To: []string{"x", "y"}},
			{Name: "restricted", To: []string{"x"}, Connection: point.Encrypted},
			{Name: "secret", Send: policy.SendWithheld},
		},
		Default:     rapid.SampledFrom([]string{"internal", "restricted", "secret"}).Draw(t, "default"),
		Released:    []policy.Release{{Points: pick("*/a", "*/b", "*/*")}},
		Raise:       []policy.Raise{{Points: pick("*/recipe", "*/d"), Level: "restricted"}},
		Exceptions:  []policy.Exception{{Allow: policy.ConnectionNotEncrypted, Points: pick("*/*", "*/c"), Until: time.Unix(1000, 0)}},
		Passthrough: policy.Passthrough{Accept: []string{"cose", "jwe"}},
	}
}

func TestNeverLooserThanSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		before := drawMachine(t, "signed ")
		now := before
		if rapid.IntRange(0, 9).Draw(t, "edited") > 0 {
			now = drawMachine(t, "now ")
		}
		a := approval.OfPolicy(p, approval.Resolve(gateway, []approval.Machine{before}, p))
		points := a.Apply(gateway, now, p)
		require.Len(t, points, len(now.Points))

		rank := func(level string) int {
			return slices.IndexFunc(p.Levels, func(l policy.Level) bool { return l.Name == level })
		}
		table, _ := a.Table(gateway)
		asked := make([]policy.Point, len(now.Points))
		for i := range now.Points {
			asked[i] = now.Points[i].Policy
		}
		grade := rapid.SampledFrom([]point.Security{point.AnyConnection, point.Authenticated, point.Encrypted}).Draw(t, "grade")
		at := time.Unix(rapid.Int64Range(0, 2000).Draw(t, "at"), 0)
		raw := p.Compile(now.Name, asked, grade, at).Decisions
		for i, d := range p.Compile(now.Name, points, grade, at).Decisions {
			require.Equal(t, asked[i].Name, points[i].Name)
			require.GreaterOrEqual(t, rank(d.Level), rank(raw[i].Level), "stricter than the machine's file, or the same")
			if rank(d.Level) >= rank(p.Default) && d.Treatment != policy.Passed {
				continue
			}
			k := slices.IndexFunc(table.Entries, func(e approval.Entry) bool { return e.Point == points[i].Name })
			require.GreaterOrEqual(t, k, 0, "it is looser, so somebody signed it")
			e, pt := table.Entries[k], now.Points[i]
			require.Equal(t, []string{e.Endpoint, e.Unit, e.Address, e.Type}, []string{now.Endpoint, pt.Unit, pt.Address, pt.Type})
			if rank(d.Level) < rank(p.Default) {
				require.GreaterOrEqual(t, rank(d.Level), rank(e.Level))
			}
			switch d.Treatment {
			case policy.Clear:
				require.Equal(t, policy.Clear, e.Treatment)
			case policy.Passed:
				require.Equal(t, policy.Passed, e.Treatment)
				require.Equal(t, e.Format, pt.Policy.Passthrough)
				for _, r := range pt.Policy.ReadableBy {
					require.Contains(t, e.ReadableBy, r)
				}
			case policy.Sealed, policy.Withheld:
			}
		}
	})
}

func TestWhatWasSignedIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, m := drawPolicy(t), drawMachine(t, "")
		a := approval.OfPolicy(p, approval.Resolve(gateway, []approval.Machine{m}, p))
		if len(m.Points) > 0 {
			var asked []policy.Point
			for i := range m.Points {
				asked = append(asked, m.Points[i].Policy)
			}
			require.Equal(t, asked, a.Apply(gateway, m, p))
		}
		require.Empty(t, approval.Diff(a, a))
	})
}

func BenchmarkApply(b *testing.B) {
	p, m := plant(b), press3()
	m.Points = nil
	for i := range 1000 {
		name := fmt.Sprintf("zone-%d", i)
		m.Points = append(m.Points, approval.Point{Policy: policy.Point{Name: name, Label: "internal", Address: name}, Address: name})
	}
	a := approval.OfPolicy(p, approval.Resolve(gateway, []approval.Machine{m}, p))
	for b.Loop() {
		a.Apply(gateway, m, p)
	}
}
