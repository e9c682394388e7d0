package configs

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Uplink is one way upstream.
type Uplink struct {
	Name  string
	NATS  *NATS // one of the three
	DTLS  *DTLS
	Files *Files
}

// DTLS is an uplink to hubs, which store in an existing JetStream stream.
type DTLS struct {
	Servers        []string // "relay.example:5684", one or several hubs in front of one stream
	Prefix, Stream string   // what a hub's welcome must say; empty: whatever it says
	Certificate    string   // name in the keystore
	Trust          string   // path of the certificates that hubs must lead to, in PEM
	MinWindow      int      // bytes that are under way whatever is lost; 0: as docs/dtls-uplink.md says
}

// Files is an uplink into a folder.
type Files struct {
	Folder string // from the working directory, or absolute
}

// NATS is an uplink to an existing JetStream stream.
type NATS struct {
	Servers     []string // "tls://hub-a.example:4222"
	Stream      string
	Prefix      string // of all subjects: "plant.augsburg"
	Certificate string // name in the keystore
	Trust       string // path of the certificates that servers must lead to, in PEM
}

// uplinks reads the list. This version uses one.
func (l *loader) uplinks(n node) []Uplink {
	var uplinks []Uplink
	names := map[string]int{}
	for _, item := range n.list() {
		m := item.mapping()
		if !m.present() {
			continue
		}
		u := Uplink{}
		name := m.need("name", "write name: NAME")
		if s, ok := name.ident(); ok {
			if line, twice := names[s]; twice {
				name.wrong("the name "+quote(s)+" is on line "+itoa(line)+" already", "write another")
			} else {
				names[s] = name.y.Line
			}
			u.Name = s
		}
		notYet := m.notYet("dtls")
		spec, folder := m.get("nats"), m.get("files")
		m.done()
		switch {
		case notYet:
			continue
		case !spec.present() && !folder.present():
			m.wrong("neither 'nats' nor 'files' is in "+m.called, "write nats: with servers, stream, prefix, certificate and trust, or files: {folder: out}")
		case spec.present() && folder.present():
			folder.wrong("'nats' and 'files' are in one uplink", "write one of them")
		case len(uplinks) == 1:
			item.notYet("a second uplink")
			continue
		case folder.present():
			u.Files = files(folder)
		default:
			u.NATS = l.nats(spec)
		}
		uplinks = append(uplinks, u)
	}
	return uplinks
}

func files(n node) *Files {
	m := n.mapping()
	u := &Files{}
	if s, ok := m.need("folder", "write folder: /var/lib/fieldseal/out").text(); ok {
		u.Folder = n.f.beside(s)
	}
	m.done()
	return u
}

func (l *loader) nats(n node) *NATS {
	m := n.mapping()
	u := &NATS{}
	for _, item := range m.need("servers", "write servers: [\"tls://hub.example:4222\"]").list() {
		s, ok := item.server()
		if ok && slices.Contains(u.Servers, s) {
			item.wrong("the server is in the list already", "write it once")
		} else if ok {
			u.Servers = append(u.Servers, s)
		}
	}
	u.Stream, _ = m.need("stream", "write the name of a JetStream stream that exists").token("stream name", false)
	u.Prefix, _ = m.need("prefix", "write what all subjects begin with, such as plant.augsburg").token("prefix", true)
	u.Certificate, _ = m.need("certificate", "write certificate: keystore:uplink").secret("keystore")
	u.Trust = l.authorities(m.need("trust", "write the file with the certificates that servers must lead to"))
	m.done()
	return u
}

// server reads the URL of a NATS server. A URL can have a password in it, and
// so none is quoted.
func (n node) server() (string, bool) {
	const example = "write tls://HOST:PORT"
	s, ok := n.text()
	if !ok {
		return "", false
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "":
		n.wrong(n.called+" is no URL of a server", example)
	case u.Scheme == "nats":
		n.wrong("nats:// would connect without TLS where the server allows it", example)
	case u.Scheme != "tls":
		n.wrong(n.called+" has another scheme than tls://", example)
	case u.User != nil:
		n.wrong(n.called+" has a user or password in it", example+"; the gateway shows its certificate, and secrets are never in these files")
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || !isPort(u.Port()):
		n.wrong(n.called+" has more than a host and a port", example)
	default:
		return s, true
	}
	return "", false
}

func isPort(s string) bool {
	p, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && p > 0
}

// token reads one token of a NATS subject, or several with dots between.
func (n node) token(what string, dots bool) (string, bool) {
	s, ok := n.text()
	if !ok {
		return "", false
	}
	instead := "write letters, digits, dashes and underscores"
	tokens := []string{s}
	if dots {
		instead += ", with single dots between"
		tokens = strings.Split(s, ".")
	}
	for _, t := range tokens {
		if t == "" || len(s) > 128 || strings.ContainsFunc(t, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
		}) {
			n.wrong(quote(s)+" is no "+what, instead)
			return "", false
		}
	}
	return s, true
}

// authorities reads the path of a file with certificates, and looks into it.
func (l *loader) authorities(n node) string {
	s, ok := n.text()
	if !ok || l.alone {
		return ""
	}
	path := n.f.beside(s)
	b, err := readFile(path)
	if err != nil {
		n.wrong(cannotRead(s, err))
		return ""
	}
	count := 0
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); block.Type != "CERTIFICATE" || err != nil {
			n.wrong(quote(filepath.Base(path))+" has something in it that is no certificate", "leave certificates only, in PEM")
			return ""
		}
		count++
	}
	if count == 0 {
		n.wrong(quote(filepath.Base(path))+" has no certificate in it", "write the file of the certificates that servers must lead to, in PEM")
	}
	return path
}
