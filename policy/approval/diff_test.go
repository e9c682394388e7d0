package approval_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// lines marks what is looser with an exclamation mark.
func lines(changes []approval.Change) []string {
	out := []string{}
	for _, c := range changes {
		if c.Looser {
			out = append(out, "! "+c.Text)
		} else {
			out = append(out, "  "+c.Text)
		}
	}
	return out
}

func TestDiffPolicy(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*policy.Policy, *approval.Machine)
		want []string
	}{
		{"nothing", func(*policy.Policy, *approval.Machine) {}, []string{}},
		{"the file alone", func(p *policy.Policy, _ *approval.Machine) { p.Digest[0]++; p.Revision++ }, []string{
			"  nothing that is signed, but the revision or the file's own text, such as comments: levels, default, releases, raises, passthrough, exceptions and the points of all gateways are the same",
		}},
		{"released", func(p *policy.Policy, m *approval.Machine) {
			label("ram-force", "public")(m)
			p.Released[0].Points = patterns(t, "press-3/*")
		}, []string{
			"! press-3/ram-force: will leave in CLEAR (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/100 as float32",
			`! released: press-3/* may leave in CLEAR where a machine's file labels it so, because ""`,
			"  no longer released: press-3/state",
		}},
		{"loosened", func(_ *policy.Policy, m *approval.Machine) { label("ram-force", "internal")(m) }, []string{
			"! press-3/ram-force: will leave sealed for escrow, historian and process-engineering (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/100 as float32",
		}},
		{"clear made internal", func(_ *policy.Policy, m *approval.Machine) { label("state", "internal")(m) }, []string{
			"  press-3/state: will leave sealed for escrow, historian and process-engineering (was in CLEAR)",
		}},
		{"internal made clear", func(p *policy.Policy, m *approval.Machine) {
			label("oil-level", "public")(m)
			p.Released[0].Points = patterns(t, "press-3/*")
		}, []string{
			"! press-3/oil-level: will leave in CLEAR (was sealed for escrow, historian and process-engineering)",
			`! released: press-3/* may leave in CLEAR where a machine's file labels it so, because ""`,
			"  no longer released: press-3/state",
		}},
		{"no longer released", func(p *policy.Policy, _ *approval.Machine) { p.Released = nil }, []string{
			"  press-3/state: will no longer leave in CLEAR, but sealed for escrow and process-engineering, if it is read at all",
			"  no longer released: press-3/state",
		}},
		{"pointed elsewhere", func(_ *policy.Policy, m *approval.Machine) {
			change("state", func(p *approval.Point) { p.Address = "holding/130" })(m)
		}, []string{
			"! press-3/state: leaves in CLEAR, and will be read from tcp://10.20.3.13:502 unit 1 holding/130 as uint16 (was tcp://10.20.3.13:502 unit 1 holding/120 as uint16)",
		}},
		{"passthrough for others", func(_ *policy.Policy, m *approval.Machine) {
			change("torque-log", func(p *approval.Point) { p.Policy.ReadableBy = []string{"escrow", "process-engineering"} })(m)
		}, []string{
			"! press-3/torque-log: will leave as the device encrypted it (cose, for escrow and process-engineering) (was as the device encrypted it (cose, for process-engineering))",
		}},
		{"recipient added to a level", func(p *policy.Policy, _ *approval.Machine) { p.Levels[1].To = append(p.Levels[1].To, "press-oem") }, []string{
			"! level internal: press-oem can read it from now on, beside escrow, historian and process-engineering",
		}},
		{"recipient added to the default level", func(p *policy.Policy, _ *approval.Machine) { p.Levels[2].To = append(p.Levels[2].To, "press-oem") }, []string{
			"! level restricted, that of every point that nobody labelled: press-oem can read it from now on, beside escrow and process-engineering",
		}},
		{"recipient exchanged", func(p *policy.Policy, _ *approval.Machine) { p.Levels[2].To = []string{"escrow", "press-oem"} }, []string{
			"! press-3/torque-log: will no longer leave as the device encrypted it (cose, for process-engineering), but sealed for escrow and press-oem, if it is read at all",
			"! level restricted, that of every point that nobody labelled: press-oem can read it from now on, beside escrow",
			"  level restricted, that of every point that nobody labelled: process-engineering can no longer read what is sealed from now on",
		}},
		{"level sends in clear", func(p *policy.Policy, _ *approval.Machine) { p.Levels[1].Send, p.Levels[1].To = policy.SendClear, nil }, []string{
			"! level internal: will leave in CLEAR (was sealed for escrow, historian and process-engineering)",
			"  press-3/oil-level: will no longer leave sealed for escrow, historian and process-engineering, but sealed for escrow and process-engineering, if it is read at all",
		}},
		{"level asks less", func(p *policy.Policy, _ *approval.Machine) {
			p.Levels[2].Connection, p.Levels[2].Pad = point.AnyConnection, false
		}, []string{
			"! level restricted, that of every point that nobody labelled: is read over a connection that is of any kind (was encrypted at least)",
			"! level restricted, that of every point that nobody labelled: sizes will no longer be hidden",
		}},
		{"level added and removed", func(p *policy.Policy, _ *approval.Machine) {
			p.Levels[3] = policy.Level{Name: "vault", To: []string{"escrow"}, Connection: point.Encrypted}
		}, []string{
			"! level vault: new, leaves sealed for escrow, read over a connection that is encrypted at least",
			"  level secret: removed",
		}},
		{"levels in another order", func(p *policy.Policy, _ *approval.Machine) {
			p.Levels[1].Name, p.Levels[2].Name = "restricted", "internal"
			p.Levels[1].To, p.Levels[2].To = p.Levels[2].To, p.Levels[1].To
			p.Levels[1].Pad, p.Levels[2].Pad = p.Levels[2].Pad, p.Levels[1].Pad
			p.Levels[1].Connection, p.Levels[2].Connection = p.Levels[2].Connection, p.Levels[1].Connection
		}, []string{
			"! press-3/recipe-step: will leave sealed for escrow, historian and process-engineering (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/301 as int16",
			"! the levels have another order, least sensitive first: public, restricted, internal and secret",
		}},
		{"looser default", func(p *policy.Policy, _ *approval.Machine) { p.Default = "internal" }, []string{
			"! points that nobody labelled: level internal, sealed for escrow, historian and process-engineering (was restricted, sealed for escrow and process-engineering)",
			"  press-3/ram-force: will leave sealed for escrow and process-engineering (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/100 as float32",
			"  press-3/recipe-step: will leave sealed for escrow and process-engineering (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/301 as int16",
		}},
		{"raise removed", func(p *policy.Policy, _ *approval.Machine) { p.Raise = nil }, []string{
			"! press-3/recipe-step: will leave sealed for escrow, historian and process-engineering (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/301 as int16",
			"! no longer raised: */recipe* had level restricted at least, whatever its label",
		}},
		{"raise added, to a stricter level", func(p *policy.Policy, _ *approval.Machine) {
			p.Raise = append(p.Raise, policy.Raise{Points: patterns(t, "*/ram*", "*/recipe*"), Level: "secret"})
		}, []string{
			"  press-3/ram-force: will leave not at all (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/100 as float32",
			"  press-3/recipe-step: will leave not at all (was sealed for escrow and process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/301 as int16",
			"  raised: */ram* has level secret at least",
			"  raised: */recipe* has level secret at least (was restricted)",
		}},
		{"released for another reason, of nothing that is labelled so", func(p *policy.Policy, _ *approval.Machine) {
			p.Released[0].Why = "Andon board"
			p.Released = append(p.Released, policy.Release{Points: patterns(t, "*/oil-*")})
		}, []string{
			`! released: */oil-* may leave in CLEAR where a machine's file labels it so, because ""`,
			`  released: press-3/state, because "Andon board" (was "")`,
		}},
		{"another name", func(p *policy.Policy, _ *approval.Machine) { p.Name = "plant-ulm" }, []string{"! this is policy plant-ulm (was plant-augsburg)"}},
		{"exceptions in another order", func(p *policy.Policy, _ *approval.Machine) {
			p.Exceptions = append(p.Exceptions, policy.Exception{Allow: p.Exceptions[0].Allow, Points: p.Exceptions[0].Points, Why: "sooner", Until: p.Exceptions[0].Until.AddDate(-1, 0, 0)})
		}, []string{`! the note has another line now: exception connection-not-encrypted points=press-3/* until=2026-03-31 why="sooner"`}},
		{"exception added", func(p *policy.Policy, _ *approval.Machine) {
			p.Exceptions = append(p.Exceptions, policy.Exception{Allow: policy.ConnectionNotAuthenticated, Points: patterns(t, "*/*"), Why: "old PLCs", Until: time.Date(2026, 12, 31, 22, 0, 0, 0, time.UTC)})
		}, []string{
			`! exception: */* may be read over a connection that is not authenticated, until 2026-12-31, because "old PLCs"`,
		}},
		{"exception prolonged", func(p *policy.Policy, _ *approval.Machine) {
			p.Exceptions[0].Until = p.Exceptions[0].Until.AddDate(1, 0, 0)
		}, []string{
			`! exception prolonged: press-3/* may be read over a connection that is not encrypted, until 2028-03-31 (was 2027-03-31), because "Modbus bleibt im Schaltschrank \"+A1\""`,
		}},
		{"exception prolonged by a second one", func(p *policy.Policy, _ *approval.Machine) {
			e := p.Exceptions[0]
			e.Until = e.Until.AddDate(1, 0, 0)
			p.Exceptions = append(p.Exceptions, e)
		}, []string{
			`! exception prolonged: press-3/* may be read over a connection that is not encrypted, until 2028-03-31 (was 2027-03-31), because "Modbus bleibt im Schaltschrank \"+A1\""`,
		}},
		{"exception shortened", func(p *policy.Policy, _ *approval.Machine) {
			p.Exceptions[0].Until = p.Exceptions[0].Until.AddDate(-1, 0, 0)
		}, []string{
			"  exception shortened: press-3/* may be read over a connection that is not encrypted, until 2026-03-31 (was 2027-03-31)",
		}},
		{"exception for more points", func(p *policy.Policy, _ *approval.Machine) { p.Exceptions[0].Points = patterns(t, "*/*") }, []string{
			`! exception: */* may be read over a connection that is not encrypted, until 2027-03-31, because "Modbus bleibt im Schaltschrank \"+A1\""`,
			"  exception ended: press-3/* may be read over a connection that is not encrypted (was until 2027-03-31)",
		}},
		{"passthrough", func(p *policy.Policy, _ *approval.Machine) {
			p.Passthrough = policy.Passthrough{Accept: []string{"cose", "opaque"}, IfReadable: policy.HoldReadable}
		}, []string{
			"! passthrough: payloads that devices encrypted as opaque leave as they come",
			"  passthrough: payloads as jwe no longer leave as they come, but sealed",
			"  passthrough: a payload that turns out to be readable is held back (was sealed and sent)",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, m := plant(t), press3()
			old := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
			p, m = plant(t), press3()
			c.edit(p, &m)
			next := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
			require.Equal(t, c.want, lines(approval.Diff(old, next)))
		})
	}
}

