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
	w := certificateWatch{keys: keys}
	end := made.AddDate(2, 0, 0)
	assert.Empty(t, w.look(end.Add(-keystore.Renewal-time.Minute), c))
	w = certificateWatch{keys: keys}
	said := w.look(end.Add(-keystore.Renewal), c)
	require.Len(t, said, 1, "the one for OPC UA is not used")
	assert.Equal(t, "certificate-ends", said[0].Name)
	assert.Equal(t, "the certificate keystore:uplink ends on 2026-12-01 08:00 UTC; have a new one issued for what fieldseal keys export uplink --request prints, take it over with fieldseal keys import uplink FILE, and start the gateway again", said[0].Text)
	assert.Empty(t, w.look(end.Add(-keystore.Renewal+23*time.Hour), c), "once a day")
	assert.Len(t, w.look(end.Add(-keystore.Renewal+24*time.Hour), c), 1)
	c.Machines = []configs.Machine{{OPCUA: &configs.OPCUA{Certificate: keystore.OPCUAClient}}}
	said = w.look(end, c)
	require.Len(t, said, 2)
	assert.Contains(t, said[1].Text, "the certificate keystore:uplink ended on 2026-12-01 08:00 UTC; ")
	assert.Empty(t, w.look(end.AddDate(-1, 0, 0), c), "a clock that was set back")
}

// TestCertificateEnds: a gateway that runs says so, where its clock can be trusted.
func TestCertificateEnds(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	m := &movable{}
	m.set(0, true)
	p.change = m.options
	r := p.start()
	r.flows(4, "press-1")
	assert.Empty(t, p.events("certificate-ends"))
	m.set(48*time.Hour, true) // that of a test lasts a day
	eventually(t, "the event", func() bool { return len(p.events("certificate-ends")) == 1 })
	assert.Contains(t, p.events("certificate-ends")[0].Text, "the certificate keystore:uplink ended on ")
	r.stop()
}
