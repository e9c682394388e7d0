package keystore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A keystore that an earlier version made gets what is new, and keeps the rest.
func TestComplete(t *testing.T) {
	dir, credential, now := t.TempDir(), make([]byte, 32), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	s, err := Create(dir, "gw-1", credential, now)
	require.NoError(t, err)
	delete(s.entries, OPCUAClient)
	require.NoError(t, s.Save())

	old, err := Open(dir, credential)
	require.NoError(t, err)
	before := old.List()
	made, err := old.Complete("gw-1", now.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, []string{OPCUAClient}, made)
	require.NoError(t, old.Save())

	again, err := Open(dir, credential)
	require.NoError(t, err)
	for _, i := range before {
		require.Contains(t, again.List(), i)
	}
	for name, e := range s.entries {
		require.Equal(t, e.Private, again.entries[name].Private, name)
	}
	_, _, err = again.ClientIdentity(OPCUAClient)
	require.NoError(t, err)
	made, err = again.Complete("gw-1", now)
	require.NoError(t, err)
	require.Empty(t, made)
}
