package configs

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
)

// OPCUA is how a machine is read that speaks it.
type OPCUA struct {
	Endpoint    opcua.Spec // without certificate, key and password; machines with an equal one, and equal names, share it
	Certificate string     // the keystore's entry with the client's certificate and key
	Credential  string     // names the file with the user's password; empty for an anonymous user
	opcua.Machine
}

func (o *OPCUA) security() point.Security {
	if o.Endpoint.Mode == "SignAndEncrypt" {
		return point.Encrypted
	}
	return point.Authenticated
}

// What to write where it is missing or wrong.
const (
	bestSecurity = "write security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}"
	getPin       = `write "sha256:…" with the fingerprint that the server shows, or that this prints of its certificate: openssl x509 -in server.pem -noout -fingerprint -sha256`
	anyUser      = `write user: {name: NAME, password: "credential:NAME"}, or user: anonymous`
)

// opcuaReader reads what a file says of a machine that speaks OPC UA.
type opcuaReader struct {
	*machineReader
	section *mapping // under opcua:
}

// connection reads how the machine is reached.
func (r *opcuaReader) connection(own, base *mapping) {
	m := over(own, base)
	r.section = m
	r.keep("", m)
	o, e := r.m.OPCUA, &r.m.OPCUA.Endpoint
	m.foreign("Modbus", "OPC UA", map[string]string{
		"connect": `write endpoint: "opc.tcp://HOST:4840"`, "line": `write endpoint: "opc.tcp://HOST:4840"`,
		"unit_id": "remove it", "order": "remove it: values come with their type", "reads": "remove it: the server says what it can do",
	})
	m.notYet("trust")
	need := func(key, instead string, others ...string) node {
		if r.partial {
			return m.get(key)
		}
		return m.needUnless(key, instead, others...)
	}
	r.connect = need("endpoint", `write endpoint: "opc.tcp://HOST:4840"`, "connect", "line")
	e.Endpoint, _ = r.connect.text()
	r.security(need("security", bestSecurity))
	if pin := need("server_certificate", getPin); pin.present() {
		e.ServerSHA256 = pin.fingerprint()
	}
	o.Certificate, _ = need("certificate", "write certificate: keystore:opcua-client, which fieldseal keys init makes").secret("keystore")
	r.user(need("user", anyUser))
	if n := m.get("namespace"); n.present() {
		o.Namespace = n.namespace()
	}
	e.Timeout, _ = m.get("timeout").duration(time.Millisecond, "10s")
	if e.Timeout == 0 {
		e.Timeout = 10 * time.Second
	}
	m.done()
	r.endpoint()
}

// security reads policy and mode.
func (r *opcuaReader) security(n node) {
	if !n.present() {
		return
	}
	e := &r.m.OPCUA.Endpoint
	m := n.mapping()
	e.Policy, _ = m.need("policy", bestSecurity).source(bestSecurity)
	e.Mode, _ = m.need("mode", bestSecurity).source(bestSecurity)
	m.done()
}

// fingerprint reads the SHA-256 of a certificate. Upper case, and colons as
// openssl writes them, are fine.
func (n node) fingerprint() (sum [32]byte) {
	s, ok := n.source(getPin)
	if !ok {
		return sum
	}
	digits, ok := strings.CutPrefix(s, "sha256:")
	digits = strings.ReplaceAll(digits, ":", "")
	b, err := hex.DecodeString(digits)
	switch {
	case !ok:
		n.wrong(n.called+" does not begin with sha256:", getPin)
	case err != nil && strings.Trim(digits, "0123456789abcdefABCDEF") != "":
		n.wrong(n.called+" has something in it that is no hexadecimal digit", getPin)
	case len(b) != len(sum) || err != nil:
		n.wrong(n.called+" has "+itoa(len(digits))+" hexadecimal digits, and a SHA-256 fingerprint has 64", getPin)
	case [32]byte(b) == sum:
		n.wrong(n.called+" is no fingerprint", getPin)
	default:
		copy(sum[:], b)
	}
	return sum
}

