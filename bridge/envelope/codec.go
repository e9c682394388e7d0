package envelope

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxName is the greatest length in bytes of each name in an address: gateway,
// machine, level, point, and of a content type.
const MaxName = 256

func appendStream(dst []byte, s *Stream) []byte {
	dst = appendText(dst, s.Gateway)
	dst = appendText(dst, s.Machine)
	return appendText(dst, s.Level)
}

func (c *cursor) stream() Stream {
	return Stream{Gateway: c.name(), Machine: c.name(), Level: c.name()}
}

func appendEpoch(dst []byte, e *Epoch) []byte {
	dst = appendUint(dst, e.Start)
	dst = appendBytes(dst, e.Instance[:])
	return appendUint(dst, uint64(e.Number))
}

func (c *cursor) epoch() (e Epoch) {
	e.Start = c.uint()
	c.fixed(e.Instance[:])
	e.Number = c.uint32()
	return e
}

// appendIdentity appends the eleven items that say which message this is: address,
// epoch, sequence, content type and time.
func appendIdentity(dst []byte, m *Message) []byte {
	dst = appendStream(dst, &m.Address.Stream)
	dst = appendUint(dst, uint64(m.Address.Kind))
	dst = appendText(dst, m.Address.Point)
	dst = appendEpoch(dst, &m.Epoch)
	dst = appendUint(dst, m.Sequence)
	dst = appendText(dst, m.ContentType)
	return appendInt(dst, m.Time)
}

// identityItems is how many items appendIdentity appends.
const identityItems = 11

// Digest is what a checkpoint signs of a message: the first 16 bytes of the
// SHA-256 of the CBOR array ["fieldseal digest 1", gateway, machine, level,
// kind, point, start, instance, number, sequence, content type, time, SHA-256 of
// the body]. It covers all fields but ID, and allocates nothing.
func (m *Message) Digest() (d [16]byte) {
	var buf [512]byte
	body := sha256.Sum256(m.Body)
	b := appendHead(buf[:0], cborArray, identityItems+2)
	b = appendText(b, "fieldseal digest 1")
	b = appendIdentity(b, m)
	b = appendBytes(b, body[:])
	full := sha256.Sum256(b)
	copy(d[:], full[:])
	return d
}

// AppendMessage appends one message as a CBOR array, for the outbox and for
// uplinks that have no headers of their own. [ParseMessage] reads it.
func AppendMessage(dst []byte, m *Message) []byte {
	dst = appendHead(dst, cborArray, identityItems+2)
	dst = appendIdentity(dst, m)
	dst = appendBytes(dst, m.ID[:])
	return appendBytes(dst, m.Body)
}

// ParseMessage reads what AppendMessage wrote, and nothing else. The body
// aliases b.
func ParseMessage(b []byte) (Message, error) {
	var m Message
	c := cursor{b: b}
	c.array(identityItems + 2)
	m.Address.Stream = c.stream()
	kind := c.uint()
	m.Address.Kind = Kind(kind)
	m.Address.Point = c.name()
	m.Epoch = c.epoch()
	m.Sequence = c.uint()
	m.ContentType = c.name()
	m.Time = c.int()
	c.fixed(m.ID[:])
	m.Body = c.bytes()
	if err := c.end(); err != nil {
		return Message{}, fmt.Errorf("cannot read message: %w", err)
	}
	if kind > 255 {
		return Message{}, errors.New("cannot read message: no such kind")
	}
	return m, m.check()
}

// check tells whether the message can be accepted at all.
func (m *Message) check() error {
	s := &m.Address.Stream
	switch {
	case m.Address.Kind < Data || m.Address.Kind > Event:
		return fmt.Errorf("message of unknown kind %d", m.Address.Kind)
	case m.Address.Kind == Statement && s.Gateway != "":
		if s.Machine != "" || s.Level != "" || m.Epoch.Number != 0 {
			return errors.New("statement of one stream or epoch; it is the gateway's")
		}
	case s.Gateway == "" || s.Machine == "" || s.Level == "":
		return errors.New("message without gateway, machine or level")
	}
	if m.Address.Point != "" && m.Address.Kind != Passthrough && m.Address.Kind != Event {
		return fmt.Errorf("%s message of a point; passthrough and events have one", m.Address.Kind)
	}
	switch {
	case max(len(s.Gateway), len(s.Machine), len(s.Level), len(m.Address.Point), len(m.ContentType)) > MaxName:
		return fmt.Errorf("message with a name over %d bytes", MaxName)
	case !utf8.ValidString(s.Gateway) || !utf8.ValidString(s.Machine) || !utf8.ValidString(s.Level) ||
		!utf8.ValidString(m.Address.Point) || !utf8.ValidString(m.ContentType):
		return errors.New("message with a name that is not UTF-8")
	case m.Sequence == 0:
		return errors.New("message without a sequence number")
	case len(m.Body) > MaxBody:
		return fmt.Errorf("message of %d bytes, over the %d allowed", len(m.Body), MaxBody)
	}
	return nil
}
