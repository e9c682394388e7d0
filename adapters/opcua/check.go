package opcua

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	minPeriod       = 10 * time.Millisecond
	maxPeriod       = 24 * time.Hour
	maxTimeout      = time.Minute
	defaultTimeout  = 10 * time.Second
	defaultMaxBytes = 4096
	maxPoints       = 100_000 // of one machine
	maxURI          = 1024
	maxText         = 1024 // of a user name, password, point name
)

// policies are the security policies that nothing is known against and the
// library speaks.
var policies = [...]string{"Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"}

// The words of Spec.Mode.
const (
	modeSign    = "Sign"
	modeEncrypt = "SignAndEncrypt"
)

// Check gives all that is wrong with the endpoint as the mapping file describes
// it. Certificate, key and password are looked at where they are there.
func (s *Spec) Check() []point.Problem {
	var found []point.Problem
	add := func(key, what, instead string) {
		found = append(found, point.Problem{Key: key, What: what, Instead: instead})
	}
	if _, p := s.address(); p != nil {
		found = append(found, *p)
	}
	s.checkSecurity(add)
	s.checkIdentity(add)
	switch u := s.User; {
	case u.Anonymous && (u.Name != "" || u.Password != ""):
		add("user", "the user is anonymous and has a name or a password", "write one of them")
	case !u.Anonymous && u.Name == "":
		add("user", "there is no user", "write user: {name: …, password: \"credential:…\"} or user: anonymous")
	case len(u.Name) > maxText || len(u.Password) > maxText:
		add("user", fmt.Sprintf("name or password is longer than %d bytes", maxText), "")
	}
	if s.Timeout < 0 || s.Timeout > maxTimeout {
		add("timeout", fmt.Sprintf("a timeout of %v is outside 0–1m", s.Timeout), "leave it out for 10s")
	}
	return found
}

// address gives the endpoint's URL with its port.
func (s *Spec) address() (*url.URL, *point.Problem) {
	const example = "write opc.tcp://10.20.4.14:4840"
	problem := func(what string) (*url.URL, *point.Problem) {
		return nil, &point.Problem{Key: "endpoint", What: what, Instead: example}
	}
	if !strings.Contains(s.Endpoint, "://") {
		return problem("the endpoint has no scheme")
	}
	u, err := url.Parse(s.Endpoint)
	switch {
	case err != nil:
		return problem("this is no URL")
	case u.Scheme == "opc.https" || u.Scheme == "https" || u.Scheme == "opc.wss":
		return problem(u.Scheme + ":// is understood but not honoured: this version speaks opc.tcp:// only")
	case u.Scheme != "opc.tcp":
		return problem(fmt.Sprintf("there is no scheme %q", shorten(u.Scheme)))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return problem("the endpoint has more than host, port and path")
	case u.Hostname() == "":
		return problem("the endpoint has no host")
	case len(s.Endpoint) > maxURI:
		return problem(fmt.Sprintf("the endpoint is longer than %d bytes", maxURI))
	}
	port := cmp.Or(u.Port(), "4840")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return problem("the port is outside 1–65535")
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	return u, nil
}

// checkSecurity checks policy, mode and pin.
func (s *Spec) checkSecurity(add func(key, what, instead string)) {
	best := "write security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}"
	switch {
	case s.Policy == "None" || s.Mode == "None":
		add("security", "without security anybody on the way reads and changes what the server sends",
			best+"; without it the signed policy would need the exception {allow: connection-not-authenticated, points: […], why: …, until: …}, which this version does not honour for OPC UA yet")
		return
	case s.Policy == "Basic128Rsa15" || s.Policy == "Basic256":
		add("security", s.Policy+" is broken (SHA-1) and withdrawn", best)
	case !slices.Contains(policies[:], s.Policy):
		add("security", fmt.Sprintf("there is no security policy %q", shorten(s.Policy)), "write policy: "+strings.Join(policies[:], ", or "))
	}
	if s.Mode != modeSign && s.Mode != modeEncrypt {
		add("security", fmt.Sprintf("there is no security mode %q", shorten(s.Mode)), "write mode: SignAndEncrypt, or Sign")
	}
	if s.ServerSHA256 == [32]byte{} {
		add("server_certificate", "the server's certificate is not pinned, so anybody could be the server",
			"write \"sha256:…\" with the fingerprint that the server shows, or that this prints of its certificate: openssl x509 -in server.pem -noout -fingerprint -sha256")
	}
}

// checkIdentity checks the client's certificate and key, as far as they are
// there.
func (s *Spec) checkIdentity(add func(key, what, instead string)) {
	const mend = "fieldseal keys makes one that fits"
	if s.ApplicationURI != "" && (len(s.ApplicationURI) > maxURI || !utf8.ValidString(s.ApplicationURI)) {
		add("certificate", "the application URI is no text of reasonable length", "")
	}
	if len(s.Certificate) == 0 {
		return
	}
	cert, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		add("certificate", "the client certificate cannot be read as DER", mend)
		return
	}
	public, ok := cert.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok:
		add("certificate", "the client certificate has no RSA key, which these security policies need", mend)
		return
	case public.N.BitLen() < 2048 || public.N.BitLen() > 4096:
		add("certificate", fmt.Sprintf("the client certificate has an RSA key of %d bits, and 2048 to 4096 are allowed", public.N.BitLen()), mend)
	}
	switch {
	case len(cert.URIs) == 0:
		add("certificate", "the client certificate has no application URI (a URI as subject alternative name)", mend)
	case s.ApplicationURI != "" && cert.URIs[0].String() != s.ApplicationURI:
		add("certificate", fmt.Sprintf("the client certificate is that of %s, not of %s", shorten(cert.URIs[0].String()), shorten(s.ApplicationURI)), mend)
	}
	if s.Key == "" {
		return
	}
	if key, err := s.key(); err != nil {
		add("certificate", "the private key of the client certificate is no RSA key in PKCS#8", mend)
	} else if !key.PublicKey.Equal(public) {
		add("certificate", "the private key is not that of the client certificate", mend)
	}
}

