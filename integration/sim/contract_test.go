package sim_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// TestOthersAgree: the loader takes the mapping, and the ciphertext guard takes
// the payload for what it is.
func TestOthersAgree(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1})
	assert.Empty(t, configs.CheckSnippet("machine", []byte(plant.YAML("press-1"))))
	assert.NoError(t, ciphertext.Judge("cose", read(t, c, 500, sim.PayloadSize)))
	plant.SetPlaintext("press-1", true)
	assert.Error(t, ciphertext.Judge("cose", read(t, c, 500, sim.PayloadSize)))
}

// TestGuardPasses: whoever watches a machine for long never finds a fault with
// what it encrypts, and passes the first payload already.
func TestGuardPasses(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1})
	guard, err := ciphertext.NewGuard(ciphertext.Config{Format: ciphertext.COSE})
	require.NoError(t, err)
	for i := range 300 {
		v := guard.Judge(read(t, c, 500, sim.PayloadSize), time.Now())
		require.True(t, v.Pass, "payload %d: %s", i, v.Reason)
		plant.NextPayload("press-1")
	}
}
