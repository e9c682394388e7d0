package ciphertext

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// Why a payload is not a JWE.
var (
	errNotJWE    = errors.New("not a JWE of five parts (compact serialisation)")
	errJWEJSON   = errors.New("a JWE in JSON serialisation, which is not accepted: let the device send the compact one")
	errJWEHeader = errors.New("the JWE header holds what is not expected there")
	errJWEAlg    = errors.New("the JWE header names no known alg and enc")
	errJWEKey    = errors.New("the JWE's encrypted key does not fit its alg")
	errJWEIV     = errors.New("the JWE's IV or tag has not the size that its enc demands")
	errJWEBlocks = errors.New("the JWE's ciphertext is empty, or not of whole blocks")
)

const mostJWEHeader = 1024

// encryption gives what the enc algorithms of RFC 7518, section 5, demand.
func encryption(enc []byte) (iv, tag, block int) {
	switch string(enc) {
	case "A128GCM", "A192GCM", "A256GCM":
		return 12, 16, 1
	case "A128CBC-HS256":
		return 16, 16, 16
	case "A192CBC-HS384":
		return 16, 24, 16
	case "A256CBC-HS512":
		return 16, 32, 16
	}
	return 0, 0, 0
}

// keyAlgorithm knows the alg values of RFC 7518, section 4, but for RSA1_5 and
// the passwords. least and most are the size of the encrypted key.
func keyAlgorithm(alg []byte) (least, most int, ephemeral bool) {
	switch string(alg) {
	case "dir":
		return 0, 0, false
	case "ECDH-ES":
		return 0, 0, true
	case "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW":
		return 24, 72, true
	case "A128KW", "A192KW", "A256KW", "A128GCMKW", "A192GCMKW", "A256GCMKW":
		return 16, 72, false
	case "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512":
		return 256, 1024, false
	}
	return -1, -1, false
}

// parseJWE takes a JWE in compact serialisation (RFC 7516, section 7.1).
func parseJWE(b []byte, p *parts) error {
	if len(b) > 0 && b[0] == '{' {
		return errJWEJSON
	}
	var part [5][]byte
	rest := b
	for i := range part {
		var more bool
		if part[i], rest, more = bytes.Cut(rest, []byte{'.'}); more != (i < len(part)-1) {
			return errNotJWE
		}
	}
	// Decoded, all parts have room in one buffer.
	if cap(p.decoded) < len(b) {
		p.decoded = make([]byte, 0, len(b))
	}
	p.decoded = p.decoded[:0]
	for i := range part {
		var ok bool
		if part[i], ok = p.decode(part[i]); !ok {
			return errNotJWE
		}
	}
	var h jweHeader
	if len(part[0]) > mostJWEHeader || !h.read(part[0], p) {
		return errJWEHeader
	}
	least, most, ephemeral := keyAlgorithm(h.alg)
	ivSize, tagSize, block := encryption(h.enc)
	key, iv, body, tag := part[1], part[2], part[3], part[4]
	switch {
	case least < 0 || block == 0:
		return errJWEAlg
	case ephemeral != h.epk, len(key) < least, len(key) > most:
		return errJWEKey
	case len(iv) != ivSize, len(tag) != tagSize:
		return errJWEIV
	case len(body) == 0, len(body)%block != 0:
		return errJWEBlocks
	}
	p.body, p.tag, p.iv, p.kid = body, tag, iv, h.kid
	p.oneKey = most == 0 && !ephemeral
	p.scatter(key)
	p.scatter(tag)
	return nil
}

// decode takes base64url without padding, each text of which has one value and
// each value one text.
func (p *parts) decode(text []byte) ([]byte, bool) {
	at := len(p.decoded)
	b, err := base64.RawURLEncoding.Strict().AppendDecode(p.decoded, text)
	if err != nil || base64.RawURLEncoding.EncodedLen(len(b)-at) != len(text) { // it passes over line ends
		return nil, false
	}
	p.decoded = b
	return b[at:len(b):len(b)], true
}

