package envelope

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	pemRecipient = "FIELDSEAL RECIPIENT"
	pemIdentity  = "FIELDSEAL IDENTITY"
	pemName      = "Name" // the header that holds the name

	maxKeyFile = 16 << 10
)

// Recipient is the public key of somebody who may open an epoch.
type Recipient struct {
	name   string
	alg    Algorithm
	key    hpke.PublicKey
	thumbs [32]byte
}

// Identity is the private key of a recipient.
type Identity struct {
	recipient Recipient
	key       hpke.PrivateKey
}

// NewIdentity makes a private key. The name is a comment for people.
func NewIdentity(alg Algorithm, name string) (*Identity, error) {
	kem, _, _, err := alg.suite()
	if err != nil {
		return nil, err
	}
	key, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a key for %v: %w", alg, err)
	}
	return newIdentity(alg, name, key), nil
}

func newIdentity(alg Algorithm, name string, key hpke.PrivateKey) *Identity {
	return &Identity{recipient: newRecipient(alg, name, key.PublicKey()), key: key}
}

func newRecipient(alg Algorithm, name string, key hpke.PublicKey) Recipient {
	r := Recipient{name: name, alg: alg, key: key}
	r.thumbs = sha256.Sum256(appendPublic(nil, alg, key.Bytes(), nil, true))
	return r
}

// Recipient gives the public half.
func (i *Identity) Recipient() Recipient { return i.recipient }

// Format prints whose identity it is and hides the key, whatever the verb.
func (i Identity) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "identity %v (%v)", i.recipient.ID(), i.recipient.alg)
}

// ID gives the key's id, as it stands in key frames.
func (r Recipient) ID() KeyID { return KeyID(r.thumbs[:8]) }

// Thumbprint gives the full COSE key thumbprint (RFC 9679), by which a trust
// file names a recipient.
func (r Recipient) Thumbprint() [32]byte { return r.thumbs }

// Algorithm gives the recipient's algorithm.
func (r Recipient) Algorithm() Algorithm { return r.alg }

// Name gives the comment of the file, which nothing vouches for.
func (r Recipient) Name() string { return r.name }

// String gives name, algorithm and id.
func (r Recipient) String() string { return fmt.Sprintf("%s (%v, %v)", r.name, r.alg, r.ID()) }

// Marshal gives the file: PEM of type FIELDSEAL RECIPIENT over a COSE_Key.
func (r Recipient) Marshal() []byte {
	if r.key == nil {
		return nil
	}
	return appendPEM(pemRecipient, r.name, appendPublic(nil, r.alg, r.key.Bytes(), nil, false))
}

// Marshal gives the file: PEM of type FIELDSEAL IDENTITY over a COSE_Key with
// its private part. It is a secret.
func (i *Identity) Marshal() []byte {
	private, err := i.key.Bytes()
	if err != nil { // only keys made from parts have no bytes, and nothing here makes any
		return nil
	}
	return appendPEM(pemIdentity, i.recipient.name, appendPublic(nil, i.recipient.alg, i.recipient.key.Bytes(), private, false))
}

func appendPEM(kind, name string, key []byte) []byte {
	block := pem.Block{Type: kind, Bytes: key}
	if name = oneLine(name); name != "" {
		block.Headers = map[string]string{pemName: name}
	}
	return pem.EncodeToMemory(&block)
}

// oneLine makes a name fit a PEM header.
func oneLine(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, name)
	return strings.TrimSpace(clip(strings.TrimSpace(name), MaxName))
}

// appendPublic appends the COSE_Key in deterministic encoding: with private its
// private form, with thumb only what the thumbprint is of (RFC 9679, 4; for key
// type AKP: kty, alg, pub).
func appendPublic(dst []byte, alg Algorithm, public, private []byte, thumb bool) []byte {
	kty, crv := byte(7), byte(0) // AKP
	switch alg {
	case X25519:
		kty, crv = 1, 4 // OKP
	case P256:
		kty, crv = 2, 1 // EC2
	}
	pairs := byte(3) // kty, alg, public
	switch kty {
	case 1:
		pairs = 4
	case 2:
		pairs = 5
	}
	if thumb && kty != 7 {
		pairs--
	}
	if private != nil {
		pairs++
	}
	dst = append(dst, cborMap|pairs, 1, kty)
	if !thumb || kty == 7 {
		dst = appendInt(append(dst, headerContentType), int64(alg))
	}
	switch kty {
	case 7:
		dst = appendBytes(append(dst, 0x20), public)
	case 1:
		dst = appendBytes(append(dst, 0x20, crv, 0x21), public)
	case 2:
		dst = appendBytes(append(dst, 0x20, crv, 0x21), public[1:33])
		dst = appendBytes(append(dst, 0x22), public[33:65])
	}
	if private != nil {
		label := byte(0x23) // -4, d
		if kty == 7 {
			label = 0x21 // -2, priv
		}
		dst = appendBytes(append(dst, label), private)
	}
	return dst
}

