package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// MakeCertificate makes a P-256 key with a self-signed certificate for TLS
// client authentication, valid for two years. A certificate of the plant's own
// authority takes its place with [Store.Import].
func (s *Store) MakeCertificate(name, gateway string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make the key %q: %w", name, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: gateway, Organization: []string{"Fieldseal gateway"}},
		DNSNames:     []string{gateway},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(2, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("cannot make the certificate %q: %w", name, err)
	}
	return s.putKey(name, KindCertificate, key, [][]byte{der}, now)
}

// rsaBits is the size of OPC UA keys: the security policies in use allow 2048 to
// 4096.
const rsaBits = 3072

// MakeOPCUACertificate makes an RSA key with a self-signed application instance
// certificate (OPC 10000-6, 6.2.2), valid for two years. Its URI is
// urn:fieldseal:GATEWAY. A certificate of the plant's own authority takes its
// place with [Store.Import].
func (s *Store) MakeOPCUACertificate(name, gateway string, now time.Time) error {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return fmt.Errorf("cannot make the key %q: %w", name, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("cannot encode the key %q: %w", name, err)
	}
	sum := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber: serial,
		SubjectKeyId: sum[:20], AuthorityKeyId: sum[:20],
		Subject:   pkix.Name{CommonName: gateway, Organization: []string{"Fieldseal gateway"}},
		URIs:      []*url.URL{{Scheme: "urn", Opaque: "fieldseal:" + gateway}},
		DNSNames:  []string{gateway},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(2, 0, 0),
		// keyCertSign is what the standard wants of self-signed ones; an authority it
		// is not.
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment |
			x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("cannot make the certificate %q: %w", name, err)
	}
	return s.putKey(name, KindRSA, key, [][]byte{der}, now)
}

func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("cannot make a serial number: %w", err)
	}
	return serial, nil
}

// Import puts the certificate chain that an authority issued for the key of
// the entry in place of the self-signed one. chain is PEM, leaf first.
func (s *Store) Import(name string, chain []byte) error {
	key, err := s.Signer(name)
	if err != nil {
		return err
	}
	var ders [][]byte
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 {
		return errors.New("no CERTIFICATE block in the file; it has to be PEM")
	}
	leaf, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return fmt.Errorf("cannot read the first certificate: %w", err)
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return fmt.Errorf("the certificate is for another key than %q; issue it for the request that `fieldseal keys export %s --request` prints", name, name)
	}
	e := s.entries[name]
	if e.Kind == KindRSA && len(leaf.URIs) == 0 {
		return fmt.Errorf("the certificate has no application URI, and OPC UA servers refuse it; have the authority keep the subject alternative names of the request that `fieldseal keys export %s --request` prints", name)
	}
	e.Certificate = ders
	s.entries[name] = e
	return s.Save()
}

// Certificate gives a certificate entry for a TLS configuration.
func (s *Store) Certificate(name string) (*tls.Certificate, error) {
	e, ok := s.entries[name]
	if !ok || e.Kind != KindCertificate && e.Kind != KindRSA {
		return nil, s.missing(name, "certificate")
	}
	key, err := s.Signer(name)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(e.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate %q: %w", name, err)
	}
	return &tls.Certificate{Certificate: e.Certificate, PrivateKey: key, Leaf: leaf}, nil
}

// ClientIdentity gives an RSA certificate entry as OPC UA wants it: the
// certificate alone, in DER, and the key in PKCS #8.
func (s *Store) ClientIdentity(name string) (certificate, key []byte, err error) {
	e, ok := s.entries[name]
	if !ok || e.Kind != KindRSA {
		return nil, nil, s.missing(name, "RSA certificate")
	}
	return e.Certificate[0], e.Private, nil
}

// CertificatePEM gives the certificate chain of an entry, for those who must
// trust it.
func (s *Store) CertificatePEM(name string) ([]byte, error) {
	c, err := s.Certificate(name)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, der := range c.Certificate {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out, nil
}

// CertificateDER gives the certificate of an entry alone, without a chain.
func (s *Store) CertificateDER(name string) ([]byte, error) {
	c, err := s.Certificate(name)
	if err != nil {
		return nil, err
	}
	return c.Certificate[0], nil
}

// RequestPEM gives a certificate request (RFC 2986) for the key of an entry.
func (s *Store) RequestPEM(name string) ([]byte, error) {
	c, err := s.Certificate(name)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: c.Leaf.Subject, DNSNames: c.Leaf.DNSNames, URIs: c.Leaf.URIs,
	}, c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate request for %q: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
