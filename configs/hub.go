package configs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Hub is one hub's configuration, with what its files hold. A hub keeps no
// state, and so it has no keystore either: its private keys are files that
// nobody else can read.
type Hub struct {
	Listen      string // "0.0.0.0:5684", UDP
	Certificate tls.Certificate
	Trust       string   // path of the authorities of the gateways' certificates, in PEM
	Revoked     []string // paths of their revocation lists
	NATS        HubNATS
	Limits      HubLimits
	Metrics     Metrics
	Health      string // address that answers whether the hub is ready, and nothing else; empty: none
}

// HubNATS is where a hub publishes.
type HubNATS struct {
	Servers        []string
	Stream, Prefix string
	Certificate    tls.Certificate
	Roots          *x509.CertPool
}

// HubLimits bounds what gateways may take. Zero values mean the hub's defaults.
type HubLimits struct {
	Connections, ConnectionsPerGateway      int
	MessagesPerSecond, BytesPerSecond       int // of one connection
	Idle                                    time.Duration
	HalfOpen, Handshakes, HandshakesPerHost int
}

// HubOptions say how to load. The zero value is valid.
type HubOptions struct {
	Now func() time.Time // tells which certificates have expired; time.Now if nil
	// Authority tells why a certificate must not be among those that gateways are
	// let in by; nil: the hub looks itself when it begins.
	Authority func(*x509.Certificate) error
}

// LoadHub reads a hub's file and everything it names. Problems come all at once;
// the configuration is nil where one of them is [Fatal].
func LoadHub(path string, o HubOptions) (*Hub, []Problem) {
	l := &loader{now: o.Now}
	if l.now == nil {
		l.now = time.Now
	}
	h := l.hubWith(l.open(path), o.Authority)
	problems := sorted(l.problems)
	if Fatal(problems) {
		return nil, problems
	}
	return h, problems
}

// HubAddresses reads where a running hub answers, from a file that may be wrong
// or unfinished in all else: a mistake that is made while a hub runs does not make
// it look as if it did not. The problems are those that keep it from saying so.
func HubAddresses(path string) (m Metrics, health string, problems []Problem) {
	l := &loader{now: time.Now}
	d := l.open(path)
	if d == nil {
		return m, "", l.problems
	}
	root, ok := d.f.parse(d.content)
	if !ok {
		whole := l.problems
		l.problems = nil
		if root, ok = d.f.parse(onlyAddresses(d.content)); !ok {
			return m, "", whole
		}
	}
	top := root.mapping()
	l.problems = nil
	m = metrics(top.get("metrics"))
	if n := top.get("health").mapping(); n.present() {
		health, _ = n.get("listen").listenAt("0.0.0.0:8081")
	}
	return m, health, sorted(l.problems)
}

// onlyAddresses empties all lines of a file but those of its keys metrics and
// health, and so leaves out what is no YAML.
func onlyAddresses(content []byte) []byte {
	lines := bytes.SplitAfter(content, []byte("\n"))
	keep := false
	for i, line := range lines {
		if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 && !bytes.ContainsAny(text[:1], " \t#") {
			keep = bytes.HasPrefix(text, []byte("metrics:")) || bytes.HasPrefix(text, []byte("health:"))
		}
		if !keep {
			lines[i] = []byte("\n")
		}
	}
	return bytes.Join(lines, nil)
}

// hub reads a hub's file.
func (l *loader) hub(d *document) *Hub { return l.hubWith(d, nil) }

// hubWith is hub with a look at each authority of gateways.
func (l *loader) hubWith(d *document, authority func(*x509.Certificate) error) *Hub {
	m, ok := d.hubTop()
	if !ok {
		return nil
	}
	h := &Hub{}
	h.Listen, _ = m.need("listen", `write listen: "0.0.0.0:5684"`).listenAt("0.0.0.0:5684")
	h.Certificate = l.certificate(m, pairOfFiles{role: x509.ExtKeyUsageServerAuth, dtls: true})
	trust := m.need("trust", "write the file of the authorities that issue the gateways' certificates")
	authorities := l.certificates(trust)
	if authority != nil {
		for _, c := range authorities {
			if err := authority(c); err != nil {
				trust.wrong(quote(filepath.Base(trust.word()))+": "+err.Error(), "")
			}
		}
	}
	h.Trust = trust.besides()
	for _, item := range m.get("revoked").list() {
		if l.revocations(item, authorities) {
			h.Revoked = append(h.Revoked, item.besides())
		}
	}
	h.NATS = l.hubNATS(m.need("nats", "write nats: with servers, stream, prefix, certificate, key and trust"))
	h.Limits = hubLimits(m.get("limits"))
	h.Metrics = metrics(m.get("metrics"))
	if health := m.get("health").mapping(); health.present() {
		h.Health, _ = health.need("listen", `write listen: "0.0.0.0:8081"`).listenAt("0.0.0.0:8081")
		health.done()
	}
	m.done()
	return h
}

