package bridge

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/approve"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// edit changes a text in a file of the plant.
func (p *plant) edit(name, from, to string) {
	p.t.Helper()
	b, err := os.ReadFile(p.path(name))
	require.NoError(p.t, err)
	require.Contains(p.t, string(b), from, name)
	require.NoError(p.t, os.WriteFile(p.path(name), []byte(strings.Replace(string(b), from, to, 1)), 0o600))
}

// sign has somebody sign what stands there.
func (p *plant) sign(by *approve.Approver) {
	p.t.Helper()
	require.NoError(p.t, by.Sign(p.path("gateway.yaml")))
}

// poll starts a gateway, lets it read for a while and gives its last status.
func (p *plant) poll() (s status.Gateway) {
	p.t.Helper()
	r := p.start()
	r.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 40 })
	s = r.Status()
	r.stop()
	return s
}

func (p *plant) seen(canaries [][]byte) bool {
	raw := p.raw()
	for _, c := range canaries {
		if bytes.Contains(raw, c) {
			return true
		}
	}
	return false
}

// A name that is released and points elsewhere, a label that was loosened, and a
// payload that is another one leave sealed until somebody signs for them, at
// every byte that the broker has.
func TestWhatAMachineFileSaysLaterIsNotApproved(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	p.edit("machines/press-1.yaml", "{name: nameplate, at: holding/220, type: string, bytes: 24", "{name: nameplate, at: 40201, type: string, bytes: 32")
	p.edit("machines/press-1.yaml", "  - {name: program-name, at: 40201, type: string, bytes: 32, sensitivity: restricted}\n", "")
	p.edit("machines/press-1.yaml", "name: counter, at: holding/130, type: uint32, poll: fast, sensitivity: restricted", "name: counter, at: holding/130, type: uint32, poll: fast, sensitivity: internal")
	p.edit("machines/press-1.yaml", "bytes: 240", "bytes: 200")
	p.sim.NextPayload("press-1")
	s := p.poll()
	assert.Equal(t, 2, s.Machines[0].Points["clear"], "state and the counter that is public")
	assert.Zero(t, s.Machines[0].Points["passthrough"])
	assert.Zero(t, s.Machines[0].Samples.Passthrough)
	require.Len(t, s.Unapproved, 3)
	events := p.events("points-not-approved")
	require.Len(t, events, 3)
	assert.Equal(t, "nameplate", events[0].Point)
	assert.Equal(t, "address is holding/200, and holding/220 was signed", events[0].Text)
	assert.Equal(t, "nothing was signed for this point", events[1].Text)
	assert.Equal(t, `type is "bytes[200] changes-with holding/499", and "bytes[240] changes-with holding/499" was signed`, events[2].Text)
	got := p.read()
	got.lossless(t)
	assert.NotEmpty(t, got.samples["press-1/nameplate"])
	assert.NotEmpty(t, got.samples["press-1/counter"])
	for _, d := range got.deliveries {
		for _, sample := range d.Samples {
			if sample.Name == "nameplate" || sample.Name == "counter" {
				assert.True(t, d.Sealed)
				assert.Equal(t, "restricted", d.Stream.Level, "the default")
			}
		}
	}
	assert.False(t, p.seen(p.sim.Canaries()))
	assert.NotContains(t, string(p.raw()), `"n":"nameplate"`)

	// Signed, they leave as the file says: the scan is not blind.
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna)
	s = p.poll()
	assert.Empty(t, s.Unapproved)
	assert.Equal(t, 3, s.Machines[0].Points["clear"])
	assert.True(t, p.seen(p.sim.Canaries()))
}

