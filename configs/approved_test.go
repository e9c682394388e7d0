package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// office is a configuration folder, the approvers of its gateway and what that
// accepted.
type office struct {
	t       testing.TB
	dir     string
	secrets []approval.Secret
	store   *approval.Store
}

func newOffice(t testing.TB, threshold int, names ...string) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	require.NoError(t, os.CopyFS(o.dir, os.DirFS("testdata/good")))
	var keys []string
	for _, name := range names {
		secret, public, err := approval.NewApprover(name)
		require.NoError(t, err)
		o.secrets, keys = append(o.secrets, secret), append(keys, public)
	}
	set, err := approval.NewSet(threshold, keys...)
	require.NoError(t, err)
	state := filepath.Join(o.dir, "state")
	require.NoError(t, os.MkdirAll(state, 0o700))
	o.store, err = approval.Create(state, set)
	require.NoError(t, err)
	return o
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

// edit changes texts in a file, in pairs.
func (o *office) edit(name string, pairs ...string) {
	o.t.Helper()
	b, err := os.ReadFile(o.path(name))
	require.NoError(o.t, err)
	require.Contains(o.t, string(b), pairs[0])
	require.NoError(o.t, os.WriteFile(o.path(name), []byte(strings.NewReplacer(pairs...).Replace(string(b))), 0o644))
}

// sign has approvers sign some of the files.
func (o *office) sign(what string, by ...approval.Secret) {
	o.t.Helper()
	options := at("2026-11-22")
	c, problems := Load(o.path("gateway.yaml"), options)
	require.NotNil(o.t, c, problems)
	for path, text := range map[string]string{
		c.PolicyFile: approval.OfPolicy(&c.Policy, c.Trust.Revision, c.Table()).Text(),
		c.TrustFile:  c.Trust.Approval().Text(),
	} {
		if !strings.Contains(what, strings.TrimSuffix(filepath.Base(path), ".yaml")) {
			continue
		}
		var signed []byte
		var err error
		for _, s := range by {
			signed, err = approval.Sign(signed, text, s)
			require.NoError(o.t, err)
		}
		require.NoError(o.t, os.WriteFile(path+SignatureSuffix, signed, 0o644))
	}
}

// load loads as a start does; texts are its problems.
func (o *office) load() (*Config, []string) {
	o.t.Helper()
	options := at("2026-11-22")
	options.Draft, options.Approvals = false, o.store
	c, problems := Load(o.path("gateway.yaml"), options)
	assert.Equal(o.t, Fatal(problems), c == nil)
	if c != nil {
		require.NotNil(o.t, c.Approved)
	}
	return c, texts(o.dir, problems)
}

// start loads and accepts.
func (o *office) start() (*Config, []string) {
	o.t.Helper()
	c, problems := o.load()
	require.NotNil(o.t, c, problems)
	if c.Approved.Change != nil {
		_, err := o.store.Change(c.Approved.Change)
		require.NoError(o.t, err)
	}
	_, err := o.store.Keep(c.Approved.Policy, c.Approved.Trust)
	require.NoError(o.t, err)
	return c, problems
}

// Nothing that is looser than the default leaves so without an approval.
func TestZeroOptionsApproveNothing(t *testing.T) {
	options := at("2026-11-22")
	options.Draft = false
	c, _ := Load("testdata/good/gateway.yaml", options)
	require.NotNil(t, c)
	require.Nil(t, c.Approved)
	for _, m := range c.Machines {
		points := make([]policy.Point, len(m.Points))
		for i := range m.Points {
			points[i] = m.Points[i].Point
		}
		for i, d := range c.Policy.Compile(m.Name, points, point.Encrypted, time.Time{}).Decisions {
			assert.Contains(t, []policy.Treatment{policy.Sealed, policy.Withheld}, d.Treatment, points[i].Name)
			assert.Equal(t, d.Level, c.Policy.Stricter(d.Level, c.Policy.Default), points[i].Name)
		}
	}
}

