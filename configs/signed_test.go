package configs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/approval"
)

// A policy takes effect with no older trust file than it was signed with; a trust
// file alone may go on.
func TestPolicyNeedsTheTrustFileItWasSignedWith(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	o.start()
	o.edit("policy.yaml", "revision: 17", "revision: 18")
	o.sign("policy", o.secrets[0])
	o.edit("trust.yaml", "revision: 4", "revision: 5")
	c, _ := o.start()
	assert.Equal(t, 18, c.Policy.Revision, "it was signed beside revision 4, which goes on")
	assert.Equal(t, 4, c.Trust.Revision)
	o.sign("trust", o.secrets[0])
	c, problems := o.start()
	assert.Empty(t, problems)
	assert.Equal(t, 18, c.Policy.Revision)
	assert.Equal(t, 5, c.Trust.Revision)

	o.edit("policy.yaml", "revision: 18", "revision: 19")
	o.edit("trust.yaml", "revision: 5", "revision: 6")
	o.sign("policy trust", o.secrets[0])
	require.NoError(t, os.Remove(o.path("trust.yaml"+SignatureSuffix)))
	c, problems = o.start()
	assert.Equal(t, 18, c.Policy.Revision)
	assert.Equal(t, 5, c.Trust.Revision)
	assert.Contains(t, strings.Join(problems, "\n"), "policy.yaml: it is signed, and cannot take effect: policy.yaml: it was signed together with revision 6 of the trust file, and this is revision 5")
}

// A label that is stricter than the default binds until somebody signs that it is
// gone; one that nobody signed has its effect, and a note.
func TestStricterLabels(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	table := c.Table()
	require.Contains(t, levelsOf(table), "pump/flow secret")

	o.edit("machines/pump.yaml", "sensitivity: secret\n", "")
	c, problems = o.start()
	assert.Contains(t, strings.Join(problems, "\n"), "do not leave as this file says, but as secret: level would be restricted, and secret was signed")
	require.Len(t, c.Unapproved, 1)
	for _, p := range c.Machines[1].Points {
		assert.Equal(t, "secret", p.Label, p.Name)
	}

	o.edit("machines/press-3.yaml", "name: ram-force,", "name: ram-force, sensitivity: secret,")
	c, problems = o.start()
	assert.Contains(t, strings.Join(problems, "\n"), "note: ram-force has level 'secret', which is stricter than what was signed, and binds nobody who takes the label away again; "+
		"to keep it so, raise the policy's revision and have it signed: fieldseal policy sign")
	assert.Equal(t, "secret", c.Machines[0].Points[0].Label)

	o.edit("policy.yaml", "revision: 17", "revision: 18")
	o.sign("policy", o.secrets[0])
	c, problems = o.start()
	assert.NotContains(t, strings.Join(problems, "\n"), "note: ")
	assert.Equal(t, "secret", c.Machines[0].Points[0].Label)
	assert.NotEqual(t, "secret", c.Machines[1].Points[0].Label, "signed")
}

func levelsOf(t approval.Table) (out []string) {
	for _, e := range t.Entries {
		out = append(out, e.Machine+"/"+e.Point+" "+e.Level)
	}
	return out
}

// What decides what is read is signed: also the register whose change makes a
// point be read.
func TestChangesWithIsSigned(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	o.start()
	o.edit("machines/press-3.yaml", "changes_with: holding/499", "changes_with: holding/100")
	c, problems := o.start()
	assert.Contains(t, strings.Join(problems, "\n"), `torque-log does not leave as this file says, but like points that nobody labelled: type is "bytes[200] changes-with holding/100", and "bytes[200] changes-with holding/499" was signed`)
	assert.Empty(t, c.Machines[0].Points[len(c.Machines[0].Points)-1].Passthrough)
}

