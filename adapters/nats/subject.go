package nats

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// The headers of a message. They repeat what the next checkpoint signs, so that
// a consumer can check it, and what a broker needs to route and deduplicate.
const (
	headerID          = "Nats-Msg-Id"        // gateway/hexadecimal message id: no gateway can use up another's
	headerContentType = "Content-Type"       // of the body
	headerKind        = "Fieldseal-Kind"     // envelope.Kind's word
	headerMachine     = "Fieldseal-Machine"  // as in the subject, where the subject has it
	headerLevel       = "Fieldseal-Level"    // as in the subject, where the subject has it
	headerEpoch       = "Fieldseal-Epoch"    // start-instance-number
	headerSequence    = "Fieldseal-Sequence" // decimal
	headerTime        = "Fieldseal-Time"     // decimal Unix nanoseconds
)

// headerExpectedStream makes the server refuse a message that would land in
// another stream than the configured one.
const headerExpectedStream = "Nats-Expected-Stream"

// The second token after the prefix, where it is not a machine. A name never
// begins with an underscore, but for the gateway's own stream.
const (
	tokenKeys        = "_keys"
	tokenCheckpoints = "_checkpoints"
	tokenLosses      = "_losses"
	tokenStatement   = "_statement"
	tokenEvents      = "_events"
)

// The stream of what happens to the gateway itself. No machine and no level has
// such a name.
const (
	ownMachine = "_gateway"
	ownLevel   = "_events"
)

const (
	maxName    = envelope.MaxName // of a gateway, machine, level, point or content type
	maxSubject = 2048             // the server's limit is 4096 with the reply subject
)

// Subject gives the subject of messages with address a:
//
//	{prefix}.{gateway}.{machine}.{level}              samples
//	{prefix}.{gateway}.{machine}.{level}.{point}      passthrough
//	{prefix}.{gateway}._keys.{machine}.{level}        key frames
//	{prefix}.{gateway}._checkpoints.{machine}.{level} checkpoints
//	{prefix}.{gateway}._losses.{machine}.{level}      loss records
//	{prefix}.{gateway}._statement                     statements
//	{prefix}.{gateway}._events                        events
//
// It is empty for a kind that is none of these.
func Subject(prefix string, a envelope.Address) string {
	base := prefix + "." + a.Stream.Gateway + "."
	stream := a.Stream.Machine + "." + a.Stream.Level
	switch a.Kind {
	case envelope.Data:
		return base + stream
	case envelope.Passthrough:
		return base + stream + "." + a.Point
	case envelope.KeyFrame:
		return base + tokenKeys + "." + stream
	case envelope.Checkpoint:
		return base + tokenCheckpoints + "." + stream
	case envelope.LossRecord:
		return base + tokenLosses + "." + stream
	case envelope.Statement:
		return base + tokenStatement
	case envelope.Event:
		return base + tokenEvents
	}
	return ""
}

// Header gives the headers of m.
func Header(m *envelope.Message) nats.Header {
	h := nats.Header{
		headerID:          {brokerID(m)},
		headerContentType: {m.ContentType},
		headerKind:        {m.Address.Kind.String()},
		headerEpoch:       {m.Epoch.String()},
		headerSequence:    {strconv.FormatUint(m.Sequence, 10)},
		headerTime:        {strconv.FormatInt(m.Time, 10)},
	}
	if m.Address.Stream.Machine != "" {
		h[headerMachine] = []string{m.Address.Stream.Machine}
	}
	if m.Address.Stream.Level != "" {
		h[headerLevel] = []string{m.Address.Stream.Level}
	}
	return h
}

// brokerID gives the id by which the stream drops what it has already.
func brokerID(m *envelope.Message) string {
	var b [2 * len(m.ID)]byte
	hex.Encode(b[:], m.ID[:])
	return m.Address.Stream.Gateway + "/" + string(b[:])
}

