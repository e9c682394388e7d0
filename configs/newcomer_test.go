package configs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mixerFile is a machine's file over OPC UA, of which a point was signed.
func mixerFile(name, pin, label string) string {
	return `fieldseal: machine/v1
machine: ` + name + `
opcua:
  endpoint: "opc.tcp://10.20.4.14"
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:` + strings.Repeat(pin, 32) + `"
  certificate: keystore:opcua-client
  user: anonymous
  namespace: urn:mixer
points:
  - {name: speed, node: s=Speed, type: float32, sensitivity: ` + label + `}
  - {name: torque, node: s=Torque, type: float32}
`
}

// A file that nobody signed leaves out itself where it contradicts a machine that
// was signed, whatever it says and wherever its name stands in the folder.
func TestANewcomerLeavesOutItself(t *testing.T) {
	copied := func(pairs ...string) func(o *office) string {
		return func(o *office) string {
			b, err := os.ReadFile(o.path("machines/press-3.yaml"))
			require.NoError(o.t, err)
			for i := 0; i < len(pairs); i += 2 {
				require.Contains(o.t, string(b), pairs[i])
			}
			return strings.NewReplacer(pairs...).Replace(string(b))
		}
	}
	const other, unit = "machine: press-3\n", "  unit_id: 1\n"
	lone := func(lines string) func(*office) string {
		return func(*office) string {
			return "fieldseal: machine/v1\nmachine: spy\nmodbus: {connect: \"tcp://plc.example\", unit_id: 1, timeout: 800ms}\npoints:\n" + lines
		}
	}
	for name, c := range map[string]struct {
		file func(*office) string
		want string
	}{
		"a forgotten timeout":            {copied(other, "machine: spy\n", unit, "  unit_id: 2\n", "  timeout: 800ms\n", ""), "the timeout is 1s here, and 800ms in machines/press-3.yaml, for one connection"},
		"a changed pin":                  {func(*office) string { return mixerFile("spy", "cd", "internal") }, "the server certificate is sha256:cdcd"},
		"the same name":                  {lone("  - {name: a, at: holding/900, type: int16}\n"), "the machine 'press-3' is in machines/press-3.yaml already"},
		"the same name and some points":  {copied("  - {name: oil-level", "  #- {name: oil-level", "  - {name: ram-force", "  - {name: force"), "the machine 'press-3' is in machines/press-3.yaml already"},
		"the same name and more points":  {copied("points:\n", "points:\n  - {name: more, at: holding/700, type: int16, sensitivity: internal}\n"), "the machine 'press-3' is in machines/press-3.yaml already"},
		"a copy":                         {copied(other, "machine: spy\n"), "and only that one was signed so: nothing was signed for this point"},
		"a copy with a stricter label":   {copied(other, "machine: spy\n", "name: ram-force,", "name: ram-force, sensitivity: secret,"), "and only that one was signed so: "},
		"a stricter label of a default":  {lone("  - {name: a, at: 40101, type: float32, sensitivity: secret}\n"), "and only that one was signed so: level secret was not signed for it"},
		"no label where one is internal": {lone("  - {name: a, at: input/12, type: int16}\n"), "and only that one was signed so: nothing was signed of this machine"},
		"no label where one is public":   {lone("  - {name: a, at: holding/120, type: uint16}\n"), "and only that one was signed so: nothing was signed of this machine"},
		"an unlabelled node": {func(*office) string {
			return strings.ReplaceAll(mixerFile("spy", "ab", "internal"), ", sensitivity: internal", "")
		}, "reads the same node of the same server as 'speed' in "},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			require.NoError(t, os.WriteFile(o.path("machines/mixer.yaml"), []byte(mixerFile("mixer", "ab", "internal")), 0o600))
			o.edit("trust.yaml", `only: ["press-*/*"]`, `only: ["press-*/*", "mixer/*"]`)
			o.sign("policy trust", o.secrets[0])
			before, problems := o.start()
			require.Empty(t, problems)
			require.Len(t, before.Machines, 3)

			text := c.file(o)
			if strings.Contains(c.want, "is in machines/press-3.yaml already") {
				text = strings.Replace(text, "machine: spy", "machine: press-3", 1)
			}
			for _, file := range []string{"a.yaml", "z.yaml"} { // before all others and after them
				path := o.path(filepath.Join("machines", file))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				got, problems := o.load()
				require.NotNil(t, got, problems)
				assert.Equal(t, before.Machines, got.Machines, problems)
				var said []string
				for _, p := range problems {
					if !strings.Contains(p, "note: ") {
						said = append(said, p)
						assert.Contains(t, p, "machines/"+file+":")
					}
				}
				assert.Contains(t, strings.Join(said, "\n"), c.want)
				require.NoError(t, os.Remove(path))
			}
		})
	}
}

