package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
)

// Algorithm is how an epoch's key is encrypted to one recipient: the COSE
// algorithm number of an HPKE key encryption (draft-ietf-cose-hpke,
// draft-ietf-cose-hpke-pq-pqt).
type Algorithm int

// The algorithms. The hybrids stay secret as long as one of their two halves
// does; one classical recipient makes its whole epoch classical.
const (
	X25519         Algorithm = 49 // HPKE-3-KE: DHKEM(X25519), HKDF-SHA256, AES-128-GCM; classical
	P256           Algorithm = 53 // HPKE-7-KE: DHKEM(P-256), HKDF-SHA256, AES-256-GCM; classical
	MLKEM768P256   Algorithm = 55 // HPKE-8-KE: MLKEM768-P256, SHAKE256, AES-256-GCM
	MLKEM768X25519 Algorithm = 57 // HPKE-9-KE: MLKEM768-X25519, SHAKE256, AES-256-GCM; the default
)

// String gives the name that files and commands use.
func (a Algorithm) String() string {
	switch a {
	case X25519:
		return "x25519"
	case P256:
		return "p256"
	case MLKEM768P256:
		return "mlkem768-p256"
	case MLKEM768X25519:
		return "mlkem768-x25519"
	}
	return fmt.Sprintf("algorithm %d", int(a))
}

// ParseAlgorithm reads the name of an algorithm.
func ParseAlgorithm(name string) (Algorithm, error) {
	for _, a := range []Algorithm{MLKEM768X25519, MLKEM768P256, P256, X25519} {
		if a.String() == name {
			return a, nil
		}
	}
	return 0, fmt.Errorf("unknown algorithm %q; write mlkem768-x25519, mlkem768-p256, p256 or x25519", name)
}

// Quantum tells whether the algorithm also withstands a quantum computer.
func (a Algorithm) Quantum() bool { return a == MLKEM768X25519 || a == MLKEM768P256 }

// suite gives the parts of HPKE (RFC 9180) that the algorithm is made of.
func (a Algorithm) suite() (kem hpke.KEM, kdf hpke.KDF, aead hpke.AEAD, err error) {
	switch a {
	case X25519:
		return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES128GCM(), nil
	case P256:
		return hpke.DHKEM(ecdh.P256()), hpke.HKDFSHA256(), hpke.AES256GCM(), nil
	case MLKEM768P256:
		return hpke.MLKEM768P256(), hpke.SHAKE256(), hpke.AES256GCM(), nil
	case MLKEM768X25519:
		return hpke.MLKEM768X25519(), hpke.SHAKE256(), hpke.AES256GCM(), nil
	}
	return nil, nil, nil, fmt.Errorf("algorithm %d is not supported", int(a))
}

// recipientInfo is the info of HPKE: the Recipient_structure of
// draft-ietf-cose-hpke, ["HPKE Recipient", next layer alg, protected, ”].
func recipientInfo(nextAlg int64, protected []byte) []byte {
	b := appendText([]byte{cborArray | 4}, "HPKE Recipient")
	b = appendInt(b, nextAlg)
	b = appendBytes(b, protected)
	return append(b, cborBytes)
}

// wrapped is one COSE_recipient: the content key, encrypted to one recipient.
type wrapped struct {
	alg        Algorithm
	kid        KeyID
	protected  []byte
	ek         []byte
	ciphertext []byte
}

// wrap encrypts the content key to one recipient.
func wrap(r *Recipient, cek []byte) (w wrapped, err error) {
	_, kdf, aead, err := r.alg.suite()
	if err != nil {
		return w, err
	}
	w.alg, w.kid = r.alg, r.ID()
	w.protected = appendInt([]byte{0xa2, headerAlg}, int64(r.alg))
	w.protected = appendBytes(append(w.protected, headerKid), w.kid[:])
	ek, sender, err := hpke.NewSender(r.key, kdf, aead, recipientInfo(algA256GCM, w.protected))
	if err != nil {
		return w, fmt.Errorf("cannot encrypt to recipient %v: %w", w.kid, err)
	}
	w.ek = ek
	if w.ciphertext, err = sender.Seal(nil, cek); err != nil {
		return w, fmt.Errorf("cannot encrypt to recipient %v: %w", w.kid, err)
	}
	return w, nil
}

// appendWrapped appends the COSE_recipient (RFC 9052, 5.1).
func appendWrapped(dst []byte, w *wrapped) []byte {
	dst = appendBytes(append(dst, cborArray|3), w.protected)
	dst = appendInt(append(dst, cborMap|1), headerEK)
	dst = appendBytes(dst, w.ek)
	return appendBytes(dst, w.ciphertext)
}

// wrapped reads what appendWrapped wrote.
func (c *cursor) wrapped() (w wrapped) {
	c.array(3)
	w.protected = c.bytes()
	c.fields(1)
	c.label(headerEK)
	w.ek = c.bytes()
	w.ciphertext = c.bytes()
	if c.wrong != "" {
		return w
	}
	p := cursor{b: w.protected}
	p.fields(2)
	p.label(headerAlg)
	w.alg = Algorithm(p.int())
	p.label(headerKid)
	p.fixed(w.kid[:])
	if p.end() != nil {
		c.fail("recipient with an unknown protected header")
	}
	return w
}

// unwrap decrypts the content key. nextAlg is the algorithm it is for.
func (i *Identity) unwrap(w *wrapped, nextAlg int64) ([]byte, error) {
	_, kdf, aead, err := i.recipient.alg.suite()
	if err != nil {
		return nil, err
	}
	opener, err := hpke.NewRecipient(w.ek, i.key, kdf, aead, recipientInfo(nextAlg, w.protected))
	if err == nil {
		var cek []byte
		if cek, err = opener.Open(nil, w.ciphertext); err == nil {
			return cek, nil
		}
	}
	return nil, errors.New("its encrypted key is not what was written for this recipient")
}
