package dtls

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

func TestInspect(t *testing.T) {
	hub := newSink(t, nil)
	other := newSink(t, func(s *sink, c *ListenConfig) {
		s.authority, s.welcome.Stream = hub.authority, "OTHER"
		c.Certificate, c.Authorities = issue(t, hub.authority, "hub", authority.Hub), hub.authority.Pool
	})
	stranger := newSink(t, nil)
	cfg := hub.config()
	cfg.Servers = []string{hub.Addr().String(), other.Addr().String(), stranger.Addr().String(), "127.0.0.1:1"}
	seen, err := Inspect(t.Context(), cfg)
	require.NoError(t, err)
	require.Len(t, seen, 4)
	for i, server := range cfg.Servers {
		assert.Equal(t, server, seen[i].Server)
	}
	require.NoError(t, seen[0].Err)
	assert.Equal(t, hub.welcome, seen[0].Welcome)
	var fault *envelope.Fault
	require.ErrorAs(t, seen[2].Err, &fault, "another authority")
	require.Error(t, seen[3].Err, "nobody there")
	assert.Zero(t, seen[3].Welcome)

	cfg.Stream, cfg.Servers = "PLANT", cfg.Servers[:2]
	seen, err = Inspect(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, seen[0].Err)
	require.ErrorContains(t, seen[1].Err, `the hub stores in the stream "OTHER" instead of "PLANT"`)

	cfg.Gateway = ""
	_, err = Inspect(t.Context(), cfg)
	require.Error(t, err)
	hub.mu.Lock()
	defer hub.mu.Unlock()
	assert.Empty(t, hub.stored)
	assert.Len(t, hub.peers, 2)
}
