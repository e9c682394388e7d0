package ciphertext

import "errors"

// Tags of RFC 9052, section 2.
const (
	tagEncrypt0 = 16
	tagSign1    = 18
	tagEncrypt  = 96
)

// Header labels of RFC 9052, section 3.1, and RFC 9596.
const (
	labelAlg       = 1
	labelType      = 3
	labelKeyID     = 4
	labelIV        = 5
	labelPartialIV = 6
	labelTyp       = 16
)

// Header labels of recipients: RFC 9053, sections 5 and 6, and
// draft-ietf-cose-hpke (ek).
const (
	labelEphemeral   = -1
	labelStatic      = -2
	labelStaticKeyID = -3
	labelEK          = -4
	labelSalt        = -20
	labelPartyUNonce = -22
	labelPartyVNonce = -25
)

// What a header may hold at most. A parameter that is not listed has no place in
// it: plaintext must not travel there.
const (
	mostKeyID      = 64
	mostName       = 64 // of a content type
	mostPartialIV  = 8
	mostRecipients = 16
	mostEK         = 1200 // ML-KEM-768 with X25519 has 1120
	mostWrapped    = 1200
)

// Why a payload is not COSE. None of them may hold anything of the payload.
var (
	errNotCOSE      = errors.New("not a tagged COSE_Encrypt0 or COSE_Encrypt")
	errNotSign1     = errors.New("not a well-formed COSE_Sign1")
	errHeader       = errors.New("a COSE header holds what is not expected there")
	errAlgorithm    = errors.New("no known authenticated encryption in the protected header")
	errOneIV        = errors.New("not exactly one of IV and Partial IV")
	errIV           = errors.New("the IV has not the size that the algorithm demands")
	errNoCiphertext = errors.New("no ciphertext inside")
	errOnlyTag      = errors.New("the ciphertext is not longer than its authentication tag")
	errRecipients   = errors.New("its recipients are none, too many, or not well-formed")
)

// aead gives what the AEAD algorithms of RFC 9053, section 4, demand: the size
// of tag and nonce in bytes.
func aead(alg int64) (tag, nonce int) {
	switch alg {
	case 1, 2, 3, 24: // A128GCM, A192GCM, A256GCM, ChaCha20/Poly1305
		return 16, 12
	case 10, 11: // AES-CCM-16-64-128, AES-CCM-16-64-256
		return 8, 13
	case 12, 13: // AES-CCM-64-64-128, …
		return 8, 7
	case 30, 31: // AES-CCM-16-128-128, …
		return 16, 13
	case 32, 33: // AES-CCM-64-128-128, …
		return 16, 7
	}
	return 0, 0
}

// parseCOSE takes a COSE_Encrypt0 or COSE_Encrypt (RFC 9052, section 5), which
// may be the payload of a COSE_Sign1.
func parseCOSE(b []byte, p *parts) error {
	c := cursor{b: b}
	tag := c.expect(majorTag)
	if c.bad {
		return errNotCOSE
	}
	if tag == tagSign1 {
		inner, err := parseSign1(c.b, p)
		if err != nil {
			return err
		}
		c = cursor{b: inner}
		tag = c.expect(majorTag)
	}
	entries := c.size(majorArray, 4)
	if c.bad || (tag != tagEncrypt0 || entries != 3) && (tag != tagEncrypt || entries != 4) {
		return errNotCOSE
	}
	h := header{p: p}
	protected := cursor{b: c.bytes()}
	h.read(&protected, true)
	if len(protected.b) > 0 || protected.bad {
		return errHeader
	}
	h.read(&c, false)
	if c.bad || h.bad {
		return errHeader
	}
	tagSize, nonce := aead(h.alg)
	switch {
	case tagSize == 0:
		return errAlgorithm
	case h.ivs != 1:
		return errOneIV
	case p.partial && (len(p.iv) == 0 || len(p.iv) > min(mostPartialIV, nonce)), !p.partial && len(p.iv) != nonce:
		return errIV
	}
	sealed := c.bytes()
	if c.bad {
		return errNoCiphertext
	}
	if len(sealed) <= tagSize {
		return errOnlyTag
	}
	p.split(sealed, tagSize)
	p.oneKey = true
	if tag == tagEncrypt {
		before := len(p.other)
		if n := c.size(majorArray, mostRecipients); n == 0 || !p.recipients(&c, n) {
			return errRecipients
		}
		p.oneKey = len(p.other) == before // nothing that could make a key of its own
	}
	if c.bad || len(c.b) > 0 {
		return errTrailing
	}
	return nil
}

// header is what the two headers of an encryption hold.
type header struct {
	p    *parts
	alg  int64
	seen uint32 // labels, of both headers: none may stand twice
	ivs  int
	bad  bool
}

