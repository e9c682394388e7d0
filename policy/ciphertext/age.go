package ciphertext

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// Why a payload is not an age file.
var (
	errNotAge     = errors.New("not an age v1 file")
	errAgeArmor   = errors.New("an armored age file, which is not accepted: let the device send the binary one")
	errAgeStanza  = errors.New("the age header has no recipients, too many, or one of a kind that is not known")
	errAgeMAC     = errors.New("the age header does not end with its MAC")
	errAgePayload = errors.New("the age payload has a size that no encryption gives")
)

const (
	ageLine   = "age-encryption.org/v1\n"
	ageNonce  = 16
	ageTag    = 16
	ageChunk  = 64<<10 + ageTag
	mostAgeOf = 20 // recipients
)

// ageStanza is what a recipient's stanza holds: the size in bytes of each
// argument and of the body. An argument of size 0 is the work factor.
type ageStanza struct {
	args        []int
	least, most int
	names       bool // the first argument names the recipient's key
}

// stanza gives the kinds of https://c2sp.org/age and its plugins' specifications.
// Stanzas of unknown kinds, such as the random ones that some tools add
// ("grease"), may hold anything and are refused.
func stanza(kind []byte) (s ageStanza, known bool) {
	switch string(kind) {
	case "X25519":
		return ageStanza{[]int{32}, 32, 32, false}, true
	case "scrypt":
		return ageStanza{[]int{16, 0}, 32, 32, false}, true
	case "ssh-ed25519":
		return ageStanza{[]int{4, 32}, 32, 32, true}, true
	case "ssh-rsa":
		return ageStanza{[]int{4}, 256, 1024, true}, true
	case "piv-p256":
		return ageStanza{[]int{4, 33}, 32, 32, true}, true
	case "p256tag":
		return ageStanza{[]int{4, 65}, 32, 32, false}, true
	case "mlkem768x25519":
		return ageStanza{[]int{1120}, 32, 32, false}, true
	case "mlkem768p256tag":
		return ageStanza{[]int{4, 1153}, 32, 32, false}, true
	}
	return s, false
}

// parseAge takes a binary age file.
func parseAge(b []byte, p *parts) error {
	if bytes.HasPrefix(b, []byte("-----BEGIN AGE")) {
		return errAgeArmor
	}
	b, ok := bytes.CutPrefix(b, []byte(ageLine))
	if !ok {
		return errNotAge
	}
	if cap(p.decoded) < len(b) {
		p.decoded = make([]byte, 0, len(b))
	}
	p.decoded = p.decoded[:0]
	recipients := 0
	for bytes.HasPrefix(b, []byte("-> ")) {
		if recipients++; recipients > mostAgeOf {
			return errAgeStanza
		}
		if b, ok = p.ageRecipient(b[3:]); !ok {
			return errAgeStanza
		}
	}
	if recipients == 0 {
		return errAgeStanza
	}
	line, b, ok := bytes.Cut(b, []byte{'\n'})
	mac, isMAC := bytes.CutPrefix(line, []byte("--- "))
	if !ok || !isMAC || !p.ageRandom(mac, 32) {
		return errAgeMAC
	}
	// The payload is a nonce and chunks, all but the last of 64 KiB with their
	// tags. Only the one chunk of an empty file is empty.
	last := (len(b) - ageNonce) % ageChunk
	if len(b) < ageNonce+ageTag || last < ageTag && last != 0 || last == ageTag && len(b) > ageNonce+ageTag {
		return errAgePayload
	}
	p.body = b
	return nil
}

// ageRecipient takes a stanza, behind its arrow.
func (p *parts) ageRecipient(b []byte) (rest []byte, ok bool) {
	line, b, ok := bytes.Cut(b, []byte{'\n'})
	if !ok {
		return nil, false
	}
	kind, line, more := bytes.Cut(line, []byte{' '})
	s, known := stanza(kind)
	if !known {
		return nil, false
	}
	p.keep(0, kind)
	for i, size := range s.args {
		if !more {
			return nil, false
		}
		var arg []byte
		arg, line, more = bytes.Cut(line, []byte{' '})
		switch {
		case size == 0:
			if len(arg) == 0 || len(arg) > 2 || arg[0] < '1' || arg[0] > '9' || arg[len(arg)-1] < '0' || arg[len(arg)-1] > '9' {
				return nil, false
			}
			p.keep(0, arg)
		case i == 0 && s.names:
			at := len(p.other)
			if !p.ageRandom(arg, size) {
				return nil, false
			}
			p.other = p.other[:at]
			p.keep(0, arg)
		case !p.ageRandom(arg, size):
			return nil, false
		}
	}
	if more {
		return nil, false
	}
	// The body: full lines of 64 characters and a shorter one, which may be
	// empty.
	at := len(p.decoded)
	for {
		if line, b, ok = bytes.Cut(b, []byte{'\n'}); !ok || len(line) > 64 {
			return nil, false
		}
		if !p.ageDecode(line) {
			return nil, false
		}
		if len(line) < 64 {
			break
		}
	}
	body := p.decoded[at:]
	p.scatter(body)
	return b, len(body) >= s.least && len(body) <= s.most
}

// ageRandom takes an argument that looks random in each file.
func (p *parts) ageRandom(text []byte, size int) bool {
	at := len(p.decoded)
	if !p.ageDecode(text) || len(p.decoded)-at != size {
		return false
	}
	p.scatter(p.decoded[at:])
	return true
}

// ageDecode takes base64 without padding, which is not the URL's.
func (p *parts) ageDecode(text []byte) bool {
	at := len(p.decoded)
	b, err := base64.RawStdEncoding.Strict().AppendDecode(p.decoded, text)
	if err != nil || base64.RawStdEncoding.EncodedLen(len(b)-at) != len(text) {
		return false
	}
	p.decoded = b
	return true
}
