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

// apply gives the points as the policy may see them.
func apply(a *approval.Approval, m approval.Machine, p *policy.Policy) []policy.Point {
	points, _ := a.Judge(gateway, m, p)
	return points
}

func TestJudge(t *testing.T) {
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
			points := apply(a, m, p)
			require.Equal(t, given, fmt.Sprint(m), "nothing that is given is changed")
			i := slices.IndexFunc(points, func(p policy.Point) bool { return p.Name == c.point })
			d := p.Compile(m.Name, points, point.Encrypted, time.Now()).Decisions[i]
			require.Equal(t, c.level, d.Level)
			require.Equal(t, c.treat.String(), d.Treatment.String())
			_, verdicts := a.Judge(gateway, m, p)
			if c.refuse == "" {
				require.NotContains(t, points[i].Where, "not approved")
				require.Empty(t, verdicts[i].Refused)
				return
			}
			require.NotEmpty(t, verdicts[i].Refused)
			require.Contains(t, points[i].Where, "not approved: "+verdicts[i].Refused)
			require.Contains(t, points[i].Where, "not approved: ")
			require.Contains(t, points[i].Where, c.refuse)
			require.Contains(t, d.Rule, "not approved: ", "the decision says why")
		})
	}
}

// staffed has levels whose readers are others than those of the default.
func staffed(t testing.TB) *policy.Policy {
	p := plant(t)
	p.Levels = []policy.Level{
		p.Levels[0], p.Levels[1], p.Levels[2],
		{Name: "vault", To: []string{"escrow"}, Connection: point.Encrypted},
		{Name: "staff", To: []string{"works-council"}, Connection: point.Encrypted},
		{Name: "council", To: []string{"escrow", "works-council"}, Connection: point.Encrypted},
	}
	return p
}

func TestJudgeStricterLabels(t *testing.T) {
	for _, c := range []struct {
		name         string
		signed, edit func(*approval.Machine)
		point, level string
		treat        policy.Treatment
		refused      string
		stricter     string
	}{
		{"a stricter label that nobody signed", nil, label("ram-force", "vault"), "ram-force", "vault", policy.Sealed, "", "vault"},
		{"a later level with other readers", nil, label("ram-force", "staff"), "ram-force", "restricted", policy.Sealed, "nothing was signed for this point, and who reads level staff may not all read level restricted", ""},
		{"a later level with one reader more", nil, label("ram-force", "council"), "ram-force", "restricted", policy.Sealed, "who reads level council", ""},
		{"the same on a released point", nil, label("state", "staff"), "state", "staff", policy.Sealed, "", "staff"}, // everybody may read it
		{"the same on a looser point", nil, label("oil-level", "staff"), "oil-level", "restricted", policy.Sealed, "level would be staff, and internal was signed", ""},
		{"stricter than a looser one, for some of its readers", nil, label("oil-level", "vault"), "oil-level", "vault", policy.Sealed, "", "vault"},

		{"a stricter label, signed", label("ram-force", "vault"), nil, "ram-force", "vault", policy.Sealed, "", ""},
		{"taken away", label("ram-force", "vault"), label("ram-force", ""), "ram-force", "vault", policy.Sealed, "level would be restricted, and vault was signed", ""},
		{"replaced by the default", label("ram-force", "vault"), label("ram-force", "restricted"), "ram-force", "vault", policy.Sealed, "vault was signed", ""},
		{"replaced by a looser one", label("ram-force", "vault"), label("ram-force", "internal"), "ram-force", "vault", policy.Sealed, "vault was signed", ""},
		{"replaced by a later one with other readers", label("ram-force", "vault"), label("ram-force", "staff"), "ram-force", "vault", policy.Sealed, "vault was signed", ""},
		{"of other readers, signed", label("ram-force", "staff"), nil, "ram-force", "staff", policy.Sealed, "", ""},
		{"of other readers, taken away", label("ram-force", "staff"), label("ram-force", ""), "ram-force", "staff", policy.Sealed, "level would be restricted, and staff was signed", ""},
		{"pointed elsewhere", label("ram-force", "vault"), change("ram-force", func(p *approval.Point) {
			p.Address, p.Policy.Address, p.Policy.Label = "holding/900", "holding/900", ""
		}), "ram-force", "vault", policy.Sealed, "level vault was signed for this name", ""},
		{"read under another name", label("ram-force", "vault"), change("ram-force", func(p *approval.Point) { p.Policy.Name, p.Policy.Label = "other", "" }), "other", "vault", policy.Sealed, "level vault was signed for the same address, as press-3/ram-force", ""},
		{"of other readers, pointed elsewhere", label("ram-force", "staff"), change("ram-force", func(p *approval.Point) { p.Address, p.Policy.Address = "holding/900", "holding/900" }), "ram-force", "staff", policy.Withheld, "address is holding/900", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, m := staffed(t), press3()
			if c.signed != nil {
				c.signed(&m)
			}
			a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
			if c.edit != nil {
				c.edit(&m)
			}
			points, verdicts := a.Judge(gateway, m, p)
			i := slices.IndexFunc(points, func(p policy.Point) bool { return p.Name == c.point })
			d := p.Compile(m.Name, points, point.Encrypted, time.Now()).Decisions[i]
			require.Equal(t, c.level, d.Level)
			require.Equal(t, c.treat.String(), d.Treatment.String())
			require.Contains(t, verdicts[i].Refused, c.refused)
			require.Equal(t, c.refused == "", verdicts[i].Refused == "", verdicts[i].Refused)
			require.Equal(t, c.stricter, verdicts[i].Stricter)
			if d.Treatment == policy.Withheld {
				require.Contains(t, d.Why, c.refused)
			}
		})
	}
}

