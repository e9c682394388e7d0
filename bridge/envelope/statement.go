package envelope

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Clock says how far a gateway trusts its own clock. The numbers are part of the
// format.
type Clock uint8

// The grades of a clock.
const (
	ClockUnknown      Clock = iota // the time may be anything
	ClockPlausible                 // not synchronised now, and not before any synchronised time that the gateway has seen
	ClockSynchronised              // synchronised, as the kernel says
)

// String gives the word that output uses.
func (c Clock) String() string {
	switch c {
	case ClockUnknown:
		return "unknown"
	case ClockPlausible:
		return "plausible"
	case ClockSynchronised:
		return "synchronised"
	}
	return fmt.Sprintf("clock(%d)", uint8(c))
}

// MaxHeads is how many heads one statement carries at most, so that it fits
// [MaxBody] whatever their names. A gateway with more streams makes several
// statements in turn, each over some of them.
const MaxHeads = 200

// maxInterval is the longest interval that a gateway may promise.
const maxInterval = 24 * time.Hour

// StreamHead is where one stream stands: the last message that was accepted.
type StreamHead struct {
	Machine  string
	Level    string
	Epoch    Epoch
	Sequence uint64 // from 1
}

// GatewayState is what a gateway says of itself in a statement (docs/format.md,
// 8): that it lives, what time it has, which policy is in force, and where each
// stream stands. From it a receiver sees that the newest messages of a stream, or
// all of a gateway, are withheld.
type GatewayState struct {
	Gateway  string
	Start    uint64  // the start counter, as in epochs
	Instance [8]byte // of this start, as in epochs
	Sequence uint64  // counts the statements of this start, from 1; one may be missing without harm
	Time     time.Time
	Clock    Clock         // how far Time is to be trusted
	Interval time.Duration // the next statement comes within it: 1 ms to 24 h, in whole milliseconds
	Policy   [32]byte      // digest of the policy in force; zero where there is none

	AuditSize uint64   // entries of the audit log; 0: it says nothing of it
	AuditHead [32]byte // their head; zero where AuditSize is

	Heads []StreamHead // at most MaxHeads, in any order
}

// SignStatement gives the message of a statement, but for its ID: a COSE_Sign1
// over [gateway, start, instance, sequence, time, clock, interval, policy, audit
// size, audit head, heads]. It belongs to no stream and takes no number of one.
// The error is that of a state no gateway has, or of the signing key.
func SignStatement(sg Signer, s GatewayState) (Message, error) {
	m := Message{
		Address: Address{Stream: Stream{Gateway: s.Gateway}, Kind: Statement}, Epoch: Epoch{Start: s.Start, Instance: s.Instance},
		Sequence: s.Sequence, ContentType: TypeSigned, Time: s.Time.UnixNano(),
	}
	heads := slices.Clone(s.Heads)
	slices.SortFunc(heads, func(a, b StreamHead) int { return a.compare(&b) })
	s.Heads = heads
	if sg.Gateway != s.Gateway {
		return Message{}, fmt.Errorf("cannot sign a statement of %q as gateway %q", s.Gateway, sg.Gateway)
	}
	if err := s.check(); err != nil {
		return Message{}, fmt.Errorf("cannot sign a statement of %q: %w", s.Gateway, err)
	}
	body, err := appendSign1(nil, sg, typStatement, s.appendPayload(nil))
	if err != nil {
		return Message{}, err
	}
	m.Body = body
	return m, m.check()
}

func (h *StreamHead) compare(o *StreamHead) int {
	return cmp.Or(cmp.Compare(h.Machine, o.Machine), cmp.Compare(h.Level, o.Level))
}

func (s *GatewayState) appendPayload(p []byte) []byte {
	p = appendHead(p, cborArray, 11)
	p = appendText(p, s.Gateway)
	p = appendUint(p, s.Start)
	p = appendBytes(p, s.Instance[:])
	p = appendUint(p, s.Sequence)
	p = appendInt(p, s.Time.UnixNano())
	p = appendUint(p, uint64(s.Clock))
	p = appendUint(p, uint64(s.Interval/time.Millisecond))
	p = appendBytes(p, s.Policy[:])
	p = appendUint(p, s.AuditSize)
	p = appendBytes(p, s.AuditHead[:])
	p = appendHead(p, cborArray, uint64(len(s.Heads)))
	for i := range s.Heads {
		h := &s.Heads[i]
		p = appendHead(p, cborArray, headItems)
		p = appendText(p, h.Machine)
		p = appendText(p, h.Level)
		p = appendEpoch(p, &h.Epoch)
		p = appendUint(p, h.Sequence)
	}
	return p
}

