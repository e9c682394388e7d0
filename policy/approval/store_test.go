package approval_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/approval"
)

// release is a policy of a revision, with something in its file.
func release(t testing.TB, revision int, content string, signers ...approval.Secret) approval.Copy {
	p := plant(t)
	file := []byte(content)
	p.Revision, p.Digest = revision, sha256.Sum256(file)
	return approval.Copy{File: file, Note: sign(t, approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{press3()}, p)).Text(), signers...)}
}

func trusted(t testing.TB, revision int, signers ...approval.Secret) approval.Copy {
	f := trust()
	f.Revision = revision
	c := approval.Copy{File: trustFile, Note: sign(t, approval.OfTrust(f).Text(), signers...), Keys: map[string][]byte{}}
	for _, k := range []string{"press-oem", "historian", "historian-new"} {
		sum := sha256.Sum256([]byte(k))
		c.Keys[hex.EncodeToString(sum[:])] = []byte(k)
	}
	return c
}

func TestAcceptRevisions(t *testing.T) {
	of := func(kind approval.Kind, revision int, name string) *approval.Approval {
		return &approval.Approval{Kind: kind, Revision: revision, Name: name, File: sha256.Sum256([]byte(name))}
	}
	for _, kind := range []approval.Kind{approval.Policy, approval.Trust} {
		other := approval.Trust
		if kind == approval.Trust {
			other = approval.Policy
		}
		first, err := approval.Accept(approval.Accepted{}, of(kind, 17, "a"))
		require.NoError(t, err)
		both, err := approval.Accept(first, of(other, 3, "a"))
		require.NoError(t, err, "each kind has revisions of its own")
		for _, c := range []struct {
			revision int
			name     string
			err      error
		}{
			{17, "a", nil},
			{17, "b", approval.ErrSameRevision},
			{16, "a", approval.ErrOlder},
			{16, "b", approval.ErrOlder},
			{18, "a", nil},
			{18, "b", nil},
			{1000, "b", nil},
		} {
			got, err := approval.Accept(both, of(kind, c.revision, c.name))
			require.ErrorIs(t, err, c.err)
			if err != nil {
				require.Equal(t, both, got, "what is refused changes nothing")
				require.Contains(t, err.Error(), "have it signed")
			}
		}
		_, err = approval.Accept(approval.Accepted{}, of(kind, 0, "a"))
		require.Error(t, err)
		_, err = approval.Accept(approval.Accepted{}, of(kind, -1, "a"))
		require.Error(t, err)
	}
}

func TestAnotherTableIsAnotherRevision(t *testing.T) {
	p := plant(t)
	m := press3()
	one := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	change("state", func(pt *approval.Point) { pt.Address = "holding/130" })(&m)
	other := approval.OfPolicy(p, 4, approval.Resolve(gateway, []approval.Machine{m}, p))
	accepted, err := approval.Accept(approval.Accepted{}, one)
	require.NoError(t, err)
	_, err = approval.Accept(accepted, other)
	require.ErrorIs(t, err, approval.ErrSameRevision, "the file is the same, what was signed is not")
}