// Taking a raise or a label away that is stricter than the default shows who can
// read more by it.
func TestDiffOfWhatWasStricter(t *testing.T) {
	p, m := plant(t), press3()
	p.Raise = append(p.Raise, policy.Raise{Points: patterns(t, "*/ram*"), Level: "secret"})
	label("unlabelled", "secret")(&m)
	old := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	p.Raise = p.Raise[:1]
	label("unlabelled", "")(&m)
	p.Digest[0]++
	p.Revision++
	require.Equal(t, []string{
		"! press-3/ram-force: will leave sealed for escrow and process-engineering (was not at all), if it is read at all",
		"! press-3/unlabelled: will leave sealed for escrow and process-engineering (was not at all), if it is read at all",
		"! no longer raised: */ram* had level secret at least, whatever its label",
	}, lines(approval.Diff(old, approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p)))))
}

func TestDiffOfTheTrustFileThatAPolicyNeeds(t *testing.T) {
	p := plant(t)
	require.Equal(t, []string{"! it takes effect with revision 3 of the trust file already (was 4)"},
		lines(approval.Diff(approval.OfPolicy(p, 4), approval.OfPolicy(p, 3))))
	a := approval.OfPolicy(p, 4)
	require.Equal(t, a.Text(), approval.OfPolicy(p, 7).AsSigned(a).Text())
	require.Equal(t, 3, approval.OfPolicy(p, 3).AsSigned(a).LeastTrust)
	p.Revision++
	require.Equal(t, 7, approval.OfPolicy(p, 7).AsSigned(a).LeastTrust)
}

