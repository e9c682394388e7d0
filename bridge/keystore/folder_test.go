package keystore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/keystore"
)

// A state folder that somebody else could have written says nothing.
func TestGuard(t *testing.T) {
	newFolder := func() string {
		dir := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "credentials"), 0o700))
		for _, name := range []string{"approvals", "keystore", "credentials/keystore"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		}
		require.NoError(t, keystore.Guard(dir))
		return dir
	}
	for _, name := range []string{".", "approvals", "keystore", "credentials", "credentials/keystore"} {
		dir := newFolder()
		path := filepath.Join(dir, name)
		require.NoError(t, os.Chmod(path, 0o720))
		err := keystore.Guard(dir)
		require.ErrorContains(t, err, path+" can be written by others (mode 0720)")
		require.ErrorContains(t, err, "run: chmod go-w "+path)
		require.NoError(t, os.Chmod(path, 0o755))
		require.NoError(t, keystore.Guard(dir), "who can read it is not asked here")
		if os.Geteuid() != 0 {
			continue
		}
		require.NoError(t, os.Lchown(path, 12345, -1))
		err = keystore.Guard(dir)
		require.ErrorIs(t, err, keystore.ErrOwner)
		require.ErrorContains(t, err, "to uid 12345, and this runs as uid 0; ")
		require.ErrorContains(t, err, "run: chown -R 0 "+dir)
	}
	if os.Geteuid() != 0 {
		require.ErrorIs(t, keystore.Guard("/"), keystore.ErrOwner)
	}
	require.NoError(t, keystore.Guard(filepath.Join(t.TempDir(), "none")))
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, keystore.Guard(file), "is no folder")
}
