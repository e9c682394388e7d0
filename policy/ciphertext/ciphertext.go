// Package ciphertext judges whether a payload that a device claims to have
// encrypted is what it claims to be. It judges and never changes; it has no key.
package ciphertext

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// COSE is the only format that is judged so far.
const COSE = "cose"

// Tags of RFC 9052, section 2.
const (
	tagEncrypt0 = 16
	tagEncrypt  = 96
	tagSign1    = 18
)

// Header labels of RFC 9052, section 3.1.
const (
	labelAlg       = 1
	labelIV        = 5
	labelPartialIV = 6
)

// authTags are the AEAD algorithms of RFC 9053, section 4, with the size of
// their authentication tag in bytes.
func authTag(alg int64) (size int, known bool) {
	switch alg {
	case 1, 2, 3, 24: // A128GCM, A192GCM, A256GCM, ChaCha20/Poly1305
		return 16, true
	case 10, 11, 12, 13: // AES-CCM-16-64-128 … AES-CCM-64-64-256
		return 8, true
	case 30, 31, 32, 33: // AES-CCM-16-128-128 … AES-CCM-64-128-256
		return 16, true
	}
	return 0, false
}

// Judge answers nil where payload is a well-formed ciphertext of the declared
// format. The error says what is wrong in words that hold nothing of the
// payload. It judges the structure; a plaintext that a device wraps as
// ciphertext is caught only where it is readable text.
func Judge(format string, payload []byte) error {
	if format != COSE {
		return fmt.Errorf("format %q is not judged by this version", format)
	}
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  16,
		MaxArrayElements: 256,
		MaxMapPairs:      64,
		IntDec:           cbor.IntDecConvertSignedOrFail,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		return fmt.Errorf("cannot set up the CBOR decoder: %w", err)
	}
	return judgeCOSE(mode, payload)
}

var errNotCOSE = errors.New("not a tagged COSE_Encrypt0 or COSE_Encrypt")

func judgeCOSE(mode cbor.DecMode, payload []byte) error {
	var tag cbor.RawTag
	if err := mode.Unmarshal(payload, &tag); err != nil {
		return errNotCOSE // the decoder's own text may quote the payload
	}
	if tag.Number == tagSign1 { // the device signs what it encrypted
		var s struct {
			_           struct{} `cbor:",toarray"`
			Protected   []byte
			Unprotected map[any]cbor.RawMessage
			Payload     []byte
			Signature   []byte
		}
		if mode.Unmarshal(tag.Content, &s) != nil || len(s.Signature) < 32 {
			return errors.New("not a well-formed COSE_Sign1")
		}
		if mode.Unmarshal(s.Payload, &tag) != nil {
			return errNotCOSE
		}
	}
	var parts []cbor.RawMessage
	if err := mode.Unmarshal(tag.Content, &parts); err != nil {
		return errNotCOSE
	}
	switch {
	case tag.Number == tagEncrypt0 && len(parts) == 3:
	case tag.Number == tagEncrypt && len(parts) == 4:
		var recipients []cbor.RawMessage
		if mode.Unmarshal(parts[3], &recipients) != nil || len(recipients) == 0 {
			return errors.New("a COSE_Encrypt without recipients")
		}
	default:
		return errNotCOSE
	}
	return judgeEncrypted(mode, parts)
}

func judgeEncrypted(mode cbor.DecMode, parts []cbor.RawMessage) error {
	var (
		wrapped     []byte
		protected   map[any]cbor.RawMessage
		unprotected map[any]cbor.RawMessage
		ciphertext  []byte
	)
	if mode.Unmarshal(parts[0], &wrapped) != nil || mode.Unmarshal(wrapped, &protected) != nil {
		return errors.New("the protected header is not a CBOR map")
	}
	if mode.Unmarshal(parts[1], &unprotected) != nil {
		return errors.New("the unprotected header is not a CBOR map")
	}
	if mode.Unmarshal(parts[2], &ciphertext) != nil || ciphertext == nil {
		return errors.New("no ciphertext inside")
	}
	var alg int64
	if raw, ok := protected[int64(labelAlg)]; !ok || mode.Unmarshal(raw, &alg) != nil {
		return errors.New("no algorithm in the protected header")
	}
	tagSize, known := authTag(alg)
	if !known {
		return fmt.Errorf("algorithm %d is not an authenticated encryption of RFC 9053", alg)
	}
	ivs := 0
	for _, h := range []map[any]cbor.RawMessage{protected, unprotected} {
		for _, label := range []int64{labelIV, labelPartialIV} {
			raw, ok := h[label]
			if !ok {
				continue
			}
			var iv []byte
			if mode.Unmarshal(raw, &iv) != nil || len(iv) == 0 {
				return errors.New("the IV is not a byte string")
			}
			ivs++
		}
	}
	if ivs != 1 {
		return fmt.Errorf("%d of IV and Partial IV, not exactly one", ivs)
	}
	if len(ciphertext) <= tagSize {
		return errors.New("the ciphertext is not longer than its authentication tag")
	}
	if utf8.Valid(ciphertext[:len(ciphertext)-tagSize]) && len(ciphertext)-tagSize >= 16 {
		return errors.New("what stands where the ciphertext should be is readable text")
	}
	return nil
}
