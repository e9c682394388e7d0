package configs

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// Bounds of the names of keys, as the guard has them.
const (
	mostKeyIDs = 64
	mostKeyID  = 64 // bytes
)

// passthrough reads what the device encrypts itself, and what is known of how.
func (r *machineReader) passthrough(p *reading) {
	n, readers := p.m.get("passthrough"), p.m.get("readable_by")
	key, ids, wrap := p.m.get("device_key"), p.m.get("key_ids"), p.m.get("wrap")
	format, ok := n.choice("format", ciphertext.Formats()...)
	if !n.present() {
		for _, other := range []node{readers, key, ids, wrap} {
			other.wrong(other.called+" is for what the device encrypts", "remove it, or write passthrough: cose")
		}
	}
	if ok && p.typed && !p.octets {
		n.wrong("a passthrough payload is of type bytes, not "+p.word, "write type: bytes")
	}
	if ok && !readers.present() {
		p.m.missing("readable_by", "name who the device encrypts it for")
	}
	p.point.ReadableBy = readers.recipients(r.trust)
	p.point.Wrap = wrap.flag()
	c := ciphertext.Config{Format: format, DeviceKey: key.deviceKey(), KeyIDs: ids.keyIDs()}
	if !ok {
		return
	}
	p.point.Passthrough, p.point.ContentType, p.point.Guard = format, ciphertext.ContentType(format), c
	key.judged(ciphertext.Config{Format: format, DeviceKey: c.DeviceKey})
	ids.judged(ciphertext.Config{Format: format, KeyIDs: c.KeyIDs})
}

// withinOnly takes the passthrough from points that somebody could read whom the
// trust file keeps from the machine: however a device encrypts, they are sealed
// like any other, for those who may.
func (r *machineReader) withinOnly() {
	if r.trust == nil {
		return
	}
	for i := range r.m.Points {
		p := &r.m.Points[i]
		if p.Passthrough == "" {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(p.ReadableBy), func(to string) bool { return r.trust.mayRead(to, r.m.Name) })
		if len(others) == 0 {
			continue
		}
		if r.outside == nil {
			r.outside = map[string][]string{}
		}
		r.outside[p.Name] = others
		p.Passthrough, p.ReadableBy, p.Wrap = "", nil, false
		if r.policy == nil {
			continue
		}
		if level, _ := r.policy.Level(p.Label); level.Send == policy.SendClear { // what leaves in clear reaches them too
			p.Label = r.policy.Default
		}
	}
}

// judged asks the guard whether it can do what the node says.
func (n node) judged(c ciphertext.Config) {
	if _, err := ciphertext.NewGuard(c); err != nil {
		n.wrong(n.called+" does not go with "+c.Format+": "+err.Error(), "remove it")
	}
}

// deviceKey reads the public key that a device signs with. It quotes nothing: a
// private one may stand there.
func (n node) deviceKey() crypto.PublicKey {
	s, ok := n.source(`write device_key: "ed25519:BASE64"`)
	if !ok {
		return nil
	}
	key, err := ciphertext.ParseKey(s)
	if err != nil {
		what, instead := split(err)
		n.wrong(n.called+" is "+what, instead)
		return nil
	}
	return key
}

// keyIDs reads the names of the keys that a device may encrypt with: texts, or
// bytes in hexadecimal.
func (n node) keyIDs() (ids [][]byte) {
	const instead = "write the name as the payloads have it: a text in quotes, or its bytes as 0x6b31"
	items := n.list()
	if len(items) > mostKeyIDs {
		n.wrong("more than "+itoa(mostKeyIDs)+" names of keys", "write those that the device uses now")
		return nil
	}
	for _, item := range items {
		s, ok := item.source(instead)
		if !ok {
			continue
		}
		id, isHex := []byte(s), strings.HasPrefix(s, "0x")
		if isHex {
			b, err := hex.DecodeString(s[len("0x"):])
			if err != nil {
				item.wrong(quote(s)+" is no hexadecimal text of whole bytes", instead)
				continue
			}
			id = b
		}
		switch {
		case !isHex && item.y.ShortTag() != "!!str":
			item.mistaken(instead)
		case len(id) == 0 || len(id) > mostKeyID:
			item.wrong(item.called+" has "+itoa(len(id))+" bytes, and the name of a key has 1 to "+itoa(mostKeyID), instead)
		case slices.ContainsFunc(ids, func(other []byte) bool { return string(other) == string(id) }):
			item.wrong(quote(s)+" is in the list already", "write it once")
		default:
			ids = append(ids, id)
		}
	}
	return ids
}

// keyText writes a device's key as it is signed; empty where none is known.
func keyText(key crypto.PublicKey) string {
	switch k := key.(type) {
	case nil:
		return ""
	case ed25519.PublicKey:
		return "ed25519:" + base64.StdEncoding.EncodeToString(k)
	default:
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil { // the guard takes no other kinds
			return "unknown"
		}
		return "p256:" + base64.StdEncoding.EncodeToString(der)
	}
}

// idTexts writes names of keys as they are signed.
func idTexts(ids [][]byte) (texts []string) {
	for _, id := range ids {
		texts = append(texts, "0x"+hex.EncodeToString(id))
	}
	return texts
}
