package sim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"time"
)

// OPCUAIdentity is an application instance certificate with its key.
type OPCUAIdentity struct {
	URI         string
	Certificate []byte // DER
	Key         *rsa.PrivateKey
}

// NewOPCUAIdentity makes a self-signed certificate as OPC 10000-6, 6.2.2 wants
// it: RSA, and the application's URI as a subject alternative name.
func NewOPCUAIdentity(name string, bits int) *OPCUAIdentity {
	uri := "urn:fieldseal:" + name
	key := must(rsa.GenerateKey(rand.Reader, bits))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"simulated"}},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment |
			x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true, // self-signed ones are, for servers that build a chain
		URIs:        []*url.URL{must(url.Parse(uri))},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	return &OPCUAIdentity{URI: uri, Certificate: must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)), Key: key}
}

// PKCS8 is the key in DER.
func (i *OPCUAIdentity) PKCS8() []byte { return must(x509.MarshalPKCS8PrivateKey(i.Key)) }

// Fingerprint is what a mapping file pins.
func (i *OPCUAIdentity) Fingerprint() [32]byte { return sha256.Sum256(i.Certificate) }
