package configs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// treatment says how a point leaves over the best connection.
func treatment(c *Config, machine, name string) policy.Treatment {
	for i := range c.Machines {
		m := &c.Machines[i]
		points := make([]policy.Point, len(m.Points))
		for k := range m.Points {
			points[k] = m.Points[k].Point
		}
		for k, d := range c.Policy.Compile(m.Name, points, point.Encrypted, time.Time{}).Decisions {
			if m.Name == machine && points[k].Name == name {
				return d.Treatment
			}
		}
	}
	return policy.Withheld
}

// 'only' in the trust file holds for what devices encrypt too: it is not passed to
// somebody who may read nothing of the machine.
func TestOnlyHoldsForPassthrough(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	require.Equal(t, policy.Passed, treatment(c, "press-3", "torque-log"))

	o.edit("trust.yaml", `2167a639052f8"}]`, `2167a639052f8"}], only: ["press-4/*", "pump/*"]`, "revision: 4", "revision: 5")
	o.edit("policy.yaml", "to: [engineering]", "to: [engineering, historian]", "revision: 17", "revision: 18")
	const note = "machines/press-3.yaml:24:18: note: point 'torque-log' is sealed like any other, although the device encrypts it: " +
		`'only' in the trust file keeps engineering from this machine; add "press-3/*" to 'only' there, or have the device encrypt for others`
	for _, what := range []string{"policy trust", "trust"} {
		if what == "trust" { // what was signed as passed is passed no more
			o.edit("trust.yaml", `"press-4/*"`, `"press-*/*"`, "revision: 5", "revision: 6")
			o.edit("policy.yaml", "revision: 18", "revision: 19")
			o.sign("policy trust", o.secrets[0])
			c, problems = o.start()
			require.Empty(t, problems)
			require.Equal(t, policy.Passed, treatment(c, "press-3", "torque-log"))
			o.edit("trust.yaml", `"press-*/*", "pump`, `"press-4/*", "pump`, "revision: 6", "revision: 7")
		}
		o.sign(what, o.secrets[0])
		c, problems = o.start()
		assert.Equal(t, []string{note}, problems)
		assert.Equal(t, policy.Sealed, treatment(c, "press-3", "torque-log"))
		require.Empty(t, c.Unapproved)
		o.edit("machines/press-3.yaml", "changes_with: holding/499", "changes_with: holding/499\n    sensitivity: public")
		o.edit("policy.yaml", "points: [press-3/state]", `points: ["press-3/*"]`)
		draft, _ := Load(o.path("gateway.yaml"), at("2026-11-22"))
		assert.Equal(t, policy.Sealed, treatment(draft, "press-3", "torque-log"), "nor in clear")
		o.edit("machines/press-3.yaml", "\n    sensitivity: public", "")
		o.edit("policy.yaml", `points: ["press-3/*"], why: "Andon`, `points: [press-3/state], why: "Andon`)
		draft, _ = Load(o.path("gateway.yaml"), at("2026-11-22"))
		assert.Equal(t, policy.Sealed, treatment(draft, "press-3", "torque-log"), "plan sees the same")
	}
}
