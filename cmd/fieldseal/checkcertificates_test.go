package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

func TestCertificateEnds(t *testing.T) {
	made := time.Now().AddDate(-2, 0, 20)
	keys, err := keystore.Create(t.TempDir(), "gw-1", make([]byte, 32), made)
	require.NoError(t, err)
	l := loaded{keys: keys, config: &configs.Config{Gateway: "gw-1", Uplinks: []configs.Uplink{
		{Name: "a", NATS: &configs.NATS{Certificate: keystore.Uplink}},
		{Name: "b", Files: &configs.Files{}},
	}}}
	notes := l.secrets("gateway.yaml")
	require.Len(t, notes, 1)
	end := made.AddDate(2, 0, 0)
	on := end.UTC().Format("2006-01-02 15:04") + " UTC"
	assert.Equal(t, "the certificate keystore:uplink ends on "+on, notes[0].What)
	assert.Equal(t, "have a new one issued for what fieldseal keys export uplink --request prints, take it over with fieldseal keys import uplink FILE, and start the gateway again", notes[0].Instead)
}
