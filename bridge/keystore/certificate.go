package keystore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
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
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("cannot make a serial number: %w", err)
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
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return fmt.Errorf("the certificate is for another key than %q; issue it for the request that `fieldseal keys export %s --request` prints", name, name)
	}
	e := s.entries[name]
	e.Certificate = ders
	s.entries[name] = e
	return s.Save()
}

// Certificate gives a certificate entry for a TLS configuration.
func (s *Store) Certificate(name string) (*tls.Certificate, error) {
	e, ok := s.entries[name]
	if !ok || e.Kind != KindCertificate {
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

// RequestPEM gives a certificate request (RFC 2986) for the key of an entry.
func (s *Store) RequestPEM(name string) ([]byte, error) {
	c, err := s.Certificate(name)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: c.Leaf.Subject, DNSNames: c.Leaf.DNSNames,
	}, c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate request for %q: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
