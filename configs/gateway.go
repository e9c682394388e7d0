package configs

import (
	"encoding/base64"
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keystore says how the private keys are opened.
type Keystore struct {
	Credential string // name of the credential that unlocks it
}

// Outbox bounds the durable queue.
type Outbox struct {
	MaxSize     int64         // bytes
	MaxAge      time.Duration // 0: no limit
	StopPolling bool          // when full; else the oldest messages are dropped
}

// Metrics says where metrics are served. Listen is empty where they are not.
type Metrics struct {
	Network string // "tcp" or "unix"
	Listen  string // loopback address and port, or the path of a socket
}

// leastOutbox is the smallest outbox: four segments of 4 MiB.
const leastOutbox = 16 << 20

// gateway reads the gateway file and everything it names.
func (l *loader) gateway(d *document) *Config {
	m, _, ok := d.top("gateway")
	if !ok {
		return nil
	}
	c := &Config{}
	name := m.need("gateway", "write gateway: NAME, which is visible upstream")
	if s, ok := name.ident(); ok {
		c.Gateway = s
	}
	c.Location = m.get("time_zone").zone(time.UTC)
	policyFile := m.need("policy", "write policy: policy.yaml")
	trustFile := m.need("trust", "write trust: trust.yaml")
	machines := m.need("machines", "write machines: machines/*.yaml")
	templates := m.get("templates")
	if s, ok := m.need("state", "write state: /var/lib/fieldseal").text(); ok {
		c.State = d.f.beside(s)
	}
	c.Keystore = keystore(m.need("keystore", "write keystore: {unlock: \"credential:keystore\"}"))
	l.unlock = c.Keystore.Credential
	l.readLines(m.get("lines"))
	c.Uplinks = l.uplinks(m.need("uplinks", "write a list with one uplink"))
	c.Outbox = outbox(m.need("outbox", "write outbox: {max_size: 512MiB, max_age: 7d, when_full: drop-oldest}"))
	c.Metrics = metrics(m.get("metrics"))
	m.notYet("console")
	m.done()

	both := l.pairUp(name, policyFile, trustFile, c)
	trust, pol := both.trust, both.policy
	if trust != nil {
		c.Trust = *trust
	}
	if pol != nil {
		c.Policy = *pol
	}
	l.templates(templates, pol, trust)
	readers, whole := l.machines(machines, trust, approved{c.Gateway, pol, both.sources[0].approval})
	l.decide(pol, trust, readers, both.sound, whole)
	l.checkLines(readers)
	for _, r := range readers {
		if *r.wrong == 0 {
			c.Machines = append(c.Machines, r.m)
			c.said = append(c.said, l.judged[r].said)
		}
	}
	c.Unapproved = l.unapproved
	return c
}

// enrolled checks that receivers will know the gateway.
func (l *loader) enrolled(n node, name string, t *Trust) {
	if name == "" {
		return
	}
	g, ok := t.Gateways[name]
	switch {
	case !ok:
		n.wrong("the trust file does not list the gateway "+quote(name), "add it there: nobody could tell who sent its data")
	case l.untrusted == "" && !g.Until.IsZero() && !l.now().Before(g.Until):
		n.note("the trust file lists the gateway "+quote(name)+" until "+lastDay(g.Until)+", which is past",
			"receivers refuse what it signs: write a later day there")
	}
}

// ownKey checks that receivers will accept what the gateway signs.
func (l *loader) ownKey(f *file, name string, t *Trust) {
	if g, ok := t.Gateways[name]; ok && l.own != nil && g.SigningKey != nil && !g.SigningKey.Equal(l.own) {
		f.refuse("it gives "+name+" another signing key than its keystore has, so that nobody would accept its messages",
			`write signing_key: "ed25519:`+base64.StdEncoding.EncodeToString(l.own)+`"`)
	}
}

// lastDay writes the day that ends at an instant.
func lastDay(until time.Time) string { return until.Add(-time.Second).Format(time.DateOnly) }

func keystore(n node) (k Keystore) {
	m := n.mapping()
	k.Credential, _ = m.need("unlock", `write unlock: "credential:keystore"`).secret("credential")
	m.done()
	return k
}

func outbox(n node) (o Outbox) {
	m := n.mapping()
	const example = "write max_size: 512MiB"
	size := m.need("max_size", example)
	if s, ok := size.source(example); ok {
		v, err := parseSize(s)
		switch {
		case err != nil:
			size.wrong("'max_size' is no size: "+err.Error(), example)
		case v < leastOutbox:
			size.wrong("'max_size' is less than the "+itoa(leastOutbox>>20)+"MiB that the outbox needs", example)
		default:
			o.MaxSize = v
		}
	}
	o.MaxAge, _ = m.get("max_age").duration(time.Minute, "7d")
	word, _ := m.need("when_full", "write drop-oldest or stop-polling").choice("rule", "drop-oldest", "stop-polling")
	o.StopPolling = word == "stop-polling"
	m.done()
	return o
}

func metrics(n node) (s Metrics) {
	m := n.mapping()
	const example = `write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`
	listen := m.need("listen", example)
	m.done()
	text, ok := listen.text()
	if !ok {
		return s
	}
	if socket, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(socket) {
			listen.wrong("'listen' is no absolute path of a socket", example)
			return s
		}
		return Metrics{"unix", filepath.Clean(socket)}
	}
	host, port, err := net.SplitHostPort(text)
	ip, ipErr := netip.ParseAddr(host)
	n64, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || portErr != nil || n64 == 0:
		listen.wrong(quote(text)+" is no address with a port", example)
	case ipErr != nil || !ip.IsLoopback():
		listen.wrong(quote(text)+" is not a loopback address: metrics have neither encryption nor login", example)
	default:
		return Metrics{"tcp", text}
	}
	return s
}

// matching gives the files that a pattern of the gateway file names.
func (l *loader) matching(n node) (files []string, ok bool) {
	s, ok := n.text()
	if !ok || l.alone {
		return nil, false
	}
	pattern := s
	if !filepath.IsAbs(s) { // only the pattern's own stars count, not the folder's
		pattern = filepath.Join(strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(filepath.Dir(n.f.path)), s)
	}
	l.in(pattern)
	found, err := filepath.Glob(pattern)
	if err != nil {
		n.wrong(quote(s)+" is no file pattern", "write a pattern such as "+path.Join(path.Dir(s), "*.yaml"))
		return nil, false
	}
	for _, f := range found { // what begins with a dot belongs to editors and mounts
		if !strings.HasPrefix(filepath.Base(f), ".") {
			files = append(files, f)
		}
	}
	slices.Sort(files)
	return files, true
}
