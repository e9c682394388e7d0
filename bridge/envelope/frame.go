package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
)

// frameKey is what sealing and opening data frames of one epoch share: the key,
// ready for use, and the constant parts of what surrounds the ciphertext. Its
// buffers are reused, so it is not for concurrent use.
type frameKey struct {
	opener opener
	aead   cipher.AEAD // of a sealer
	baseIV [nonceSize]byte
	kid    KeyID
	hash   [32]byte // SHA-256 of the key frame's Sign1 payload

	nonce [nonceSize]byte
	aad   []byte
}

func newFrameKey(k *epochKey, hash [32]byte) (*frameKey, error) {
	aead, err := newOpener(k.key[:])
	if err != nil {
		return nil, err
	}
	t := k.thumbprint()
	return &frameKey{opener: aead, baseIV: k.baseIV, kid: KeyID(t[:8]), hash: hash, aad: make([]byte, 0, 96)}, nil
}

// appendFrameHeader appends the protected header of a data frame: {1: 3, 4: kid,
// 6: Partial IV}, where Partial IV is the sequence in as few bytes as it needs.
func (k *frameKey) appendFrameHeader(dst []byte, sequence uint64) []byte {
	dst = append(dst, 0xa3, headerAlg, algA256GCM, headerKid, cborBytes|8)
	dst = append(dst, k.kid[:]...)
	n := (bits.Len64(sequence) + 7) / 8
	dst = append(dst, headerPartialIV, cborBytes|byte(n))
	for n--; n >= 0; n-- {
		dst = append(dst, byte(sequence>>(8*n)))
	}
	return dst
}

// prepare sets nonce and additional data for one sequence number, and gives the
// protected header, which lies within the additional data. The nonce is the base
// IV xor the Partial IV, padded on the left (RFC 9052, 3.1).
func (k *frameKey) prepare(sequence uint64) (protected []byte) {
	k.nonce = k.baseIV
	low := binary.BigEndian.Uint64(k.nonce[nonceSize-8:])
	binary.BigEndian.PutUint64(k.nonce[nonceSize-8:], low^sequence)

	const prefix = 11 // array head, text head, "Encrypt0", byte string head
	b := append(k.aad[:0], cborArray|3, cborText|8)
	b = append(b, "Encrypt0"...)
	b = k.appendFrameHeader(append(b, 0), sequence)
	b[prefix-1] = cborBytes | byte(len(b)-prefix) // at most 23
	to := len(b)
	k.aad = appendBytes(b, k.hash[:])
	return k.aad[prefix:to]
}

// seal appends the COSE_Encrypt0 (RFC 9052, 5.2) of the plaintext.
func (k *frameKey) seal(dst []byte, sequence uint64, plain []byte) []byte {
	protected := k.prepare(sequence)
	dst = append(dst, cborTag|tagEncrypt0, cborArray|3)
	dst = append(appendHead(dst, cborBytes, uint64(len(protected))), protected...)
	dst = append(dst, cborMap)
	dst = appendHead(dst, cborBytes, uint64(len(plain)+tagSize))
	return k.aead.Seal(dst, k.nonce[:], plain, k.aad)
}

// frame is a data frame as it was read.
type frame struct {
	kid        KeyID
	sequence   uint64
	ciphertext []byte
}

// parseFrame reads what seal writes.
func parseFrame(b []byte) (f frame, err error) {
	c := cursor{b: b}
	c.tag(tagEncrypt0)
	c.array(3)
	p := cursor{b: c.bytes()}
	c.fields(0)
	f.ciphertext = c.bytes()
	if err := c.end(); err != nil {
		return f, err
	}
	p.fields(3)
	p.label(headerAlg)
	p.label(algA256GCM)
	p.label(headerKid)
	p.fixed(f.kid[:])
	p.label(headerPartialIV)
	iv := p.bytes()
	if err := p.end(); err != nil {
		return f, err
	}
	if len(iv) == 0 || len(iv) > 8 || iv[0] == 0 || len(f.ciphertext) <= tagSize {
		return f, errors.New("no Partial IV of 1 to 8 bytes, or no ciphertext")
	}
	for _, x := range iv {
		f.sequence = f.sequence<<8 | uint64(x)
	}
	return f, nil
}

// open decrypts a frame into dst.
func (k *frameKey) open(dst []byte, f *frame) ([]byte, error) {
	if f.kid != k.kid {
		return nil, errors.New("it is under another key than its epoch's")
	}
	k.prepare(f.sequence)
	plain, err := k.opener.Open(dst, k.nonce[:], f.ciphertext, k.aad)
	if err != nil {
		return nil, errors.New("it was changed, or is of another epoch or number")
	}
	return plain, nil
}
