package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

// TestCheckHubs: check --online hears from each hub where it publishes.
func TestCheckHubs(t *testing.T) {
	s := newHubSite(t)
	keys, err := keystore.Create(t.TempDir(), "gw-1", make([]byte, 32), time.Now())
	require.NoError(t, err)
	own, err := keys.CertificatePEM(keystore.Uplink)
	require.NoError(t, err)
	s.write("gateways.pem", slices.Concat(s.authority.PEM(), own))
	s.write("hub-ca.pem", s.authority.PEM())
	log, _ := s.begin()
	uplink := &configs.DTLS{Servers: []string{s.listen}, Certificate: keystore.Uplink, Trust: s.path("hub-ca.pem")}
	look := func(keys *keystore.Store) *online {
		o := &online{config: &configs.Config{Gateway: "gw-1", Uplinks: []configs.Uplink{{Name: "hubs", DTLS: uplink}}}, keys: keys, file: "gateway.yaml"}
		o.uplinks(t.Context())
		return o
	}

	o := look(keys)
	require.Len(t, o.found, 1)
	assert.True(t, o.found[0].Note)
	assert.Equal(t, "uplink hubs: the hub "+s.listen+" publishes into the stream PLANT, under plant.test", o.found[0].What)
	log.until(t, "a gateway is gone")

	uplink.Stream = "OTHER"
	o = look(keys)
	require.Len(t, o.found, 1)
	assert.False(t, o.found[0].Note)
	assert.Equal(t, `uplink hubs: the hub `+s.listen+`: the hub stores in the stream "PLANT" instead of "OTHER"`, o.found[0].What)
	assert.Equal(t, "give the hub and the other uplinks of this gateway the same stream", o.found[0].Instead)

	uplink.Stream, uplink.Servers = "", []string{s.listen, freeUDP(t)}
	o = look(keys)
	require.Len(t, o.found, 2)
	assert.Regexp(t, `^uplink hubs: the hub 127\.0\.0\.1:\d+ gives no connection: `, o.found[1].What)
	late, cancel := context.WithCancel(t.Context())
	cancel()
	o = &online{config: o.config, keys: keys, file: o.file}
	o.uplinks(late)
	require.Len(t, o.found, 2)
	assert.Equal(t, "uplink hubs: the hub "+s.listen+" had no time left to answer", o.found[0].What)

	o = look(nil)
	assert.Equal(t, 1, o.notSeen)
	assert.Equal(t, "uplink hubs is not looked at: it needs keys of the gateway, and they are not here", o.found[0].What)

	// Another uplink, whose hub leads elsewhere.
	elsewhere := newHubSite(t)
	elsewhere.write("gateways.pem", slices.Concat(elsewhere.authority.PEM(), own))
	require.NoError(t, elsewhere.server.AddStream("OTHER", nil, "elsewhere.>"))
	elsewhere.configure("OTHER", "")
	elsewhere.begin()
	elsewhere.write("hub-ca.pem", elsewhere.authority.PEM())
	uplink.Servers = []string{s.listen}
	both := &online{config: &configs.Config{Gateway: "gw-1", Uplinks: []configs.Uplink{
		{Name: "hubs", DTLS: uplink},
		{Name: "others", DTLS: &configs.DTLS{Servers: []string{elsewhere.listen}, Certificate: keystore.Uplink, Trust: elsewhere.path("hub-ca.pem")}},
	}}, keys: keys, file: "gateway.yaml"}
	both.uplinks(t.Context())
	require.Len(t, both.found, 2)
	assert.Equal(t, "uplink others: the hub "+elsewhere.listen+" publishes into the stream OTHER, under plant.test, and "+s.listen+" into PLANT, under plant.test", both.found[1].What)
	assert.False(t, both.found[1].Note)
}
