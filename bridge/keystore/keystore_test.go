package keystore_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/keystore"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newStore(t *testing.T) (*keystore.Store, string, []byte) {
	t.Helper()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	dir := t.TempDir()
	cred, _, err := keystore.MakeCredential(dir, "keystore")
	require.NoError(t, err)
	s, err := keystore.Create(dir, "gw-1", cred, now)
	require.NoError(t, err)
	return s, dir, cred
}

func TestReopenGivesTheSameKeys(t *testing.T) {
	s, dir, _ := newStore(t)
	cred, path, err := keystore.Credential(dir, "keystore")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "credentials", "keystore"), path)
	again, err := keystore.Open(dir, cred)
	require.NoError(t, err)
	require.Equal(t, s.List(), again.List())

	a, err := s.Signer(keystore.Signing)
	require.NoError(t, err)
	b, err := again.Signer(keystore.Signing)
	require.NoError(t, err)
	require.True(t, a.Public().(ed25519.PublicKey).Equal(b.Public()))

	secret, err := again.Secret(keystore.Outbox)
	require.NoError(t, err)
	require.Len(t, secret, 32)
	file, err := os.ReadFile(filepath.Join(dir, "keystore"))
	require.NoError(t, err)
	require.False(t, bytes.Contains(file, secret), "the file must not hold the secret as it is")
}

func TestRefusals(t *testing.T) {
	_, dir, cred := newStore(t)

	_, err := keystore.Create(dir, "gw-1", cred, now)
	require.ErrorContains(t, err, "exists already")
	require.True(t, keystore.Exists(dir))
	require.NoError(t, os.Mkdir(filepath.Join(t.TempDir(), "keystore"), 0o700))
	require.False(t, keystore.Exists(t.TempDir()), "a folder of that name is none")

	other := append([]byte(nil), cred...)
	other[0] ^= 1
	_, err = keystore.Open(dir, other)
	require.ErrorIs(t, err, keystore.ErrWrongCredential)

	path := filepath.Join(dir, "keystore")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range good { // one flipped bit anywhere is refused
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, err = keystore.Open(dir, cred)
		require.Error(t, err, i)
	}

	_, err = keystore.Open(t.TempDir(), cred)
	require.ErrorContains(t, err, "fieldseal keys init")
}

func TestCredentialPlaces(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	_, _, err := keystore.Credential(dir, "keystore")
	require.ErrorIs(t, err, keystore.ErrNoCredential)

	_, path, err := keystore.MakeCredential(dir, "keystore")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o644))
	_, _, err = keystore.Credential(dir, "keystore")
	require.ErrorContains(t, err, "chmod 600")

	systemd := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", systemd)
	require.NoError(t, os.WriteFile(filepath.Join(systemd, "keystore"), []byte("hunter2\n"), 0o400))
	_, _, err = keystore.Credential(dir, "keystore")
	require.ErrorContains(t, err, "base64 of 32 random bytes")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestImport(t *testing.T) {
	s, dir, cred := newStore(t)
	request, err := s.RequestPEM(keystore.Uplink)
	require.NoError(t, err)
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, csr.CheckSignature())

	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	issue := func(pub any) []byte {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "issued"}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, &x509.Certificate{Subject: pkix.Name{CommonName: "plant CA"}}, pub, caKey)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	require.ErrorContains(t, s.Import(keystore.Uplink, issue(caKey.Public())), "another key")
	require.NoError(t, s.Import(keystore.Uplink, issue(csr.PublicKey)))
	again, err := keystore.Open(dir, cred)
	require.NoError(t, err)
	c, err := again.Certificate(keystore.Uplink)
	require.NoError(t, err)
	require.Equal(t, "issued", c.Leaf.Subject.CommonName)
}

// TestOPCUAClient: the certificate is what the adapter and servers want, and one
// that an authority issued takes its place.
func TestOPCUAClient(t *testing.T) {
	s, dir, cred := newStore(t)
	der, key, err := s.ClientIdentity(keystore.OPCUAClient)
	require.NoError(t, err)
	spec := opcua.Spec{
		Endpoint: "opc.tcp://plc", Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt", ServerSHA256: [32]byte{1},
		Certificate: der, Key: opcua.Secret(key), ApplicationURI: "urn:fieldseal:gw-1", User: opcua.User{Anonymous: true},
	}
	require.Empty(t, spec.Check())
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature))
	require.Equal(t, 3072, c.PublicKey.(*rsa.PublicKey).N.BitLen())
	require.Equal(t, []string{"gw-1"}, c.DNSNames)
	require.True(t, c.BasicConstraintsValid)
	require.False(t, c.IsCA)
	require.Equal(t, x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment|x509.KeyUsageKeyEncipherment|x509.KeyUsageDataEncipherment|x509.KeyUsageCertSign, c.KeyUsage)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage)
	file, err := s.CertificateDER(keystore.OPCUAClient)
	require.NoError(t, err)
	require.Equal(t, der, file)

	request, err := s.RequestPEM(keystore.OPCUAClient)
	require.NoError(t, err)
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, "urn:fieldseal:gw-1", csr.URIs[0].String())
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	issue := func(uris []*url.URL) []byte {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(8), Subject: csr.Subject, URIs: uris, NotBefore: now, NotAfter: now.AddDate(1, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, &x509.Certificate{Subject: pkix.Name{CommonName: "plant CA"}}, csr.PublicKey, caKey)
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	require.ErrorContains(t, s.Import(keystore.OPCUAClient, issue(nil)), "no application URI")
	require.NoError(t, s.Import(keystore.OPCUAClient, issue(csr.URIs)))
	again, err := keystore.Open(dir, cred)
	require.NoError(t, err)
	spec.Certificate, _, err = again.ClientIdentity(keystore.OPCUAClient)
	require.NoError(t, err)
	require.NotEqual(t, der, spec.Certificate)
	require.Empty(t, spec.Check())

	_, _, err = s.ClientIdentity(keystore.Uplink)
	require.EqualError(t, err, `the keystore has no RSA certificate "uplink"; it has message-id, opcua-client, outbox, signing, uplink`)
}

func TestPassword(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	_, err := keystore.Password(dir, "mixer-4")
	require.ErrorIs(t, err, keystore.ErrNoCredential)

	path := filepath.Join(dir, "credentials", "mixer-4")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	for content, want := range map[string]string{
		"hunter2\n": "hunter2", "hunter2\r\n": "hunter2", " p w ": " p w ", "hunter2": "hunter2", // blanks belong to it
		"": "is empty; write the password into it", "\n": "is empty; ", "hunter2\n\n": "is no password: one line of text",
		"hunter2\x00": "is no password", "\xff\xfe": "is no password",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		got, err := keystore.Password(dir, "mixer-4")
		if err != nil {
			require.NotContains(t, err.Error(), "hunter2")
			require.ErrorContains(t, err, want)
		} else {
			require.Equal(t, want, got)
		}
	}
	require.NoError(t, os.Chmod(path, 0o640))
	_, err = keystore.Password(dir, "mixer-4")
	require.ErrorContains(t, err, "chmod 600")
}
