package configs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Something was signed of unit 255; what was signed of unit 1 holds there too.
func TestUnitsOfAnEndpoint(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.edit("machines/press-3.yaml", "name: ram-force,", "name: ram-force, sensitivity: secret,")
	o.edit("policy.yaml", `points: ["press-3/*"]`, `points: ["press-*/*"]`)
	const file = "fieldseal: machine/v1\nmachine: press-9\nmodbus: {connect: \"tcp://plc.example\", unit_id: 255, timeout: 800ms}\npoints:\n  - {name: a, at: 40701, type: float32, sensitivity: internal}\n"
	require.NoError(t, os.WriteFile(o.path("machines/press-9.yaml"), []byte(file), 0o600))
	o.sign("policy trust", o.secrets[0])
	_, problems := o.start()
	require.Empty(t, problems)
	o.edit("machines/press-9.yaml", "internal}\n", "internal}\n  - {name: b, at: 40102, type: int16}\n")
	c, problems := o.load()
	require.NotNil(t, c)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], "b does not leave as this file says, but as secret: level secret was signed for the same address, as press-3/ram-force")
	assert.Equal(t, []string{"internal", "secret"}, []string{c.Machines[1].Points[0].Label, c.Machines[1].Points[1].Label})
}

// A machine's file that nobody signed reads no signed register less strictly by
// calling its device by another name.
func TestAnotherNameOfASignedDevice(t *testing.T) {
	for _, c := range []struct{ host, unit string }{
		{"127.0.0.1", "1"},
		{"127.0.0.1.", "1"},
		{"[::ffff:127.0.0.1]", "1"},
		{"localhost", "1"},
		{"[::1]", "1"},
		{"127.0.0.1:0502", "1"},
		{"127.0.0.1", "255"},
		{"127.0.0.1", "0"},
		{"127.0.0.1", "2"},
		{"127.0.0.2", "1"},
	} {
		t.Run(c.host+" unit "+c.unit, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			o.edit("machines/press-3.yaml", "name: ram-force,", "name: ram-force, sensitivity: secret,")
			o.edit("machines/press-3.yaml", "tcp://PLC.example", "tcp://127.0.0.1")
			o.edit("policy.yaml", `points: ["press-3/*"]`, `points: ["press-*/*"]`)
			o.sign("policy trust", o.secrets[0])
			_, problems := o.start()
			require.Empty(t, problems)

			file := "fieldseal: machine/v1\nmachine: press-9\nmodbus: {connect: \"tcp://" + c.host + "\", unit_id: " + c.unit + ", timeout: 800ms}\npoints:\n  - {name: a, at: 40101, type: float32}\n  - {name: b, at: 40701, type: float32}\n"
			require.NoError(t, os.WriteFile(o.path("machines/press-9.yaml"), []byte(file), 0o600))
			got, problems := o.load()
			require.NotNil(t, got)
			if c.unit == "1" && strings.Contains(c.host, "127.0.0.1") { // the same name, once it is written in one way
				assert.Contains(t, strings.Join(problems, "\n"), "level secret was signed for the same address, as press-3/ram-force")
			} else {
				assert.Equal(t, []string{"machines/press-9.yaml:5:5: note: a does not leave as this file says, but as secret: nothing was signed of the device that it is read from, " +
					"which may be another name of the one with press-3/ram-force, for which level secret was signed at this address; raise the policy's revision and have it signed: fieldseal policy sign"}, problems)
			}
			require.Equal(t, []string{"press-3", "press-9", "pump"}, names(got), problems)
			assert.Equal(t, "secret", got.Machines[1].Points[0].Label)
			assert.Empty(t, got.Machines[1].Points[1].Label, "nothing was signed of its address")
			require.Len(t, got.Unapproved, 1)
			assert.Equal(t, []string{"a"}, got.Unapproved[0].Points)

			o.edit("policy.yaml", "revision: 17", "revision: 18")
			if c.unit == "1" && strings.Contains(c.host, "127.0.0.1") {
				return
			}
			o.sign("policy", o.secrets[0])
			got, problems = o.start()
			require.Empty(t, problems)
			require.Empty(t, got.Unapproved)
			assert.Empty(t, got.Machines[1].Points[0].Label, "it was signed as another device")
		})
	}
}
