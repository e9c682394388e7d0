// Package keystore keeps a gateway's private keys and secrets in one file,
// encrypted under a credential that stands elsewhere.
//
// It holds what the gateway needs to sign, to connect and to protect its own
// disk. It never holds a key that opens what the gateway sealed: identities are
// made by the people who keep them, on other machines.
package keystore

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/durable"
)

// The entries that every gateway has.
const (
	Signing   = "signing"    // Ed25519: signs key frames, checkpoints, loss records
	Outbox    = "outbox"     // 32 bytes: encrypts the outbox
	MessageID = "message-id" // 32 bytes: makes message ids that nobody else can claim
	Uplink    = "uplink"     // ECDSA P-256 with a certificate: the gateway as a TLS client
	// RSA 3072 with a certificate: the gateway as an OPC UA client, whose policies know RSA only.
	OPCUAClient = "opcua-client"
)

// Kinds of entries.
const (
	KindSigning     = "ed25519"
	KindSecret      = "secret"
	KindCertificate = "p256-certificate"
	KindRSA         = "rsa-certificate"
)

const (
	fileName = "keystore"
	magic    = "fieldseal keystore 1\n"
	saltSize = 32
)

// ErrWrongCredential means that the credential does not open the file, or that
// the file was changed.
var ErrWrongCredential = errors.New("the credential does not unlock the keystore, or the file was changed")

// Store is an unlocked keystore. Methods that change it may not be called
// concurrently with others.
type Store struct {
	path    string
	key     []byte
	entries map[string]entry
}

type entry struct {
	Kind        string    `json:"kind"`
	Private     []byte    `json:"private"`               // PKCS #8, or the secret itself
	Certificate [][]byte  `json:"certificate,omitempty"` // DER, leaf first
	Made        time.Time `json:"made"`
}

// Info is what may be shown of an entry.
type Info struct {
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	Public  string    `json:"public,omitempty"`  // "ed25519:…" of a signing key
	Subject string    `json:"subject,omitempty"` // of a certificate
	Until   time.Time `json:"until,omitzero"`    // the certificate's last instant
	From    time.Time `json:"from,omitzero"`     // and its first
	Made    time.Time `json:"made"`
}

// Absent refuses a state folder with a keystore, before a credential is made
// that would not open it.
func Absent(state string) error {
	path := filepath.Join(state, fileName)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists already; it is never overwritten, since nobody could read what its keys protect", path)
	}
	return nil
}

// Exists tells whether a folder has a keystore: a file of that name that begins
// as one.
func Exists(dir string) bool {
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return false
	}
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return errors.Join(err, f.Close()) == nil && string(head) == magic
}

// Create makes the keystore of a gateway in the state folder, with all its
// entries. It refuses where one exists already.
func Create(state, gateway string, credential []byte, now time.Time) (*Store, error) {
	if err := Absent(state); err != nil {
		return nil, err
	}
	s := &Store{path: filepath.Join(state, fileName), key: credential, entries: make(map[string]entry)}
	if _, err := s.Complete(gateway, now); err != nil {
		return nil, err
	}
	return s, s.Save()
}

// Complete makes the entries that every gateway has and this keystore, which an
// earlier version made, has not. It gives their names, and touches no other one;
// [Store.Save] keeps them.
func (s *Store) Complete(gateway string, now time.Time) (made []string, err error) {
	for _, e := range []struct {
		name string
		make func(name string) error
	}{
		{Signing, func(name string) error {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return fmt.Errorf("cannot make the signing key: %w", err)
			}
			return s.putKey(name, KindSigning, key, nil, now)
		}},
		{Outbox, s.makeSecret(now)},
		{MessageID, s.makeSecret(now)},
		{Uplink, func(name string) error { return s.MakeCertificate(name, gateway, now) }},
		{OPCUAClient, func(name string) error { return s.MakeOPCUACertificate(name, gateway, now) }},
	} {
		if _, ok := s.entries[e.name]; ok {
			continue
		}
		if err := e.make(e.name); err != nil {
			return nil, err
		}
		made = append(made, e.name)
	}
	return made, nil
}

func (s *Store) makeSecret(now time.Time) func(name string) error {
	return func(name string) error {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		s.entries[name] = entry{Kind: KindSecret, Private: secret, Made: now.UTC()}
		return nil
	}
}

