package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"errors"
)

// newGCM gives AES-256-GCM with nonces of 12 bytes that the caller chooses.
//
// With GODEBUG=fips140=only the module chooses all nonces that something is
// sealed with. Then data frames, whose nonce is their number, cannot be sealed;
// see docs/format.md, 11.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := newBlock(key)
	if err != nil {
		return nil, err
	}
	if fips140.Enforced() {
		return nil, errors.New("with GODEBUG=fips140=only nobody chooses the nonces of AES-GCM, and data frames are numbered by them")
	}
	return cipher.NewGCM(block)
}

func newBlock(key []byte) (cipher.Block, error) {
	if len(key) != keySize {
		return nil, errors.New("not a key of AES-256")
	}
	return aes.NewCipher(key)
}

// opener is the half of cipher.AEAD that receivers need.
type opener interface {
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}

// newOpener gives AES-256-GCM for opening, also where FIPS 140 is enforced.
func newOpener(key []byte) (opener, error) {
	if !fips140.Enforced() {
		return newGCM(key)
	}
	block, err := newBlock(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return prefixed{aead}, err
}

// prefixed opens with an AEAD that wants the nonce before the ciphertext.
type prefixed struct{ aead cipher.AEAD }

func (p prefixed) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	both := append(append(make([]byte, 0, len(nonce)+len(ciphertext)), nonce...), ciphertext...)
	return p.aead.Open(dst, nil, both, additionalData)
}

// sealRandom seals once, under a random nonce.
func sealRandom(key, plain, aad []byte) (iv, ciphertext []byte, err error) {
	if !fips140.Enforced() {
		aead, err := newGCM(key)
		if err != nil {
			return nil, nil, err
		}
		iv = make([]byte, nonceSize)
		rand.Read(iv) // never fails: crypto/rand ends the process instead
		return iv, aead.Seal(nil, iv, plain, aad), nil
	}
	block, err := newBlock(key)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, nil, err
	}
	both := aead.Seal(nil, nil, plain, aad)
	return both[:nonceSize], both[nonceSize:], nil
}
