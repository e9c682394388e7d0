package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func TestCertificateWatch(t *testing.T) {
	t.Parallel()
	made := time.Date(2024, 12, 1, 8, 0, 0, 0, time.UTC)
	keys, err := keystore.Create(t.TempDir(), "gw-1", make([]byte, 32), made)
	require.NoError(t, err)
	c := &configs.Config{Uplinks: []configs.Uplink{{NATS: &configs.NATS{Certificate: keystore.Uplink}}, {Files: &configs.Files{}}}}
	fresh := func() *certificateWatch { return &certificateWatch{keys: keys, said: make(map[string]time.Time)} }
	end := made.AddDate(2, 0, 0)
	soon := end.Add(-keystore.Renewal)
	w := fresh()
	assert.Empty(t, w.look(soon.Add(-time.Hour), c))
	said := w.look(soon, c)
	require.Len(t, said, 1, "the one for OPC UA is not used")
	assert.Equal(t, "certificate-ends", said[0].Name)
	assert.Equal(t, "the certificate keystore:uplink ends on 2026-12-01 08:00 UTC; have a new one issued for what `fieldseal keys export uplink --request` prints, "+
		"give it to whoever trusts this very one, take it over with `fieldseal keys import uplink FILE`, and start the gateway again", said[0].Text)
	assert.Empty(t, w.look(soon.Add(23*time.Hour), c), "once a day")
	assert.Len(t, w.look(soon.Add(24*time.Hour), c), 1)
	c.Machines = []configs.Machine{{OPCUA: &configs.OPCUA{Certificate: keystore.OPCUAClient}}}
	assert.Len(t, w.look(soon.Add(25*time.Hour), c), 1, "one that is used from now on")
	said = w.look(end, c)
	require.Len(t, said, 2)
	assert.Contains(t, said[1].Text, "the certificate keystore:uplink ended on 2026-12-01 08:00 UTC; ")
	assert.Empty(t, w.look(end.AddDate(-1, 0, 0), c), "a clock that was set back")
}

// Of a certificate that lasts a day it is said before its end, whenever the gateway
// was started.
func TestShortCertificate(t *testing.T) {
	t.Parallel()
	i := keystore.Info{Name: "uplink", From: time.Unix(0, 0), Until: time.Unix(24*3600, 0)}
	assert.Empty(t, i.Ends(time.Unix(15*3600, 0)))
	assert.Contains(t, i.Ends(time.Unix(16*3600, 0)), " ends on ")
	assert.Contains(t, i.Ends(time.Unix(24*3600, 0)), " ended on ")
	assert.Empty(t, (&keystore.Info{}).Ends(time.Unix(0, 0)), "a key without one")
}

// TestCertificateEnds: a gateway that runs says so, once its clock can be trusted.
func TestCertificateEnds(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	m := &movable{}
	m.set(48*time.Hour, false) // the certificate of a test lasts a day
	p.change = m.options
	r := p.start()
	eventually(t, "doubt", func() bool { return len(p.events("clock-untrusted")) == 1 })
	m.set(48*time.Hour, true)
	eventually(t, "the event", func() bool { return len(p.events("certificate-ends")) == 1 })
	said := p.events("certificate-ends")[0]
	assert.Contains(t, said.Text, "the certificate keystore:uplink ended on ")
	trusted := p.events("clock-trusted")
	require.Len(t, trusted, 1, "it was said before the clock was trusted")
	assert.False(t, said.Time.Before(trusted[0].Time))
	r.stop()
}