// read takes one header map. Errors go to bad, or to c's.
func (h *header) read(c *cursor, protected bool) {
	if protected && len(c.b) == 0 {
		return // an empty map may be an empty string: RFC 9052, section 3
	}
	for range c.size(majorMap, 8) {
		label := c.integer()
		if label < 0 || label > 31 || h.seen>>label&1 == 1 {
			h.bad = true
			return
		}
		h.seen |= 1 << label
		before := c.b
		switch {
		case label == labelAlg && protected:
			h.alg = c.integer()
		case label == labelKeyID:
			h.p.kid = c.bytes()
			h.bad = h.bad || len(h.p.kid) > mostKeyID
		case label == labelType, label == labelTyp:
			h.bad = h.bad || !c.name()
		case label == labelIV, label == labelPartialIV:
			h.p.iv, h.p.partial = c.bytes(), label == labelPartialIV
			h.ivs++
			before = c.b
		default:
			h.bad = true
		}
		if h.bad || c.bad {
			return
		}
		h.p.keep(label, before[:len(before)-len(c.b)])
	}
}

// name takes a content type: a number, or a short text of the characters of
// media types.
func (c *cursor) name() bool {
	major, n := c.head()
	switch major {
	case majorUint:
		return n < 1<<16
	case majorText:
		text := c.take(n)
		return len(text) <= mostName && isMediaType(text)
	}
	return false
}

// isMediaType tells whether text holds nothing but what RFC 6838 and its
// parameters need.
func isMediaType(text []byte) bool {
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '/', c == '+', c == '-', c == '.', c == ';', c == '=', c == ' ', c == '"':
		default:
			return false
		}
	}
	return true
}

// recipients takes n COSE_recipient structures (RFC 9052, section 5.1), one
// level of them.
func (p *parts) recipients(c *cursor, n int) bool {
	for range n {
		if c.expect(majorArray) != 3 {
			return false
		}
		protected := cursor{b: c.bytes()}
		var seen uint32
		if len(protected.b) > 0 && !p.recipientHeader(&protected, &seen) || len(protected.b) > 0 || protected.bad {
			return false
		}
		if !p.recipientHeader(c, &seen) || seen>>8&1 == 0 {
			return false
		}
		if c.isNull() {
			continue
		}
		wrapped := c.bytes()
		if c.bad || len(wrapped) > mostWrapped {
			return false
		}
		p.scatter(wrapped)
	}
	return true
}

// recipientHeader takes one header map of a recipient. seen has the labels from
// -8 to 23, at 7 + label, of both maps.
func (p *parts) recipientHeader(c *cursor, seen *uint32) bool {
	for range c.size(majorMap, 8) {
		label := c.integer()
		at := 7 + label
		if label <= labelSalt { // -20 … -25 are at 24 … 29
			at = 4 - label
		}
		if c.bad || at < 0 || at > 31 || *seen>>at&1 == 1 {
			return false
		}
		*seen |= 1 << at
		before := c.b
		switch label {
		case labelAlg:
			if !isKeyAlgorithm(c.integer()) {
				return false
			}
		case labelKeyID, labelStaticKeyID:
			if len(c.bytes()) > mostKeyID {
				return false
			}
		case labelStatic, labelEphemeral:
			if !p.publicKey(c) {
				return false
			}
			if label == labelEphemeral {
				before = c.b
			}
		case labelEK:
			ek := c.bytes()
			if len(ek) > mostEK {
				return false
			}
			p.scatter(ek)
			before = c.b
		case labelSalt, labelPartyUNonce, labelPartyVNonce:
			salt := c.bytes()
			if len(salt) > 64 {
				return false
			}
			p.scatter(salt)
			before = c.b
		default:
			return false
		}
		if c.bad {
			return false
		}
		p.keep(label, before[:len(before)-len(c.b)])
	}
	return !c.bad
}

// isKeyAlgorithm tells whether an algorithm of RFC 9053, section 6, RFC 9459 or
// draft-ietf-cose-hpke conveys a key.
func isKeyAlgorithm(alg int64) bool {
	switch {
	case alg == -6, alg <= -3 && alg >= -5: // direct, AES key wrap
	case alg <= -10 && alg >= -13: // direct with HKDF
	case alg <= -25 && alg >= -34: // Diffie-Hellman
	case alg <= -40 && alg >= -42: // RSAES-OAEP
	case alg >= 35 && alg <= 64: // HPKE
	default:
		return false
	}
	return true
}

// publicKey takes a COSE_Key that holds nothing but a public key (RFC 9053,
// section 7).
func (p *parts) publicKey(c *cursor) bool {
	seen := 0
	for range c.size(majorMap, 4) {
		label := c.integer()
		if c.bad || label < -3 || label > 1 || seen>>(label+3)&1 == 1 {
			return false
		}
		seen |= 1 << (label + 3)
		switch label {
		case 1, labelEphemeral: // kty, crv
			if n := c.integer(); n < 1 || n > 8 {
				return false
			}
		case -2, -3: // x, y
			if label == -3 && len(c.b) > 0 && c.b[0]>>1 == 0xf4>>1 { // its sign
				c.b = c.b[1:]
				continue
			}
			x := c.bytes()
			if len(x) > 66 {
				return false
			}
			p.scatter(x)
		default:
			return false
		}
	}
	return !c.bad
}