const headItems = 6 // of one head in a statement

// parseStatement reads the payload of a statement's COSE_Sign1, and nothing but
// what SignStatement writes.
func parseStatement(sign *sign1) (s GatewayState, err error) {
	if sign.typ != typStatement {
		return s, errors.New("not a statement of version 1")
	}
	c := cursor{b: sign.payload}
	c.array(11)
	s.Gateway = c.name()
	s.Start = c.uint()
	c.fixed(s.Instance[:])
	s.Sequence = c.uint()
	s.Time = unixTime(c.int())
	s.Clock = c.clock()
	s.Interval = c.interval()
	c.fixed(s.Policy[:])
	s.AuditSize = c.uint()
	c.fixed(s.AuditHead[:])
	n := c.want(cborArray, "an array of heads")
	if n > MaxHeads {
		c.fail("too many heads")
	}
	for ; n > 0 && c.wrong == ""; n-- {
		var h StreamHead
		c.array(headItems)
		h.Machine, h.Level = c.name(), c.name()
		h.Epoch = c.epoch()
		h.Sequence = c.uint()
		s.Heads = append(s.Heads, h)
	}
	if err := c.end(); err != nil {
		return GatewayState{}, fmt.Errorf("cannot read statement: %w", err)
	}
	if err := s.check(); err != nil {
		return GatewayState{}, fmt.Errorf("cannot read statement: %w", err)
	}
	return s, nil
}

func (c *cursor) clock() Clock {
	n := c.uint()
	if n > uint64(ClockSynchronised) {
		c.fail("no such grade of a clock")
		return 0
	}
	return Clock(n)
}

func (c *cursor) interval() time.Duration {
	n := c.uint()
	if n > uint64(maxInterval/time.Millisecond) {
		c.fail("no such interval")
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// check tells whether a gateway can say this. Heads are sorted, each stream once.
func (s *GatewayState) check() error {
	switch {
	case s.Gateway == "" || !fits(s.Gateway):
		return errors.New("no gateway, or one with a name that is too long")
	case s.Sequence == 0:
		return errors.New("statements are counted from 1")
	case s.Interval <= 0 || s.Interval > maxInterval || s.Interval%time.Millisecond != 0:
		return fmt.Errorf("an interval of %v; 1 ms to 24 h, in whole milliseconds, are allowed", s.Interval)
	case s.Clock > ClockSynchronised:
		return fmt.Errorf("clock grade %d", s.Clock)
	case s.AuditSize == 0 && s.AuditHead != [32]byte{}:
		return errors.New("the head of an audit log without entries")
	case len(s.Heads) > MaxHeads:
		return fmt.Errorf("%d heads, over the %d allowed", len(s.Heads), MaxHeads)
	}
	for i := range s.Heads {
		h := &s.Heads[i]
		switch {
		case h.Machine == "" || h.Level == "" || !fits(h.Machine) || !fits(h.Level) || h.Sequence == 0:
			return fmt.Errorf("head %d names no stream or no message", i+1)
		case i > 0 && s.Heads[i-1].compare(h) >= 0:
			return fmt.Errorf("head %d is not behind the one before", i+1)
		}
	}
	return nil
}

// belongs tells whether the message around the statement says what the statement
// says of itself.
func (s *GatewayState) belongs(m *Message) error {
	if s.Gateway != m.Address.Stream.Gateway || m.Epoch != (Epoch{Start: s.Start, Instance: s.Instance}) || s.Sequence != m.Sequence ||
		s.Time.UnixNano() != m.Time || m.ContentType != TypeSigned {
		return fmt.Errorf("statement %d of %q is in a message that says otherwise", s.Sequence, s.Gateway)
	}
	return nil
}
