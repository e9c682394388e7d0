package sim_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/sim"
)

func TestOPCUAYAML(t *testing.T) {
	plant, err := sim.StartOPCUA(sim.OPCUAOptions{Machines: 2, Load: 3})
	require.NoError(t, err)
	defer plant.Stop()
	assert.Equal(t, []string{"mixer-1", "mixer-2"}, plant.Names())
	text := plant.YAML("mixer-2")
	assert.Contains(t, text, "machine: mixer-2\n")
	assert.Contains(t, text, "endpoint: "+plant.Endpoint()+"\n")
	assert.Contains(t, text, "node: s=mixer-2.Counter,")
	assert.NotContains(t, text, "%!")
	assert.Equal(t, 10, strings.Count(text, "sensitivity: "))
	assert.Len(t, plant.Canaries(), 4)
	assert.Len(t, plant.PublicCanaries(), 2)
	assert.Empty(t, plant.Served("mixer-1", sim.Counter), "nobody asked")
	assert.Zero(t, plant.Writes())
}

// TestOPCUARestart: the endpoint stays where mapping files say it is.
func TestOPCUARestart(t *testing.T) {
	plant, err := sim.StartOPCUA(sim.OPCUAOptions{})
	require.NoError(t, err)
	defer plant.Stop()
	endpoint := plant.Endpoint()
	plant.Stop()
	require.NoError(t, plant.Start())
	assert.Equal(t, endpoint, plant.Endpoint())
}

// TestOPCUAIdentity: the certificate is one that OPC UA servers take.
func TestOPCUAIdentity(t *testing.T) {
	i := sim.NewOPCUAIdentity("someone", 2048)
	assert.Equal(t, "urn:fieldseal:someone", i.URI)
	assert.NotEmpty(t, i.PKCS8())
	assert.NotEqual(t, i.Fingerprint(), sim.NewOPCUAIdentity("someone", 2048).Fingerprint())
}
