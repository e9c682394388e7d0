package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// trustFiles writes trust files of some revisions, each signed and in a folder of
// its own, and the file approvers.
func trustFiles(t *testing.T, revisions ...string) (dir string, anna approval.Secret, set approval.Set) {
	t.Helper()
	dir = t.TempDir()
	anna, public, err := approval.NewApprover("anna")
	require.NoError(t, err)
	set, err = approval.NewSet(1, public)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "approvers"), []byte(set.Text()), 0o600))
	for _, revision := range revisions {
		folder := filepath.Join(dir, revision)
		require.NoError(t, os.CopyFS(folder, os.DirFS("../../configs/testdata/good")))
		path := filepath.Join(folder, "trust.yaml")
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		b = bytes.Replace(b, []byte("revision: 4"), []byte("revision: "+revision), 1)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		trust, problems := configs.LoadTrust(path)
		require.NotNil(t, trust, problems)
		note, err := approval.Sign(nil, trust.Approval().Text(), anna)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path+configs.SignatureSuffix, note, 0o600))
	}
	return dir, anna, set
}

// Of many that verify at once, the newest revision is remembered, whoever comes
// last.
func TestRememberAtOnce(t *testing.T) {
	revisions := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}
	dir, _, _ := trustFiles(t, revisions...)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	var all sync.WaitGroup
	var mu sync.Mutex
	said := map[string]error{}
	for _, revision := range revisions {
		all.Go(func() {
			o := openOptions{trust: filepath.Join(dir, revision, "trust.yaml"), approvers: filepath.Join(dir, "approvers")}
			var stderr bytes.Buffer
			_, err := o.verifiedTrust(&stderr)
			mu.Lock()
			defer mu.Unlock()
			said[revision] = err
			if strings.Contains(stderr.String(), "cannot be remembered") {
				t.Error(stderr.String())
			}
		})
	}
	all.Wait()
	require.NoError(t, said["9"])
	store, err := approval.Open(filepath.Join(dir, "config", "fieldseal"))
	require.NoError(t, err)
	require.Equal(t, 9, store.Accepted().TrustRevision)
}

// What another process remembered while this one looked is not lost, and what
// this one read is not used.
func TestRememberLooksAgain(t *testing.T) {
	dir, anna, set := trustFiles(t, "1", "2")
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	o := openOptions{trust: filepath.Join(dir, "1", "trust.yaml"), approvers: filepath.Join(dir, "approvers")}
	early, err := o.pinned(&bytes.Buffer{})
	require.NoError(t, err)
	require.True(t, early.first)
	_, first, problems := configs.OpenTrust(o.trust, early.store)
	require.Empty(t, problems)

	later := o
	later.trust = filepath.Join(dir, "2", "trust.yaml")
	_, err = later.verifiedTrust(&bytes.Buffer{})
	require.NoError(t, err)
	require.ErrorIs(t, early.remember(nil, approval.Copy{}, first), approval.ErrOlder)

	// The approvers change meanwhile.
	_, public, err := approval.NewApprover("ben")
	require.NoError(t, err)
	next := approval.Set{Revision: set.Revision + 1, Threshold: 1, Approvers: []approval.Approver{{Name: "ben", Key: public}}}
	change, err := approval.Sign(nil, next.Text(), anna)
	require.NoError(t, err)
	_, second, problems := configs.OpenTrust(later.trust, early.store)
	require.Empty(t, problems)
	require.NoError(t, early.remember(change, approval.Copy{}, second))
	require.NoError(t, early.remember(change, approval.Copy{}, second), "what is there already")
	store, err := approval.Open(filepath.Join(dir, "config", "fieldseal"))
	require.NoError(t, err)
	require.Equal(t, []string{"ben"}, store.Set().Names())
	require.True(t, store.Had(set))

	// Others altogether.
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o700))
	_, err = approval.Create(filepath.Join(dir, "other"), next)
	require.NoError(t, err)
	early.folder = filepath.Join(dir, "other")
	require.ErrorIs(t, early.remember(nil, approval.Copy{}, second), errOthers)
}
