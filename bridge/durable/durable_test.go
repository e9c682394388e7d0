package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/bridge/durable"
)

// names gives what is in a folder.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "start")
	require.NoError(t, durable.Replace(path, 0o600, []byte("1"), []byte("7\n")))
	require.NoError(t, os.WriteFile(path+".new", bytes.Repeat([]byte("x"), 100), 0o644), "a power cut")
	require.NoError(t, durable.Replace(path, 0o640, []byte("18\n")))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "18\n", string(b))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), info.Mode().Perm())
	assert.Equal(t, []string{"start"}, names(t, dir))
}

// TestManyAtOnce: of those who replace a file at the same time, each writes it whole.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				assert.NoError(t, durable.Replace(path, 0o600, bytes.Repeat([]byte{byte('a' + i)}, 1000*(i+1))))
				b, err := os.ReadFile(path)
				assert.NoError(t, err)
				if assert.NotEmpty(t, b) {
					assert.Equal(t, bytes.Repeat(b[:1], 1000*int(b[0]-'a'+1)), b)
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, []string{"state"}, names(t, dir))
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "approvals")
	var wg sync.WaitGroup
	made := make([]bool, 8)
	for i := range made {
		wg.Go(func() {
			err := durable.Create(path, 0o600, []byte{byte(i)})
			made[i] = err == nil
			assert.True(t, err == nil || errors.Is(err, fs.ErrExist), "%v", err)
		})
	}
	wg.Wait()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for i, m := range made {
		assert.Equal(t, m, i == int(b[0]), "the file is that of the one who made it")
	}
	assert.Equal(t, []string{"approvals"}, names(t, dir))
}

// TestErrors: what could not be written leaves the old file and nothing else.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	require.NoError(t, os.Mkdir(path, 0o700))
	require.Error(t, durable.Replace(path, 0o600, []byte("new")), "a folder")
	assert.Equal(t, []string{"state"}, names(t, dir))
	require.ErrorIs(t, durable.Replace(filepath.Join(dir, "none", "state"), 0o600, nil), fs.ErrNotExist)

	target := filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, []byte("somebody's"), 0o600))
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "link.new")))
	require.ErrorIs(t, durable.Replace(filepath.Join(dir, "link"), 0o600, []byte("new")), unix.ELOOP)
	b, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, "somebody's", string(b))
}