func TestStricterNodeIsKnownByTheServerNotByItsURL(t *testing.T) {
	p, m := plant(t), mixer4()
	change("drive-speed", func(pt *approval.Point) { pt.Unit, pt.Policy.Label = "sha256:abcd", "secret" })(&m)
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	m.Name, m.Endpoint = "mixer-5", m.Endpoint+"/other"
	change("drive-speed", func(pt *approval.Point) { pt.Policy.Label = "" })(&m)
	points, verdicts := a.Judge(gateway, m, p)
	require.Equal(t, "secret", points[0].Label)
	require.Equal(t, "level secret was signed for the same address, as mixer-4/drive-speed", verdicts[0].Refused)
}

func TestPassthroughThatBecomesSealedForMoreIsNotSigned(t *testing.T) {
	p, m := plant(t), press3()
	label("torque-log", "internal")(&m)
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	change("torque-log", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "", nil })(&m)
	points, verdicts := a.Judge(gateway, m, p)
	require.Equal(t, "restricted", p.Compile(m.Name, points, point.Encrypted, time.Now()).Decisions[5].Level)
	require.Contains(t, verdicts[5].Refused, "passthrough was signed")
}

func TestJudgeWithoutApproval(t *testing.T) {
	p, m := plant(t), press3()
	other := plant(t)
	other.Digest[0]++
	for name, a := range map[string]*approval.Approval{
		"none": nil, "of a trust file": approval.OfTrust(trust()), "of another policy": approval.OfPolicy(other, 4, approval.Resolve(gateway, []approval.Machine{m}, other)),
		"of another gateway": approval.OfPolicy(p, 4, approval.Resolve("gw-2", []approval.Machine{m}, p)),
		"without a table":    approval.OfPolicy(p, 4),
	} {
		for i, d := range p.Compile(m.Name, apply(a, m, p), point.Encrypted, time.Now()).Decisions {
			require.Equal(t, "restricted", d.Level, "%s: %s", name, m.Points[i].Policy.Name)
			require.Equal(t, policy.Sealed, d.Treatment, "%s: %s", name, m.Points[i].Policy.Name)
		}
	}
}

func TestPassthroughThatBecomesClearIsNotSigned(t *testing.T) {
	p, m := plant(t), press3()
	change("state", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "cose", []string{"anybody"} })(&m)
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	require.Contains(t, a.Text(), "point press-3/state passthrough level=public")
	d := p.Compile(m.Name, apply(a, m, p), point.Encrypted, time.Now()).Decisions[0]
	require.Equal(t, policy.Passed, d.Treatment)

	change("state", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "", nil })(&m)
	d = p.Compile(m.Name, apply(a, m, p), point.Encrypted, time.Now()).Decisions[0]
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
		pt.Policy = policy.Point{Name: name, Label: one("label", "", "open", "public", "internal", "restricted", "staff", "vault", "secret", "oops"), Where: "m.yaml:1"}
		pt.Policy.Address = address
		if rapid.IntRange(0, 3).Draw(t, what+"passes") == 0 {
			pt.Policy.Passthrough = one("format", "cose", "jwe", "opaque")
			pt.Policy.ReadableBy = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 3).Draw(t, what+"readers")
			pt.Policy.Wrap = rapid.Bool().Draw(t, what+"wrap")
			pt.DeviceKey = one("key", "", "", "ed25519:a")
			if rapid.IntRange(0, 3).Draw(t, what+"names") == 0 {
				pt.KeyIDs = []string{one("key id", "0x01", "0x02")}
			}
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
			{Name: "staff", To: []string{"z"}, Connection: point.Encrypted},
			{Name: "vault", To: []string{"x"}, Connection: point.Encrypted},
			{Name: "secret", Send: policy.SendWithheld},
		}[:rapid.IntRange(6, 7).Draw(t, "levels")],
		Default:     rapid.SampledFrom([]string{"internal", "restricted", "staff", "vault"}).Draw(t, "default"),
		Released:    []policy.Release{{Points: pick("*/a", "*/b", "*/*")}},
		Raise:       []policy.Raise{{Points: pick("*/recipe", "*/d"), Level: rapid.SampledFrom([]string{"restricted", "staff", "vault"}).Draw(t, "raise")}},
		Exceptions:  []policy.Exception{{Allow: policy.ConnectionNotEncrypted, Points: pick("*/*", "*/c"), Until: time.Unix(1000, 0)}},
		Passthrough: policy.Passthrough{Accept: []string{"cose", "jwe"}},
	}
}

