package bridge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// TestGatewaySaysWhereItStands holds that statements come behind what they name:
// a receiver who has all that was sent misses nothing by them, and at the end
// they name the last message of each stream.
func TestGatewaySaysWhereItStands(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.start()
	g.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 20 && s.Outbox.Messages == 0 })
	live := p.read()
	require.Len(t, live.gateways, 1)
	assert.NotZero(t, live.gateways[0].Statement.Sequence)
	assert.False(t, live.gateways[0].Silent)
	digest := g.config.Policy.Digest
	g.stop()

	p.start().stop() // a restart contradicts nothing
	got := p.read()
	got.lossless(t)
	said := got.gateways[0].Statement
	assert.Equal(t, envelope.Signed, got.gateways[0].Proof)
	assert.Equal(t, digest, said.Policy)
	assert.EqualValues(t, 2, said.Start)
	for _, s := range got.report {
		assert.Empty(t, s.Withheld, "%s", s.Stream)
		assert.Equal(t, s.Highest, s.Stated, "%s", s.Stream)
	}
	assert.Empty(t, p.events("message-quarantined"))
}

// TestEventsGoUpstream holds that what happens reaches those whom the policy
// names, sealed, and nobody else.
func TestEventsGoUpstream(t *testing.T) {
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		p.files["policy.yaml"] = strings.Replace(p.files["policy.yaml"], "default: restricted\n", "default: restricted\nevents: {to: [process-engineering]}\n", 1)
		p.files["machines/broken.yaml"] = "fieldseal: machine/v1\nmachine: broken\n"
	})
	g := p.start()
	g.until("samples", func(s status.Gateway) bool { return s.Machines[0].Samples.Taken > 5 })
	g.stop()
	got := p.read()
	got.lossless(t)
	told := got.samples["_gateway/machine-left-out"]
	require.NotEmpty(t, told)
	var text map[string]string
	require.NoError(t, json.Unmarshal(told[0].Value.Data(), &text))
	assert.Equal(t, "broken", text["machine"])
	assert.NotEmpty(t, text["text"])
	assert.NotContains(t, string(p.raw()), "machine-left-out")
}

// TestGuardsAreRemembered holds that a device that proved itself need not do so
// again after a restart, and that a file that cannot be read costs trust only.
func TestGuardsAreRemembered(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.start()
	g.until("payloads", func(s status.Gateway) bool { return s.Machines[0].Samples.Passthrough > 0 })
	g.stop()
	file := filepath.Join(p.path("state"), "guards.json")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(b), `"judged"`)
	require.NoError(t, os.WriteFile(file, b[:len(b)/2], 0o600))
	p.start().stop()
	b, err = os.ReadFile(file)
	require.NoError(t, err)
	assert.True(t, json.Valid(b))
}
