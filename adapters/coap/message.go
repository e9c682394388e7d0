package coap

import (
	"slices"
	"strings"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

const (
	headerSize = 4
	maxToken   = 8
	maxOptions = 32
	// maxAnswer is the longest answer in bytes: header, token, a few options and a
	// reason.
	maxAnswer = 256
)

// The methods (RFC 7252, 5.8; RFC 8132). Codes from 0.01 to 0.31 are requests.
const lastMethod codes.Code = 31

// formatNone is no Content-Format option.
const formatNone = -1

// tooMany is 4.29 (RFC 8516).
const tooMany codes.Code = 4<<5 | 29

// request is a message that asks for something.
type request struct {
	kind    message.Type
	method  codes.Code
	id      uint16
	token   []byte
	path    string
	format  int
	block   block
	blocked bool   // there is a block
	size    uint32 // of the whole, as the device announces it; 0: it does not
	tag     string // of the transfer (RFC 9175)
	payload []byte
}

// block is a Block1 option (RFC 7959, 2.2).
type block struct {
	number uint32
	more   bool
	exp    uint8 // the size is 2 to the 4+exp
}

func (b block) size() int { return 1 << (4 + b.exp) }

func (b block) value() uint32 {
	v := b.number<<4 | uint32(b.exp)
	if b.more {
		v |= 8
	}
	return v
}

// parsed says what a datagram is.
type parsed uint8

const (
	senseless parsed = iota // no message, or one that nobody answers
	rejected                // one that is answered with a Reset
	asking                  // a request
)

// parse reads a message. bad is what a request is answered with that cannot be
// done, whatever its path; its code is 0 where there is nothing wrong.
//
// The options are read without the library's table of lengths: it leaves out an
// option whose length is wrong, and a path without one of its parts is another
// path.
func parse(b []byte) (r request, bad answer, is parsed) {
	if len(b) < headerSize || b[0]>>6 != 1 {
		return r, bad, senseless
	}
	r.kind, r.method, r.id = message.Type(b[0]>>4&3), codes.Code(b[1]), uint16(b[2])<<8|uint16(b[3])
	if r.kind != message.Confirmable && r.kind != message.NonConfirmable {
		return r, bad, senseless // an answer to nothing: nothing was asked
	}
	broken := senseless
	if r.kind == message.Confirmable {
		broken = rejected
	}
	length := int(b[0] & 15)
	if r.method == codes.Empty || r.method > lastMethod || length > maxToken || len(b) < headerSize+length {
		return r, bad, broken // with Empty, it is a ping
	}
	r.token, b = b[headerSize:headerSize+length], b[headerSize+length:]
	options := make(message.Options, 0, maxOptions)
	n, err := options.Unmarshal(b, nil)
	if err != nil || n > len(b) {
		return r, bad, broken
	}
	r.payload = b[n:]
	if n > 0 && len(r.payload) == 0 && b[n-1] == 0xff && endsWithMarker(b, options) {
		return r, bad, broken // a marker, and no payload behind it
	}
	bad = r.options(options)
	return r, bad, asking
}

// endsWithMarker tells whether the last byte is a payload marker, and not the
// last byte of an option.
func endsWithMarker(b []byte, options message.Options) bool {
	if len(options) == 0 {
		return true
	}
	again := make(message.Options, 0, maxOptions)
	n, err := again.Unmarshal(b[:len(b)-1], nil)
	return err == nil && n == len(b)-1 && len(again) == len(options)
}

// options takes what a request says besides its payload. Options with odd
// numbers must be understood, or nothing may be done (RFC 7252, 5.4.1).
func (r *request) options(options message.Options) (bad answer) {
	r.format = formatNone
	var path strings.Builder
	var seen []message.OptionID
	for _, o := range options {
		if o.ID != message.URIPath && slices.Contains(seen, o.ID) {
			if o.ID&1 == 1 {
				return answer{code: codes.BadOption, why: "an option is there twice"}
			}
			continue
		}
		seen = append(seen, o.ID)
		v, number := uintOf(o.Value)
		switch o.ID {
		case message.URIPath:
			// A part with a slash in it is no two parts, and no point has one.
			if len(o.Value) > 255 || slices.Contains(o.Value, '/') {
				return answer{code: codes.NotFound, why: "there is no such point"}
			}
			path.WriteByte('/')
			path.Write(o.Value)
		case message.URIHost, message.URIPort, message.Accept, message.Block2:
			// One host and port alone lead here, and answers have no content.
		case message.ContentFormat:
			if !number || v > 0xffff {
				return answer{code: codes.UnsupportedMediaType, why: "the content format is none"}
			}
			r.format = int(v)
		case message.Block1:
			if !number || len(o.Value) > 3 || v&7 == 7 {
				return answer{code: codes.BadOption, why: "the block is none"}
			}
			r.blocked, r.block = true, block{number: v >> 4, more: v&8 != 0, exp: uint8(v & 7)}
		case message.Size1:
			if number {
				r.size = v
			}
		case requestTag:
			if len(o.Value) <= 8 {
				r.tag = string(o.Value)
			}
		case message.ProxyURI, message.ProxyScheme:
			return answer{code: codes.ProxyingNotSupported, why: "this is no proxy"}
		default:
			if o.ID&1 == 1 {
				return answer{code: codes.BadOption, why: "an option is not understood"}
			}
		}
	}
	r.path = path.String()
	return bad
}

// requestTag tells two block-wise transfers to one path apart (RFC 9175, 3).
const requestTag message.OptionID = 292

// uintOf reads an option's number of at most four bytes.
func uintOf(b []byte) (v uint32, ok bool) {
	if len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		v = v<<8 | uint32(c)
	}
	return v, true
}

// answer is what a request is answered with. It holds nothing of the request.
type answer struct {
	code  codes.Code
	block block
	// blocked tells that the block is part of the answer.
	blocked bool
	maxAge  uint32 // seconds until it may be tried again; 0: none is said
	size    uint32 // Size1: the most that the point takes; 0: none is said
	why     string // for who sets the device up; a constant
}

// encode gives the answer to a message. number is the message id of one to a
// request that is not confirmable: an acknowledgement has the request's.
func (a *answer) encode(r *request, number uint16) []byte {
	m := message.Message{Token: r.token, Code: a.code, Type: message.Acknowledgement, MessageID: int32(r.id)}
	if r.kind == message.NonConfirmable {
		m.Type, m.MessageID = message.NonConfirmable, int32(number)
	}
	var values [3][4]byte
	put := func(i int, id message.OptionID, v uint32) {
		n, _ := message.EncodeUint32(values[i][:], v) // four bytes are enough for any
		m.Options = m.Options.Add(message.Option{ID: id, Value: values[i][:n]})
	}
	if a.maxAge > 0 {
		put(0, message.MaxAge, a.maxAge)
	}
	if a.blocked {
		put(1, message.Block1, a.block.value())
	}
	if a.size > 0 {
		put(2, message.Size1, a.size)
	}
	if a.why != "" {
		m.Payload = []byte(a.why)
	}
	buf := make([]byte, maxAnswer)
	n, err := coder.DefaultCoder.Encode(m, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// reset gives the message that says that another one made no sense, or that the
// answer to a ping is: here we are.
func reset(id uint16) []byte {
	return []byte{1<<6 | byte(message.Reset)<<4, byte(codes.Empty), byte(id >> 8), byte(id)}
}