func TestApproved(t *testing.T) {
	o := newOffice(t, 1, "anna")
	c, problems := o.load()
	require.Nil(t, c, "nothing was accepted before")
	assert.Equal(t, []string{
		"policy.yaml: it is not signed: there is no 'policy.yaml.sig' beside it; have it signed: fieldseal policy sign",
		"trust.yaml: it is not signed: there is no 'trust.yaml.sig' beside it; have it signed: fieldseal policy sign",
	}, problems)
	o.sign("policy trust", o.secrets[0])
	c, problems = o.start()
	assert.Empty(t, problems)
	draft, _ := Load(o.path("gateway.yaml"), at("2026-11-22"))
	assert.Equal(t, draft.Machines, c.Machines, "all is as the files say")
	assert.Equal(t, []string{"anna"}, c.Approved.PolicyBy)
	assert.Equal(t, draft.Table(), c.Table())
	assert.Empty(t, c.Unapproved)

	// Again: the same.
	_, problems = o.start()
	assert.Empty(t, problems)
}

// Policy and trust file in all states: the newest two that are good and fit.
func TestPolicyAndTrustBelongTogether(t *testing.T) {
	const names, unsigned = " to: [historian, engineering]", "it is not signed"
	newPolicy := func(o *office) { o.edit("policy.yaml", "revision: 17", "revision: 18") }
	newTrust := func(o *office) { o.edit("trust.yaml", "revision: 4", "revision: 5") }
	rename := func(o *office) { // a recipient goes, another one comes
		o.edit("trust.yaml", "revision: 4", "revision: 5", "  historian: {", "  archive: {")
		o.edit("policy.yaml", "revision: 17", "revision: 18", names, " to: [archive, engineering]")
	}
	for _, c := range []struct {
		name          string
		change        func(*office)
		signed        string
		policy, trust int
		want          []string // of each problem, a part
	}{
		{"both new", func(o *office) { newPolicy(o); newTrust(o) }, "policy trust", 18, 5, nil},
		{"policy not signed", func(o *office) { newPolicy(o); newTrust(o) }, "trust", 17, 5, []string{"policy.yaml: " + "what was signed is another file"}},
		{"trust not signed", func(o *office) { newPolicy(o); newTrust(o) }, "policy", 17, 4, []string{
			"policy.yaml: it was signed together with revision 5 of the trust file, and this is revision 4; carry both, with their notes (revision 17 goes on)",
			"trust.yaml: what was signed is another file",
		}},
		{"neither signed", func(o *office) { newPolicy(o); newTrust(o) }, "", 17, 4, []string{"policy.yaml: what was", "trust.yaml: what was"}},
		{"a recipient comes and goes", rename, "policy trust", 18, 5, nil},
		{"policy needs the trust file that is not signed", rename, "policy", 17, 4, []string{
			"policy.yaml: it is signed, and cannot take effect: policy.yaml:", "trust.yaml: what was signed is another file",
		}},
		{"trust file without whom the policy names", rename, "trust", 17, 4, []string{
			"policy.yaml: what was signed is another file", "trust.yaml: it is signed, and cannot take effect: policy.yaml@17:",
		}},
		{"the gateway is not in the new trust file", func(o *office) {
			newTrust(o)
			o.edit("trust.yaml", "  gw-1:", "  gw-2:")
		}, "", 17, 4, []string{"trust.yaml: what was"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			o.sign("policy trust", o.secrets[0])
			o.start()
			c.change(o)
			o.sign2(c.signed)
			for range 2 { // and again after a restart
				got, problems := o.start()
				assert.Equal(t, c.policy, got.Policy.Revision)
				assert.Equal(t, c.trust, got.Trust.Revision)
				require.Len(t, got.Approved.Refused, len(c.want), problems)
				for i, want := range c.want {
					assert.Contains(t, strings.Join(problems, "\n"), want)
					assert.False(t, got.Approved.Refused[i].Problem.Fatal)
				}
				require.Len(t, got.Machines, 2)
			}
		})
	}
}

