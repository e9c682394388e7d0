package hub

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// trust says which gateways are let in. It does not change once it is made.
type trust struct {
	files       [][]byte // what it was made from
	pool        *x509.CertPool
	authorities []*x509.Certificate
	revoked     map[revocation]struct{}
	nextUpdate  time.Time // the earliest of the lists; zero where there is none
}

// revocation is what a list says about a certificate.
type revocation struct{ issuer, serial string }

// loadTrust reads a PEM file of authorities, or of the gateways' self-signed
// certificates, and files of revocation lists, PEM or DER. It gives old where no
// file has changed.
func loadTrust(old *trust, authorities string, revoked []string) (*trust, error) {
	t := &trust{pool: x509.NewCertPool(), revoked: make(map[revocation]struct{})}
	for i, path := range append([]string{authorities}, revoked...) {
		b, err := os.ReadFile(path)
		if err != nil && i == 0 {
			return nil, fmt.Errorf("cannot read the authorities of gateways: %w", err)
		} else if err != nil {
			return nil, fmt.Errorf("cannot read the revocation lists: %w", err)
		}
		t.files = append(t.files, b)
	}
	if old != nil && slices.EqualFunc(old.files, t.files, bytes.Equal) {
		return old, nil
	}
	for _, der := range blocks(t.files[0], "CERTIFICATE") {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("cannot read an authority in %s: %w", authorities, err)
		}
		if err := CheckAuthority(c); err != nil {
			return nil, fmt.Errorf("%s: %w", authorities, err)
		}
		t.authorities = append(t.authorities, c)
		t.pool.AddCert(c)
	}
	if len(t.authorities) == 0 {
		return nil, fmt.Errorf("%s has no certificate; it has to be PEM", authorities)
	}
	for i, path := range revoked {
		lists := blocks(t.files[1+i], "X509 CRL")
		if len(lists) == 0 {
			lists = [][]byte{t.files[1+i]} // DER
		}
		for _, der := range lists {
			if err := t.addList(der); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return t, nil
}

func blocks(b []byte, kind string) (ders [][]byte) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return ders
		}
		if block.Type == kind {
			ders = append(ders, block.Bytes)
		}
	}
}

// addList takes a revocation list that one of the authorities signed.
func (t *trust) addList(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("cannot read a revocation list: %w", err)
	}
	if !slices.ContainsFunc(t.authorities, func(a *x509.Certificate) bool {
		return bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil
	}) {
		return fmt.Errorf("the revocation list of %q is not signed by an authority whose certificate is there and may sign lists", list.Issuer)
	}
	for _, e := range list.RevokedCertificateEntries {
		t.revoked[revocation{string(list.RawIssuer), e.SerialNumber.String()}] = struct{}{}
	}
	if t.nextUpdate.IsZero() || list.NextUpdate.Before(t.nextUpdate) {
		t.nextUpdate = list.NextUpdate
	}
	return nil
}

// CheckAuthority tells why a certificate must not be among those that are trusted.
// One that may issue others is trusted for every name: a gateway that had it could
// make itself a certificate for any other gateway.
func CheckAuthority(c *x509.Certificate) error {
	if name, names := gatewayIn(c); names && c.IsCA {
		return fmt.Errorf("the certificate %q names the gateway %q and may issue certificates (CA:TRUE), for all other gateways too; "+
			"for a gateway, issue it without CA:TRUE (openssl req -x509 -addext basicConstraints=critical,CA:FALSE); "+
			"for an authority, leave the gateway's name out of its subject alternative names", c.Subject, name)
	}
	return nil
}

// check gives the name of the gateway whose verified chain it is, leaf first, or
// why it is not let in.
func (t *trust) check(chain []*x509.Certificate) (string, error) {
	for _, c := range chain {
		if _, is := t.revoked[revocation{string(c.RawIssuer), c.SerialNumber.String()}]; is {
			return "", fmt.Errorf("the certificate %q, serial number %X, is revoked", c.Subject, c.SerialNumber)
		}
	}
	for _, issuer := range chain[1:] {
		if name, names := gatewayIn(issuer); names {
			return "", fmt.Errorf("the certificate is issued by %q, which names the gateway %q itself; gateways do not issue certificates: have an authority of its own issue it", issuer.Subject, name)
		}
	}
	return nameOf(chain[0])
}

// recheck verifies the chain of a gateway that was let in before.
func (t *trust) recheck(chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	for _, c := range chains {
		if _, err = t.check(c); err == nil {
			return nil
		}
	}
	return err
}

// uriPrefix is what a URI that names a gateway begins with.
const uriPrefix = "urn:fieldseal:"

// nameOf gives the gateway that a certificate names: in a URI urn:fieldseal:NAME
// or, where there is none, in a DNS name that is a gateway's name. A host name
// with dots is none; the common name does not count (RFC 9525).
func nameOf(c *x509.Certificate) (string, error) {
	names := namesIn(c)
	switch {
	case len(names) == 0:
		return "", errors.New("the certificate names no gateway; it needs one as DNS name, or as URI urn:fieldseal:NAME")
	case len(names) > 1:
		return "", fmt.Errorf("the certificate names several gateways: %s", strings.Join(names, ", "))
	case !isName(names[0]):
		return "", fmt.Errorf("the certificate names %q; a gateway's name has letters, digits and dashes", names[0])
	}
	return names[0], nil
}

// gatewayIn tells whether a certificate names a gateway, or several.
func gatewayIn(c *x509.Certificate) (string, bool) {
	names := namesIn(c)
	i := slices.IndexFunc(names, isName)
	if i < 0 {
		return "", false
	}
	return names[i], true
}

// namesIn gives what a certificate says where a gateway's name belongs, each once.
func namesIn(c *x509.Certificate) (names []string) {
	for _, u := range c.URIs {
		if name, ok := strings.CutPrefix(u.String(), uriPrefix); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		for _, name := range c.DNSNames {
			if !strings.Contains(name, ".") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isName tells whether s can be one token of a subject.
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_' && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= envelope.MaxName
}