// Of two machines of which as much was signed, the one is left out whose points
// are not as they were; where that is true of both, the one with the looser label.
func TestAChangedLabelLeavesOutItsOwnFile(t *testing.T) {
	const shared = "  - {name: shared, at: holding/700, type: int16}\n"
	file := func(name, shared string) string {
		return "fieldseal: machine/v1\nmachine: " + name + "\nmodbus: {connect: \"tcp://10.9.9.9\", unit_id: 1}\npoints:\n  - {name: oil, at: input/" + name[len("press-"):] + ", type: int16, sensitivity: internal}\n" + shared
	}
	label := func(level string) string {
		return strings.Replace(shared, "int16", "int16, sensitivity: "+level, 1)
	}
	for name, c := range map[string]struct {
		three, four string // the shared point
		out         string
	}{
		"one is stricter now":             {shared, label("secret"), "press-40"},
		"the other one":                   {label("secret"), shared, "press-30"},
		"both changed":                    {label("internal"), label("secret"), "press-30"},
		"both changed, the other way":     {label("secret"), label("internal"), "press-40"},
		"another bit of the same":         {shared, strings.Replace(shared, "int16", "int16, bits: {3: x}", 1), ""},
		"another bit at a stricter level": {"  - {name: shared, at: holding/700, type: uint16, bits: {2: y}}\n", strings.Replace(label("secret"), "int16", "int16, bits: {3: x}", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			write := func(three, four string) {
				require.NoError(t, os.WriteFile(o.path("machines/press-30.yaml"), []byte(file("press-30", three)), 0o600))
				require.NoError(t, os.WriteFile(o.path("machines/press-40.yaml"), []byte(file("press-40", four)), 0o600))
			}
			write(shared, shared)
			o.edit("policy.yaml", `points: ["press-3/*"]`, `points: ["press-*/*"]`)
			o.sign("policy trust", o.secrets[0])
			c0, problems := o.start()
			require.NotNil(t, c0)
			require.Equal(t, []string{"press-3", "press-30", "press-40", "pump"}, names(c0), problems)

			write(c.three, c.four)
			got, problems := o.load()
			require.NotNil(t, got)
			want := []string{"press-3", "press-30", "press-40", "pump"}
			if c.out != "" {
				want = slices.DeleteFunc(want, func(s string) bool { return s == c.out })
			}
			require.Equal(t, want, names(got), problems)
		})
	}
}

// A name that a rule of the policy makes stricter is no more signed than any other
// new one.
func TestARaisedNewcomerLeavesOutItself(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.edit("policy.yaml", `points: ["*/program*"], level: restricted`, `points: ["spy/*"], level: secret`, `points: ["press-3/*"]`, `points: ["*/*"]`)
	file := func(name string) []byte {
		return []byte("fieldseal: machine/v1\nmachine: " + name + "\nmodbus: {connect: \"tcp://10.9.9.9\", unit_id: 1}\npoints:\n  - {name: force, at: holding/700, type: int16}\n")
	}
	require.NoError(t, os.WriteFile(o.path("machines/press-9.yaml"), file("press-9"), 0o600))
	o.sign("policy trust", o.secrets[0])
	before, problems := o.start()
	require.Equal(t, []string{"press-3", "press-9", "pump"}, names(before), problems)
	for _, path := range []string{"machines/a.yaml", "machines/z.yaml"} {
		require.NoError(t, os.WriteFile(o.path(path), file("spy"), 0o600))
		c, problems := o.load()
		require.NotNil(t, c)
		require.Equal(t, before.Machines, c.Machines, problems)
		require.Contains(t, strings.Join(problems, "\n"), path+":")
		require.NoError(t, os.Remove(o.path(path)))
	}
}

// Check advises no exception for points whose label asks for none, and that only
// wait for a signature: one would weaken the policy for nothing.
func TestWhatOnlyWaitsForASignature(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.edit("trust.yaml", `only: ["press-*/*"]`, `only: ["press-*/*", "oven/*"]`)
	o.sign("policy trust", o.secrets[0])
	_, problems := o.start()
	require.Empty(t, problems)
	require.NoError(t, os.WriteFile(o.path("machines/oven.yaml"), []byte("fieldseal: machine/v1\nmachine: oven\nmodbus: {connect: \"tcp://10.9.9.9\", unit_id: 1}\npoints:\n"+
		"  - {name: heat, at: holding/900, type: int16, sensitivity: internal}\n  - {name: door, at: holding/901, type: int16}\n"), 0o600))
	_, problems = o.load()
	var heat, door string
	for _, p := range problems {
		switch {
		case strings.Contains(p, "note: "):
		case strings.Contains(p, "heat"):
			heat = p
		case strings.Contains(p, "door"):
			door = p
		}
	}
	assert.Contains(t, heat, "nobody signed that they have another level")
	assert.Contains(t, heat, "fieldseal policy sign")
	assert.NotContains(t, heat, "exceptions")
	assert.Contains(t, door, "add this to 'exceptions'")
}
