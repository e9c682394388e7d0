package ciphertext_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"github.com/veraison/go-cose"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// signedBy gives what an independent library signs.
func signedBy(t *testing.T, alg cose.Algorithm, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	signer, err := cose.NewSigner(alg, key)
	require.NoError(t, err)
	m := cose.NewSign1Message()
	m.Payload = payload
	m.Headers.Protected.SetAlgorithm(alg)
	m.Headers.Protected[cose.HeaderLabelKeyID] = []byte("press-4")
	require.NoError(t, m.Sign(rand.Reader, nil, signer))
	b, err := m.MarshalCBOR()
	require.NoError(t, err)
	return b
}

func TestSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	d := newDevice(t)
	for name, c := range map[string]struct {
		b    []byte
		key  crypto.PublicKey
		want string
	}{
		"Ed25519":          {signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(100))), public, ""},
		"a long payload":   {signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(400))), public, ""},
		"ES256":            {signedBy(t, cose.AlgorithmES256, p256, d.cose(t, d.record(100))), &p256.PublicKey, ""},
		"another key":      {signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(100))), other, "does not verify"},
		"another kind":     {signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(100))), &p256.PublicKey, "does not verify"},
		"unsigned":         {d.cose(t, d.record(100)), public, "not signed"},
		"plaintext signed": {signedBy(t, cose.AlgorithmEdDSA, private, d.record(100)), public, "not a tagged"},
		"no key":           {signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(100))), nil, ""},
	} {
		g := guard(t, ciphertext.Config{Format: ciphertext.COSE, DeviceKey: c.key})
		v := g.Judge(c.b, at(0))
		require.Equal(t, c.want == "", v.Pass, "%s: %s", name, v.Reason)
		require.Contains(t, v.Reason, c.want, name)
	}
	b := signedBy(t, cose.AlgorithmEdDSA, private, d.cose(t, d.record(100)))
	for i := range b {
		b[i] ^= 1
		v := guard(t, ciphertext.Config{Format: ciphertext.COSE, DeviceKey: public}).Judge(b, at(0))
		require.False(t, v.Pass, "bit flipped in byte %d", i)
		b[i] ^= 1
	}
	twice, err := cbor.Marshal(cbor.Tag{Number: 18, Content: []any{[]byte{0xa1, 1, 0x27}, map[int]any{}, b, random(64)}})
	require.NoError(t, err)
	require.Error(t, ciphertext.Judge(ciphertext.COSE, twice), "signed twice")
}

func TestParseKey(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	text := func(key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		require.NoError(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	for _, s := range []string{text(public), "ed25519:" + base64.StdEncoding.EncodeToString(public)} {
		key, err := ciphertext.ParseKey(s)
		require.NoError(t, err)
		require.True(t, public.Equal(key))
	}
	key, err := ciphertext.ParseKey(text(&p256.PublicKey))
	require.NoError(t, err)
	require.True(t, p256.PublicKey.Equal(key))
	for _, s := range []string{"", "ed25519:", "ed25519:AAAA", text(&p384.PublicKey), text(&rsaKey.PublicKey), text(public) + "more"} {
		_, err := ciphertext.ParseKey(s)
		require.Error(t, err)
	}
}
