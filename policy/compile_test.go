package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func patterns(t testing.TB, words ...string) []policy.Pattern {
	t.Helper()
	out := make([]policy.Pattern, len(words))
	for i, w := range words {
		p, err := policy.ParsePattern(w)
		require.NoError(t, err)
		out[i] = p
	}
	return out
}

func plant(t testing.TB) *policy.Policy {
	return &policy.Policy{
		Levels: []policy.Level{
			{Name: "public", Send: policy.SendClear},
			{Name: "internal", To: []string{"historian", "process"}},
			{Name: "restricted", To: []string{"process"}, Connection: point.Encrypted},
			{Name: "secret", Send: policy.SendWithheld},
		},
		Default:  "internal",
		Released: []policy.Release{{Points: patterns(t, "press-3/state"), Where: "policy.yaml:20"}},
		Raise:    []policy.Raise{{Points: patterns(t, "*/recipe*"), Level: "restricted", Where: "policy.yaml:23"}},
		Exceptions: []policy.Exception{
			{Allow: policy.ConnectionNotEncrypted, Points: patterns(t, "press-3/*"), Until: now.Add(time.Hour), Where: "policy.yaml:29"},
		},
		Passthrough: policy.Passthrough{Accept: []string{"cose"}},
	}
}

// decide compiles one point.
func decide(t testing.TB, p *policy.Policy, machine string, pt policy.Point, grade point.Security, at time.Time) policy.Decision {
	t.Helper()
	return p.Compile(machine, []policy.Point{pt}, grade, at).Decisions[0]
}

func TestCompile(t *testing.T) {
	for _, c := range []struct {
		name      string
		machine   string
		point     policy.Point
		grade     point.Security
		late      bool // after the exception's end
		treatment policy.Treatment
		level     string
		rule      string
	}{
		{"unlabelled seals at the default", "press-3", policy.Point{Name: "force"}, 0, false, policy.Sealed, "internal", "policy default"},
		{"label and release", "press-3", policy.Point{Name: "state", Label: "public", Where: "m:1"}, 0, false, policy.Clear, "public", "policy.yaml:20 (released)"},
		{"label without release", "press-3", policy.Point{Name: "speed", Label: "public", Where: "m:1"}, 0, false, policy.Sealed, "internal", "m:1 (labelled clear, not released)"},
		{"release without label", "press-3", policy.Point{Name: "state"}, 0, false, policy.Sealed, "internal", "policy default"},
		{"release of another machine", "press-4", policy.Point{Name: "state", Label: "public", Where: "m:1"}, 0, false, policy.Sealed, "internal", "m:1 (labelled clear, not released)"},
		{"raise", "press-3", policy.Point{Name: "recipe-name", Label: "internal", Where: "m:1"}, point.Encrypted, false, policy.Sealed, "restricted", "policy.yaml:23 (raise)"},
		{"raise beats release", "press-3", policy.Point{Name: "recipe-state", Label: "public", Where: "m:1"}, point.Encrypted, false, policy.Sealed, "restricted", "policy.yaml:23 (raise)"},
		{"connection too weak", "press-4", policy.Point{Name: "force", Label: "restricted", Where: "m:1"}, point.Authenticated, false, policy.Withheld, "restricted", "m:1"},
		{"connection good enough", "press-4", policy.Point{Name: "force", Label: "restricted", Where: "m:1"}, point.Encrypted, false, policy.Sealed, "restricted", "m:1"},
		{"exception", "press-3", policy.Point{Name: "force", Label: "restricted", Where: "m:1"}, 0, false, policy.Sealed, "restricted", "m:1"},
		{"exception past its day", "press-3", policy.Point{Name: "force", Label: "restricted", Where: "m:1"}, 0, true, policy.Withheld, "restricted", "m:1"},
		{"withheld level", "press-3", policy.Point{Name: "force", Label: "secret", Where: "m:1"}, point.Encrypted, false, policy.Withheld, "secret", "m:1"},
		{"unknown label is the strictest", "press-3", policy.Point{Name: "force", Label: "pubic", Where: "m:1"}, point.Encrypted, false, policy.Withheld, "secret", `m:1 (unknown level "pubic")`},
		{"passthrough", "press-4", policy.Point{Name: "log", Label: "restricted", Where: "m:1", Passthrough: "cose", ReadableBy: []string{"process"}}, 0, false, policy.Passed, "restricted", "m:1"},
		{"passthrough for somebody else", "press-4", policy.Point{Name: "log", Label: "restricted", Where: "m:1", Passthrough: "cose", ReadableBy: []string{"process", "historian"}}, 0, false, policy.Withheld, "restricted", "m:1"},
		{"passthrough format not accepted", "press-4", policy.Point{Name: "log", Label: "restricted", Where: "m:1", Passthrough: "jwe", ReadableBy: []string{"process"}}, 0, false, policy.Withheld, "restricted", "m:1"},
		{"passthrough for nobody", "press-4", policy.Point{Name: "log", Label: "restricted", Where: "m:1", Passthrough: "cose"}, 0, false, policy.Withheld, "restricted", "m:1"},
		{"passthrough of a clear level, not released", "press-4", policy.Point{Name: "log", Label: "public", Where: "m:1", Passthrough: "cose", ReadableBy: []string{"oem"}}, 0, false, policy.Sealed, "internal", "m:1 (labelled clear, not released)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := now
			if c.late {
				at = now.Add(time.Hour)
			}
			d := decide(t, plant(t), c.machine, c.point, c.grade, at)
			require.Equal(t, c.treatment.String(), d.Treatment.String())
			require.Equal(t, c.level, d.Level)
			require.Equal(t, c.rule, d.Rule)
			require.Equal(t, c.treatment == policy.Withheld, d.Why != "", "a withheld point says why, and only that")
		})
	}
}