// hubTop gives the top mapping of a hub's file.
func (d *document) hubTop() (*mapping, bool) {
	if d == nil {
		return nil, false
	}
	root, ok := d.f.parse(d.content)
	if !ok {
		return nil, false
	}
	m := root.mapping()
	if !m.present() {
		return nil, false
	}
	const line = "fieldseal: hub/v1"
	n := m.need("fieldseal", "write "+line+" as the first line")
	if s, ok := n.source("write " + line); ok && s != "hub/v1" {
		n.wrong("this is "+quote(s)+", where a hub's file belongs", "name another file, or write "+line)
		return nil, false
	}
	return m, true
}

// besides gives the path of a file that stands beside this one; empty where the
// node is no text.
func (n node) besides() string {
	if s := n.word(); s != "" {
		return n.f.beside(s)
	}
	return ""
}

func (l *loader) hubNATS(n node) (u HubNATS) {
	m := n.mapping()
	for _, item := range m.need("servers", "write servers: [\"tls://nats.example:4222\"]").list() {
		s, ok := item.server()
		if ok && slices.Contains(u.Servers, s) {
			item.wrong("the server is in the list already", "write it once")
		} else if ok {
			u.Servers = append(u.Servers, s)
		}
	}
	u.Stream, _ = m.need("stream", "write the name of a JetStream stream that exists").token("stream name", false)
	u.Prefix, _ = m.need("prefix", "write what all subjects begin with, such as plant.augsburg").token("prefix", true)
	u.Certificate = l.certificate(m, pairOfFiles{role: x509.ExtKeyUsageClientAuth})
	u.Roots = x509.NewCertPool()
	for _, c := range l.certificates(m.need("trust", "write the file with the certificates that the servers must lead to")) {
		u.Roots.AddCert(c)
	}
	m.done()
	return u
}

// hubLimits reads the limits. bridge/hub has the defaults and the same bounds.
func hubLimits(n node) (h HubLimits) {
	m := n.mapping()
	for _, k := range []struct {
		key         string
		to          *int
		least, most int64
	}{
		{"connections", &h.Connections, 1, 65536},
		{"connections_per_gateway", &h.ConnectionsPerGateway, 1, 16},
		{"messages_per_second", &h.MessagesPerSecond, 1, 1_000_000},
		{"half_open", &h.HalfOpen, 1, 65536},
		{"handshakes", &h.Handshakes, 1, 65536},
		{"handshakes_per_host", &h.HandshakesPerHost, 1, 65536},
	} {
		if v, ok := m.get(k.key).whole(k.least, k.most); ok {
			*k.to = int(v)
		}
	}
	h.BytesPerSecond = m.get("bytes_per_second").size("bytes_per_second", "64MiB", 128<<10, 1<<30)
	idle := m.get("idle")
	if d, ok := idle.duration(5*time.Second, "2m"); ok && d > time.Hour {
		idle.wrong("'idle' is longer than 1h", "write a duration such as 2m: a gateway that is gone keeps its place for so long")
	} else if ok {
		h.Idle = d
	}
	m.done()
	return h
}

// listenAt reads an address of this machine with a port.
func (n node) listenAt(example string) (string, bool) {
	s, ok := n.text()
	if !ok {
		return "", false
	}
	host, port, err := net.SplitHostPort(s)
	_, ipErr := netip.ParseAddr(host)
	p, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || p == 0 || host != "" && ipErr != nil {
		n.wrong(quote(s)+" is no address with a port", "write "+n.unquoted()+`: "`+example+`"`)
		return "", false
	}
	return s, true
}
