package ciphertext

import (
	"bytes"
	"errors"
)

// Why a payload is not CMS.
var (
	errNotCMS     = errors.New("not a CMS EnvelopedData or AuthEnvelopedData in DER")
	errCMSFields  = errors.New("the CMS message holds certificates or attributes, which may hold anything")
	errCMSTo      = errors.New("the CMS message has no recipients, too many, or one of a kind that is not known")
	errCMSAlg     = errors.New("no known content encryption in the CMS message")
	errCMSContent = errors.New("the CMS content is missing, or has a size that its encryption does not give")
)

// Object identifiers, as DER has them.
const (
	oidEnveloped     = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"             // 1.2.840.113549.1.7.3
	oidAuthEnveloped = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17"     // 1.2.840.113549.1.9.16.1.23
	oidData          = "\x2a\x86\x48\x86\xf7\x0d\x01\x07"                 // 1.2.840.113549.1.7: with one byte more
	oidAES           = "\x60\x86\x48\x01\x65\x03\x04\x01"                 // 2.16.840.1.101.3.4.1: with one byte more
	oidChaCha        = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x03\x12"     // 1.2.840.113549.1.9.16.3.18
	oidContentType   = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03\x31" // of an attribute
	mostCMSKey       = 1200
	mostCMSName      = 512
)

// parseCMS takes a ContentInfo (RFC 5652, section 3) with EnvelopedData (section
// 6.1) or AuthEnvelopedData (RFC 5083).
func parseCMS(b []byte, p *parts) error {
	outer := der{b: b}
	info := outer.inside(derSequence)
	if outer.bad {
		return errNotCMS
	}
	if len(outer.b) > 0 {
		return errTrailing
	}
	kind := info.take(derOID)
	content := info.inside(derContext | derCompound)
	authenticated := string(kind) == oidAuthEnveloped
	if !authenticated && string(kind) != oidEnveloped || !info.end() {
		return errNotCMS
	}
	d := content.inside(derSequence)
	if !content.end() || d.small() > 4 || d.bad {
		return errNotCMS
	}
	if d.next(derContext | derCompound) { // originatorInfo
		return errCMSFields
	}
	if to := d.inside(derSet); !p.cmsRecipients(&to) {
		return errCMSTo
	}
	encrypted := d.inside(derSequence)
	if d.bad {
		return errNotCMS
	}
	contentType := encrypted.take(derOID)
	if len(contentType) != len(oidData)+1 || string(contentType[:len(oidData)]) != oidData {
		return errCMSFields
	}
	p.keep(0, contentType)
	block, tag := p.cmsAlgorithm(&encrypted, authenticated)
	if block == 0 {
		return errCMSAlg
	}
	p.body = encrypted.take(derContext)
	if !encrypted.end() || len(p.body) == 0 || len(p.body)%block != 0 {
		return errCMSContent
	}
	if authenticated {
		if d.next(derContext | derCompound | 1) { // authAttrs: only the content's type
			attribute := der{b: d.take(derContext | derCompound | 1)}
			if a := attribute.take(derSequence); !attribute.end() || len(a) > 32 || !bytes.HasPrefix(a, []byte(oidContentType)) {
				return errCMSFields
			}
		}
		p.tag = d.take(derOctets)
		p.scatter(p.tag)
		if len(p.tag) != tag {
			return errCMSContent
		}
	}
	if len(d.b) > 0 {
		return errCMSFields
	}
	if d.bad {
		return errNotCMS
	}
	return nil
}

