package ciphertext

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
)

// Why a signature does not hold.
var (
	errUnsigned  = errors.New("it is not signed, and the device's key is known")
	errSignature = errors.New("its signature does not verify with the device's key")
	errKey       = errors.New("not a public key for Ed25519 or P-256; write ed25519:BASE64, or the PEM text that begins with -----BEGIN PUBLIC KEY-----")
)

// signed is a COSE_Sign1's parts.
type signed struct {
	alg                           int64
	protected, payload, signature []byte
}

// parseSign1 takes the content of a COSE_Sign1 (RFC 9052, section 4.2), and
// gives its payload.
func parseSign1(b []byte, p *parts) ([]byte, error) {
	c := cursor{b: b}
	if c.expect(majorArray) != 4 {
		return nil, errNotSign1
	}
	s := &p.sign
	s.protected = c.bytes()
	h := header{p: p}
	protected := cursor{b: s.protected}
	h.read(&protected, true)
	if len(protected.b) > 0 || protected.bad {
		return nil, errHeader
	}
	h.read(&c, false)
	if h.bad || h.ivs > 0 {
		return nil, errHeader
	}
	s.alg = h.alg
	s.payload = c.bytes()
	s.signature = c.bytes()
	if c.bad || len(s.signature) != 64 || !isSignature(s.alg) {
		return nil, errNotSign1
	}
	if len(c.b) > 0 {
		return nil, errTrailing
	}
	p.scatter(s.signature)
	p.kid = nil // that of the encryption follows
	return s.payload, nil
}

// isSignature knows the algorithms of RFC 9053, section 2, and RFC 9864 that
// have signatures of 64 bytes.
func isSignature(alg int64) bool {
	switch alg {
	case -8, -19: // EdDSA, Ed25519
	case -7, -9: // ES256, ESP256
	default:
		return false
	}
	return true
}

// verify tells whether the device signed (RFC 9052, section 4.4).
func (s *signed) verify(key crypto.PublicKey) error {
	if s.signature == nil {
		return errUnsigned
	}
	b := append(make([]byte, 0, 64+len(s.protected)+len(s.payload)), "\x84\x6aSignature1"...)
	b = appendBytes(b, s.protected)
	b = append(b, 0x40) // no external data
	b = appendBytes(b, s.payload)
	ok := false
	switch k := key.(type) {
	case ed25519.PublicKey:
		ok = (s.alg == -8 || s.alg == -19) && ed25519.Verify(k, b, s.signature)
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(b)
		r, t := new(big.Int).SetBytes(s.signature[:32]), new(big.Int).SetBytes(s.signature[32:])
		ok = (s.alg == -7 || s.alg == -9) && ecdsa.Verify(k, digest[:], r, t)
	}
	if !ok {
		return errSignature
	}
	return nil
}

// appendBytes appends a CBOR byte string.
func appendBytes(b, s []byte) []byte {
	switch n := len(s); {
	case n < 24:
		b = append(b, 0x40|byte(n))
	case n < 1<<8:
		b = append(b, 0x58, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x59), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0x5a), uint32(n))
	}
	return append(b, s...)
}

// ParseKey reads a device's public key: ed25519: and 32 bytes in base64, or a
// PEM text (SubjectPublicKeyInfo) with an Ed25519 or a P-256 key.
func ParseKey(text string) (crypto.PublicKey, error) {
	if raw, ok := strings.CutPrefix(strings.TrimSpace(text), "ed25519:"); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(raw)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return nil, errKey
		}
		return ed25519.PublicKey(b), nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errKey
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !isDeviceKey(key) {
		return nil, errKey
	}
	return key, nil
}

func isDeviceKey(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	case *ecdsa.PublicKey:
		return k != nil && k.Curve == elliptic.P256()
	}
	return false
}
