package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The state folder stays as it is, whatever the clock would make of it.
func TestClockOf(t *testing.T) {
	state := t.TempDir()
	assert.True(t, systemClock().counts)
	none := clockOf(filepath.Join(state, "none"), 1)
	assert.True(t, none.counts)
	assert.Empty(t, none.words())

	clockOf(state, 1)
	found, err := os.ReadDir(state)
	require.NoError(t, err)
	assert.Empty(t, found, "nothing is made")

	// A new revision of the policy resets the mark, which is not kept by a look.
	file := filepath.Join(state, "clock")
	writeFile(t, file, `{"mark":"2100-01-01T00:00:00Z","policy":1}`)
	ahead, err := os.ReadFile(file)
	require.NoError(t, err)
	old := clockOf(state, 1)
	assert.Contains(t, old.why, "2100-01-01T00:00:00Z")
	assert.NotContains(t, clockOf(state, 2).why, "2100-01-01T00:00:00Z")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, ahead, b)

	// A folder in its place cannot be read.
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700))
	odd := clockOf(state, 1)
	require.Error(t, odd.unseen)
	require.Len(t, odd.notes(), 1)
	assert.Contains(t, odd.notes()[0].What, "is not known")
}