// A payload that the device did not encrypt after all crossed a connection that
// may be weaker than its level asks: then it is held, as an unencrypted point is.
func TestReadablePayload(t *testing.T) {
	log := policy.Point{Name: "log", Label: "restricted", Passthrough: "cose", ReadableBy: []string{"process"}}
	state := policy.Point{Name: "state", Label: "public", Passthrough: "cose", ReadableBy: []string{"oem"}}
	for _, c := range []struct {
		name     string
		machine  string
		point    policy.Point
		grade    point.Security
		at       time.Time
		hold     policy.IfReadable
		readable policy.Treatment
		until    time.Time
	}{
		{"good connection", "press-4", log, point.Encrypted, now, policy.SealReadable, policy.Sealed, time.Time{}},
		{"weak connection", "press-4", log, point.Authenticated, now, policy.SealReadable, policy.Withheld, time.Time{}},
		{"weak connection, excepted", "press-3", log, point.AnyConnection, now, policy.SealReadable, policy.Sealed, now.Add(time.Hour)},
		{"the exception is over", "press-3", log, point.AnyConnection, now.Add(time.Hour), policy.SealReadable, policy.Withheld, time.Time{}},
		{"the policy holds", "press-4", log, point.Encrypted, now, policy.HoldReadable, policy.Withheld, time.Time{}},
		{"clear level", "press-3", state, point.Encrypted, now, policy.SealReadable, policy.Withheld, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plant(t)
			p.Passthrough.IfReadable = c.hold
			table := p.Compile(c.machine, []policy.Point{c.point}, c.grade, c.at)
			require.Equal(t, policy.Passed, table.Decisions[0].Treatment)
			require.Equal(t, c.readable, table.Decisions[0].Readable)
			require.Equal(t, c.until, table.Until)
		})
	}
}

// A wrapped payload is held against the connection and the readers like any
// other that the device encrypts, and needs somebody to seal for beside.
func TestWrap(t *testing.T) {
	log := policy.Point{Name: "log", Label: "restricted", Passthrough: "cose", ReadableBy: []string{"process"}, Wrap: true}
	other := func(edit func(*policy.Point)) policy.Point {
		pt := log
		edit(&pt)
		return pt
	}
	for _, c := range []struct {
		name    string
		machine string
		point   policy.Point
		treat   policy.Treatment
		wrap    bool
		why     string
	}{
		{"over any connection", "press-4", log, policy.Passed, true, ""},
		{"for others than the level's", "press-4", other(func(p *policy.Point) { p.ReadableBy = []string{"process", "historian"} }), policy.Withheld, false, "connection"},
		{"of a format that is not accepted", "press-4", other(func(p *policy.Point) { p.Passthrough = "age" }), policy.Withheld, false, "connection"},
		{"the same, where the connection is excepted", "press-3", other(func(p *policy.Point) { p.Passthrough = "age" }), policy.Sealed, false, ""},
		{"at a clear level", "press-3", other(func(p *policy.Point) { p.Name, p.Label = "state", "public" }), policy.Withheld, false, "level public sends in clear, and the point asks to be sealed again"},
		{"at a clear level, in a format that is not accepted", "press-3", other(func(p *policy.Point) { p.Name, p.Label, p.Passthrough = "state", "public", "age" }), policy.Withheld, false, "asks to be sealed again"},
		{"at a clear level, not released", "press-3", other(func(p *policy.Point) { p.Label = "public" }), policy.Passed, true, ""},
		{"at a level that sends nothing", "press-3", other(func(p *policy.Point) { p.Label = "secret" }), policy.Withheld, false, "sends nothing"},
		{"not asked for", "press-4", other(func(p *policy.Point) { p.Wrap = false }), policy.Passed, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decide(t, plant(t), c.machine, c.point, point.AnyConnection, now)
			require.Equal(t, c.treat.String(), d.Treatment.String())
			require.Equal(t, c.wrap, d.Wrap)
			require.Contains(t, d.Why, c.why)
			require.Equal(t, c.why == "", d.Why == "")
		})
	}
}

