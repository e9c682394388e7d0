package envelope

import "fmt"

// Proof says how sure it is that a delivery is what its gateway sent.
type Proof uint8

// The grades of proof.
const (
	Unverified Proof = iota // there is no trust file: anybody may have sent it
	Pending                 // not signed yet: whoever can read it, or for clear data anybody, may have sent it
	Signed                  // the gateway's signature covers it
)

// String gives the word that output uses.
func (p Proof) String() string {
	switch p {
	case Unverified:
		return "unverified"
	case Pending:
		return "pending"
	case Signed:
		return "signed"
	}
	return fmt.Sprintf("proof(%d)", uint8(p))
}

// Delivery is one message as a consumer gets it, once. Key frames, checkpoints,
// loss records and statements give none: [Reader.Report] and [Reader.Gateways]
// tell of them.
type Delivery struct {
	Stream      Stream
	Epoch       Epoch
	Sequence    uint64
	Kind        Kind
	Point       string // passthrough only
	ContentType string
	Time        int64 // Unix nanoseconds, as in the message
	Proof       Proof
	Sealed      bool
	Unopened    bool     // sealed, and none of the identities can open it: there are no samples
	Base        string   // what goes before each sample's name: "machine/"
	Samples     []Sample // Kind Data
	Catalogue   []Entry  // Kind Data that holds a catalogue and no samples; see [Reader.Entry]
	Payload     []byte   // every other kind
}
