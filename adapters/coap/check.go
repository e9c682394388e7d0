package coap

import (
	"cmp"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	defaultSilence  = 5 * time.Minute
	minSilence      = time.Second
	maxSilence      = 7 * 24 * time.Hour
	defaultMaxBytes = 4096
	maxPoints       = 1000 // of one device
	maxIdentity     = 128  // bytes (RFC 4279, 5.3)
	maxName         = 255
	maxPath         = 255 // bytes of a whole path
	minKey, maxKey  = 16, 64
)

// Check gives all that is wrong with the listener as the mapping file describes
// it. The certificate is looked at where it is there.
func (s *Spec) Check() []point.Problem {
	var found []point.Problem
	if _, err := netip.ParseAddrPort(s.Listen); err != nil {
		found = append(found, point.Problem{
			Key: "listen", What: "'listen' is no address and port",
			Instead: `write listen: "0.0.0.0:5684" for every interface, or the address of one: "10.20.3.1:5684", "[fd00::1]:5684"`,
		})
	}
	if c := s.Certificate; c != nil {
		if c.Leaf == nil || c.PrivateKey == nil {
			found = append(found, point.Problem{Key: "certificate", What: "the certificate has no key"})
		} else if _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok {
			found = append(found, point.Problem{
				Key:     "certificate",
				What:    fmt.Sprintf("the certificate's key is %v, and devices are met with ECDSA only", c.Leaf.PublicKeyAlgorithm),
				Instead: "name an entry with an ECDSA key, such as keystore:uplink",
			})
		}
	}
	return found
}

// Check gives all that is wrong with the machine and its points, in their order.
func (m *Machine) Check() []point.Problem {
	var found []point.Problem
	name := ""
	add := func(key, what, instead string) {
		found = append(found, point.Problem{Point: name, Key: key, What: what, Instead: instead})
	}
	m.Device.check(add)
	if m.Silence != 0 && (m.Silence < minSilence || m.Silence > maxSilence) {
		add("silence", fmt.Sprintf("a silence of %v is outside 1s–168h", m.Silence), "leave it out for 5m")
	}
	if len(m.Points) > maxPoints {
		add("points", fmt.Sprintf("there are %d points, more than %d", len(m.Points), maxPoints), "make it several machines")
	}
	names, paths := map[string]bool{}, map[string]string{}
	for i := range m.Points {
		p := &m.Points[i]
		name = p.Name
		switch {
		case name == "":
			add("name", fmt.Sprintf("point %d has no name", i+1), "give it one of lower case, digits and dashes")
		case names[name]:
			add("name", "the name is there twice", "names of one machine differ")
		}
		names[name] = true
		if what := wrongPath(p.Path); what != "" {
			add("path", what, "write path: /vibration")
		} else if other, twice := paths[p.Path]; twice {
			add("path", fmt.Sprintf("the path is that of %s already", other), "write another one")
		}
		paths[p.Path] = p.Name
		if p.MaxBytes < 0 || p.MaxBytes > point.MaxValueSize {
			add("max_bytes", fmt.Sprintf("%d bytes are outside 1–%d", p.MaxBytes, point.MaxValueSize), fmt.Sprintf("leave it out for %d", defaultMaxBytes))
		}
		if p.Passthrough == "" {
			add("passthrough", "the point is not passthrough: this is for what devices encrypt themselves",
				"write passthrough: cose, and readable_by:, or read the device with modbus: or opcua:")
		}
	}
	return found
}

func (d *Device) check(add func(key, what, instead string)) {
	const instead = `write device: {certificate: "sha256:…"}, device: {certificate: NAME}, or device: {psk_identity: NAME, psk: "credential:NAME"}`
	pinned, named, keyed := d.CertificateSHA256 != [32]byte{}, d.CertificateName != "", d.Identity != "" || d.Credential != ""
	ways := 0
	for _, is := range []bool{pinned, named, keyed} {
		if is {
			ways++
		}
	}
	switch {
	case ways == 0:
		add("device", "nothing says which device it is", instead)
	case ways > 1:
		add("device", "the device is named in more than one way", instead)
	case named && (len(d.CertificateName) > maxName || !printable(d.CertificateName) || d.CertificateName != strings.ToLower(d.CertificateName)):
		add("device", "the name of the certificate is none that a certificate has", "write the DNS name that is in it, in lower case")
	case !keyed:
	case d.Identity == "" || d.Credential == "":
		add("device", "identity or key is missing", instead)
	case len(d.Identity) > maxIdentity || !utf8.ValidString(d.Identity) || strings.ContainsFunc(d.Identity, func(r rune) bool { return r < ' ' || r == 0x7f }):
		add("device", fmt.Sprintf("the identity is no text of at most %d bytes", maxIdentity), "write what the device is set to")
	}
}

// printable tells whether s is ASCII without blanks.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// wrongPath says what is wrong with a path; empty where nothing is. What it lets
// through has one spelling: nothing in it is ever escaped.
func wrongPath(path string) string {
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return fmt.Sprintf("the path is none that begins with / and has at most %d letters", maxPath)
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "the path has an empty part, or one of dots"
		}
		if strings.ContainsFunc(segment, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~", r))
		}) {
			return "the path has a letter other than A–Z, a–z, 0–9, - . _ ~"
		}
	}
	return ""
}

// ParseKey reads a pre-shared key as it stands in a credential: 16 to 64 bytes in
// hexadecimal. Its error holds nothing of it.
func ParseKey(text Secret) (Secret, error) {
	key, err := hex.DecodeString(string(text))
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return "", fmt.Errorf("it is no key of %d to %d bytes in hexadecimal; make one with: openssl rand -hex 32", minKey, maxKey)
	}
	if slices.Max(key) == slices.Min(key) {
		return "", errors.New("all its bytes are the same; make a key with: openssl rand -hex 32")
	}
	return Secret(key), nil
}

// CheckShared gives what is wrong with the machines of one listener together:
// what each of them has alone is [Machine.Check]'s, and they are sound.
func CheckShared(machines []*Machine) []point.Problem {
	var found []point.Problem
	first := map[string]string{}
	for _, m := range machines {
		device := m.Device.String()
		if other, twice := first[device]; twice {
			found = append(found, point.Problem{
				Key: "device", What: fmt.Sprintf("%s: the device is that of %s already", m.Name, other), Instead: "a device is one machine",
			})
			continue
		}
		first[device] = m.Name
	}
	return found
}

// bytes is the greatest size of a payload.
func (p *Point) bytes() int { return cmp.Or(p.MaxBytes, defaultMaxBytes) }
