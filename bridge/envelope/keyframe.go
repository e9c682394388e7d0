package envelope

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

const (
	keySize   = 32 // A256GCM
	nonceSize = 12 // and no other: longer IVs are hashed and may collide (NIST SP 800-38D, 8.2)
	tagSize   = 16

	// maxRecipients keeps a key frame of hybrid recipients well within MaxBody.
	maxRecipients = 64
)

// epochKey is what a key frame carries: an epoch's content key.
type epochKey struct {
	key    [keySize]byte
	baseIV [nonceSize]byte
}

// thumbprint is that of {1: 4 (symmetric), -1: k} (RFC 9679, 4.5). Its full
// length commits a key frame to one key: AES-GCM alone does not.
func (k *epochKey) thumbprint() [32]byte {
	return sha256.Sum256(appendBytes([]byte{0xa2, 0x01, 0x04, 0x20}, k.key[:]))
}

// appendCOSE appends the COSE_Key: {1: 4, 2: kid, 3: 3, 4: [4 (decrypt)],
// 5: Base IV, -1: k}.
func (k *epochKey) appendCOSE(dst []byte) []byte {
	t := k.thumbprint()
	dst = append(dst, 0xa6, 0x01, 0x04, 0x02)
	dst = appendBytes(dst, t[:8])
	dst = append(dst, 0x03, algA256GCM, 0x04, 0x81, 0x04, 0x05)
	dst = appendBytes(dst, k.baseIV[:])
	return appendBytes(append(dst, 0x20), k.key[:])
}

func parseEpochKey(b []byte) (k epochKey, err error) {
	var kid KeyID
	c := cursor{b: b}
	c.fields(6)
	for _, pair := range [...]struct{ label, value int64 }{{1, 4}, {2, 0}, {3, algA256GCM}, {4, 4}, {5, 0}, {-1, 0}} {
		c.label(pair.label)
		switch pair.label {
		case 2:
			c.fixed(kid[:])
		case 4:
			c.array(1)
			c.label(pair.value)
		case 5:
			c.fixed(k.baseIV[:])
		case -1:
			c.fixed(k.key[:])
		default:
			c.label(pair.value)
		}
	}
	if err := c.end(); err != nil {
		return epochKey{}, fmt.Errorf("cannot read epoch key: %w", err)
	}
	if t := k.thumbprint(); kid != KeyID(t[:8]) {
		return epochKey{}, errors.New("cannot read epoch key: its id is not its own")
	}
	return k, nil
}

// keyFrame is a key frame as it was read: what the COSE_Encrypt inside the
// COSE_Sign1 says. The slices alias what was read.
type keyFrame struct {
	stream     Stream
	epoch      Epoch
	sequence   uint64
	time       int64
	thumbprint [32]byte

	protected  []byte
	iv         []byte
	ciphertext []byte
	recipients []wrapped
	hash       [32]byte // SHA-256 of the Sign1 payload: external_aad of the epoch's frames
}

// appendKeyHeader appends the protected header of the COSE_Encrypt: {1: 3,
// 3: 101, 16: typ, -65537: [gateway, machine, level, start, instance, number,
// sequence, time, thumbprint]}.
func appendKeyHeader(dst []byte, f *keyFrame) []byte {
	dst = append(dst, 0xa4, headerAlg, algA256GCM, headerContentType, 0x18, contentCOSEKey)
	dst = appendText(append(dst, headerTyp), typKeyFrame)
	dst = appendInt(dst, headerEpoch)
	dst = append(dst, cborArray|9)
	dst = appendStream(dst, &f.stream)
	dst = appendEpoch(dst, &f.epoch)
	dst = appendUint(dst, f.sequence)
	dst = appendInt(dst, f.time)
	return appendBytes(dst, f.thumbprint[:])
}

func (f *keyFrame) readHeader(b []byte) error {
	c := cursor{b: b}
	c.fields(4)
	c.label(headerAlg)
	c.label(algA256GCM)
	c.label(headerContentType)
	c.label(contentCOSEKey)
	c.label(headerTyp)
	typ := c.name()
	c.label(headerEpoch)
	c.array(9)
	f.stream = c.stream()
	f.epoch = c.epoch()
	f.sequence = c.uint()
	f.time = c.int()
	c.fixed(f.thumbprint[:])
	if err := c.end(); err != nil {
		return fmt.Errorf("cannot read protected header of key frame: %w", err)
	}
	if typ != typKeyFrame {
		return errors.New("not a key frame of version 1")
	}
	return nil
}

// encStructure is the Enc_structure (RFC 9052, 5.3), the additional data of AEAD.
func encStructure(dst []byte, context string, protected, external []byte) []byte {
	dst = appendText(append(dst, cborArray|3), context)
	dst = appendBytes(dst, protected)
	return appendBytes(dst, external)
}

