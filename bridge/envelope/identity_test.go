package envelope

import (
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeyFiles(t *testing.T) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768P256, MLKEM768X25519} {
		id, err := NewIdentity(alg, "press office\nx: y")
		require.NoError(t, err)
		file := id.Recipient().Marshal()
		r, err := ParseRecipient(append([]byte("a comment above\n"), append(file, " \r\n"...)...))
		require.NoError(t, err)
		assert.Equal(t, file, r.Marshal())
		assert.Equal(t, id.Recipient().ID(), r.ID())
		assert.Equal(t, alg, r.Algorithm())
		assert.Equal(t, "press office x: y", r.Name())
		again, err := ParseIdentity(id.Marshal())
		require.NoError(t, err)
		assert.Equal(t, id.Marshal(), again.Marshal())
		assert.Equal(t, r.Thumbprint(), again.Recipient().Thumbprint())

		name, err := ParseAlgorithm(alg.String())
		require.NoError(t, err)
		assert.Equal(t, alg, name)

		_, err = ParseRecipient(id.Marshal())
		assert.ErrorContains(t, err, "private key")
		_, err = ParseIdentity(file)
		assert.ErrorContains(t, err, "public key")
		block, _ := pem.Decode(id.Marshal())
		block.Type = pemRecipient
		_, err = ParseRecipient(pem.EncodeToMemory(block))
		assert.ErrorContains(t, err, "holds a private key")
		block, _ = pem.Decode(file)
		block.Type = pemIdentity
		_, err = ParseIdentity(pem.EncodeToMemory(block))
		assert.ErrorContains(t, err, "private part is missing")
		_, err = ParseRecipient(append(file, file...))
		assert.ErrorContains(t, err, "one key to a file")
	}
	_, err := NewIdentity(50, "")
	assert.Error(t, err)
	_, err = ParseAlgorithm("rsa")
	assert.ErrorContains(t, err, "mlkem768-x25519")
	_, err = ParseRecipient([]byte(strings.Repeat("x", 1<<20)))
	assert.Error(t, err)
}

func TestIdentityHalvesBelongTogether(t *testing.T) {
	a, b := identity(t, X25519), identity(t, X25519)
	private, err := b.key.Bytes()
	require.NoError(t, err)
	mixed := appendPEM(pemIdentity, "", appendPublic(nil, X25519, a.recipient.key.Bytes(), private, false))
	_, err = ParseIdentity(mixed)
	assert.ErrorContains(t, err, "do not belong together")
}