// sign2 signs where there is something to sign.
func (o *office) sign2(what string) {
	if what != "" {
		o.sign(what, o.secrets[0])
	}
}

// A policy that cannot be read at all is one that nobody signed.
func TestBrokenPolicyLeavesTheAcceptedOne(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	o.start()
	o.edit("policy.yaml", "default: restricted", "default: public")
	c, problems := o.start()
	assert.Equal(t, "restricted", c.Policy.Default)
	require.Len(t, problems, 2)
	assert.Contains(t, problems[0], "policy.yaml: what was signed is another file")
	assert.Contains(t, problems[1], "the default level 'public' sends in clear")
	assert.Equal(t, o.path("policy.yaml@17"), c.PolicyFile)
	require.NoError(t, os.Remove(o.path("trust.yaml")))
	c, problems = o.start()
	assert.Equal(t, 4, c.Trust.Revision)
	assert.Contains(t, strings.Join(problems, "\n"), "cannot read 'trust.yaml': there is no such file (revision 4 goes on)")

	// But what is wrong in the gateway's own file stops a start.
	o.edit("gateway.yaml", "gateway: gw-1", "gateway: gw-9")
	c, _ = o.load()
	require.Nil(t, c, "no trust file knows it")
}

// A note for the same file that says more is another content of its revision;
// one that does not say what the file does is of no use, whoever signed it.
func TestNotesThatSayMore(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	o.start()
	o.edit("machines/press-3.yaml", "name: ram-force,", "name: ram-force, sensitivity: internal,")
	o.sign("policy", o.secrets[0])
	c, problems := o.start()
	assert.Contains(t, strings.Join(problems, "\n"), "this revision was accepted with other content: revision 17 of the policy (revision 17 goes on)")
	assert.Contains(t, strings.Join(problems, "\n"), "note: ram-force does not leave as this file says")
	assert.Len(t, c.Unapproved, 1)
	assert.Equal(t, "restricted", c.Machines[0].Points[0].Label)

	o.edit("policy.yaml", "revision: 17", "revision: 18")
	o.edit("trust.yaml", "revision: 4", "revision: 5")
	draft, _ := Load(o.path("gateway.yaml"), at("2026-11-22"))
	says := approval.OfPolicy(&draft.Policy, draft.Trust.Revision, draft.Table())
	says.Levels[1].To = []string{"engineering"}
	trust := draft.Trust.Approval()
	trust.Recipients[0].Only = []string{"pump/*"}
	for path, a := range map[string]*approval.Approval{"policy.yaml": says, "trust.yaml": trust} {
		signed, err := approval.Sign(nil, a.Text(), o.secrets[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(o.path(path)+SignatureSuffix, signed, 0o644))
	}
	c, problems = o.start()
	assert.Equal(t, 17, c.Policy.Revision)
	assert.Equal(t, 4, c.Trust.Revision)
	require.Len(t, c.Approved.Refused, 2)
	assert.Contains(t, c.Approved.Refused[0].Problem.What, "have it signed with this version")
	assert.Contains(t, c.Approved.Refused[1].Problem.What, "it is signed, and cannot take effect: ")
	trusted, _, _ := OpenTrust(o.path("trust.yaml"), o.store)
	assert.Nil(t, trusted, problems)
}

func TestChangeOfApprovers(t *testing.T) {
	o := newOffice(t, 2, "anna", "ben", "carl")
	anna, ben, carl := o.secrets[0], o.secrets[1], o.secrets[2]
	o.sign("policy trust", anna)
	c, problems := o.load()
	require.Nil(t, c)
	assert.Contains(t, problems[0], "and there is that of anna; ben or carl can sign")
	o.sign("policy trust", anna, ben)
	_, problems = o.start()
	require.Empty(t, problems)

	next := approval.Set{Revision: 2, Threshold: 2, Approvers: []approval.Approver{{Name: "ben", Key: ben.Public()}, {Name: "carl", Key: carl.Public()}}}
	change, err := approval.Sign(nil, next.Text(), anna)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.path(ApproversFile), change, 0o644))
	c, problems = o.start()
	require.Len(t, problems, 1, "one signature of two")
	assert.Equal(t, "approvers", c.Approved.Refused[0].Kind)
	assert.Len(t, o.store.Set().Approvers, 3)
	change, err = approval.Sign(change, next.Text(), carl)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.path(ApproversFile), change, 0o644))
	_, problems = o.start()
	require.Empty(t, problems, "what was accepted stays, although anna signed it")
	assert.Equal(t, next.Digest(), o.store.Set().Digest())

	o.edit("policy.yaml", "revision: 17", "revision: 18")
	o.sign("policy", anna, ben)
	c, problems = o.start()
	assert.Equal(t, 17, c.Policy.Revision)
	assert.Contains(t, problems[0], "and there is that of ben; carl can sign (revision 17 goes on)")
	o.sign("policy", ben, carl)
	c, problems = o.start()
	assert.Empty(t, problems)
	assert.Equal(t, 18, c.Policy.Revision)
	assert.Equal(t, []string{"ben", "carl"}, c.Approved.PolicyBy)
}

