package approval

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxName is the greatest length of a name, as in the configuration.
const maxName = 64

// secretPrefix is how the secret key of an approver begins. It is that of
// signed notes.
const secretPrefix = "PRIVATE+KEY+"

// Secret is the secret key of an approver. It prints as the approver's name in
// every format: only [Secret.Reveal] gives the key.
type Secret struct {
	public string
	signer note.Signer
	reveal func() string // a closure, so that nothing that prints fields can reach the key
}

// NewApprover makes the key of an approver: Ed25519 in the form of signed
// notes, NAME+HASH+KEY.
func NewApprover(name string) (Secret, string, error) {
	if !isName(name) {
		return Secret{}, "", notName(name)
	}
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return Secret{}, "", fmt.Errorf("cannot make the key of approver %q: %w", name, err)
	}
	s, err := ParseSecret(secret)
	return s, public, err
}

// ParseSecret reads what [Secret.Reveal] gave. Its errors never quote it.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, secretPrefix) {
		if IsSecret(text) {
			return Secret{}, errors.New("the secret key of an approver does not stand alone here: it begins with " + secretPrefix + ", is the only line, and nothing stands in front of it, such as the byte order mark of some editors")
		}
		if _, err := ParsePublic(text); err == nil {
			return Secret{}, errors.New("this is the public key of an approver; signing takes the secret one, which begins with " + secretPrefix)
		}
		return Secret{}, errors.New("no secret key of an approver: it begins with " + secretPrefix + " and stands on one line")
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(text, secretPrefix), "+")
	_, coded, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(coded)
	signer, signerErr := note.NewSigner(text)
	if err != nil || signerErr != nil || len(key) != 1+ed25519.SeedSize || !isName(name) {
		return Secret{}, errors.New("the secret key of an approver is damaged; take it from a copy")
	}
	pub, _ := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	public, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return Secret{}, errors.New("the secret key of an approver is damaged; take it from a copy")
	}
	return Secret{public: public, signer: signer, reveal: func() string { return text }}, nil
}

// Name gives the approver's name.
func (s Secret) Name() string {
	if s.signer == nil {
		return ""
	}
	return s.signer.Name()
}

// Public gives the public key that belongs to it.
func (s Secret) Public() string { return s.public }

// Reveal gives the key itself, for the file that keeps it.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String tells whose key it is.
func (s Secret) String() string { return "secret key of approver " + s.Name() }

// Format prints the same for every verb.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// LogValue logs the same.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText encodes the same, for JSON and others.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// IsSecret tells whether there is the secret key of an approver anywhere in a
// text, however it is encoded: such a text is never shown.
func IsSecret(text string) bool {
	ascii := strings.Map(func(r rune) rune { // without the zeros of UTF-16, blanks and the like
		if r > ' ' && r < 0x7f {
			return r
		}
		return -1
	}, text)
	return strings.Contains(strings.ToUpper(ascii), strings.TrimSuffix(secretPrefix, "+"))
}

// ParsePublic checks the public key of an approver and gives the name in it.
func ParsePublic(key string) (name string, err error) {
	v, _, err := verifier(key)
	if err != nil {
		return "", err
	}
	return v.Name(), nil
}

// verifier reads a public key: what checks its signatures, and the key alone.
// There is one way to write a key.
func verifier(key string) (v note.Verifier, raw string, err error) {
	const form = "NAME+HASH+KEY, as fieldseal keys approver prints it"
	if IsSecret(key) {
		return nil, "", errors.New("this is the secret key of an approver, which nobody else may have; make a new one, and give away the public key only")
	}
	// What is no public key may be a secret of any kind: it is never quoted.
	noKey := errors.New("this is no public key of an approver; write " + form)
	v, err = note.NewVerifier(key)
	if err != nil {
		return nil, "", noKey
	}
	if !isName(v.Name()) {
		return nil, "", errors.New("the name in the public key of an approver is none; names are lower case letters, digits and dashes")
	}
	_, rest, _ := strings.Cut(key, "+")
	_, rest, _ = strings.Cut(rest, "+") // what follows may have a plus in it
	b, err := base64.StdEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != 1+ed25519.PublicKeySize {
		return nil, "", noKey
	}
	again, err := note.NewEd25519VerifierKey(v.Name(), b[1:])
	if err != nil || again != key {
		return nil, "", noKey
	}
	return v, string(b), nil
}

func isName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		s[0] != '-' && s[len(s)-1] != '-'
}

func notName(s string) error {
	return fmt.Errorf("%.80q is no name; names are lower case letters, digits and dashes, at most %d", s, maxName)
}
