//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Certs is a certificate authority of its own for one test, with certificates
// for servers on loopback and for clients by name.
type Certs struct {
	CA string // file of the authority's certificate

	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair names the two PEM files of a certificate.
type Pair struct{ Cert, Key string }

// NewCerts makes an authority and writes its certificate to the folder.
func NewCerts(t testing.TB, dir string) *Certs {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	c := &Certs{CA: filepath.Join(dir, "ca.pem"), t: t, dir: dir, key: newKey(t)}
	template := c.template("Fieldseal interop CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	require.NoError(t, err)
	c.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	writePEM(t, c.CA, "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(c.key)
	require.NoError(t, err)
	writePEM(t, c.keyFile(), "PRIVATE KEY", private)
	return c
}

// Server makes a certificate for localhost, 127.0.0.1 and ::1.
func (c *Certs) Server(name string) Pair {
	c.t.Helper()
	template := c.template(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return c.issue(name, template)
}

// Client makes a certificate that names a client in its common name and as a
// DNS name.
func (c *Certs) Client(name string) Pair {
	c.t.Helper()
	template := c.template(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{name}
	return c.issue(name, template)
}

// ClientTLS is the configuration of a client with a new certificate.
func (c *Certs) ClientTLS(name string) *tls.Config {
	c.t.Helper()
	files := c.Client(name)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(c.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(c.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

func (c *Certs) keyFile() string { return filepath.Join(c.dir, "ca-key.pem") }

// Certify has openssl look at somebody's certificate request and issue a
// client's certificate for it, as a plant's authority does. It gives the file.
func (c *Certs) Certify(name string, request []byte) string {
	c.t.Helper()
	version, err := exec.CommandContext(c.t.Context(), "openssl", "version").Output()
	require.NoError(c.t, err, "run integration/interop/install.sh")
	folder := filepath.Join(c.dir, "certified")
	require.NoError(c.t, os.MkdirAll(folder, 0o700))
	in, extensions, out := filepath.Join(folder, name+".csr"), filepath.Join(folder, name+".ext"), filepath.Join(folder, name+".pem")
	require.NoError(c.t, os.WriteFile(in, request, 0o600))
	require.NoError(c.t, os.WriteFile(extensions,
		fmt.Appendf(nil, "extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature\nsubjectAltName=DNS:%s\n", name), 0o600))
	for _, args := range [][]string{
		{"req", "-in", in, "-verify", "-noout"},
		{"x509", "-req", "-in", in, "-CA", c.CA, "-CAkey", c.keyFile(), "-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", out},
	} {
		said, err := exec.CommandContext(c.t.Context(), "openssl", args...).CombinedOutput()
		require.NoError(c.t, err, "openssl %s: %s", args[0], said)
	}
	if words := strings.Fields(string(version)); len(words) > 1 {
		ran("openssl", words[1])
	}
	return out
}

func (c *Certs) template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	require.NoError(c.t, err)
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Fieldseal interop"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (c *Certs) issue(name string, template *x509.Certificate) Pair {
	c.t.Helper()
	key := newKey(c.t)
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	require.NoError(c.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(c.t, err)
	p := Pair{Cert: filepath.Join(c.dir, name+".pem"), Key: filepath.Join(c.dir, name+"-key.pem")}
	writePEM(c.t, p.Cert, "CERTIFICATE", der)
	writePEM(c.t, p.Key, "PRIVATE KEY", private)
	return p
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
