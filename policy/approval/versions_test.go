package approval_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/approval"
)

func pinned(t *testing.T) (dir string, set approval.Set, anna approval.Secret) {
	t.Helper()
	dir = t.TempDir()
	anna, public, err := approval.NewApprover("anna")
	require.NoError(t, err)
	set, err = approval.NewSet(1, public)
	require.NoError(t, err)
	_, err = approval.Create(dir, set)
	require.NoError(t, err)
	return dir, set, anna
}

// What a newer version wrote is not damaged, and no older copy takes its place.
func TestStoreOfANewerVersion(t *testing.T) {
	dir, _, _ := pinned(t)
	path := filepath.Join(dir, "approvals")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	head, body, _ := bytes.Cut(good, []byte("\n"))
	more := append([]byte(`{"later":1,`), body[1:]...)
	sum := sha256.Sum256(more)
	for name, content := range map[string][]byte{
		"version":    append(bytes.Replace(head, []byte("/v1 "), []byte("/v2 "), 1), append([]byte("\n"), body...)...),
		"new fields": append([]byte("fieldseal approvals/v1 "+hex.EncodeToString(sum[:])+"\n"), more...),
	} {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err = approval.Open(dir)
		require.ErrorIs(t, err, approval.ErrNewer, name)
		require.NotContains(t, err.Error(), "put it back", name)
		require.ErrorContains(t, err, "use that version again", name)
	}
	good[len(good)-3] ^= 1
	require.NoError(t, os.WriteFile(path, good, 0o600))
	_, err = approval.Open(dir)
	require.NotErrorIs(t, err, approval.ErrNewer)
	require.ErrorContains(t, err, "is damaged")
	require.ErrorContains(t, err, "put it back from a copy of the state folder, then look whether the revisions")
}

// A set that others took the place of is known, over restarts too.
func TestStoreKnowsEarlierSets(t *testing.T) {
	dir, first, anna := pinned(t)
	ben, public, err := approval.NewApprover("ben")
	require.NoError(t, err)
	second := approval.Set{Revision: 2, Threshold: 1, Approvers: []approval.Approver{{Name: "ben", Key: public}}}
	third := approval.Set{Revision: 3, Threshold: 1, Approvers: first.Approvers}
	st, err := approval.Open(dir)
	require.NoError(t, err)
	_, err = st.Change(sign(t, second.Text(), anna))
	require.NoError(t, err)
	_, err = st.Change(sign(t, third.Text(), ben))
	require.NoError(t, err)
	again, err := approval.Open(dir)
	require.NoError(t, err)
	for _, st := range []*approval.Store{st, again} {
		require.True(t, st.Had(first))
		require.True(t, st.Had(second))
		require.False(t, st.Had(third), "that is the one which counts")
	}
}

// Of two that pin at once, one is told so.
func TestCreateOnce(t *testing.T) {
	dir, set, _ := pinned(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "approvals")))
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = approval.Create(dir, set) })
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			require.ErrorContains(t, err, "are pinned in")
		}
	}
	require.Equal(t, 1, made)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
}

// Whatever stands around a secret key, no message shows a part of it.
func TestSecretKeyIsNeverQuoted(t *testing.T) {
	anna, public, err := approval.NewApprover("anna")
	require.NoError(t, err)
	secret := anna.Reveal()
	var wide []byte
	for _, c := range utf16.Encode([]rune("\ufeff" + secret)) {
		wide = append(wide, byte(c), byte(c>>8))
	}
	part := strings.SplitN(secret, "+", 5)[4][4:20] // it may have a plus in it
	for name, text := range map[string]string{
		"alone": secret, "byte order mark": "\ufeff" + secret, "comment": "# key\n" + secret, "quoted": `"` + secret + `"`, "UTF-16": string(wide),
		"lower case": strings.ToLower(secret[:12]) + secret[12:], "prefix gone": secret[12:], "public and secret": public + "\n" + secret, "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		_, err := approval.ParsePublic(text)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), part, name)
		require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString([]byte(secret))[:16], name)
		_, err = approval.NewSet(1, text)
		require.NotContains(t, err.Error(), part, name)
		_, err = approval.ParseSet([]byte("fieldseal approvers/v1\nrevision 1\nthreshold 1\napprover " + text + "\n"))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), part, name)
		if name != "alone" {
			_, err = approval.ParseSecret(text)
			require.Error(t, err, name)
			require.NotContains(t, err.Error(), part, name)
		}
	}
	require.True(t, approval.IsSecret(string(wide)))
	require.False(t, approval.IsSecret(public))
}