func TestCompileAgainTime(t *testing.T) {
	p := plant(t)
	points := []policy.Point{{Name: "force", Label: "restricted"}}
	require.Equal(t, now.Add(time.Hour), p.Compile("press-3", points, point.AnyConnection, now).Until)
	require.Zero(t, p.Compile("press-3", points, point.Encrypted, now).Until, "not needed, so its end changes nothing")
	require.Zero(t, p.Compile("press-3", points, point.AnyConnection, now.Add(time.Hour)).Until)
}

func TestSameAddressTakesTheStricterLevel(t *testing.T) {
	p := plant(t)
	points := []policy.Point{
		{Name: "state", Label: "public", Where: "m:1", Address: "holding/7"},
		{Name: "force", Label: "restricted", Where: "m:2", Address: "holding/7"},
		{Name: "other", Label: "internal", Where: "m:3", Address: "holding/8"},
		{Name: "alone", Label: "internal", Where: "m:4"},
		{Name: "alone-2", Label: "restricted", Where: "m:5"},
	}
	d := p.Compile("press-3", points, point.Encrypted, now).Decisions
	require.Equal(t, "restricted", d[0].Level)
	require.Equal(t, policy.Sealed, d[0].Treatment)
	require.Equal(t, "m:2 (same address as force)", d[0].Rule)
	require.Equal(t, "internal", d[2].Level)
	require.Equal(t, "internal", d[3].Level, "points without an address are unlike all others")
}

func TestNothingIsClearWithoutBoth(t *testing.T) {
	// Every combination: clear exactly where label and release meet and nothing
	// raises it, and never where the connection falls short.
	p := plant(t)
	p.Levels[0].Connection = point.Authenticated
	for _, label := range []string{"", "public", "internal", "restricted", "secret", "nonsense"} {
		for _, name := range []string{"state", "speed", "recipe"} {
			for _, machine := range []string{"press-3", "press-4"} {
				for grade := point.AnyConnection; grade <= point.Encrypted; grade++ {
					d := decide(t, p, machine, policy.Point{Name: name, Label: label}, grade, now)
					want := label == "public" && name == "state" && machine == "press-3" && grade >= point.Authenticated
					require.Equal(t, want, d.Treatment == policy.Clear, fmt.Sprint(label, name, machine, grade))
				}
			}
		}
	}
}

func TestZeroValuesSeal(t *testing.T) {
	require.Equal(t, policy.Sealed, policy.Decision{}.Treatment)
	require.Equal(t, policy.SendSealed, policy.Level{}.Send)
	require.Equal(t, policy.SealReadable, policy.Passthrough{}.IfReadable)
}

func TestStricter(t *testing.T) {
	p := plant(t)
	for _, c := range [][3]string{
		{"public", "internal", "internal"},
		{"internal", "public", "internal"},
		{"secret", "secret", "secret"},
		{"nonsense", "secret", "nonsense"},
		{"secret", "nonsense", "nonsense"},
		{"nonsense", "worse", "nonsense"},
	} {
		require.Equal(t, c[2], p.Stricter(c[0], c[1]), c)
	}
}

// What the loader refuses leaves nothing out in clear either, and the rule says
// what is wrong.
func TestUnknownDefault(t *testing.T) {
	p := plant(t)
	p.Default = "nonsense"
	d := decide(t, p, "press-3", policy.Point{Name: "state"}, point.Encrypted, now)
	require.Equal(t, policy.Decision{Treatment: policy.Withheld, Rule: "policy default", Why: "the policy has no level that may send it"}, d)
	p.Default = "public"
	d = decide(t, p, "press-3", policy.Point{Name: "state"}, point.Encrypted, now)
	require.Equal(t, policy.Sealed, d.Treatment)
	require.Equal(t, "policy default (clear, and nobody labelled it)", d.Rule)
}

func TestPatterns(t *testing.T) {
	p := patterns(t, "press-*/recipe*")[0]
	require.True(t, p.Match("press-3", "recipe-name"))
	require.False(t, p.Match("mixer-3", "recipe-name"))
	require.False(t, p.Match("press-3", "state"))
	for _, bad := range []string{"state", "/state", "press-3/", "a/b/c", "press-3/[ab]", "Press/x", ""} {
		_, err := policy.ParsePattern(bad)
		require.Error(t, err, bad)
	}
}

// It takes as long for each point of a large machine as for those of a small one.
func BenchmarkCompile(b *testing.B) {
	p := plant(b)
	for _, n := range []int{1000, 10_000} {
		points := make([]policy.Point, n)
		for i := range points {
			points[i] = policy.Point{Name: fmt.Sprintf("zone-%d", i), Label: "internal", Address: fmt.Sprintf("holding/%d", i)}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				p.Compile("press-3", points, point.AnyConnection, now)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/point")
		})
	}
}