// readers gives who can read what a decision sends; nil is nobody, and everybody
// is in it where it leaves in clear.
func readers(p *policy.Policy, level string, more ...string) []string {
	l, _ := p.Level(level)
	switch l.Send {
	case policy.SendClear:
		return []string{"x", "y", "z", "everybody"}
	case policy.SendWithheld:
		return nil
	default:
		return append(slices.Clone(l.To), more...)
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
		a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{before}, p))
		points, verdicts := a.Judge(gateway, now, p)
		require.Len(t, points, len(now.Points))

		rank := func(level string) int {
			return slices.IndexFunc(p.Levels, func(l policy.Level) bool { return l.Name == level })
		}
		table, _ := a.Table(gateway)
		asked, bare := make([]policy.Point, len(now.Points)), make([]policy.Point, len(now.Points))
		for i := range now.Points {
			asked[i], bare[i].Name = now.Points[i].Policy, now.Points[i].Policy.Name
		}
		grade := rapid.SampledFrom([]point.Security{point.AnyConnection, point.Authenticated, point.Encrypted}).Draw(t, "grade")
		at := time.Unix(rapid.Int64Range(0, 2000).Draw(t, "at"), 0)
		raw := p.Compile(now.Name, asked, grade, at).Decisions
		unlabelled := p.Compile(now.Name, bare, grade, at).Decisions
		for i, d := range p.Compile(now.Name, points, grade, at).Decisions {
			require.Equal(t, asked[i].Name, points[i].Name)
			if d.Level != raw[i].Level {
				require.NotEmpty(t, slices.DeleteFunc(slices.Clone(verdicts), func(v approval.Verdict) bool { return v.Refused == "" }))
			}
			if d.Treatment == policy.Withheld {
				continue
			}
			pt, plain := now.Points[i], unlabelled[i].Level
			k := slices.IndexFunc(table.Entries, func(e approval.Entry) bool { return e.Point == points[i].Name })
			var e approval.Entry
			if k >= 0 {
				e = table.Entries[k]
			}
			same := k >= 0 && slices.Equal([]string{e.Endpoint, e.Unit, e.Address, e.Type}, []string{now.Endpoint, pt.Unit, pt.Address, pt.Type})

			// What somebody signed: the level of the table, where it is read from
			// there, and else that of a point that nobody labelled.
			within := func(level string) bool {
				if rank(d.Level) < rank(level) {
					return false
				}
				for _, r := range readers(p, d.Level) {
					if !slices.Contains(readers(p, level), r) {
						return false
					}
				}
				return true
			}
			stricter := k >= 0 && rank(e.Level) > rank(plain)
			require.True(t, same && within(e.Level) || !(same && stricter) && within(plain), "level %s, plain %s, signed %v", d.Level, plain, e)
			if stricter {
				require.True(t, within(e.Level), "level %s, and %s is the least", d.Level, e.Level)
			}
			for _, other := range table.Entries { // a new name for the same
				if !same && other.Endpoint == now.Endpoint && other.Unit == pt.Unit && other.Address == pt.Address && rank(other.Level) > rank(plain) {
					require.True(t, within(other.Level), "level %s, and %s is the least", d.Level, other.Level)
				}
			}
			switch d.Treatment {
			case policy.Clear:
				require.True(t, same)
				require.Equal(t, policy.Clear, e.Treatment)
			case policy.Passed:
				require.True(t, same)
				require.Equal(t, policy.Passed, e.Treatment)
				require.Equal(t, e.Format, pt.Policy.Passthrough)
				require.Equal(t, e.Wrap, d.Wrap)
				require.Equal(t, e.DeviceKey, pt.DeviceKey)
				require.Equal(t, e.KeyIDs, pt.KeyIDs)
				for _, r := range pt.Policy.ReadableBy {
					require.Contains(t, e.ReadableBy, r)
				}
			case policy.Sealed:
				require.False(t, same && e.Treatment == policy.Passed && rank(d.Level) < rank(plain))
			case policy.Withheld:
			}
		}
	})
}

func TestWhatWasSignedIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, m := drawPolicy(t), drawMachine(t, "")
		a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
		if len(m.Points) > 0 {
			var asked []policy.Point
			for i := range m.Points {
				asked = append(asked, m.Points[i].Policy)
			}
			points, verdicts := a.Judge(gateway, m, p)
			require.Equal(t, asked, points)
			require.Equal(t, make([]approval.Verdict, len(points)), verdicts)
		}
		require.Empty(t, approval.Diff(a, a))
	})
}

func BenchmarkJudge(b *testing.B) {
	p, m := plant(b), press3()
	m.Points = nil
	for i := range 1000 {
		name := fmt.Sprintf("zone-%d", i)
		m.Points = append(m.Points, approval.Point{Policy: policy.Point{Name: name, Label: "internal", Address: name}, Address: name})
	}
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	for b.Loop() {
		apply(a, m, p)
	}
}