// key is the client's private key.
func (s *Spec) key() (*rsa.PrivateKey, error) {
	any, err := x509.ParsePKCS8PrivateKey([]byte(s.Key))
	if err != nil {
		return nil, err
	}
	key, ok := any.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("no RSA key")
	}
	return key, nil
}

// grade is what a connection is that was made as configured. There is no other.
func (s *Spec) grade() point.Security {
	if s.Mode == modeEncrypt {
		return point.Encrypted
	}
	return point.Authenticated
}

// mechanism names the connection in OPC UA's words.
func (s *Spec) mechanism() string { return s.Policy + " " + s.Mode }

// complete gives the first thing that the mapping file only names and that has
// to be there for a connection.
func (s *Spec) complete() *point.Problem {
	switch {
	case len(s.Certificate) == 0:
		return &point.Problem{Key: "certificate", What: "there is no client certificate", Instead: "write certificate: keystore:NAME"}
	case s.Key == "":
		return &point.Problem{Key: "certificate", What: "the private key of the client certificate is missing"}
	case !s.User.Anonymous && s.User.Password == "":
		return &point.Problem{Key: "user", What: "the user has no password", Instead: "write password: \"credential:NAME\""}
	}
	return nil
}

// checker gathers problems; the current point's name is on each.
type checker struct {
	point string
	found []point.Problem
}

func (c *checker) add(key, what, instead string) {
	c.found = append(c.found, point.Problem{Point: c.point, Key: key, What: what, Instead: instead})
}

// Check gives all that is wrong with the machine and its points, in their
// order.
func (m *Machine) Check() []point.Problem {
	c := &checker{}
	if m.Namespace != "" {
		c.namespace(m.Namespace)
	}
	if len(m.Points) > maxPoints {
		c.add("points", fmt.Sprintf("the machine has %d points, and %d are the most", len(m.Points), maxPoints), "make it several machines")
	}
	names := make(map[string]bool, len(m.Points))
	for i := range m.Points {
		p := &m.Points[i]
		c.point = p.Name
		switch {
		case p.Name == "":
			c.add("name", fmt.Sprintf("point %d has no name", i+1), "give it one of lower case, digits and dashes")
		case names[p.Name]:
			c.add("name", "the name is there twice", "names of one machine differ")
		}
		names[p.Name] = true
		c.check(m, p)
	}
	return c.found
}

// check checks one point.
func (c *checker) check(m *Machine, p *Point) {
	if !p.Node.valid() {
		c.add("node", "the point has no node", nodeSpellings)
	}
	switch {
	case p.Namespace != "":
		c.namespace(p.Namespace)
	case m.Namespace == "":
		c.add("node", "the node's namespace is not known", "write namespace: once in opcua:, or node: {namespace: URI, id: …}")
	}
	if p.Field != "" {
		c.add("field", "fields of structures are understood but not honoured yet", "map a node of its own where the server has one")
	}
	switch {
	case p.Type < Bool || p.Type > DateTime:
		c.add("type", "the point has no type", "write bool, int16, uint16, float32, …")
	case !p.Type.sized() && p.MaxBytes != 0:
		c.add("max_bytes", fmt.Sprintf("a value of type %v has a fixed length", p.Type), "leave max_bytes out")
	case p.MaxBytes < 0 || p.MaxBytes > point.MaxValueSize:
		c.add("max_bytes", fmt.Sprintf("max_bytes %d is outside 1–%d", p.MaxBytes, point.MaxValueSize), fmt.Sprintf("leave it out for %d", defaultMaxBytes))
	}
	switch {
	case p.Period < minPeriod:
		c.add("poll", fmt.Sprintf("a period of %v is too short", p.Period), "10ms is the least")
	case p.Period > maxPeriod:
		c.add("poll", fmt.Sprintf("a period of %v is too long", p.Period), "24h is the most")
	}
}

// namespace checks that a namespace is named by something that can be its URI.
func (c *checker) namespace(uri string) {
	key := "namespace"
	if c.point != "" {
		key = "node"
	}
	_, number := strconv.ParseUint(uri, 10, 64)
	switch {
	case number == nil:
		c.add(key, fmt.Sprintf("%s is an index, and indexes move when firmware changes", shorten(uri)), "write the namespace's URI, as the server lists it in its NamespaceArray (i=2255)")
	case len(uri) > maxURI || !utf8.ValidString(uri) || bytes.ContainsAny([]byte(uri), "\x00\r\n\t"):
		c.add(key, "the namespace is no URI", "write it as the server lists it in its NamespaceArray (i=2255)")
	}
}

// limit is the greatest length of the point's value.
func (p *Point) limit() int { return cmp.Or(p.MaxBytes, defaultMaxBytes) }

// namespace is the URI of the point's node.
func (m *Machine) namespace(p *Point) string { return cmp.Or(p.Namespace, m.Namespace) }