func TestCheckRevision(t *testing.T) {
	for _, c := range []struct {
		last, next int
		want       string
	}{
		{0, 1, ""},
		{0, approval.MaxStep, ""},
		{17, 18, ""},
		{17, 16, ""},
		{17, 1_000_017, ""},
		{0, 20261123, "revision 20261123 is the first, and more than 1000000: "},
		{17, 1_000_018, "revision 1000018 is more than 1000000 above revision 17, the last one: a gateway takes no lower one ever again; write revision: 18"},
		{17, 1<<31 - 1, "revision 2147483647 is above the greatest, which is 2147483646; write revision: 18"},
	} {
		err := approval.CheckRevision(c.last, c.next)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}

func TestDiffOfTheFirst(t *testing.T) {
	require.Equal(t, []string{
		"! mixer-4/drive-speed: will leave sealed for escrow, historian and process-engineering, read from opc.tcp://10.20.4.14:4840 \"ns=http://vendor.example/mixer/v2;s=\\\"DB Dr\\u00fc\\\".\\\"Drv\\\"[1]/rSpeed\" as float32",
		"! press-3/oil-level: will leave sealed for escrow, historian and process-engineering, read from tcp://10.20.3.13:502 unit 1 input/13 as int16",
		"! press-3/state: will leave in CLEAR, read from tcp://10.20.3.13:502 unit 1 holding/120 as uint16",
		"! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering), read from tcp://10.20.3.13:502 unit 1 holding/500 as bytes[240]",
		"! level public: new, leaves in CLEAR, read over a connection that is of any kind",
		"! level internal: new, leaves sealed for escrow, historian and process-engineering, read over a connection that is of any kind",
		"! level restricted, that of every point that nobody labelled: new, leaves sealed for escrow and process-engineering, read over a connection that is encrypted at least",
		`! released: press-3/state may leave in CLEAR where a machine's file labels it so, because ""`,
		`! exception: press-3/* may be read over a connection that is not encrypted, until 2027-03-31, because "Modbus bleibt im Schaltschrank \"+A1\""`,
		"! passthrough: payloads that devices encrypted as cose or jwe leave as they come",
		"  level secret: new, leaves not at all",
		"  raised: */recipe* has level restricted at least",
	}, lines(approval.Diff(nil, signedPolicy(t))))
}

func TestDiffNamesTheGatewayWhereThereAreTwo(t *testing.T) {
	p := plant(t)
	one := approval.Resolve("gw-1", []approval.Machine{press3()}, p)
	two := approval.Resolve("gw-2", []approval.Machine{mixer4()}, p)
	require.Equal(t, []string{
		"! gw-2: mixer-4/drive-speed: will leave sealed for escrow, historian and process-engineering, read from opc.tcp://10.20.4.14:4840 \"ns=http://vendor.example/mixer/v2;s=\\\"DB Dr\\u00fc\\\".\\\"Drv\\\"[1]/rSpeed\" as float32",
	}, lines(approval.Diff(approval.OfPolicy(p, 4, one), approval.OfPolicy(p, 4, one, two))))
}

func TestDiffTrust(t *testing.T) {
	old := approval.OfTrust(trust())
	f := trust()
	f.Gateways[0].Until = "2030-12-31"
	f.Gateways[1] = approval.Gateway{Name: "gw-3", Key: f.Gateways[1].Key, Until: "2027-12-31"}
	f.Recipients[0].Only = nil
	f.Recipients[1].Keys = []string{f.Recipients[1].Keys[0], f.Recipients[0].Keys[0]}
	f.Recipients = append(f.Recipients, approval.Recipient{Name: "escrow", Only: []string{"press-*/*"}})
	require.Equal(t, []string{
		"! gateway gw-3: its signatures count until 2027-12-31, made with ed25519:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
		"! gateway gw-press-hall-2: its signatures count until 2030-12-31 (was 2028-12-31)",
		"! recipient escrow: new, with no key, for press-*/* only",
		"! recipient historian: the key 1a1185317669d6920e8d294d28fbd6ae9ccddaebc866cc330945602077977eb4 can open what is sealed from now on",
		"! recipient press-oem: for all machines (was for press-*/* only)",
		"  gateway gw-2: removed, its signatures count no longer",
		"  recipient historian: the key 604c00db87b22994f944ce913b66ca936bd63fad7305b4218c338eb9c9592118 can no longer open what is sealed from now on",
	}, lines(approval.Diff(old, approval.OfTrust(f))))

	g := trust()
	g.Gateways[0].Key = g.Gateways[1].Key
	g.Recipients = g.Recipients[:1]
	g.Recipients[0].Only = append(g.Recipients[0].Only, "mixer-*/*")
	require.Equal(t, []string{
		"! gateway gw-press-hall-2: signs with ed25519:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI= (was ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=)",
		"! recipient press-oem: for mixer-*/* and press-*/* only (was for press-*/* only)",
		"  recipient historian: removed",
	}, lines(approval.Diff(old, approval.OfTrust(g))))
	require.Len(t, approval.Diff(signedPolicy(t), old), 4, "another kind is no earlier one")
}
