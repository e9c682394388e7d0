package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/durable"
)

// credentialSize is the least size of a credential in bytes. It is a key, not a
// password: there is nothing to stretch and nothing to guess.
const credentialSize = 32

// ErrNoCredential means that a credential stands in none of the places.
var ErrNoCredential = errors.New("no such credential")

// credentialPlaces are where a credential is looked for, in this order: what
// systemd gives the unit (LoadCredential=), what a container runtime mounts, and
// the state folder itself.
func credentialPlaces(state, name string) []string {
	var places []string
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		places = append(places, filepath.Join(dir, name))
	}
	return append(places, filepath.Join("/run/secrets", name), filepath.Join(state, "credentials", name))
}

// Credential finds and reads the credential `credential:NAME` as a key: base64 of
// at least 32 random bytes, on one line. A file in the state folder that others
// can read is refused.
func Credential(state, name string) (key []byte, path string, err error) {
	b, path, err := readCredential(state, name)
	if err != nil {
		return nil, path, err
	}
	key, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) < credentialSize {
		return nil, path, fmt.Errorf("credential %s is not base64 of %d random bytes or more; make one with: head -c %d /dev/urandom | base64 -w0 > %s",
			path, credentialSize, credentialSize, path)
	}
	return key, path, nil
}

// maxPassword is the greatest length of a password in bytes.
const maxPassword = 1024

// Password finds and reads the credential `credential:NAME` as a text for others:
// what stands in the file, without the line break at its end. It stands in the
// same places, and is refused for the same reasons.
func Password(state, name string) (string, error) {
	b, path, err := readCredential(state, name)
	if err != nil {
		return "", err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("credential %s is empty; write the password into it", path)
	case len(b) > maxPassword || !utf8.Valid(b) || bytes.ContainsAny(b, "\x00\r\n"):
		return "", fmt.Errorf("credential %s is no password: one line of text, %d bytes at most", path, maxPassword)
	}
	return string(b), nil
}

// readCredential finds and reads the file of a credential.
func readCredential(state, name string) (b []byte, path string, err error) {
	for _, path := range credentialPlaces(state, name) {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, path, fmt.Errorf("cannot look at credential %q: %w", name, err)
		}
		if filepath.Dir(path) == filepath.Join(state, "credentials") && info.Mode().Perm()&0o077 != 0 {
			return nil, path, fmt.Errorf("credential %s can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, path, fmt.Errorf("cannot read credential %q: %w", name, err)
		}
		return b, path, nil
	}
	return nil, "", fmt.Errorf("credential %q: %w; looked for %s", name, ErrNoCredential, strings.Join(credentialPlaces(state, name), ", "))
}

// MakeCredential writes a new credential into the state folder. It protects
// against a keystore that is copied alone, not against who copies the whole
// folder: systemd credentials or a mounted secret do that.
func MakeCredential(state, name string) (key []byte, path string, err error) {
	path = filepath.Join(state, "credentials", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, path, fmt.Errorf("cannot make the credentials folder: %w", err)
	}
	key = make([]byte, credentialSize)
	_, _ = rand.Read(key)
	return key, path, durable.Replace(path, 0o600, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
}
