package configs

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
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
	Prefix, Stream string   // what a hub's welcome must say, as the other uplinks of the list do; empty: whatever it says
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

// uplinks reads the list. All of it leads to one stream; the first that works is
// used.
func (l *loader) uplinks(n node) []Uplink {
	var uplinks []Uplink
	names := map[string]int{}
	var to destination
	items := n.list()
	for _, item := range items {
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
		var kinds []node
		for _, kind := range []string{"nats", "dtls", "files"} {
			if k := m.get(kind); k.present() {
				kinds = append(kinds, k)
			}
		}
		m.done()
		switch {
		case len(kinds) == 0:
			m.wrong("neither 'nats', 'dtls' nor 'files' is in "+m.called,
				"write nats: or dtls: with servers, certificate and trust, or files: {folder: out}")
			continue
		case len(kinds) > 1:
			kinds[1].wrong(kinds[0].called+" and "+kinds[1].called+" are in one uplink", "write one of them, and the other one under a name of its own")
			continue
		}
		switch spec := kinds[0]; spec.called {
		case quote("files"):
			if len(items) > 1 {
				spec.wrong("'files' is beside other uplinks, and messages would be in two places: it is never what another one fails over to",
					"write it as the only uplink, or remove it")
			}
			u.Files = files(spec)
		case quote("dtls"):
			u.DTLS = l.dtls(spec, &to)
		default:
			u.NATS = l.nats(spec, &to)
		}
		uplinks = append(uplinks, u)
	}
	for _, u := range uplinks {
		if u.DTLS != nil { // a hub that leads elsewhere is found out when it says so
			u.DTLS.Stream, u.DTLS.Prefix = to.stream.word(), to.prefix.word()
		}
	}
	return uplinks
}

// destination is where the uplinks of one list store, as far as they have said
// so. A message that goes over another uplink than the one before would
// otherwise be in another place.
type destination struct{ stream, prefix node }

// same notes an uplink that leads to another place than the ones before.
func (d *destination) same(stream, prefix node) {
	for _, k := range []struct {
		first *node
		here  node
	}{{&d.stream, stream}, {&d.prefix, prefix}} {
		s, first := k.here.word(), k.first.word()
		switch {
		case s == "":
		case first == "":
			*k.first = k.here
		case s != first:
			k.here.wrong("the "+k.here.unquoted()+" is "+quote(s)+" here and "+quote(first)+" on line "+itoa(k.first.y.Line),
				"write the same: all uplinks lead to one place")
		}
	}
}

// word gives a text without a look at what it is; empty where it is none.
func (n node) word() string {
	if !n.present() || n.y.Kind != yaml.ScalarNode || n.y.ShortTag() != "!!str" {
		return ""
	}
	return n.y.Value
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

func (l *loader) nats(n node, to *destination) *NATS {
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
	stream := m.need("stream", "write the name of a JetStream stream that exists")
	prefix := m.need("prefix", "write what all subjects begin with, such as plant.augsburg")
	u.Stream, _ = stream.token("stream name", false)
	u.Prefix, _ = prefix.token("prefix", true)
	to.same(stream, prefix)
	u.Certificate, _ = m.need("certificate", "write certificate: keystore:uplink").secret("keystore")
	u.Trust, _ = l.authorities(m.need("trust", "write the file with the certificates that servers must lead to"))
	m.done()
	return u
}

// The bounds of what is under way whatever is lost. adapters/dtls has the same.
const leastWindow, mostWindow = 4 << 10, 4 << 20

func (l *loader) dtls(n node, to *destination) *DTLS {
	m := n.mapping()
	u := &DTLS{}
	one, several := m.get("server"), m.get("servers")
	const example = "write server: relay.example:5684, or servers: with a list"
	switch {
	case one.present() && several.present():
		several.wrong("'server' and 'servers' are there both", "write one of them")
	case !one.present() && !several.present():
		m.missing("server", example)
	}
	for _, item := range append(several.list(), one) {
		s, ok := item.hub()
		if ok && slices.Contains(u.Servers, s) {
			item.wrong("the server is in the list already", "write it once")
		} else if ok {
			u.Servers = append(u.Servers, s)
		}
	}
	stream, prefix := m.get("stream"), m.get("prefix")
	u.Stream, _ = stream.token("stream name", false)
	u.Prefix, _ = prefix.token("prefix", true)
	to.same(stream, prefix)
	u.Certificate, _ = m.need("certificate", "write certificate: keystore:uplink").secret("keystore")
	u.Trust, _ = l.authorities(m.need("trust", "write the file with the certificates that hubs must lead to"))
	u.MinWindow = m.get("min_window").size("min_window", "128KiB", leastWindow, mostWindow)
	m.done()
	return u
}

// size reads a number of bytes within bounds.
func (n node) size(key, example string, least, most int64) int {
	instead := "write " + key + ": " + example
	s, ok := n.source(instead)
	if !ok {
		return 0
	}
	v, err := parseSize(s)
	switch {
	case err != nil:
		n.wrong(n.called+" is no size: "+err.Error(), instead)
	case v < least || v > most:
		n.wrong(n.called+" is out of range", "write "+inKiB(least)+" to "+inKiB(most)+", such as "+example)
	default:
		return int(v)
	}
	return 0
}

func inKiB(bytes int64) string { return strconv.FormatInt(bytes>>10, 10) + "KiB" }

// hub reads the address of a hub.
func (n node) hub() (string, bool) {
	const example = "write HOST:PORT, such as relay.example:5684"
	s, ok := n.text()
	if !ok {
		return "", false
	}
	host, port, err := net.SplitHostPort(s)
	switch {
	case strings.Contains(s, "://"):
		n.wrong(n.called+" is a URL", example)
	case err != nil && !strings.Contains(s, ":"):
		n.wrong(n.called+" has no port", "write "+s+":5684")
	case err != nil || host == "" || port == "" || !isPort(port) || strings.ContainsAny(host, "/@ "):
		n.wrong(n.called+" is no host with a port", example)
	default:
		return s, true
	}
	return "", false
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
