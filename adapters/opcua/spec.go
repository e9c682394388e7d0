// Package opcua reads OPC UA servers: a [Source] reads one endpoint and the
// machines behind it by subscriptions. It reads only: nothing here writes a node
// or calls a method.
//
// The OPC UA client library can be driven by a hostile server, before any
// authentication, into allocations and recursions that end the process. It
// therefore runs in a worker: the same program, executed again as
// [WorkerMain], with little memory. A [Pool] starts workers and talks to them
// over pipes; it treats what they say as hostile.
//
// What it gives where a value cannot be had:
//
//   - the endpoint is not connected: [point.Link] down with the reason, and once
//     a bad sample for each point (BadNotConnected, BadCommunicationError); then
//     nothing until it is connected, when every point is read at once
//   - the server refuses a node: that point gets a bad sample with the server's
//     status code, and [point.Meta] says which node and why; it is tried again
//     every few minutes, and the others go on. So it is where it refuses a whole
//     call because of some nodes
//   - a value of another type than the mapping's: BadTypeMismatch; one that is too
//     long: BadEncodingLimitsExceeded; a time outside the years 1678 to 2262, which
//     is what nanoseconds hold, also none and the end of time: BadOutOfRange
//
// What it gives late, or not at all, it tells: the error of a link that is up says
// of which points the server gives less than was asked for, and for a minute that
// values were lost. [Source.Stats] counts them.
//
// Known limits: arrays and fields of structures are not read; there are no user
// certificates; certificates are trusted by pin, not by authority.
package opcua

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Spec describes one endpoint: a server, how the connection is secured, and as
// whom to log in. What is configured is what is used: a server that offers less
// is not connected to.
type Spec struct {
	Endpoint     string   // "opc.tcp://10.20.4.14:4840"; the port may be left out (4840)
	Policy       string   // "Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"
	Mode         string   // "Sign", "SignAndEncrypt"
	ServerSHA256 [32]byte // the pin: SHA-256 of the server's certificate in DER

	// The client's identity. [Spec.Check] lets them be empty, because a mapping
	// file only names them; [Pool.Source] does not.
	Certificate    []byte // DER; RSA, with the application's URI as a subject alternative name
	Key            Secret // PKCS#8, DER
	ApplicationURI string // empty: that of the certificate; else it has to be the same

	User    User
	Timeout time.Duration // for connecting and for the answer to one request; 0 is 10 s
}

// User is who the session belongs to: anonymous, or a name and a password.
type User struct {
	Anonymous bool
	Name      string
	Password  Secret
}

// Equal tells whether both are the same endpoint, so that one [Source] can serve
// the machines of both.
func (s *Spec) Equal(o *Spec) bool {
	return s.Endpoint == o.Endpoint && s.Policy == o.Policy && s.Mode == o.Mode && s.ServerSHA256 == o.ServerSHA256 &&
		slices.Equal(s.Certificate, o.Certificate) && s.Key == o.Key && s.ApplicationURI == o.ApplicationURI &&
		s.User == o.User && s.Timeout == o.Timeout
}

// Machine describes one machine behind an endpoint.
type Machine struct {
	Name      string
	Namespace string // URI of the namespace of nodes that name none themselves
	Points    []Point
}

// Point describes one point of a machine.
type Point struct {
	Name      string
	Node      NodeID
	Namespace string        // URI; empty is the machine's
	Field     string        // of a structure: understood but not honoured yet
	Type      Type          // exactly the node's: nothing is widened or converted
	MaxBytes  int           // of a String or Bytes; 0 is 4096, at most point.MaxValueSize
	Period    time.Duration // sampling interval, ≥ 10 ms
	Unit      string
}

// NodeID is the identifier of a node within a namespace, from [ParseNode]. The
// zero value is none.
type NodeID struct {
	Kind   NodeKind
	Number uint32 // of a Numeric
	Text   string // of a Text; the 16 bytes of a GUID in the order of its text; the bytes of an Opaque
}

// NodeKind is the type of a node's identifier.
type NodeKind byte

// The kinds, by their letter in the text form.
const (
	Numeric  NodeKind = 'i'
	TextNode NodeKind = 's'
	GUID     NodeKind = 'g'
	Opaque   NodeKind = 'b'
)

// Type is the built-in type of a node's value (OPC 10000-6, 5.1.2).
type Type uint8

// The types.
const (
	Bool Type = iota + 1
	Int8      // SByte
	Int16
	Int32 // and enumerations
	Int64
	Uint8 // Byte
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	String
	Bytes    // ByteString
	DateTime // UtcTime
)

// Secret is a password or a private key. Every way to print it hides it.
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
