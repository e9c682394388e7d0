package approval_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/fieldseal/fieldseal/policy/approval"
)

func TestApproverKeys(t *testing.T) {
	for range 50 { // base64 may have a plus in it, or none
		s, public, err := approval.NewApprover("anna")
		require.NoError(t, err)
		require.Equal(t, public, s.Public())
		name, err := approval.ParsePublic(public)
		require.NoError(t, err)
		require.Equal(t, "anna", name)
		again, err := approval.ParseSecret(s.Reveal() + "\n")
		require.NoError(t, err)
		require.Equal(t, public, again.Public())
		require.Equal(t, "anna", again.Name())
	}
	for _, name := range []string{"", "Anna", "anna b", "anna+b", "-a", "ä", strings.Repeat("a", 65)} {
		_, _, err := approval.NewApprover(name)
		require.ErrorContains(t, err, "is no name", name)
	}
}

func TestSecretNeverPrintsItself(t *testing.T) {
	s := approver(t, "anna")
	key := strings.SplitN(s.Reveal(), "+", 5)[4] // PRIVATE+KEY+name+hash+key: the key may have a plus in it
	require.Greater(t, len(key), 30)
	held := struct {
		Open   approval.Secret
		hidden approval.Secret // fmt calls no method of it
		Far    *approval.Secret
	}{s, s, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
		for _, v := range []any{s, &s, held, &held, []approval.Secret{s}, map[string]any{"a": s}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", s, "b", held, "c", &s)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", s, "b", held, "c", &s)
	require.NoError(t, json.NewEncoder(&out).Encode([]any{s, held}))
	require.Contains(t, out.String(), "secret key of approver anna")
	require.NotContains(t, out.String(), key)
	require.NotContains(t, out.String(), key[4:20])
	require.NotContains(t, out.String(), fmt.Sprintf("%x", key[:20]))
	_ = held.hidden
}

func TestKeyErrors(t *testing.T) {
	s := approver(t, "anna")
	_, err := approval.ParseSecret(s.Public())
	require.ErrorContains(t, err, "this is the public key")
	_, err = approval.ParsePublic(s.Reveal())
	require.ErrorContains(t, err, "this is the secret key")
	require.NotContains(t, err.Error(), s.Reveal()[20:40])
	_, err = approval.NewSet(1, s.Reveal())
	require.NotContains(t, err.Error(), s.Reveal()[20:40])

	secret := s.Reveal()
	for i := range secret {
		bad := secret[:i] + string(secret[i]^1) + secret[i+1:]
		_, err := approval.ParseSecret(bad)
		require.Error(t, err, i)
		require.NotContains(t, err.Error(), secret[30:50])
		_, err = approval.ParseSecret(secret[:i])
		require.Error(t, err, i)
	}
	public := s.Public()
	for i := range public {
		_, err := approval.ParsePublic(public[:i] + string(public[i]^1) + public[i+1:])
		require.Error(t, err, i)
		_, err = approval.ParsePublic(public[:i])
		require.Error(t, err, i)
	}
	name, hash, _ := strings.Cut(public, "+")
	_, err = approval.ParsePublic(name + "+" + strings.ToUpper(hash))
	require.Error(t, err, "a key is written in one way")
}

func TestSets(t *testing.T) {
	anna, berta := approver(t, "anna"), approver(t, "berta")
	set := setOf(t, 2, berta, anna)
	require.Equal(t, []string{"anna", "berta"}, set.Names())
	again, err := approval.ParseSet([]byte(set.Text()))
	require.NoError(t, err)
	require.Equal(t, set, again)
	require.Equal(t, set.Digest(), again.Digest())

	a := approval.Approver{Name: "anna", Key: anna.Public()}
	b := approval.Approver{Name: "berta", Key: berta.Public()}
	renamed := approval.Approver{Name: "carl", Key: anna.Public()}
	for what, s := range map[string]approval.Set{
		"no approver":        {Revision: 1, Threshold: 1},
		"threshold 0":        {Revision: 1, Approvers: []approval.Approver{a}},
		"threshold 3":        {Revision: 1, Threshold: 3, Approvers: []approval.Approver{a, b}},
		"threshold -1":       {Revision: 1, Threshold: -1, Approvers: []approval.Approver{a, b}},
		"revision 0":         {Threshold: 1, Approvers: []approval.Approver{a, b}},
		"twice":              {Revision: 1, Threshold: 2, Approvers: []approval.Approver{a, a}},
		"with the name":      {Revision: 1, Threshold: 1, Approvers: []approval.Approver{renamed}},
		"no public key":      {Revision: 1, Threshold: 1, Approvers: []approval.Approver{{Name: "x", Key: "x"}}},
		"64 are the most":    {Revision: 1, Threshold: 1, Approvers: make([]approval.Approver, 65)},
		"this is the secret": {Revision: 1, Threshold: 1, Approvers: []approval.Approver{{Name: "anna", Key: anna.Reveal()}}},
	} {
		require.ErrorContains(t, s.Check(), what)
		if what != "with the name" { // the text has the name once, in the key
			_, err := approval.ParseSet([]byte(s.Text()))
			require.Error(t, err, what)
		}
	}
	for _, bad := range []string{
		"", set.Text() + "\n", set.Text() + "approver\n", strings.TrimSuffix(set.Text(), "\n"), "\n" + set.Text(),
		strings.ReplaceAll(set.Text(), "\n", "\r\n"), strings.Replace(set.Text(), "threshold 2", "threshold 02", 1), strings.Repeat("x", 1<<17),
	} {
		_, err := approval.ParseSet([]byte(bad))
		require.Error(t, err, "%.40q", bad)
	}
}

func TestOneKeyUnderTwoNamesIsRefused(t *testing.T) {
	anna := approver(t, "anna")
	other := rename(t, anna, "zoe")
	_, err := approval.NewSet(2, anna.Public(), other)
	require.ErrorContains(t, err, "the same key")
}

func TestChangeOfTheSet(t *testing.T) {
	anna, berta, carl := approver(t, "anna"), approver(t, "berta"), approver(t, "carl")
	old := setOf(t, 2, anna, berta)
	next := setOf(t, 1, anna, carl)
	next.Revision = 2

	got, err := old.Change(sign(t, next.Text(), anna, berta))
	require.NoError(t, err)
	require.Equal(t, next, got)
	for name, signers := range map[string][]approval.Secret{
		"one is too few": {anna}, "the new ones do not count": {anna, carl}, "nobody of them": {carl},
	} {
		_, err = old.Change(sign(t, next.Text(), signers...))
		require.ErrorIs(t, err, approval.ErrNotApproved, name)
	}

	// A set that was given up does not come back, though its members signed it.
	back := old
	back.Revision = 1
	_, err = next.Change(sign(t, back.Text(), anna))
	require.ErrorIs(t, err, approval.ErrOlder)
	_, err = next.Change(sign(t, next.Text(), anna))
	require.ErrorIs(t, err, approval.ErrOlder)
	back.Revision = 3
	_, err = next.Change(sign(t, back.Text(), anna))
	require.NoError(t, err)
}

// rename gives the same public key under another name.
func rename(t testing.TB, s approval.Secret, name string) string {
	t.Helper()
	v := s.Public()
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(v, "+", 3)[2])
	require.NoError(t, err)
	key, err := note.NewEd25519VerifierKey(name, raw[1:])
	require.NoError(t, err)
	return key
}
