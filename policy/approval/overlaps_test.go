package approval_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// vaulted is a plant of which a register is signed as stricter than the default.
func vaulted(t testing.TB, others ...approval.Machine) (*policy.Policy, *approval.Approval) {
	p, m := staffed(t), press3()
	label("ram-force", "vault")(&m)
	return p, approval.OfPolicy(p, 4, approval.Resolve(gateway, append(others, m), p))
}

// spy reads one register.
func spy(endpoint, unit, address string) approval.Machine {
	return approval.Machine{
		Name: "spy", Endpoint: endpoint, AnyUnit: []string{"0", "255"},
		Points: []approval.Point{{Policy: policy.Point{Name: "a", Where: "spy.yaml:4", Address: address}, Unit: unit, Address: address, Type: "float32"}},
	}
}

// A device that nothing was signed of may be one under another name: what was
// signed of an address holds there too, until somebody signs that it is another.
func TestAnotherNameOfADevice(t *testing.T) {
	const alias = "nothing was signed of the device that it is read from, which may be another name of the one with press-3/ram-force, for which level vault was signed at this address"
	for _, c := range []struct{ name, endpoint, unit, address, refused string }{
		{"the same device", "tcp://10.20.3.13:502", "1", "holding/100", "level vault was signed for the same address, as press-3/ram-force"},
		{"another host", "tcp://press-3.plant:502", "1", "holding/100", alias},
		{"another unit", "tcp://10.20.3.13:502", "2", "holding/100", alias},
		{"the unit of a gateway", "tcp://10.20.3.13:502", "255", "holding/100", alias},
		{"another scheme", "rtu-tcp://10.20.3.13:502", "1", "holding/100", alias},
		{"another server", "opc.tcp://10.20.3.13:4840", "sha256:ab", "holding/100", alias},
		{"another address", "tcp://press-3.plant:502", "1", "holding/101", ""},
		{"the address of a looser point", "tcp://press-3.plant:502", "1", "holding/120", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := spy(c.endpoint, c.unit, c.address)
			p, a := vaulted(t)
			points, verdicts := a.Judge(gateway, m, p)
			d := p.Compile(m.Name, points, 2, policy.EndOfDays()).Decisions[0]
			if c.refused == "" {
				require.Equal(t, "restricted", d.Level)
				require.Empty(t, verdicts[0].Refused)
				return
			}
			require.Equal(t, "vault", d.Level)
			require.Equal(t, c.refused, verdicts[0].Refused)

			p, a = vaulted(t, m)
			entry, listed := entryOf(a, "spy/a")
			require.Equal(t, c.refused == alias, listed, "of the very device there is nothing to say")
			if !listed {
				return
			}
			require.Equal(t, "restricted", entry.Level)
			points, verdicts = a.Judge(gateway, m, p)
			require.Equal(t, "restricted", p.Compile(m.Name, points, 2, policy.EndOfDays()).Decisions[0].Level, "it was signed as another device")
			require.Empty(t, verdicts[0])
		})
	}
}

// Modbus devices answer for unit 0 and 255 whatever unit they are.
func TestUnitsThatMayBeAny(t *testing.T) {
	known := func(unit string) approval.Machine {
		m := spy("tcp://10.20.3.13:502", unit, "holding/900")
		m.Name, m.Points[0].Policy.Label = "known", "internal"
		return m
	}
	for _, unit := range []string{"0", "255", "2"} {
		p, a := vaulted(t, known(unit)) // something was signed of the device, under this name
		m := spy("tcp://10.20.3.13:502", unit, "holding/100")
		points, _ := a.Judge(gateway, m, p)
		want := "vault"
		if unit == "2" {
			want = "restricted"
		}
		require.Equal(t, want, p.Compile(m.Name, points, 2, policy.EndOfDays()).Decisions[0].Level, unit)
	}

	// and the other way round
	strict := known("255")
	strict.Points[0].Policy.Label = "vault"
	p, a := vaulted(t, strict)
	m := spy("tcp://10.20.3.13:502", "1", "holding/900")
	points, verdicts := a.Judge(gateway, m, p)
	require.Equal(t, "vault", p.Compile(m.Name, points, 2, policy.EndOfDays()).Decisions[0].Level)
	require.Contains(t, verdicts[0].Refused, "for the same address, as known/a")
}

// That a device is another one is shown to whoever signs it.
func TestDiffOfAnotherDevice(t *testing.T) {
	m := spy("tcp://press-9.plant:502", "1", "holding/100")
	_, before := vaulted(t)
	_, after := vaulted(t, m)
	changes := approval.Diff(before, after)
	require.Len(t, changes, 1)
	require.True(t, changes[0].Looser)
	require.Equal(t, "spy/a: is read from tcp://press-9.plant:502 unit 1 holding/100 as float32, and leaves sealed for escrow and process-engineering like what nobody labelled: "+
		"it is of another device than what has a stricter level at the same address", changes[0].Text)
	require.NotEmpty(t, approval.Diff(after, before))
}

func entryOf(a *approval.Approval, name string) (approval.Entry, bool) {
	table, _ := a.Table(gateway)
	for _, e := range table.Entries {
		if e.Machine+"/"+e.Point == name {
			return e, true
		}
	}
	return approval.Entry{}, false
}