// Open unlocks the keystore in a state folder.
func Open(state string, credential []byte) (*Store, error) {
	path := filepath.Join(state, fileName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no keystore at %s; make one with: fieldseal keys init", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the keystore: %w", err)
	}
	if !bytes.HasPrefix(b, []byte(magic)) || len(b) < len(magic)+saltSize+12 {
		return nil, fmt.Errorf("%s is not a keystore of this version", path)
	}
	salt := b[len(magic) : len(magic)+saltSize]
	aead, err := fileAEAD(credential, salt)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, b[len(magic)+saltSize:], b[:len(magic)+saltSize])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrWrongCredential)
	}
	s := &Store{path: path, key: credential}
	if err := json.Unmarshal(plain, &s.entries); err != nil {
		return nil, fmt.Errorf("%s: its contents are not what this version writes: %w", path, err)
	}
	return s, nil
}

// Save writes the keystore, so that after a power cut it is either the old one
// or the new one.
func (s *Store) Save() error {
	plain, err := json.Marshal(s.entries)
	if err != nil {
		return fmt.Errorf("cannot encode the keystore: %w", err)
	}
	out := make([]byte, len(magic)+saltSize)
	copy(out, magic)
	_, _ = rand.Read(out[len(magic):])
	aead, err := fileAEAD(s.key, out[len(magic):])
	if err != nil {
		return err
	}
	out = aead.Seal(out, nil, plain, out)
	return durable.Replace(s.path, 0o600, out)
}

// fileAEAD derives the key of one writing of the file. The nonce is random and
// stands in front of the ciphertext, the key is used once.
func fileAEAD(credential, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, credential, salt, "fieldseal keystore 1", 32)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the keystore's key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the keystore's cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the keystore's cipher: %w", err)
	}
	return aead, nil
}

func (s *Store) putKey(name, kind string, key any, chain [][]byte, now time.Time) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot encode the key %q: %w", name, err)
	}
	s.entries[name] = entry{Kind: kind, Private: der, Certificate: chain, Made: now.UTC()}
	return nil
}

// Secret gives a secret entry.
func (s *Store) Secret(name string) ([]byte, error) {
	e, ok := s.entries[name]
	if !ok || e.Kind != KindSecret {
		return nil, s.missing(name, "secret")
	}
	return e.Private, nil
}

// Signer gives the private key of a signing or certificate entry.
func (s *Store) Signer(name string) (crypto.Signer, error) {
	e, ok := s.entries[name]
	if !ok || e.Kind == KindSecret {
		return nil, s.missing(name, "key")
	}
	key, err := x509.ParsePKCS8PrivateKey(e.Private)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key %q: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, s.missing(name, "key")
	}
	return signer, nil
}

// SigningKey gives the public half of the signing key.
func (s *Store) SigningKey() (ed25519.PublicKey, error) {
	key, err := s.Signer(Signing)
	if err != nil {
		return nil, err
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, s.missing(Signing, "Ed25519 key")
	}
	return pub, nil
}

// PublicSigning gives the same as trust.yaml writes it: ed25519:BASE64.
func (s *Store) PublicSigning() (string, error) {
	pub, err := s.SigningKey()
	if err != nil {
		return "", err
	}
	return "ed25519:" + base64.StdEncoding.EncodeToString(pub), nil
}

// List tells what there is, by name.
func (s *Store) List() []Info {
	var out []Info
	for name, e := range s.entries {
		i := Info{Name: name, Kind: e.Kind, Made: e.Made}
		if e.Kind == KindSigning {
			i.Public, _ = s.PublicSigning()
		}
		if c, err := s.Certificate(name); err == nil {
			i.Subject, i.From, i.Until = c.Leaf.Subject.String(), c.Leaf.NotBefore, c.Leaf.NotAfter
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Renewal is how long before its end a certificate is spoken of: time enough for an
// authority to issue another. Of one that lasts less than half a year it is the last
// third.
const Renewal = 60 * 24 * time.Hour

// Ends says that a certificate has ended, or does so within [Renewal]; else it is
// empty.
func (i *Info) Ends(now time.Time) string {
	ends := "ends"
	switch {
	case i.Until.IsZero() || i.Until.Sub(now) > min(Renewal, i.Until.Sub(i.From)/3):
		return ""
	case !now.Before(i.Until):
		ends = "ended"
	}
	return "the certificate keystore:" + i.Name + " " + ends + " on " + i.Until.UTC().Format("2006-01-02 15:04") + " UTC"
}

// Renew says what to do about a certificate that ends.
func (i *Info) Renew() string {
	return "have a new one issued for what `fieldseal keys export " + i.Name + " --request` prints, give it to whoever trusts this very one, " +
		"take it over with `fieldseal keys import " + i.Name + " FILE`, and start the gateway again"
}

func (s *Store) missing(name, kind string) error {
	names := make([]string, 0, len(s.entries))
	for n := range s.entries {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Errorf("the keystore has no %s %q; it has %s", kind, name, strings.Join(names, ", "))
}