// ParseRecipient reads a recipient's file.
func ParseRecipient(file []byte) (Recipient, error) {
	name, raw, err := parsePEM(file, pemRecipient)
	if err != nil {
		return Recipient{}, err
	}
	k, err := parseKey(raw)
	if err != nil {
		return Recipient{}, fmt.Errorf("cannot read recipient: %w", err)
	}
	if k.private != nil {
		return Recipient{}, errors.New("cannot read recipient: the file holds a private key; give it to nobody, and use the recipient made from it")
	}
	return k.recipient(name)
}

// ParseIdentity reads an identity's file.
func ParseIdentity(file []byte) (*Identity, error) {
	name, raw, err := parsePEM(file, pemIdentity)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot read identity: %w", err)
	}
	return k.identity(name)
}

func parsePEM(file []byte, kind string) (name string, key []byte, err error) {
	if len(file) > maxKeyFile {
		return "", nil, fmt.Errorf("cannot read key file: it is over %d bytes", maxKeyFile)
	}
	block, rest := pem.Decode(file)
	switch {
	case block == nil:
		return "", nil, fmt.Errorf("cannot read key file: no %q block in PEM", kind)
	case block.Type != kind && block.Type == pemIdentity:
		return "", nil, errors.New("cannot read recipient: this is an identity, the private key; give the recipient made from it")
	case block.Type != kind && block.Type == pemRecipient:
		return "", nil, errors.New("cannot read identity: this is a recipient, the public key")
	case block.Type != kind:
		return "", nil, fmt.Errorf("cannot read key file: a %q block where %q was expected", clip(block.Type, 64), kind)
	case len(bytes.TrimSpace(rest)) != 0:
		return "", nil, errors.New("cannot read key file: something follows the key; one key to a file")
	}
	return oneLine(block.Headers[pemName]), block.Bytes, nil
}

// coseKey is a COSE_Key (RFC 9052, 7) of one of the algorithms.
type coseKey struct {
	alg     Algorithm
	public  []byte // as crypto/hpke wants it
	private []byte // nil in a public key
}

// parseKey reads a COSE_Key: any labels, in deterministic order, each once. Those
// of no meaning here, such as kid and key_ops, are passed over.
func parseKey(b []byte) (k coseKey, err error) {
	var kty, crv int64
	var parts [5][]byte // by label, -1 … -4
	c := cursor{b: b}
	n := c.want(cborMap, "a map")
	var last []byte
	for ; n > 0 && c.wrong == ""; n-- {
		from := c.i
		label := c.int()
		if c.wrong != "" {
			break
		}
		if encoded := b[from:c.i]; last != nil && bytes.Compare(last, encoded) >= 0 {
			c.fail("a label twice or out of order")
		} else {
			last = encoded
		}
		major, isBytes := byte(0), false
		if c.i < len(c.b) {
			major = c.b[c.i] & 0xe0
			isBytes = major == cborBytes
		}
		switch {
		case label == 1:
			kty = c.int()
		case label == 3:
			k.alg = Algorithm(c.int())
		case label == -1 && !isBytes:
			crv = c.int()
		case label <= -1 && label >= -4:
			parts[-label] = c.bytes()
		case label == 2 && isBytes:
			c.bytes()
		default:
			c.fail("a label that no key of this format has")
		}
	}
	if err := c.end(); err != nil {
		return k, err
	}
	private := 4
	switch {
	case (k.alg == MLKEM768X25519 || k.alg == MLKEM768P256) && kty == 7:
		k.public, private = parts[1], 2
	case k.alg == X25519 && kty == 1 && crv == 4:
		k.public = parts[2]
	case k.alg == P256 && kty == 2 && crv == 1 && len(parts[2]) == 32 && len(parts[3]) == 32:
		k.public = append(append([]byte{4}, parts[2]...), parts[3]...)
	default:
		return k, fmt.Errorf("key type %d, curve %d and algorithm %d are no key of this format", kty, crv, int(k.alg))
	}
	k.private = parts[private]
	return k, nil
}

func (k *coseKey) recipient(name string) (Recipient, error) {
	kem, _, _, err := k.alg.suite()
	if err != nil {
		return Recipient{}, err
	}
	public, err := kem.NewPublicKey(k.public)
	if err != nil {
		return Recipient{}, fmt.Errorf("cannot read recipient: no valid public key for %v", k.alg)
	}
	return newRecipient(k.alg, name, public), nil
}

func (k *coseKey) identity(name string) (*Identity, error) {
	kem, _, _, err := k.alg.suite()
	if err != nil {
		return nil, err
	}
	if k.private == nil {
		return nil, errors.New("cannot read identity: the private part is missing")
	}
	private, err := kem.NewPrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("cannot read identity: no valid private key for %v", k.alg)
	}
	if !bytes.Equal(private.PublicKey().Bytes(), k.public) {
		return nil, errors.New("cannot read identity: its two halves do not belong together")
	}
	return newIdentity(k.alg, name, private), nil
}
