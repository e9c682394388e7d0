package envelope

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// The code points of COSE (RFC 9052, RFC 9053, RFC 9596) that are used.
const (
	tagEncrypt0 = 16
	tagSign1    = 18
	tagEncrypt  = 96

	headerAlg         = 1
	headerContentType = 3
	headerKid         = 4
	headerIV          = 5
	headerPartialIV   = 6
	headerTyp         = 16
	headerEK          = -4     // encapsulated key, draft-ietf-cose-hpke
	headerEpoch       = -65537 // private use: what the key frame is the key of

	algA256GCM = 3
	algEdDSA   = -8
	algEd25519 = -19 // the fully specified form (RFC 9864); read, not written

	contentCOSEKey = 101 // application/cose-key
)

// The values of typ (RFC 9596). They pin the version of this format.
const (
	typKeyFrame   = "application/vnd.fieldseal.key-frame.v1"
	typCheckpoint = "application/vnd.fieldseal.checkpoint.v1"
	typLoss       = "application/vnd.fieldseal.loss.v1"
	typStatement  = "application/vnd.fieldseal.statement.v1"
)

// KeyID names a key in a COSE header: the first 8 bytes of its thumbprint
// (RFC 9679). It finds a key and proves nothing.
type KeyID [8]byte

// String gives 16 hexadecimal digits.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// Signer is a gateway's name and its Ed25519 signing key, which may live in a
// hardware key store.
type Signer struct {
	Gateway string
	Key     crypto.Signer
}

// Format hides the key.
func (s Signer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "signer of gateway %q", s.Gateway) }

// ID gives the key's id, as it stands in what the key signed.
func (s Signer) ID() (KeyID, error) {
	public, err := s.public()
	if err != nil {
		return KeyID{}, err
	}
	return SigningKeyID(public), nil
}

func (s Signer) public() (ed25519.PublicKey, error) {
	if s.Key == nil {
		return nil, fmt.Errorf("gateway %q has no signing key", s.Gateway)
	}
	public, ok := s.Key.Public().(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("the signing key of gateway %q is not Ed25519", s.Gateway)
	}
	return public, nil
}

// SigningThumbprint is the COSE key thumbprint of a gateway's public key: the
// SHA-256 of {1: 1 (OKP), -1: 6 (Ed25519), -2: x} (RFC 9679, 4.1).
func SigningThumbprint(public ed25519.PublicKey) [32]byte {
	return sha256.Sum256(appendBytes([]byte{0xa3, 0x01, 0x01, 0x20, 0x06, 0x21}, public))
}

// SigningKeyID is the key id of a gateway's public key.
func SigningKeyID(public ed25519.PublicKey) KeyID {
	t := SigningThumbprint(public)
	return KeyID(t[:8])
}

// appendSign1 appends COSE_Sign1 (RFC 9052, 4.2) over the payload: tagged, all
// headers protected, Ed25519.
func appendSign1(dst []byte, sg Signer, typ string, payload []byte) ([]byte, error) {
	kid, err := sg.ID()
	if err != nil {
		return dst, err
	}
	protected := appendInt([]byte{0xa3, headerAlg}, algEdDSA)
	protected = appendBytes(append(protected, headerKid), kid[:])
	protected = appendText(append(protected, headerTyp), typ)
	signature, err := sg.Key.Sign(rand.Reader, toBeSigned(protected, payload), crypto.Hash(0))
	if err != nil {
		return dst, fmt.Errorf("cannot sign as gateway %q: %w", sg.Gateway, err)
	}
	if len(signature) != ed25519.SignatureSize {
		return dst, fmt.Errorf("cannot sign as gateway %q: not an Ed25519 signature", sg.Gateway)
	}
	dst = append(dst, cborTag|tagSign1, cborArray|4)
	dst = appendBytes(dst, protected)
	dst = append(dst, cborMap)
	dst = appendBytes(dst, payload)
	return appendBytes(dst, signature), nil
}

// toBeSigned is the Sig_structure (RFC 9052, 4.4), without external data.
func toBeSigned(protected, payload []byte) []byte {
	b := appendText([]byte{cborArray | 4}, "Signature1")
	b = appendBytes(b, protected)
	b = append(b, cborBytes)
	return appendBytes(b, payload)
}

// sign1 is a COSE_Sign1 as it was read; the slices alias what was read.
type sign1 struct {
	kid       KeyID
	typ       string
	protected []byte
	payload   []byte
	signature []byte
}

// parseSign1 reads what appendSign1 writes. It verifies nothing.
func parseSign1(b []byte) (s sign1, err error) {
	c := cursor{b: b}
	c.tag(tagSign1)
	c.array(4)
	s.protected = c.bytes()
	c.fields(0)
	s.payload = c.bytes()
	s.signature = c.bytes()
	if err := c.end(); err != nil {
		return sign1{}, fmt.Errorf("cannot read COSE_Sign1: %w", err)
	}
	p := cursor{b: s.protected}
	p.fields(3)
	p.label(headerAlg)
	alg := p.int()
	p.label(headerKid)
	p.fixed(s.kid[:])
	p.label(headerTyp)
	s.typ = p.name()
	if err := p.end(); err != nil {
		return sign1{}, fmt.Errorf("cannot read protected header of COSE_Sign1: %w", err)
	}
	if alg != algEdDSA && alg != algEd25519 {
		return sign1{}, fmt.Errorf("signature algorithm %d is not supported", alg)
	}
	if len(s.signature) != ed25519.SignatureSize {
		return sign1{}, errors.New("cannot read COSE_Sign1: signature of the wrong length")
	}
	return s, nil
}

func (s *sign1) verify(public ed25519.PublicKey) bool {
	return ed25519.Verify(public, toBeSigned(s.protected, s.payload), s.signature)
}
