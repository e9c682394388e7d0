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
	for _, c := range []struct {
		name string
		made time.Time
		want string
		over bool
	}{
		{"fresh", time.Now(), "", false},
		{"soon", time.Now().AddDate(-2, 0, 20), "ends", false},
		{"over", time.Now().AddDate(-2, 0, -1), "ended", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := keystore.Create(t.TempDir(), "gw-1", make([]byte, 32), c.made)
			require.NoError(t, err)
			l := loaded{keys: keys, config: &configs.Config{Gateway: "gw-1", Uplinks: []configs.Uplink{
				{Name: "a", NATS: &configs.NATS{Certificate: keystore.Uplink}},
				{Name: "b", DTLS: &configs.DTLS{Certificate: keystore.Uplink}},
			}}}
			found := l.secrets("gateway.yaml")
			if c.want == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1, "once for one certificate")
			assert.Equal(t, !c.over, found[0].Note, "a problem once it has ended")
			assert.Equal(t, "the certificate keystore:uplink "+c.want+" on "+c.made.AddDate(2, 0, 0).UTC().Format("2006-01-02 15:04")+" UTC", found[0].What)
			assert.Contains(t, found[0].Instead, "take it over with `fieldseal keys import uplink FILE`")
		})
	}
}