func TestOpenTrust(t *testing.T) {
	o := newOffice(t, 1, "anna")
	trust, _, problems := OpenTrust(o.path("trust.yaml"), o.store)
	require.Nil(t, trust)
	require.Len(t, problems, 1)
	o.sign("trust", o.secrets[0])
	trust, c, problems := OpenTrust(o.path("trust.yaml"), o.store)
	require.NotNil(t, trust)
	require.Empty(t, problems)
	_, err := o.store.Keep(approval.Copy{}, c)
	require.NoError(t, err)
	o.edit("keys/historian.pub", "historian", "mallory")
	trust, _, problems = OpenTrust(o.path("trust.yaml"), o.store)
	require.Nil(t, trust)
	assert.Contains(t, problems[0].What, "'sha256' is not that of")
}

// FuzzRefused puts anything in place of policy, trust file, notes and a change
// of approvers: what was accepted goes on, byte for byte.
func FuzzRefused(f *testing.F) {
	o := newOffice(f, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	accepted, _ := o.start()
	var files [][]byte
	names := []string{"policy.yaml", "policy.yaml" + SignatureSuffix, "trust.yaml", "trust.yaml" + SignatureSuffix, ApproversFile}
	for _, name := range names[:4] {
		b, err := os.ReadFile(o.path(name))
		require.NoError(f, err)
		files = append(files, b)
	}
	f.Add(files[0], files[1], files[2], files[3], []byte(nil))
	f.Add([]byte(strings.Replace(string(files[0]), "revision: 17", "revision: 18", 1)), files[1], files[2], files[3], files[1])
	f.Add(files[2], files[3], files[0], files[1], []byte("fieldseal approvers/v1\n"))
	f.Fuzz(func(t *testing.T, policyFile, policyNote, trustFile, trustNote, change []byte) {
		o.t = t
		for i, b := range [][]byte{policyFile, policyNote, trustFile, trustNote, change} {
			if err := os.WriteFile(o.path(names[i]), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c, problems := o.load()
		if c == nil {
			t.Fatalf("nothing starts: %v", problems)
		}
		if c.Policy.Digest != accepted.Policy.Digest || c.Trust.Digest != accepted.Trust.Digest || c.Approved.Change != nil {
			t.Fatalf("it takes effect: %q", problems)
		}
		if _, err := o.store.Keep(c.Approved.Policy, c.Approved.Trust); err != nil {
			t.Fatal(err)
		}
	})
}