// user reads as whom the gateway logs in. It quotes nothing: a password may stand
// there.
func (r *opcuaReader) user(n node) {
	o := r.m.OPCUA
	if !n.present() {
		return
	}
	if !n.isMapping() {
		s, ok := n.source(anyUser)
		if o.Endpoint.User.Anonymous = s == "anonymous"; ok && !o.Endpoint.User.Anonymous {
			n.wrong("'user' is neither anonymous nor a name with a password", anyUser)
		}
		return
	}
	m := n.mapping()
	if !m.notYet("certificate") {
		o.Endpoint.User.Name, _ = m.need("name", anyUser).text()
		password := m.need("password", `write password: "credential:NAME"`)
		o.Credential, _ = password.secret("credential")
		if o.Credential != "" && o.Credential == r.l.unlock {
			// Whoever writes a machine's file names the server that it is sent to.
			password.wrong("credential:"+o.Credential+" unlocks the keystore", "write another one, with this server's password alone")
		}
	}
	m.done()
}

// namespace reads the URI of a namespace. The adapter looks at it.
func (n node) namespace() string {
	const instead = "write the namespace's URI, as the server lists it in its NamespaceArray (i=2255)"
	s, ok := n.source(instead)
	if ok && strings.TrimSpace(s) == "" {
		n.wrong(n.called+" is an empty text", instead)
	}
	return s
}

// endpoint has the adapter look at what is there of the endpoint. What is missing
// is said already.
func (r *opcuaReader) endpoint() {
	e := &r.m.OPCUA.Endpoint
	s, before := *e, *r.wrong
	if s.Endpoint == "" {
		s.Endpoint = "opc.tcp://missing"
	}
	if s.Policy == "" {
		s.Policy = "Aes256_Sha256_RsaPss"
	}
	if s.Mode == "" {
		s.Mode = "SignAndEncrypt"
	}
	if s.ServerSHA256 == [32]byte{} {
		s.ServerSHA256[0] = 1
	}
	if s.User.Name == "" {
		s.User.Anonymous = true
	}
	r.adapter(s.Check())
	if e.Endpoint != "" && *r.wrong == before {
		one, err := canonical(e.Endpoint, "4840")
		if err != nil {
			r.connect.wrong(split(err))
		}
		e.Endpoint = one
	}
}

// differs compares two machines of one connection.
func (r *opcuaReader) differs(other *machineReader) (what, here, there string) {
	a, b := r.m.OPCUA, other.m.OPCUA
	say := func(f func(*OPCUA) string) (bool, string, string) { return f(a) != f(b), f(a), f(b) }
	for _, c := range []struct {
		what string
		of   func(*OPCUA) string
	}{
		{"security", func(o *OPCUA) string { return o.Endpoint.Policy + " " + o.Endpoint.Mode }},
		{"server certificate", func(o *OPCUA) string { return "sha256:" + hex.EncodeToString(o.Endpoint.ServerSHA256[:]) }},
		{"certificate", func(o *OPCUA) string { return "keystore:" + o.Certificate }},
		{"user", func(o *OPCUA) string {
			if o.Endpoint.User.Anonymous {
				return "anonymous"
			}
			return quote(o.Endpoint.User.Name) + " with credential:" + o.Credential
		}},
		{"timeout", func(o *OPCUA) string { return o.Endpoint.Timeout.String() }},
	} {
		if differs, here, there := say(c.of); differs {
			return c.what, here, there
		}
	}
	return "", "", ""
}

// check has the adapter look at the machine.
func (r *opcuaReader) check() {
	o := r.m.OPCUA
	o.Name = r.m.Name
	m := o.Machine
	if without := func(p opcua.Point) bool { return p.Namespace == "" }; m.Namespace == "" && slices.ContainsFunc(m.Points, without) {
		m.Namespace = "urn:missing" // said once, not for each point
		if !r.partial {
			r.section.need("namespace", "write namespace: and the URI that the nodes are in, as the server lists it in its NamespaceArray (i=2255)")
		}
	}
	r.adapter(m.Check())
}