func TestStoreOverRestarts(t *testing.T) {
	anna := approver(t, "anna")
	dir := t.TempDir()
	_, err := approval.Open(dir)
	require.ErrorIs(t, err, approval.ErrNotPinned)
	st, err := approval.Create(dir, setOf(t, 1, anna))
	require.NoError(t, err)
	_, err = approval.Create(dir, setOf(t, 1, anna))
	require.ErrorContains(t, err, "already")
	_, _, ok := st.Last(approval.Policy)
	require.False(t, ok)

	reopen := func() *approval.Store {
		st, err := approval.Open(dir)
		require.NoError(t, err)
		return st
	}
	p17, t4 := release(t, 17, "17", anna), trusted(t, 4, anna)
	changed, err := st.Keep(p17, t4)
	require.NoError(t, err)
	require.True(t, changed)

	for range 2 { // the same again, in the same process and in the next
		changed, err = st.Keep(p17, t4)
		require.NoError(t, err)
		require.False(t, changed)
		st = reopen()
	}
	require.Equal(t, 17, st.Accepted().PolicyRevision)
	require.Equal(t, 4, st.Accepted().TrustRevision)

	for name, bad := range map[string]approval.Copy{
		"older": release(t, 16, "16", anna), "other content": release(t, 17, "17b", anna),
		"unsigned": release(t, 18, "18", approver(t, "stranger")), "another file": {File: []byte("x"), Note: release(t, 18, "18", anna).Note},
		"no note": {File: []byte("x")}, "a trust file": trusted(t, 18, anna),
	} {
		_, err = st.Check(approval.Policy, bad)
		require.Error(t, err, name)
		_, err = st.Keep(bad, trusted(t, 5, anna))
		require.Error(t, err, name)
		st = reopen()
		require.Equal(t, 17, st.Accepted().PolicyRevision, name)
		require.Equal(t, 4, st.Accepted().TrustRevision, "both or none")
		a, c, ok := st.Last(approval.Policy)
		require.True(t, ok)
		require.Equal(t, p17, c)
		require.NoError(t, a.Covers(c.File))
	}

	_, last, _ := st.Last(approval.Trust)
	changed, err = st.Keep(release(t, 18, "18", anna), last)
	require.NoError(t, err)
	require.True(t, changed)
	changed, err = reopen().Keep(approval.Copy{}, trusted(t, 5, anna))
	require.NoError(t, err)
	require.True(t, changed)
	st = reopen()
	require.Equal(t, 18, st.Accepted().PolicyRevision)
	require.Equal(t, 5, st.Accepted().TrustRevision)
	_, got, _ := st.Last(approval.Trust)
	require.Equal(t, []byte("historian"), got.Keys[hex.EncodeToString(sum("historian"))])
	_, err = st.Keep(p17, t4)
	require.ErrorIs(t, err, approval.ErrOlder)

	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1, "nothing is left beside it")
	info, err := names[0].Info()
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
}

func sum(s string) []byte { d := sha256.Sum256([]byte(s)); return d[:] }

func TestStoreWantsTheKeysOfTheTrustFile(t *testing.T) {
	anna := approver(t, "anna")
	st, err := approval.Create(t.TempDir(), setOf(t, 1, anna))
	require.NoError(t, err)
	c := trusted(t, 4, anna)
	delete(c.Keys, hex.EncodeToString(sum("historian")))
	_, err = st.Keep(release(t, 17, "17", anna), c)
	require.ErrorContains(t, err, "historian")
	require.Zero(t, st.Accepted())
}

func TestStoreKeepsWhatItGaveWhenItCannotWrite(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	dir := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.Mkdir(dir, 0o700))
	st, err := approval.Create(dir, setOf(t, 1, anna))
	require.NoError(t, err)
	_, err = st.Keep(release(t, 17, "17", anna), trusted(t, 4, anna))
	require.NoError(t, err)
	before := st.Accepted()
	require.NoError(t, os.Rename(dir, dir+"-gone"))

	_, err = st.Keep(release(t, 18, "18", anna), approval.Copy{})
	require.ErrorContains(t, err, "cannot keep the approvals")
	require.Equal(t, before, st.Accepted())
	next := setOf(t, 1, berta)
	next.Revision = 2
	_, err = st.Change(sign(t, next.Text(), anna))
	require.Error(t, err)
	require.Equal(t, []string{"anna"}, st.Set().Names())
	_, err = approval.Create(filepath.Join(dir, "nowhere"), next)
	require.Error(t, err)
}

