// Package policy decides how each point leaves the gateway. It is plain data
// and a pure function: [Policy.Compile] turns levels, labels, releases, raises
// and exceptions into one [Decision] for each point of a machine, and each
// decision names the rule that made it.
package policy

import (
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Policy is the content of a policy file that was checked.
type Policy struct {
	Name        string
	Revision    int            // only ever goes up
	Location    *time.Location // what its dates mean
	Levels      []Level        // least sensitive first
	Default     string         // name of the level of a point that nobody labelled; never a clear one
	Released    []Release
	Raise       []Raise
	Exceptions  []Exception
	Passthrough Passthrough
	Events      []string // recipients who may read events upstream; none: events stay here
	Digest      [32]byte // SHA-256 of the file
}

// Level is one sensitivity level.
type Level struct {
	Name       string
	Send       Send
	To         []string       // recipients; for Sealed
	Connection point.Security // what the field connection must at least have
	Pad        bool           // hide sizes: Padmé
	HideNames  bool           // points' names stay out of addresses: hide: [names]
}

// Send says how the points of a level leave. The zero value seals.
type Send uint8

// The ways.
const (
	SendSealed Send = iota
	SendClear
	SendWithheld
)

// Release lets points of a clear level leave in clear.
type Release struct {
	Points []Pattern
	Why    string
	Where  string // file:line, for the decision's rule
}

// Raise makes points stricter.
type Raise struct {
	Points []Pattern
	Level  string
	Where  string
}

// Exception permits less than a level asks, until the end of its day.
type Exception struct {
	Allow  Allow
	Points []Pattern
	Why    string
	Until  time.Time // the first instant past the last day, in the policy's time zone
	Where  string
}

// Allow is what an exception permits. The list is closed.
type Allow string

// What can be excepted.
const (
	// ConnectionNotEncrypted reads points of a level that asks for an encrypted
	// field connection over a weaker one. The risk: who reaches that network
	// reads the values, and can change them before they are sealed.
	ConnectionNotEncrypted Allow = "connection-not-encrypted"
	// ConnectionNotAuthenticated does the same for a level that asks for an
	// authenticated one. The risk: values may come from somebody else.
	ConnectionNotAuthenticated Allow = "connection-not-authenticated"
)

// Passthrough says what to do with payloads that devices encrypted.
type Passthrough struct {
	Accept     []string // formats: those of ciphertext.Formats
	IfReadable IfReadable
}

// IfReadable says what becomes of a payload that claims to be ciphertext and is
// not.
type IfReadable uint8

// The choices. The zero value seals.
const (
	SealReadable IfReadable = iota
	HoldReadable
)

// Point is what the policy needs to know of a point.
type Point struct {
	Name        string
	Label       string   // the level that its mapping file gives it, its machine or its template; empty where nobody labelled it
	Where       string   // file:line of the label, or of the point
	Address     string   // canonical within the machine: equal addresses take the stricter level. Empty: unlike all others
	Passthrough string   // declared format, empty where the device does not encrypt it
	ReadableBy  []string // who the device encrypts it for
	Wrap        bool     // seal the device's ciphertext again, for the level's recipients
	Withheld    string   // why nothing of it leaves, whatever its level; empty where something may
}

// Treatment is how a point leaves. The zero value seals.
type Treatment uint8

// The treatments.
const (
	Sealed Treatment = iota
	Clear
	Passed // passthrough: forwarded byte for byte after it was judged
	Withheld
)

// String gives the word that output uses.
func (t Treatment) String() string {
	switch t {
	case Clear:
		return "clear"
	case Passed:
		return "passthrough"
	case Withheld:
		return "withheld"
	default:
		return "sealed"
	}
}

// Decision says how one point leaves, and which rule said so.
type Decision struct {
	Treatment Treatment
	Wrap      bool      // for passthrough: what is ciphertext is sealed again
	Readable  Treatment // for passthrough: what becomes of a payload that is not ciphertext after all, sealed or withheld
	Probation Treatment // for passthrough: what becomes of ciphertext while its source is not trusted yet, sealed or withheld
	Level     string
	Rule      string // such as "press-3.yaml:22" or "policy.yaml:27 (raise)"
	Why       string // for withheld: what would have to change
}