// Another server at the same address is another machine.
func TestServerCertificateIsSigned(t *testing.T) {
	o := newOffice(t, 1, "anna")
	pin := strings.Repeat("ab", 32)
	require.NoError(t, os.WriteFile(o.path("machines/mixer.yaml"), []byte(`fieldseal: machine/v1
machine: mixer
opcua:
  endpoint: "opc.tcp://10.20.4.14"
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:`+pin+`"
  certificate: keystore:opcua-client
  user: anonymous
  namespace: urn:mixer
points:
  - {name: speed, node: s=Speed, type: float32, sensitivity: internal}
`), 0o644))
	o.edit("trust.yaml", `only: ["press-*/*"]`, `only: ["press-*/*", "mixer/*"]`)
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	require.Equal(t, "internal", c.Machines[0].Points[0].Label)
	i := 0
	for c.Table().Entries[i].Machine != "mixer" {
		i++
	}
	require.Equal(t, "sha256:"+pin, c.Table().Entries[i].Unit)

	o.edit("machines/mixer.yaml", pin, strings.Repeat("cd", 32))
	c, problems = o.start()
	require.Equal(t, "restricted", c.Machines[0].Points[0].Label)
	assert.Contains(t, strings.Join(problems, "\n"), "server certificate is sha256:cdcd")
}

// A level that was signed for registers holds for whatever reads one of them,
// under another name, at another address and of another type.
func TestStricterLevelsOfOverlappingRegisters(t *testing.T) {
	const force, alarms = "  - {name: ram-force, at: 40101, type: float32, order: ABCD, unit: kN, poll: fast, report: {deadband: 5, at_least_every: 10s}}\n",
		"  - {name: alarms, at: holding/121, type: uint16, bits: {0: overload, 3: {name: guard-open, invert: true}}, poll: slow, sensitivity: internal}\n"
	for now, want := range map[string]string{
		"  - {name: other, at: holding/101, type: uint16}\n":               "secret was signed for the same address, as press-3/ram-force",
		"  - {name: other, at: holding/99, type: uint32}\n":                "secret was signed for the same address, as press-3/ram-force",
		"  - {name: other, at: holding/98, type: string, bytes: 6}\n":      "secret was signed for the same address, as press-3/ram-force",
		"  - {name: other, at: holding/101, type: uint16, bits: {3: x}}\n": "secret was signed for the same address, as press-3/ram-force",
		"  - {name: other, at: holding/121, type: uint16}\n":               "secret was signed for the same address, as press-3/alarms-guard-open",
		"  - {name: other, at: holding/121, type: uint16, bits: {0: x}}\n": "secret was signed for the same address, as press-3/alarms-overload",
		"  - {name: other, at: holding/121, type: uint16, bits: {4: x}}\n": "",
		"  - {name: other, at: holding/102, type: uint16}\n":               "",
		"  - {name: other, at: input/100, type: uint16}\n":                 "",
		"  - {name: other, at: holding/98, type: uint32}\n":                "",
	} {
		t.Run(now, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			o.edit("machines/press-3.yaml", "kN, poll", "kN, sensitivity: secret, poll", "invert: true}}, poll: slow, sensitivity: internal}", "invert: true}}, poll: slow, sensitivity: secret}")
			o.sign("policy trust", o.secrets[0])
			_, problems := o.start()
			require.Empty(t, problems)

			o.edit("machines/press-3.yaml", strings.Replace(force, "kN, poll", "kN, sensitivity: secret, poll", 1), now, strings.Replace(alarms, "internal}", "secret}", 1), "")
			c, problems := o.load()
			require.NotNil(t, c, problems)
			label := c.Machines[0].Points[0].Label
			if want == "" {
				assert.Empty(t, label)
				return
			}
			assert.Equal(t, "secret", label)
			assert.Contains(t, strings.Join(problems, "\n"), want)
		})
	}
}

// Within one machine registers overlap in no other way than at one address, which
// takes the stricter level.
func TestOverlapsAreRefused(t *testing.T) {
	head := "fieldseal: machine/v1\nmachine: a\nmodbus: {connect: \"tcp://plc\", unit_id: 1}\npoints:\n  - {name: a, at: holding/100, type: float32}\n"
	for _, other := range []string{"at: holding/101, type: uint16", "at: holding/99, type: uint32", "at: holding/101, type: uint16, bits: {3: x}"} {
		problems := CheckSnippet("machine", []byte(head+"  - {name: b, "+other+"}\n"))
		require.Len(t, problems, 1, other)
		require.Contains(t, problems[0].What, "holding/100", other)
	}
}
