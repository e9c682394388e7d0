package bridge

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// A start counter that is lost, or put back, does not make a start use a number
// that an epoch has had.
func TestStartCounterBehindTheOutbox(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	require.NoError(t, os.WriteFile(p.path("state", "start"), []byte("40"), 0o600))
	g := p.open()
	fill(t, g, 1, 1)
	require.NoError(t, g.committer.finish())
	require.NoError(t, g.Close())
	require.Empty(t, p.events("start-counter-behind"))
	for n, put := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, []byte("7"), 0o600) },
		os.Remove,
	} {
		require.NoError(t, put(p.path("state", "start")))
		g := p.open()
		assert.EqualValues(t, 42+n, g.Status().Start)
		fill(t, g, uint64(n+2), 1)
		require.NoError(t, g.Close())
		require.Len(t, p.events("start-counter-behind"), n+1)
	}
}

// A full disk has room for the next number.
func TestStartCounterIsOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "start")
	require.Error(t, overwrite(path, []byte("10\n")), "there is none to write over")
	require.NoError(t, os.WriteFile(path, []byte("  9\n\n"), 0o600))
	require.NoError(t, overwrite(path, []byte("10\n")))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "10\n", string(b))
}

func TestUnreadableQuarantineDoesNotStopAStart(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	require.NoError(t, os.MkdirAll(p.path("state", "quarantine", "folder.json"), 0o700))
	require.NoError(t, os.WriteFile(p.path("state", "quarantine", "torn.json"), []byte(`{"reason`), 0o600))
	g := p.open()
	require.NoError(t, g.Close())
	assert.Len(t, p.events("quarantine-unreadable"), 2)
}

func TestQuarantineIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	keep := g.quarantine()
	message := func(n int) envelope.Message {
		m := envelope.Message{Body: []byte("body")}
		binary.BigEndian.PutUint64(m.ID[:], uint64(n))
		return m
	}
	folder := p.path("state", "quarantine")
	require.NoError(t, os.MkdirAll(folder, 0o700))
	for n := range maxQuarantined - 1 {
		require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.json", n)), []byte("{}"), 0o600))
	}
	require.NoError(t, keep(message(1), "too large"))
	for range 3 {
		require.ErrorIs(t, keep(message(2), "too large"), errQuarantineFull)
	}
	require.NoError(t, keep(message(1), "too large"), "it is there already")
	assert.Len(t, p.events("quarantine-full"), 1)
	require.NoError(t, os.Remove(filepath.Join(folder, "7.json")))
	require.NoError(t, keep(message(2), "too large"))
	require.NoError(t, os.Remove(filepath.Join(folder, "8.json")))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "9.json"), make([]byte, maxQuarantineBytes), 0o600))
	require.ErrorIs(t, keep(message(3), "too large"), errQuarantineFull)
	assert.Len(t, p.events("quarantine-full"), 2)
	require.NoError(t, g.Close())
}