// A policy that would release everything takes effect in none of the ways in
// which it was not signed, over restarts too.
func TestRefusedPolicyReleasesNothing(t *testing.T) {
	t.Parallel()
	mallory, err := approve.New("mallory")
	require.NoError(t, err)
	p := newPlant(t, natstest.Options{}, nil)
	first, err := os.ReadFile(p.path("policy.yaml"))
	require.NoError(t, err)
	firstNote, err := os.ReadFile(p.path("policy.yaml.sig"))
	require.NoError(t, err)
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna)
	second, err := os.ReadFile(p.path("policy.yaml.sig"))
	require.NoError(t, err)
	s := p.poll()
	require.Equal(t, 2, s.Policy.Revision)
	require.Equal(t, []string{"anna"}, s.Policy.ApprovedBy)
	require.Empty(t, s.Refused)

	p.edit("machines/press-1.yaml", "bytes: 32, sensitivity: restricted", "bytes: 32, sensitivity: public")
	release := func(revision string) {
		p.edit("policy.yaml", "revision: 2", "revision: "+revision)
		p.edit("policy.yaml", `"*/nameplate"`, `"*/nameplate", "*/program-name"`)
	}
	file := func() []byte { b, _ := os.ReadFile(p.path("policy.yaml")); return b }
	good := file()
	for _, c := range []struct {
		what, why string
		forge     func()
	}{
		{"edited after it was signed", "what was signed is another file", func() { release("2") }},
		{"not signed", "it is not signed", func() { release("3"); require.NoError(t, os.Remove(p.path("policy.yaml.sig"))) }},
		{"signed by somebody else", "not approved: it takes the signature of 1 approver", func() { release("3"); p.sign(mallory) }},
		{"an old one, with its signature", "a newer one was accepted already", func() {
			require.NoError(t, os.WriteFile(p.path("policy.yaml"), first, 0o600))
			require.NoError(t, os.WriteFile(p.path("policy.yaml.sig"), firstNote, 0o600))
		}},
		{"the same revision, signed", "this revision was accepted with other content", func() { release("2"); p.sign(p.anna) }},
		{"a signature taken from another", "what was signed is another file", func() { release("3") }},
	} {
		require.NoError(t, os.WriteFile(p.path("policy.yaml"), good, 0o600))
		require.NoError(t, os.WriteFile(p.path("policy.yaml.sig"), second, 0o600))
		c.forge()
		before := len(p.events("policy-refused"))
		s := p.poll()
		require.Len(t, s.Refused, 1, c.what)
		require.Contains(t, s.Refused[0].Problem, c.why, c.what)
		require.Equal(t, 2, s.Policy.Revision, c.what)
		events := p.events("policy-refused")
		require.Len(t, events, before+1, c.what)
		require.Contains(t, events[before].Text, c.why, c.what)
		require.False(t, p.seen(p.sim.Canaries()), c.what)
	}
	got := p.read()
	got.lossless(t)

	// With a signature of hers the very same release is open.
	require.NoError(t, os.WriteFile(p.path("policy.yaml"), good, 0o600))
	release("3")
	p.sign(p.anna)
	require.Empty(t, p.poll().Refused)
	require.True(t, p.seen(p.sim.Canaries()))
}

// Whatever ends a start after policy and trust file were accepted, the next one
// goes on with them, and no older ones come back.
func TestPowerCutAfterAccepting(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	old, err := os.ReadFile(p.path("policy.yaml"))
	require.NoError(t, err)
	oldNote, err := os.ReadFile(p.path("policy.yaml.sig"))
	require.NoError(t, err)
	require.NoError(t, p.open().Close())
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.edit("policy.yaml", `, "*/nameplate"`, "")
	p.sign(p.anna)
	require.NoError(t, os.WriteFile(p.path("state", "start"), []byte("no number"), 0o600)) // ends the start after that
	_, err = open(p.dir, p.change)
	require.ErrorContains(t, err, "holds no number")
	require.NoError(t, os.Remove(p.path("state", "start")))

	require.NoError(t, os.WriteFile(p.path("policy.yaml"), old, 0o600))
	require.NoError(t, os.WriteFile(p.path("policy.yaml.sig"), oldNote, 0o600))
	s := p.poll()
	require.Equal(t, 2, s.Policy.Revision)
	require.Contains(t, s.Refused[0].Problem, "a newer one was accepted already")
	require.Len(t, p.events("policy-accepted"), 2)
	require.False(t, p.seen(p.sim.PublicCanaries()), "what revision 2 does not release")
}

// What was read before another process accepted something newer is not used.
func TestConfigurationThatIsOutOfDate(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	var stale *configs.Config
	p.change = func(o *Options) { stale = o.Config }
	require.NoError(t, p.open().Close())
	early := stale
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna)
	require.NoError(t, p.open().Close())
	_, err := open(p.dir, func(o *Options) { o.Config = early })
	require.ErrorIs(t, err, approval.ErrOlder)
	require.NoError(t, p.open().Close())
}

// A gateway runs with nothing that was not held against its approvals.
func TestDraftDoesNotRun(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	for _, o := range []configs.Options{{}, {Draft: true}} {
		config, problems := configs.Load(p.path("gateway.yaml"), o)
		require.NotNil(t, config, problems)
		_, err := open(p.dir, func(g *Options) { g.Config = config })
		require.ErrorContains(t, err, "nobody approved the configuration")
		_, err = os.Stat(p.path("state", "start"))
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	// Nor without approvers.
	config, _ := configs.Load(p.path("gateway.yaml"), configs.Options{Approvals: p.approvals()})
	require.NoError(t, os.Remove(p.path("state", "approvals")))
	credential, _, err := keystore.Credential(config.State, "keystore")
	require.NoError(t, err)
	keys, err := keystore.Open(config.State, credential)
	require.NoError(t, err)
	_, err = New(Options{Config: config, Keys: keys})
	require.ErrorIs(t, err, approval.ErrNotPinned)
}

func (p *plant) approvals() *approval.Store {
	p.t.Helper()
	store, err := approval.Open(filepath.Join(p.dir, "state"))
	require.NoError(p.t, err)
	return store
}
