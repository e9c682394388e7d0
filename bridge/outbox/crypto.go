package outbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

const (
	keySize  = 32
	saltSize = 32
	tagSize  = 16 // of AES-GCM, and of the cut MACs
)

// segmentKey seals and opens the batches of one segment. Not safe for concurrent use.
type segmentKey struct {
	id   uint64
	aead cipher.AEAD
	mac  hash.Hash
	// Scratch space, so that a batch costs no allocation.
	nonce [12]byte
	aad   [8 + batchCovered]byte
	sum   [sha256.Size]byte
}

func newSegmentKey(master []byte, salt *[saltSize]byte, id uint64) (*segmentKey, error) {
	keys, err := hkdf.Key(sha256.New, master, salt[:], "fieldseal outbox segment", 2*keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(keys[:keySize])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &segmentKey{id: id, aead: aead, mac: hmac.New(sha256.New, keys[keySize:])}, nil
}

// sum256 gives the MAC of some bytes at an offset; valid until the next call.
func (k *segmentKey) sum256(off int64, b []byte) []byte {
	binary.BigEndian.PutUint64(k.nonce[4:], uint64(off))
	k.mac.Reset()
	k.mac.Write(k.nonce[4:])
	k.mac.Write(b)
	return k.mac.Sum(k.sum[:0])
}

func (k *segmentKey) bind(off int64, covered []byte) (nonce, aad []byte) {
	binary.BigEndian.PutUint64(k.nonce[4:], uint64(off))
	binary.BigEndian.PutUint64(k.aad[:], k.id)
	copy(k.aad[8:], covered)
	return k.nonce[:], k.aad[:]
}

// seal encrypts the plaintext in place; buf must have room for the tag behind it.
func (k *segmentKey) seal(off int64, covered, plain []byte) []byte {
	nonce, aad := k.bind(off, covered)
	return k.aead.Seal(plain[:0], nonce, plain, aad)
}

// open decrypts the ciphertext in place.
func (k *segmentKey) open(off int64, covered, sealed []byte) ([]byte, error) {
	nonce, aad := k.bind(off, covered)
	return k.aead.Open(sealed[:0], nonce, sealed, aad)
}

// cursorMAC authenticates a slot of the cursor.
func cursorMAC(master, slot []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, master, nil, "fieldseal outbox cursor", keySize)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(slot)
	return mac.Sum(nil)[:tagSize], nil
}