// jweHeader is what a JWE's protected header says. Of JSON it knows members
// whose values are texts without escapes, and no white space: what encoders
// write, and too little to hide in.
type jweHeader struct {
	alg, enc, kid []byte
	epk           bool
	seen          uint32
}

// read takes the header.
func (h *jweHeader) read(b []byte, p *parts) bool {
	for _, c := range b {
		if c < 0x21 || c > 0x7e || c == '\\' {
			return false
		}
	}
	rest, ok := h.members(b, p, h.member)
	return ok && len(rest) == 0
}

// members takes an object.
func (h *jweHeader) members(b []byte, p *parts, take func(name, rest []byte, p *parts) ([]byte, bool)) ([]byte, bool) {
	for first := byte('{'); ; first = ',' {
		if len(b) < 2 || b[0] != first {
			return nil, false
		}
		name, rest, ok := jsonText(b[1:])
		if !ok || len(rest) < 2 || rest[0] != ':' {
			return nil, false
		}
		if b, ok = take(name, rest[1:], p); !ok || len(b) == 0 {
			return nil, false
		}
		if b[0] == '}' {
			return b[1:], true
		}
	}
}

// jsonText takes a text. There are no escapes in it.
func jsonText(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != '"' {
		return nil, nil, false
	}
	return bytes.Cut(b[1:], []byte{'"'})
}

// member takes the value of a member of the header (RFC 7516, section 4).
func (h *jweHeader) member(name, b []byte, p *parts) ([]byte, bool) {
	if string(name) == "epk" { // RFC 7518, section 4.6.1
		if !h.first(0) {
			return nil, false
		}
		h.epk = true
		return h.members(b, p, h.coordinate)
	}
	text, rest, ok := jsonText(b)
	if !ok {
		return nil, false
	}
	bit, most, random := 0, 0, 0
	switch string(name) {
	case "alg":
		h.alg, bit, most = text, 1, 16
	case "enc":
		h.enc, bit, most = text, 2, 16
	case "kid":
		h.kid, bit, most = text, 3, mostKeyID
	case "typ":
		bit, most = 4, mostName
	case "cty":
		bit, most = 5, mostName
	case "apu":
		bit, most = 6, 64
	case "apv":
		bit, most = 7, 64
	case "x5t#S256":
		bit, most = 8, 43
	case "zip":
		bit, most = 9, 3
		ok = string(text) == "DEF"
	case "iv": // RFC 7518, section 4.7.1
		bit, random = 10, 12
	case "tag":
		bit, random = 11, 16
	default:
		return nil, false
	}
	if !ok || !h.first(bit) || len(text) == 0 {
		return nil, false
	}
	if random > 0 {
		return rest, p.random(text, random, random)
	}
	p.keep(int64(bit), text)
	return rest, len(text) <= most
}

// coordinate takes the value of a member of an ephemeral key.
func (h *jweHeader) coordinate(name, b []byte, p *parts) ([]byte, bool) {
	text, rest, ok := jsonText(b)
	if !ok {
		return nil, false
	}
	switch string(name) {
	case "kty":
		p.keep(26, text)
		return rest, h.first(26) && len(text) <= 8
	case "crv":
		p.keep(27, text)
		return rest, h.first(27) && len(text) <= 8
	case "x":
		return rest, h.first(28) && p.random(text, 32, 66)
	case "y":
		return rest, h.first(29) && p.random(text, 32, 66)
	}
	return nil, false
}

// random takes a value that looks random in each message.
func (p *parts) random(text []byte, least, most int) bool {
	b, ok := p.decode(text)
	if ok && len(b) >= least && len(b) <= most {
		p.scatter(b)
		return true
	}
	return false
}

// first tells whether a member stands for the first time.
func (h *jweHeader) first(bit int) bool {
	was := h.seen
	h.seen |= 1 << bit
	return was != h.seen
}
