package configs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// isSecret tells whether a path is where a container runtime or systemd puts
// secrets. Their modes are theirs, and nobody else gets there.
func isSecret(path string) bool {
	folders := []string{"/run/secrets"}
	if f := os.Getenv("CREDENTIALS_DIRECTORY"); f != "" {
		folders = append(folders, filepath.Clean(f))
	}
	return slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(path, f+"/") })
}

// expiresSoon is from when on the end of a certificate is worth a note.
const expiresSoon = 14 * 24 * time.Hour

// pairOfFiles says what the certificate of two files is for.
type pairOfFiles struct {
	role x509.ExtKeyUsage // the one that it needs
	dtls bool             // an ECDSA key is needed
}

// certificate reads the certificate and the key that a mapping names.
func (l *loader) certificate(m *mapping, p pairOfFiles) (c tls.Certificate) {
	certificateFile := m.need("certificate", "write the file of the certificate, in PEM, with those between it and its authority behind it")
	keyFile := m.need("key", "write the file of its private key, in PEM, which nobody else can read")
	chain, chainOK := l.content(certificateFile)
	key, keyOK := l.privateKey(keyFile)
	if !chainOK || !keyOK {
		return c
	}
	c, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
	case bytes.Contains(chain, []byte("-----BEGIN CERTIFICATE-----")) && !bytes.Contains(key, []byte("PRIVATE KEY-----")):
		keyFile.wrong(quote(filepath.Base(keyFile.word()))+" has no private key in it", "name a file with one, in PEM, without a password")
		return c
	case !bytes.Contains(chain, []byte("-----BEGIN CERTIFICATE-----")):
		certificateFile.wrong(quote(filepath.Base(certificateFile.word()))+" has no certificate in it", "name a file with one, in PEM")
		return c
	case strings.Contains(err.Error(), "does not match"):
		keyFile.wrong("the key is not that of "+quote(filepath.Base(certificateFile.word())), "name the key for which that certificate was issued")
		return c
	default: // the words of crypto/tls never quote a key
		certificateFile.wrong("the certificate and its key cannot be read: "+strings.TrimPrefix(err.Error(), "tls: "), "write both in PEM, the key without a password")
		return c
	}
	l.examine(certificateFile, c.Leaf, p)
	return c
}

// examine notes what would keep others from accepting a certificate.
func (l *loader) examine(n node, c *x509.Certificate, p pairOfFiles) {
	name, now := quote(filepath.Base(n.word())), l.now()
	_, isECDSA := c.PublicKey.(*ecdsa.PublicKey)
	role, words := "server authentication", "serverAuth"
	if p.role == x509.ExtKeyUsageClientAuth {
		role, words = "client authentication", "clientAuth"
	}
	switch {
	case p.dtls && !isECDSA:
		n.wrong(name+" is for a key of "+c.PublicKeyAlgorithm.String()+", and DTLS takes ECDSA only", "have one issued for an ECDSA P-256 key")
	case p.dtls && len(c.DNSNames) == 0 && len(c.IPAddresses) == 0:
		n.wrong(name+" is for no name: gateways hold it against the name or address that they connect to",
			"have one issued with subject alternative names, as DNS: or IP:")
	case len(c.ExtKeyUsage) > 0 && !slices.Contains(c.ExtKeyUsage, p.role) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny):
		n.wrong(name+" is not for "+role, "have one issued with extendedKeyUsage "+words)
	}
	switch until := c.NotAfter.UTC().Format("2006-01-02 15:04"); {
	case now.After(c.NotAfter):
		n.wrong(name+" expired on "+until+" UTC", "have a new one issued, or set this machine's clock right")
	case now.Before(c.NotBefore):
		n.wrong(name+" is not valid before "+c.NotBefore.UTC().Format("2006-01-02 15:04")+" UTC", "set this machine's clock right")
	case c.NotAfter.Sub(now) < expiresSoon:
		n.note(name+" expires on "+until+" UTC", "have a new one issued, and send the hub a SIGHUP")
	}
}

// content reads a file that a key names.
func (l *loader) content(n node) ([]byte, bool) {
	s, ok := n.text()
	if !ok || l.alone {
		return nil, false
	}
	b, err := readFile(n.f.beside(s))
	if err != nil {
		n.wrong(cannotRead(s, err))
		return nil, false
	}
	return b, true
}

// privateKey is content for a file that others must not read.
func (l *loader) privateKey(n node) ([]byte, bool) {
	b, ok := l.content(n)
	if !ok {
		return nil, false
	}
	path := n.besides()
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 && !isSecret(path) {
		n.wrong(quote(n.word())+" can be read by others (mode "+mode(info.Mode())+")", "run: chmod 600 "+Printable(path))
		return nil, false
	}
	return b, true
}

func mode(m os.FileMode) string {
	const digits = "01234567"
	p := m.Perm()
	return string([]byte{'0', digits[p>>6&7], digits[p>>3&7], digits[p&7]})
}

// certificates reads a file with certificates of authorities.
func (l *loader) certificates(n node) (all []*x509.Certificate) {
	b, ok := l.content(n)
	if !ok {
		return nil
	}
	name := quote(filepath.Base(n.word()))
	for _, block := range blocks(b) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			n.wrong(name+" has something in it that is no certificate", "leave certificates only, in PEM")
			return nil
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		n.wrong(name+" has no certificate in it", "write the file of the authorities' certificates, in PEM")
	}
	return all
}

func blocks(b []byte) (all []*pem.Block) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return all
		}
		all = append(all, block)
	}
}

// revocations looks into a file of revocation lists, PEM or DER, and tells
// whether a hub can use it.
func (l *loader) revocations(n node, authorities []*x509.Certificate) bool {
	b, ok := l.content(n)
	if !ok {
		return false
	}
	name := quote(filepath.Base(n.word()))
	lists := blocks(b)
	if len(lists) == 0 {
		lists = []*pem.Block{{Type: "X509 CRL", Bytes: b}}
	}
	for _, block := range lists {
		list, err := x509.ParseRevocationList(block.Bytes)
		if block.Type != "X509 CRL" {
			err = errors.New("it is a " + block.Type)
		}
		if err != nil {
			n.wrong(name+" has something in it that is no revocation list", "write a file of revocation lists, in PEM or DER")
			return false
		}
		if len(authorities) > 0 && !slices.ContainsFunc(authorities, func(a *x509.Certificate) bool {
			return bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil
		}) {
			n.wrong(name+" is not signed by an authority that is in 'trust' and may sign revocation lists",
				"write the list of one of them, or add that authority (keyUsage cRLSign) to 'trust'")
			return false
		}
		if l.now().After(list.NextUpdate) {
			n.note(name+" should have been replaced by "+list.NextUpdate.UTC().Format("2006-01-02 15:04")+" UTC", "fetch the newest one; until then this one stays in force")
		}
	}
	return true
}
