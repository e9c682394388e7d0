package approval_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

const drive = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

// encrypted gives a machine whose torque log is signed and wrapped.
func encrypted() approval.Machine {
	m := press3()
	change("torque-log", func(p *approval.Point) {
		p.DeviceKey, p.KeyIDs, p.Policy.Wrap = drive, []string{"0x6b32", "0x6b31"}, true
	})(&m)
	return m
}

// What counts as ciphertext of a point, and whether it is sealed again, is
// written, read again, held against what a file says, and shown.
func TestWhatCountsAsCiphertext(t *testing.T) {
	const before = "(was as the device encrypted it (cose, for process-engineering, signed with " + drive + ", with the key 0x6b31 or 0x6b32), sealed again for escrow and process-engineering)"
	p := plant(t)
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{encrypted()}, p))
	require.Contains(t, a.Text(), "format=cose readable-by=process-engineering device-key="+drive+" key-ids=0x6b31,0x6b32 wrap=yes\n")
	again, err := approval.ParseUnverified(sign(t, a.Text(), approver(t, "anna")))
	require.NoError(t, err)
	require.Equal(t, a.Text(), again.Text())
	require.Equal(t, a.Tables, again.Tables)

	points, verdicts := a.Judge(gateway, encrypted(), p)
	require.Equal(t, make([]approval.Verdict, len(points)), verdicts)
	for _, c := range []struct {
		name string
		edit func(*approval.Point)
		diff string
	}{
		{"wrap taken away", func(p *approval.Point) { p.Policy.Wrap = false }, "! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering, signed with " + drive + ", with the key 0x6b31 or 0x6b32) " + before},
		{"any sender", func(p *approval.Point) { p.DeviceKey = "" }, "! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering, with the key 0x6b31 or 0x6b32), sealed again for escrow and process-engineering " + before},
		{"another sender", func(p *approval.Point) { p.DeviceKey = "p256:AAAA" }, "! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering, signed with p256:AAAA, with the key 0x6b31 or 0x6b32), sealed again for escrow and process-engineering " + before},
		{"any key", func(p *approval.Point) { p.KeyIDs = nil }, "! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering, signed with " + drive + "), sealed again for escrow and process-engineering " + before},
		{"another key", func(p *approval.Point) { p.KeyIDs[0] = "0x6b33" }, "! press-3/torque-log: will leave as the device encrypted it (cose, for process-engineering, signed with " + drive + ", with the key 0x6b31 or 0x6b33), sealed again for escrow and process-engineering " + before},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := encrypted()
			change("torque-log", c.edit)(&m)
			points, verdicts := a.Judge(gateway, m, p)
			d := p.Compile(m.Name, points, point.Encrypted, time.Now()).Decisions[5]
			require.Equal(t, policy.Sealed, d.Treatment)
			require.False(t, d.Wrap)
			require.False(t, points[5].Wrap, "nothing is left of a passthrough that was taken away")
			require.Equal(t, "another passthrough was signed, or none", verdicts[5].Refused)
			next := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
			require.Equal(t, []string{c.diff}, lines(approval.Diff(a, next)))
		})
	}

	m := encrypted()
	change("torque-log", func(p *approval.Point) { p.Policy.Wrap = false })(&m)
	bare := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	changes := approval.Diff(bare, a)
	require.Len(t, changes, 1)
	require.False(t, changes[0].Looser, "to seal it again shows it to nobody more")
}

// Who wants a point sealed at a level that seals for nobody gets nothing out of
// it: neither now, nor without 'wrap' before that is signed.
func TestWrapAtAClearLevelIsSignedAsNothing(t *testing.T) {
	p, m := plant(t), press3()
	wrap := func(on bool) func(*approval.Machine) {
		return change("state", func(pt *approval.Point) {
			pt.Policy.Passthrough, pt.Policy.ReadableBy, pt.Policy.Wrap = "cose", []string{"anybody"}, on
		})
	}
	wrap(true)(&m)
	a := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	require.Contains(t, a.Text(), "point press-3/state withheld level=public")
	wrap(false)(&m)
	d := p.Compile(m.Name, apply(a, m, p), point.Encrypted, time.Now()).Decisions[0]
	require.NotContains(t, []policy.Treatment{policy.Passed, policy.Clear}, d.Treatment)
	change("state", func(pt *approval.Point) { pt.Policy.Passthrough, pt.Policy.ReadableBy = "", nil })(&m)
	d = p.Compile(m.Name, apply(a, m, p), point.Encrypted, time.Now()).Decisions[0]
	require.Equal(t, policy.Sealed, d.Treatment)
	require.Equal(t, "restricted", d.Level)
}

func TestDiffOfHiddenNamesAndEvents(t *testing.T) {
	open, hidden := plant(t), plant(t)
	hidden.Levels[2].HideNames = true
	hidden.Events = []string{"process-engineering", "escrow"}
	fewer := plant(t)
	fewer.Events = []string{"escrow"}
	a, b, c := approval.OfPolicy(open, 4), approval.OfPolicy(hidden, 4), approval.OfPolicy(fewer, 4)
	const level = "level restricted, that of every point that nobody labelled: "
	require.Equal(t, []string{
		"! events: escrow and process-engineering can read them from now on",
		"  " + level + "names of points will be hidden",
	}, lines(approval.Diff(a, b)))
	require.Equal(t, []string{
		"! " + level + "names of points will no longer be hidden",
		"  events: process-engineering can no longer read them",
	}, lines(approval.Diff(b, c)))
	require.Equal(t, []string{"  events: they stay at the gateways from now on (were read by escrow)"}, lines(approval.Diff(c, a)))
	for _, a := range []*approval.Approval{a, b, c} {
		again, err := approval.ParseUnverified(sign(t, a.Text(), approver(t, "anna")))
		require.NoError(t, err)
		require.Equal(t, a.Text(), again.Text())
		require.Equal(t, a.Events, again.Events)
	}
	require.Error(t, b.Matches(open), "a policy file that reads otherwise is not the one that was signed")
}
