package natstest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
)

// Certify makes a certificate for somebody else's key, as a plant's authority
// answers a request. It gives PEM.
func (c *CA) Certify(name string, key crypto.PublicKey, v Validity) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, named(name, v), c.certificate, key, c.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
