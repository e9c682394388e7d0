package configs

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/policy"
)

// Trust is the content of a trust file: who is who.
type Trust struct {
	Revision   int
	Gateways   map[string]TrustGateway
	Recipients map[string]TrustRecipient
	Digest     [32]byte // SHA-256 of the file
}

// TrustGateway is a gateway whose signatures count.
type TrustGateway struct {
	SigningKey ed25519.PublicKey
	Until      time.Time // the first instant past its last day, in UTC: gateways and receivers read the same file
}

// TrustRecipient is somebody who can open what was sealed for the name.
type TrustRecipient struct {
	Keys []TrustKey
	Only []policy.Pattern // nothing else is sealed for it; nil: no limit
}

// TrustKey is one public key. Its content was compared with the fingerprint.
type TrustKey struct {
	File    string
	Content []byte
}

func (t *Trust) has(recipient string) bool { _, ok := t.Recipients[recipient]; return ok }
func (t *Trust) names() []string           { return slices.Sorted(maps.Keys(t.Recipients)) }

// trust reads a trust file and its keys. It is nil where the file is not one;
// where it has problems, the names that could be read are there.
func (l *loader) trust(d *document) *Trust {
	m, _, ok := d.top("trust")
	if !ok {
		return nil
	}
	t := &Trust{Gateways: map[string]TrustGateway{}, Recipients: map[string]TrustRecipient{}, Digest: sha256.Sum256(d.content)}
	t.Revision = revision(m)
	owners := map[string]string{}
	for _, e := range m.need("gateways", "list the gateways with their signing keys").named() {
		g := trustGateway(e.value)
		if other, twice := owners[string(g.SigningKey)]; twice && g.SigningKey != nil {
			e.value.wrong("gateway "+quote(e.key.Value)+" has the signing key of "+quote(other), "write its own: receivers could not tell the two apart")
		}
		owners[string(g.SigningKey)] = e.key.Value
		t.Gateways[e.key.Value] = g
	}
	before := len(l.problems)
	recipients := m.need("recipients", "list who can open data, with their keys").named()
	if len(l.problems) > before { // whoever names the missing one is not wrong
		t.Recipients = nil
	}
	for _, e := range recipients {
		r := l.trustRecipient(e.value)
		if t.Recipients != nil {
			t.Recipients[e.key.Value] = r
		}
	}
	m.done()
	return t
}

// named gives the entries of a mapping from names.
func (n node) named() []entry { return n.mapping().named() }

func (m *mapping) named() []entry {
	if m.present() && len(m.entries) == 0 {
		m.wrong(m.called+" is empty", "write at least one")
	}
	return slices.DeleteFunc(m.entries, func(e entry) bool {
		return !node{f: e.value.f, y: e.key, called: "the key"}.checkName(e.key.Value)
	})
}

func trustGateway(n node) (g TrustGateway) {
	m := n.mapping()
	const example = `write signing_key: "ed25519:…", as fieldseal keys list shows it`
	key := m.need("signing_key", example)
	if s, ok := key.text(); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(s, "ed25519:"))
		if !strings.HasPrefix(s, "ed25519:") || err != nil || len(b) != ed25519.PublicKeySize {
			key.wrong("'signing_key' is no Ed25519 public key: ed25519: and 32 bytes in base64", example)
		} else {
			g.SigningKey = b
		}
	}
	g.Until, _ = m.need("until", "write the last day of its key, such as until: 2028-12-31").until(time.UTC)
	m.done()
	return g
}

func (l *loader) trustRecipient(n node) (r TrustRecipient) {
	m := n.mapping()
	for _, item := range m.need("keys", "write keys: [{file: keys/NAME.pub, sha256: …}]").list() {
		if k, ok := l.trustKey(item); ok {
			r.Keys = append(r.Keys, k)
		}
	}
	for _, item := range m.get("only").list() {
		p, ok := item.pattern()
		switch {
		case !ok:
		case !strings.HasSuffix(p.String(), "/*"):
			item.wrong("pattern "+quote(p.String())+" names points", `write machines with all their points, such as "press-*/*"`)
		default:
			r.Only = append(r.Only, p)
		}
	}
	m.done()
	return r
}

// trustKey reads a key file and compares its fingerprint.
func (l *loader) trustKey(n node) (k TrustKey, ok bool) {
	m := n.mapping()
	fileName := m.need("file", "write the path of a public key")
	digest := m.need("sha256", "write the file's fingerprint, as sha256sum prints it")
	m.done()
	name, nameOK := fileName.text()
	want, wantOK := digest.source("write the file's fingerprint, as sha256sum prints it")
	if !nameOK || !wantOK || l.alone {
		return k, false
	}
	path := n.f.beside(name)
	content, kept := l.keys[want]
	var err error
	if !kept {
		content, err = readFile(path)
	}
	if err != nil {
		fileName.wrong(cannotRead(name, err))
		return k, false
	}
	sum := sha256.Sum256(content)
	if got := hex.EncodeToString(sum[:]); got != want {
		digest.wrong("'sha256' is not that of "+quote(name), "compare with what its owner says: this file has "+got)
		return k, false
	}
	return TrustKey{File: path, Content: content}, true
}
