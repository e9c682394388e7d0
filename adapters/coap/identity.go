package coap

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// keyOf finds the key for an identity. What it says of an unknown one holds
// nothing of it: who mixes up identity and key at the device must not find the
// key in our log.
func keyOf(s *Source, known func(*machine)) func([]byte) ([]byte, error) {
	return func(identity []byte) ([]byte, error) {
		m := s.found(func(d *Device) bool { return d.Identity != "" && d.Identity == string(identity) })
		if m == nil {
			return nil, fmt.Errorf("no machine has this psk_identity (%d bytes, sha256:%x…)", len(identity), sha256.Sum256(identity))
		}
		known(m)
		return []byte(m.key), nil
	}
}

// verifier finds out whose certificate it is. The library has verified that the
// device has its key.
func verifier(s *Source, known func(*machine)) func([][]byte, [][]*x509.Certificate) error {
	return func(raw [][]byte, _ [][]*x509.Certificate) error {
		m, err := s.certified(raw, s.now())
		if err == nil {
			known(m)
		}
		return err
	}
}

// certified gives the machine of a certificate: the one that pins it, else the
// one whose name an authority gave it. A pin knows neither authority nor dates:
// it is this certificate until the file says another.
func (s *Source) certified(raw [][]byte, now time.Time) (*machine, error) {
	if len(raw) == 0 {
		return nil, errors.New("no certificate")
	}
	sum := sha256.Sum256(raw[0])
	if m := s.found(func(d *Device) bool { return d.CertificateSHA256 == sum }); m != nil {
		return m, nil
	}
	unknown := func(why string) error {
		return fmt.Errorf("no machine has the certificate sha256:%x: %s", sum, why)
	}
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return nil, unknown("it cannot be read")
	}
	if s.spec.Authorities == nil {
		return nil, unknown("it is not pinned")
	}
	between := x509.NewCertPool()
	for _, der := range raw[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: s.spec.Authorities, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil, unknown("it is not pinned, and " + refusal(err))
	}
	names := namesOf(leaf)
	if m := s.found(func(d *Device) bool { return d.CertificateName != "" && slices.Contains(names, d.CertificateName) }); m != nil {
		return m, nil
	}
	return nil, unknown("no machine has its name")
}

// refusal says why a certificate is not accepted, in words that hold nothing of
// it.
func refusal(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case !errors.As(err, &invalid):
		return "no authority in the trust file issued it"
	case invalid.Reason == x509.Expired:
		return "it is expired, or not valid yet"
	case invalid.Reason == x509.IncompatibleUsage:
		return "it is not for clients"
	}
	return "its chain is not in order"
}

// namesOf gives the names in a certificate, in lower case: the DNS names, or the
// common name where it has no alternative names at all (RFC 7925, 4.4.2).
func namesOf(c *x509.Certificate) []string {
	names := c.DNSNames
	if len(names) == 0 && len(c.EmailAddresses) == 0 && len(c.IPAddresses) == 0 && len(c.URIs) == 0 && c.Subject.CommonName != "" {
		names = []string{c.Subject.CommonName}
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