// cmsAlgorithm takes the content's algorithm with its nonce: AES-CBC (RFC 3565),
// AES-GCM and AES-CCM (RFC 5084), ChaCha20-Poly1305 (RFC 8103). block is 0 where
// it is none of them.
func (p *parts) cmsAlgorithm(d *der, authenticated bool) (block, tag int) {
	alg := d.inside(derSequence)
	oid := alg.take(derOID)
	p.keep(0, oid)
	if string(oid) == oidChaCha && authenticated {
		p.iv = alg.take(derOctets)
		if !alg.end() || len(p.iv) != 12 {
			return 0, 0
		}
		return 1, 16
	}
	if len(oid) != len(oidAES)+1 || string(oid[:len(oidAES)]) != oidAES {
		return 0, 0
	}
	switch mode := oid[len(oidAES)]; {
	case mode == 2 || mode == 22 || mode == 42: // CBC
		p.iv = alg.take(derOctets)
		if authenticated || !alg.end() || len(p.iv) != 16 {
			return 0, 0
		}
		return 16, 0
	case mode == 6 || mode == 26 || mode == 46, mode == 7 || mode == 27 || mode == 47: // GCM, CCM
		s := alg.inside(derSequence)
		p.iv = s.take(derOctets)
		tag = 12 // the default
		if s.next(derInteger) {
			tag = s.small()
		}
		if !authenticated || !s.end() || !alg.end() || len(p.iv) < 7 || len(p.iv) > 13 || tag < 12 || tag > 16 {
			return 0, 0
		}
		return 1, tag
	}
	return 0, 0
}

// cmsRecipients takes the RecipientInfos (RFC 5652, section 6.2), sorted as DER
// sorts a SET OF: for a key transported, agreed, or known before. Passwords and
// other kinds may hold anything.
func (p *parts) cmsRecipients(d *der) bool {
	var before []byte
	n := 0
	for ; len(d.b) > 0 && n < mostRecipients; n++ {
		var r der
		at := d.b
		ok := false
		switch {
		case d.next(derSequence):
			r = d.inside(derSequence)
			ok = p.keyTransport(&r)
		case d.next(derContext | derCompound | 1):
			r = d.inside(derContext | derCompound | 1)
			ok = p.keyAgreement(&r)
		case d.next(derContext | derCompound | 2):
			r = d.inside(derContext | derCompound | 2)
			ok = p.keyEncryption(&r)
		}
		if !ok || d.bad || !r.end() {
			return false
		}
		this := at[:len(at)-len(d.b)]
		if bytes.Compare(before, this) > 0 {
			return false
		}
		before = this
	}
	return n > 0 && d.end()
}

// keyTransport: version, rid, algorithm, encrypted key.
func (p *parts) keyTransport(d *der) bool {
	if v := d.small(); v != 0 && v != 2 {
		return false
	}
	return p.named(d, derContext) && p.named(d, derSequence) && p.wrapped(d)
}

// keyEncryption: version, the key's id, algorithm, encrypted key.
func (p *parts) keyEncryption(d *der) bool {
	return d.small() == 4 && p.named(d, derSequence) && p.named(d, derSequence) && p.wrapped(d)
}

// keyAgreement: version, originator, random bytes, algorithm, encrypted keys.
func (p *parts) keyAgreement(d *der) bool {
	if d.small() != 3 {
		return false
	}
	originator := d.inside(derContext | derCompound)
	public := originator.inside(derContext | derCompound | 1) // an ephemeral key
	if !p.named(&public, derSequence) {
		return false
	}
	key := public.take(derBits)
	if !public.end() || !originator.end() || len(key) < 33 || len(key) > 140 || key[0] != 0 {
		return false
	}
	p.scatter(key[min(2, len(key)-32):]) // behind the unused bits and the point's form
	if d.next(derContext | derCompound | 1) {
		random := d.inside(derContext | derCompound | 1)
		b := random.take(derOctets)
		if !random.end() || len(b) > 64 {
			return false
		}
		p.scatter(b)
	}
	if !p.named(d, derSequence) {
		return false
	}
	keys := d.inside(derSequence)
	for n := 0; len(keys.b) > 0; n++ {
		k := keys.inside(derSequence)
		if n == mostRecipients || !p.named(&k, derContext|derCompound) || !p.wrapped(&k) || !k.end() {
			return false
		}
	}
	return keys.end()
}

// named takes what names a key or an algorithm, the same in all messages: a
// sequence, or the element with the other tag.
func (p *parts) named(d *der, other byte) bool {
	if !d.next(derSequence) && !d.next(other) || len(d.b) == 0 {
		return false
	}
	b := d.whole(d.b[0])
	p.keep(0, b)
	return !d.bad && len(b) <= mostCMSName
}

// wrapped takes an encrypted key.
func (p *parts) wrapped(d *der) bool {
	key := d.take(derOctets)
	if len(key) < 16 || len(key) > mostCMSKey {
		return false
	}
	p.scatter(key)
	return true
}