// Parse gives the message that was published under prefix with subject, h and
// body. It accepts exactly what [Subject] and [Header] make, and any further
// headers that are not Fieldseal's. The body is not copied, and nothing of it is
// verified: that is what an envelope.Reader does.
//
// The gateway's name comes from the subject, which the server's permissions
// protect. An error names the subject.
func Parse(prefix, subject string, h nats.Header, body []byte) (envelope.Message, error) {
	m, err := parse(prefix, subject, h, body)
	if err != nil {
		return envelope.Message{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return m, nil
}

func parse(prefix, subject string, h nats.Header, body []byte) (envelope.Message, error) {
	var m envelope.Message
	var err error
	if m.Address, err = parseSubject(prefix, subject); err != nil {
		return m, err
	}
	r := headerReader{header: h}
	if kind := r.one(headerKind); r.err == nil && kind != m.Address.Kind.String() {
		return m, fmt.Errorf("header %s is %q, the subject is one of %s messages", headerKind, kind, m.Address.Kind)
	}
	r.name(headerMachine, &m.Address.Stream.Machine)
	r.name(headerLevel, &m.Address.Stream.Level)
	r.id(m.Address.Stream.Gateway, &m.ID)
	r.epoch(&m.Epoch)
	m.Sequence = r.unsigned(headerSequence)
	m.Time = r.signed(headerTime)
	m.ContentType = r.one(headerContentType)
	if r.err != nil {
		return m, r.err
	}
	m.Body = body
	return m, check(&m)
}

// parseSubject is the inverse of Subject.
func parseSubject(prefix, subject string) (envelope.Address, error) {
	var a envelope.Address
	rest, ok := strings.CutPrefix(subject, prefix+".")
	if !ok {
		return a, fmt.Errorf("it is not under the prefix %q", prefix)
	}
	t := strings.Split(rest, ".")
	if len(t) < 2 {
		return a, errors.New("it is too short")
	}
	a.Stream.Gateway = t[0]
	want, machine := 4, 2 // so many parts, and where the machine is; 0: nowhere
	switch t[1] {
	case tokenKeys:
		a.Kind = envelope.KeyFrame
	case tokenCheckpoints:
		a.Kind = envelope.Checkpoint
	case tokenLosses:
		a.Kind = envelope.LossRecord
	case tokenStatement:
		a.Kind, want, machine = envelope.Statement, 2, 0
	case tokenEvents:
		a.Kind, want, machine = envelope.Event, 2, 0
	default:
		a.Kind, want, machine = envelope.Data, 3, 1
		if len(t) == 4 {
			a.Kind, want, a.Point = envelope.Passthrough, 4, t[3]
		}
	}
	if len(t) != want {
		return a, fmt.Errorf("it has %d parts after the prefix instead of %d", len(t), want)
	}
	if machine > 0 {
		a.Stream.Machine, a.Stream.Level = t[machine], t[machine+1]
	}
	return a, checkAddress(a)
}

// check says what makes m one that cannot be published, or not be read back.
func check(m *envelope.Message) error {
	if err := checkAddress(m.Address); err != nil {
		return err
	}
	if len(m.ContentType) == 0 || len(m.ContentType) > maxName {
		return fmt.Errorf("the content type has %d characters, outside 1 to %d", len(m.ContentType), maxName)
	}
	if strings.TrimSpace(m.ContentType) != m.ContentType {
		return fmt.Errorf("the content type %q begins or ends with a space", m.ContentType)
	}
	for _, c := range []byte(m.ContentType) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("the content type %q has a character that a header cannot carry", m.ContentType)
		}
	}
	if len(m.Body) > envelope.MaxBody {
		return fmt.Errorf("the body has %d bytes, more than %d", len(m.Body), envelope.MaxBody)
	}
	return nil
}

// checkAddress says which part of a cannot be in a subject. A statement or an
// event may be about one stream, or about none.
func checkAddress(a envelope.Address) error {
	ofGateway := a.Kind == envelope.Statement || a.Kind == envelope.Event
	if a.Stream.Machine == ownMachine && a.Stream.Level == ownLevel {
		a.Stream.Machine, a.Stream.Level = "gateway", "events" // the only ones with an underscore
	}
	if a.Kind < envelope.Data || a.Kind > envelope.Event {
		return fmt.Errorf("%s is not a kind of message", a.Kind)
	}
	if err := checkName("gateway", a.Stream.Gateway); err != nil {
		return err
	}
	if a.Stream.Machine != "" || !ofGateway {
		if err := checkName("machine", a.Stream.Machine); err != nil {
			return err
		}
	}
	if a.Stream.Level != "" || !ofGateway {
		if err := checkName("level", a.Stream.Level); err != nil {
			return err
		}
	}
	if a.Kind == envelope.Passthrough {
		return checkName("point", a.Point)
	}
	if a.Point != "" {
		return fmt.Errorf("a %s message names the point %q", a.Kind, a.Point)
	}
	return nil
}

