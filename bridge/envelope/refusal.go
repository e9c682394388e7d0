package envelope

import "fmt"

// Class says why a message was refused. The words are part of the contract:
// programs may act on them.
type Class string

// The classes of refusal.
const (
	Malformed      Class = "malformed"       // not in this format
	Unsupported    Class = "unsupported"     // of a kind, content type or version this reader does not know
	Oversize       Class = "oversize"        // over MaxBody
	UnknownGateway Class = "unknown-gateway" // the trust file does not list it
	BadSignature   Class = "bad-signature"   // not signed by a key that the trust file lists for the gateway
	WrongRecipient Class = "wrong-recipient" // an epoch that none of the identities can open
	Tampered       Class = "tampered"        // sealed or signed, and changed or moved since
	Forged         Class = "forged"          // not what the gateway signed under this number
	Rollback       Class = "rollback"        // the gateway's numbering went back, as after an old backup was restored
	Clone          Class = "clone"           // two gateways run under one name and one state
	GivenUp        Class = "given-up"        // no room for it, or for what it needs; see ReaderOptions.MaxPending and MaxAccount
)

// Refusal is the error of [Reader.Read]. It concerns one message: others are not
// affected. It holds nothing that was sealed.
type Refusal struct {
	Class    Class
	Stream   Stream
	Sequence uint64
	Reason   string
}

// Error gives class, message and reason.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: message %d of %v: %s", r.Class, r.Sequence, r.Stream, r.Reason)
}

func refuse(class Class, m *Message, format string, args ...any) *Refusal {
	return &Refusal{Class: class, Stream: m.Address.Stream, Sequence: m.Sequence, Reason: fmt.Sprintf(format, args...)}
}
