package envelope

import (
	"encoding/hex"
	"fmt"
	"time"
)

// MaxBody is the greatest size of a message's body in bytes. It is checked when
// a message is accepted, so that nothing in the outbox can be too large for an
// uplink.
const MaxBody = 120 << 10

// Kind says what a message is. The numbers are part of the format.
type Kind uint8

// The kinds of message.
const (
	Data        Kind = iota + 1 // samples: a sealed data frame, or clear SenML
	Passthrough                 // one payload that the device encrypted itself
	KeyFrame                    // the key of an epoch, for its recipients
	Checkpoint                  // the gateway's signature over the digests of what came before
	LossRecord                  // the gateway's signed word that messages are gone, and why
	Statement                   // the gateway's signed word of each stream's head
	Event                       // something security-relevant that happened
)

// String gives the word that subjects, headers and output use.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Passthrough:
		return "passthrough"
	case KeyFrame:
		return "key-frame"
	case Checkpoint:
		return "checkpoint"
	case LossRecord:
		return "loss-record"
	case Statement:
		return "statement"
	case Event:
		return "event"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// The content types of bodies that this package writes. A passthrough body has
// the type that its mapping declares.
const (
	TypeClear  = "application/senml+json"
	TypeSealed = `application/cose; cose-type="cose-encrypt0"`
	TypeSigned = `application/cose; cose-type="cose-sign1"` // key frames, checkpoints, loss records, statements, events
)

// Stream names what one counter numbers: one machine's samples of one
// sensitivity level.
type Stream struct {
	Gateway string
	Machine string
	Level   string
}

// String gives gateway/machine/level.
func (s Stream) String() string { return s.Gateway + "/" + s.Machine + "/" + s.Level }

// Address says where a message belongs. Each uplink renders its own subject or
// path from it.
type Address struct {
	Stream Stream
	Kind   Kind
	Point  string // of passthrough and events; else empty
}

// Epoch names the life of one stream key. Start is the gateway's start counter,
// on disk before the first seal; Instance is random for each start; Number
// counts the epochs of one stream within one start, from 1.
type Epoch struct {
	Start    uint64
	Instance [8]byte
	Number   uint32
}

// String gives the form that headers carry: start-instance-number.
func (e Epoch) String() string {
	return fmt.Sprintf("%d-%s-%d", e.Start, hex.EncodeToString(e.Instance[:]), e.Number)
}

// Message is what goes upstream. It is opaque to brokers; every field but ID
// and the body of a sealed frame is readable by them, and all fields but ID are
// covered by the digest that the next checkpoint of the stream signs.
type Message struct {
	Address     Address
	Epoch       Epoch
	Sequence    uint64 // from 1, without holes, in one stream, across its epochs
	ContentType string
	Time        int64    // Unix nanoseconds: source time of the newest sample in it, or when the gateway made it
	ID          [16]byte // HMAC under a secret of the outbox: nobody else can claim it. For deduplication by uplinks
	Body        []byte
}

// When gives Time as a time.Time in UTC.
func (m *Message) When() time.Time { return time.Unix(0, m.Time).UTC() }

// Refused is an uplink's answer that one message can never be accepted, such as
// one over the server's max_payload. The relay puts it in quarantine and goes on.
type Refused struct{ Reason string }

// Error gives the reason.
func (e *Refused) Error() string { return "refused upstream: " + e.Reason }

// Fault is an uplink's answer that it will not work before somebody changes a
// configuration, here or upstream: a stream that does not exist, a denied
// subject, a rejected certificate. The relay turns to the next uplink and keeps
// probing this one.
type Fault struct {
	What    string
	Instead string // what would mend it
	Err     error  // the cause, may be nil
}

// Error gives the fault and its remedy.
func (e *Fault) Error() string {
	s := e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Instead != "" {
		s += "; " + e.Instead
	}
	return s
}

// Unwrap gives the cause.
func (e *Fault) Unwrap() error { return e.Err }