// appendEncrypt appends the COSE_Encrypt (RFC 9052, 5.1) that carries k, encrypted
// under cek, and cek encrypted to each recipient.
func appendEncrypt(dst []byte, f *keyFrame, k *epochKey, cek []byte, recipients []Recipient) ([]byte, error) {
	protected := appendKeyHeader(nil, f)
	iv, ciphertext, err := sealRandom(cek, k.appendCOSE(nil), encStructure(nil, "Encrypt", protected, nil))
	if err != nil {
		return dst, err
	}
	dst = append(dst, cborTag|24, tagEncrypt, cborArray|4)
	dst = appendBytes(dst, protected)
	dst = appendBytes(append(dst, cborMap|1, headerIV), iv)
	dst = appendBytes(dst, ciphertext)
	dst = appendHead(dst, cborArray, uint64(len(recipients)))
	for i := range recipients {
		w, err := wrap(&recipients[i], cek)
		if err != nil {
			return dst, err
		}
		dst = appendWrapped(dst, &w)
	}
	return dst, nil
}

// parseKeyFrame reads the payload of a key frame's COSE_Sign1.
func parseKeyFrame(s *sign1) (f keyFrame, err error) {
	if s.typ != typKeyFrame {
		return f, errors.New("not a key frame of version 1")
	}
	c := cursor{b: s.payload}
	c.tag(tagEncrypt)
	c.array(4)
	f.protected = c.bytes()
	c.fields(1)
	c.label(headerIV)
	f.iv = c.bytes()
	f.ciphertext = c.bytes()
	n := c.want(cborArray, "an array of recipients")
	if n == 0 || n > maxRecipients {
		c.fail("no recipients, or too many")
	}
	for ; n > 0 && c.wrong == ""; n-- {
		f.recipients = append(f.recipients, c.wrapped())
	}
	if err := c.end(); err != nil {
		return f, fmt.Errorf("cannot read key frame: %w", err)
	}
	if len(f.iv) != nonceSize {
		return f, fmt.Errorf("cannot read key frame: IV of %d bytes; only 12 are allowed", len(f.iv))
	}
	f.hash = sha256.Sum256(s.payload)
	return f, f.readHeader(f.protected)
}

// belongs tells whether the message around the key frame says what the key frame
// says of itself.
func (f *keyFrame) belongs(m *Message) error {
	if f.stream != m.Address.Stream || f.epoch != m.Epoch || f.sequence != m.Sequence ||
		m.ContentType != TypeSigned {
		return fmt.Errorf("key frame %d of %v is in a message that says otherwise", f.sequence, f.stream)
	}
	return nil
}

// errNotForUs is that none of the identities is a recipient.
var errNotForUs = errors.New("none of the identities given is a recipient of this epoch")

// open decrypts the epoch's key with the first identity for which it can: a key
// id proves nothing, so another recipient may be the one. Recipients of
// algorithms that are not known are passed over.
func (f *keyFrame) open(identities []*Identity) (k epochKey, err error) {
	err = errNotForUs
	for i := range f.recipients {
		w := &f.recipients[i]
		for _, identity := range identities {
			if identity.recipient.alg != w.alg || identity.recipient.ID() != w.kid {
				continue
			}
			cek, failed := identity.unwrap(w, algA256GCM)
			if failed == nil {
				if k, failed = f.decrypt(cek); failed == nil {
					return k, nil
				}
			}
			err = fmt.Errorf("cannot open key frame: %w", failed)
		}
	}
	return epochKey{}, err
}

// decrypt opens the COSE_Encrypt with its content key.
func (f *keyFrame) decrypt(cek []byte) (k epochKey, err error) {
	aead, err := newOpener(cek)
	if err != nil {
		return k, err
	}
	plain, err := aead.Open(nil, f.iv, f.ciphertext, encStructure(nil, "Encrypt", f.protected, nil))
	if err != nil {
		return k, errors.New("it was changed")
	}
	if k, err = parseEpochKey(plain); err != nil {
		return k, err
	}
	if t := k.thumbprint(); subtle.ConstantTimeCompare(t[:], f.thumbprint[:]) != 1 {
		return epochKey{}, errors.New("the key inside is not the one that was signed")
	}
	return k, nil
}

// when gives the time that the key frame was made at.
func (f *keyFrame) when() time.Time { return time.Unix(0, f.time) }

// KeyFrameRecipients gives the key ids of those who can open the epoch of a key
// frame, as it names them: for who audits whom a gateway seals for, without a
// key. It verifies nothing: [Reader.Read] has to have taken the message. An id
// is what the gateway wrote beside an encrypted key; that this is encrypted to
// the key of that id only its owner can see.
func KeyFrameRecipients(m *Message) ([]KeyID, error) {
	s, err := parseSign1(m.Body)
	if err != nil {
		return nil, err
	}
	f, err := parseKeyFrame(&s)
	if err != nil {
		return nil, err
	}
	ids := make([]KeyID, len(f.recipients))
	for i := range f.recipients {
		ids[i] = f.recipients[i].kid
	}
	return ids, nil
}
