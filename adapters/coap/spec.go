package coap

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"
)

// Spec describes one listener, which many devices share.
type Spec struct {
	Listen      string           // "0.0.0.0:5684"; an address and a UDP port
	Certificate *tls.Certificate // the gateway's, ECDSA; nil where no device has one either
	Authorities *x509.CertPool   // that issued the certificates of devices known by name; nil: none
}

// Machine describes one machine: one device.
type Machine struct {
	Name    string
	Device  Device
	Silence time.Duration // after which a session is given up; 0 is 5 minutes
	Points  []Point
}

// Device says which one it is: by exactly one of fingerprint, name and identity.
type Device struct {
	CertificateSHA256 [32]byte // the pin: SHA-256 of the device's certificate in DER, whoever issued it
	CertificateName   string   // DNS name in a certificate that leads to one of the endpoint's authorities
	Identity          string   // of a pre-shared key
	Credential        string   // names that key, see [Options]
}

// String says which device it is, in one way: "sha256:…", "certificate:NAME" or
// "psk:IDENTITY".
func (d *Device) String() string {
	switch {
	case d.Identity != "":
		return "psk:" + d.Identity
	case d.CertificateName != "":
		return "certificate:" + d.CertificateName
	case d.CertificateSHA256 != [32]byte{}:
		return "sha256:" + hex.EncodeToString(d.CertificateSHA256[:])
	}
	return ""
}

// Point describes one point of a machine: where the device sends what it
// encrypted.
type Point struct {
	Name        string
	Path        string // "/vibration"
	MaxBytes    int    // of a payload; 0 is 4096, at most point.MaxValueSize
	Passthrough string // what the payload is declared as: "cose"
}

// Secret is a pre-shared key. Every way to print it hides it.
type Secret string

// Format prints that there is a secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.hidden()) }

// LogValue hides the secret from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.hidden()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.hidden()), nil }

func (s Secret) hidden() string {
	if s == "" {
		return "<none>"
	}
	return "<secret>"
}