func TestStoreInMemory(t *testing.T) {
	anna, mallory := approver(t, "anna"), approver(t, "mallory")
	st, err := approval.InMemory(setOf(t, 1, anna))
	require.NoError(t, err)
	_, err = st.Check(approval.Trust, trusted(t, 4, anna))
	require.NoError(t, err)
	_, err = st.Check(approval.Trust, trusted(t, 4, mallory))
	require.ErrorIs(t, err, approval.ErrNotApproved)
	_, err = st.Keep(approval.Copy{}, trusted(t, 4, anna))
	require.ErrorContains(t, err, "a store to look at")
	_, err = approval.InMemory(approval.Set{})
	require.Error(t, err)
}

func TestStoreAfterAChangeOfTheApprovers(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	dir := t.TempDir()
	st, err := approval.Create(dir, setOf(t, 1, anna))
	require.NoError(t, err)
	p17, t4 := release(t, 17, "17", anna), trusted(t, 4, anna)
	_, err = st.Keep(p17, t4)
	require.NoError(t, err)

	next := setOf(t, 1, berta)
	next.Revision = 2
	_, err = st.Change(sign(t, next.Text(), berta))
	require.ErrorIs(t, err, approval.ErrNotApproved)
	note := sign(t, next.Text(), anna)

	// A look at what would be changes nothing, and cannot be kept.
	view, changed, err := st.With(note)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, next, view.Set())
	require.Equal(t, st.Accepted(), view.Accepted())
	_, err = view.Check(approval.Policy, release(t, 18, "18", berta))
	require.NoError(t, err)
	_, err = view.Keep(release(t, 18, "18", berta), approval.Copy{})
	require.ErrorContains(t, err, "a store to look at")
	require.Equal(t, setOf(t, 1, anna), st.Set())
	require.Equal(t, 17, st.Accepted().PolicyRevision)

	changed, err = st.Change(note)
	require.NoError(t, err)
	require.True(t, changed)
	changed, err = st.Change(note)
	require.NoError(t, err, "the note lies there at the next start too")
	require.False(t, changed)

	st, err = approval.Open(dir)
	require.NoError(t, err)
	require.Equal(t, next, st.Set())
	_, err = st.Check(approval.Policy, p17)
	require.ErrorIs(t, err, approval.ErrNotApproved, "anna's signature counts no longer")
	a, c, ok := st.Last(approval.Policy)
	require.True(t, ok, "what was accepted runs on")
	require.Equal(t, p17, c)
	require.Equal(t, 17, a.Revision)
	changed, err = st.Keep(c, t4)
	require.NoError(t, err)
	require.False(t, changed)

	again := release(t, 17, "17", anna, berta)
	changed, err = st.Keep(again, approval.Copy{})
	require.NoError(t, err)
	require.False(t, changed, "the same policy, signed by others")
	_, err = st.Keep(release(t, 18, "18", anna), approval.Copy{})
	require.ErrorIs(t, err, approval.ErrNotApproved)
	st, err = approval.Open(dir)
	require.NoError(t, err)
	_, c, _ = st.Last(approval.Policy)
	require.Equal(t, again.Note, c.Note)
}

func TestDamagedStoreIsRefused(t *testing.T) {
	anna := approver(t, "anna")
	dir := t.TempDir()
	st, err := approval.Create(dir, setOf(t, 1, anna))
	require.NoError(t, err)
	_, err = st.Keep(release(t, 17, "17", anna), trusted(t, 4, anna))
	require.NoError(t, err)
	path := filepath.Join(dir, "approvals")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range good {
		if i%7 == 0 { // cut off
			require.NoError(t, os.WriteFile(path, good[:i], 0o600))
			_, err = approval.Open(dir)
			require.ErrorContains(t, err, "is damaged", i)
		}
		bad := slices.Clone(good)
		bad[i] ^= 1
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, err = approval.Open(dir)
		require.ErrorContains(t, err, "is damaged", i)
	}
	require.NoError(t, os.WriteFile(path, append(slices.Clone(good), good...), 0o600))
	_, err = approval.Open(dir)
	require.Error(t, err)
}
