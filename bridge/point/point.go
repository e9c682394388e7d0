// Package point holds the nouns of the field side and the contract between the
// code that reads machines and the code that takes what was read: [Sample],
// [Value], [Quality], [Meta], [Link], [Machine] and [Sink].
//
// It imports the standard library only. Adapters import it and nothing else of
// the bridge, so that an adapter can never see policy, keys or the outbox.
package point

import (
	"context"
	"fmt"
	"time"
)

// MaxSamples is the greatest number of samples in one [Sink.Take].
const MaxSamples = 1000

// MaxValueSize is the greatest size of a text or byte value in bytes. A source
// gives a longer one as a bad sample ([BadEncodingLimitsExceeded]).
const MaxValueSize = 64 << 10

// Sample is one reading of one point.
//
// It holds no interface value and no name: Point indexes the point list of the
// machine that the sink was attached for.
type Sample struct {
	Point   uint32  // index in the machine's point list
	Quality Quality // zero is good
	Time    int64   // source time: Unix time in nanoseconds, when the device answered or, for OPC UA, its SourceTimestamp
	Value   Value   // none where Quality is bad
}

// Machine names one piece of equipment to the source that reads it.
type Machine struct {
	Name string // as in the mapping file: lower case, digits, dashes
	// Spec is the adapter's own description of the machine and its points, in
	// the order that Sample.Point counts: *modbus.Machine for Modbus. A source
	// that is given another adapter's type answers with *ConfigError.
	Spec any
}

// Sink takes one machine's samples. Calls of all three methods never overlap.
type Sink interface {
	// Take is given what arrived together (one poll of one period, one
	// notification, or one read after connecting): at least 1 and at most
	// MaxSamples. It copies what it keeps, so the caller may reuse the slice
	// and the bytes the values point to.
	//
	// nil means pending, not yet durable. It blocks only while an outbox with
	// `when_full: stop-polling` is full. The only error is ctx's.
	Take(ctx context.Context, s []Sample) error
	// Link tells the state of the connection under the samples that follow. A
	// source calls it before the first sample of each connection, and on each
	// change.
	Link(Link)
	// Describe gives what the device or the mapping says of a point, before
	// its first sample and on each change.
	Describe(index uint32, m Meta)
}

// Meta is what is known of a point besides its value.
type Meta struct {
	Unit   string // as the mapping or the device writes it: "kN", "1/min"
	Status string // why the point is not read, for people; empty while it is
}

// Security grades a field connection by what was negotiated, not by what was
// configured. The zero value is the weakest.
type Security uint8

// The grades, in rising order.
const (
	AnyConnection Security = iota // nothing proven: Modbus TCP, OPC UA None
	Authenticated                 // the peer is verified, the data is readable: OPC UA Sign
	Encrypted                     // verified and unreadable on the way: OPC UA SignAndEncrypt, Modbus/TLS with client certificate
)

// String gives the word that the policy file uses: any, authenticated, encrypted.
func (s Security) String() string {
	switch s {
	case AnyConnection:
		return "any"
	case Authenticated:
		return "authenticated"
	case Encrypted:
		return "encrypted"
	}
	return fmt.Sprintf("security(%d)", uint8(s))
}

// LinkState says whether a machine can be read now.
type LinkState uint8

// The link states.
const (
	LinkDown LinkState = iota // not connected; the source tries again by itself
	LinkUp                    // connected and answering
)

// String gives "down" or "up".
func (s LinkState) String() string {
	if s == LinkUp {
		return "up"
	}
	return "down"
}

// Link is the state of one machine's connection.
type Link struct {
	State     LinkState
	Security  Security  // what was negotiated; meaningful while up
	Mechanism string    // in the field's words: "Modbus/TCP", "Basic256Sha256 SignAndEncrypt"
	Peer      string    // address of the other end, for people
	Err       string    // why it is down, without any value read from the machine
	Since     time.Time // when this state began
}

// ConfigError ends a source for good: trying again cannot help before the
// configuration is changed.
type ConfigError struct {
	Machine string // empty where the whole endpoint is meant
	Point   string // empty where the whole machine is meant
	What    string // what is wrong
	Instead string // what to write instead
}

// Error gives all of it on one line.
func (e *ConfigError) Error() string {
	s := e.What
	switch {
	case e.Machine != "" && e.Point != "":
		s = e.Machine + "/" + e.Point + ": " + s
	case e.Machine != "":
		s = e.Machine + ": " + s
	}
	if e.Instead != "" {
		s += "; " + e.Instead
	}
	return s
}

// Problem is one thing wrong with a Spec. Configs adds file, line and column.
type Problem struct {
	Point   string // name of the point; empty where the machine or endpoint is meant
	Key     string // the key of the mapping file that is wrong: "at", "type"; empty where none is
	What    string // what is wrong, lower case, no full stop
	Instead string // what to write instead
}
