package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/signal"
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
}

// TestNoRoom: a disk that is full half way through leaves the old file.
func TestNoRoom(t *testing.T) {
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
	signal.Ignore(unix.SIGXFSZ)
	t.Cleanup(func() {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
		signal.Reset(unix.SIGXFSZ)
	})
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	require.NoError(t, durable.Replace(path, 0o600, []byte("old")))
	limit := was
	limit.Cur = 100
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	require.ErrorIs(t, durable.Replace(path, 0o600, []byte("new"), make([]byte, 5000)), unix.EFBIG)
	require.ErrorIs(t, durable.Create(filepath.Join(dir, "other"), 0o600, make([]byte, 5000)), unix.EFBIG)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "old", string(b))
	assert.Equal(t, []string{"state"}, names(t, dir))
}

// TestKilled: what is left of one that was killed harms nobody.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "approvals")
	require.NoError(t, durable.Create(path, 0o600, []byte("first")))
	// Killed between the link and the removal, under each name that it could have had.
	for _, left := range []string{path + ".new", filepath.Join(dir, ".approvals.new"), filepath.Join(dir, ".approvals.new-1")} {
		require.NoError(t, os.Link(path, left))
	}
	require.ErrorIs(t, durable.Create(path, 0o600, []byte("second")), fs.ErrExist)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "first", string(b))
	require.NoError(t, durable.Replace(path, 0o600, []byte("third")))
	b, err = os.ReadFile(path + ".new")
	require.NoError(t, err)
	assert.Equal(t, "first", string(b), "nobody writes into what is there")
}
