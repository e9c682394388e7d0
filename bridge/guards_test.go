package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// TestOrigin holds that what a guard has seen goes over a restart by what the
// keys are, and not by where they lie in memory.
func TestOrigin(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	m := &configs.Machine{Modbus: &configs.Modbus{Endpoint: modbus.Spec{URL: "tcp://10.0.0.1:502"}}}
	p := &configs.Point{At: "holding/500", Guard: ciphertext.Config{Format: "cose", DeviceKey: &key.PublicKey}}
	same := key.PublicKey
	again := *p
	again.Guard.DeviceKey = &same
	assert.Equal(t, origin(m, p), origin(m, &again))

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	again.Guard.DeviceKey = &other.PublicKey
	assert.NotEqual(t, origin(m, p), origin(m, &again))
	again = *p
	again.Guard.KeyIDs = [][]byte{{1}}
	assert.NotEqual(t, origin(m, p), origin(m, &again))
}