// checkName lets through what can be one token of a subject: letters, digits,
// dashes and underscores, no underscore in front.
func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("the %s has no name", what)
	}
	if len(name) > maxName {
		return fmt.Errorf("the name of the %s has %d characters, more than %d", what, len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_' && i > 0:
		default:
			return fmt.Errorf("the %s %q has the character %q; letters, digits and dashes can be in a subject", what, name, c)
		}
	}
	return nil
}

// headerReader reads headers of which each must be there once, in the one form
// that Header writes. It keeps the first error.
type headerReader struct {
	header nats.Header
	err    error
}

func (r *headerReader) fail(key, value, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("header %s is %q; it should be %s", key, value, want)
	}
}

// one gives the value of a header that must be there exactly once.
func (r *headerReader) one(key string) string {
	v := r.header[key]
	if len(v) != 1 {
		if r.err == nil {
			r.err = fmt.Errorf("header %s is there %d times instead of once", key, len(v))
		}
		return ""
	}
	return v[0]
}

// name compares a header with the name that the subject gave. Where the subject
// has none, the header may give it.
func (r *headerReader) name(key string, name *string) {
	if *name == "" {
		if _, there := r.header[key]; there {
			*name = r.one(key)
			if *name == "" {
				r.fail(key, "", "left out where it is empty")
			}
		}
		return
	}
	if v := r.one(key); v != *name {
		r.fail(key, v, strconv.Quote(*name)+" as in the subject")
	}
}

// id reads what brokerID makes.
func (r *headerReader) id(gateway string, id *[16]byte) {
	v := r.one(headerID)
	digits, mine := strings.CutPrefix(v, gateway+"/")
	b, err := hex.DecodeString(digits)
	if !mine || err != nil || copy(id[:], b) != len(id) || len(b) != len(id) || hex.EncodeToString(b) != digits {
		r.fail(headerID, v, "the gateway's name, a slash and 32 lower-case hexadecimal digits")
	}
}

func (r *headerReader) unsigned(key string) uint64 {
	v := r.one(key)
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != v {
		r.fail(key, v, "a decimal number")
	}
	return n
}

func (r *headerReader) signed(key string) int64 {
	v := r.one(key)
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != v {
		r.fail(key, v, "a decimal number")
	}
	return n
}

func (r *headerReader) epoch(e *envelope.Epoch) {
	v := r.one(headerEpoch)
	if r.err != nil {
		return
	}
	var err error
	if *e, err = ParseEpoch(v); err != nil {
		r.fail(headerEpoch, v, "start-instance-number")
	}
}

// ParseEpoch is the inverse of envelope.Epoch.String, and accepts nothing else.
func ParseEpoch(s string) (envelope.Epoch, error) {
	var e envelope.Epoch
	start, rest, _ := strings.Cut(s, "-")
	instance, number, _ := strings.Cut(rest, "-")
	var err error
	if e.Start, err = strconv.ParseUint(start, 10, 64); err != nil {
		return e, fmt.Errorf("epoch %q: the start counter is not a number", s)
	}
	if b, err := hex.DecodeString(instance); err != nil || len(b) != len(e.Instance) || copy(e.Instance[:], b) == 0 {
		return e, fmt.Errorf("epoch %q: the instance is not 16 hexadecimal digits", s)
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return e, fmt.Errorf("epoch %q: the number is not one", s)
	}
	e.Number = uint32(n)
	if e.String() != s {
		return e, fmt.Errorf("epoch %q is not written as %q", s, e)
	}
	return e, nil
}
