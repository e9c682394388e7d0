package hub

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThroughHub(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	u := p.uplink("gw-1", h.Addr().String())
	failures, err := deliver(t.Context(), u, "gw-1", 1, 3000, 500)
	require.NoError(t, err)
	require.Zero(t, failures)
	p.requireOnce(t, "gw-1", 3000)
	s := h.Status()
	require.Len(t, s.Sessions, 1)
	require.EqualValues(t, 3000, s.Stored)
	require.EqualValues(t, 3000, s.Sessions[0].Stored)
	require.Zero(t, s.Sessions[0].Waiting)
	require.EqualValues(t, 1, u.Connections())
}
