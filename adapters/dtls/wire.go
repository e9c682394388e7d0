package dtls

import (
	"fmt"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// Version names the protocol in the first frame of each side. Frames that an
// older peer does not know carry numbers that it ignores; what it must not
// ignore gets another name here.
const Version = "fieldseal dtls 1"

// The SCTP streams. Everything on another stream is ignored.
const (
	streamMessages uint16 = 1 // gateway to hub: hello, then messages
	streamWords    uint16 = 2 // hub to gateway: welcome, then words
)

// The limits of the protocol.
const (
	// MaxFrame is the greatest size in bytes of one frame: a message of
	// envelope.MaxBody with the longest names, and room.
	MaxFrame = 128 << 10
	// WindowMessages and WindowBytes are the most that a gateway has under way,
	// in messages and in bytes of their frames, but always one message. A hub may
	// grant less.
	WindowMessages = 256
	WindowBytes    = 4 << 20

	maxWord = 4096 // bytes of a frame from the hub, and of a hello
	maxText = 1024 // bytes of each text in them
	// maxPeerWords is how many bytes of words may wait for the other side to
	// acknowledge them: one that never does is not heard any more.
	maxPeerWords = 256 << 10
)

// Hello is the gateway's first frame: ["fieldseal dtls 1", gateway, first].
type Hello struct {
	Gateway string
	First   uint64 // number of the first message on this association, from 1: the first that was not acknowledged
}

func appendHello(dst []byte, h Hello) []byte {
	dst = appendHead(dst, majorArray, 3)
	dst = appendText(dst, Version)
	dst = appendText(dst, h.Gateway)
	return appendHead(dst, majorUint, h.First)
}

func parseHello(b []byte) (Hello, error) {
	var h Hello
	r := reader{b: b}
	n := r.head(majorArray)
	if v := r.text(maxText); !r.bad && v != Version {
		return h, fmt.Errorf("the gateway speaks %q instead of %q", v, Version)
	}
	h.Gateway = r.text(envelope.MaxName)
	h.First = r.uint()
	if err := r.end(); err != nil || n != 3 || h.First == 0 {
		return Hello{}, fmt.Errorf("cannot read hello: %w", errFrame)
	}
	return h, nil
}

// Welcome is the hub's first frame: ["fieldseal dtls 1", prefix, stream,
// messages, bytes].
type Welcome struct {
	Prefix   string // what the subjects of messages begin with at the hub
	Stream   string // the JetStream stream that stores them
	Messages uint64 // the window that the hub grants; at least 1
	Bytes    uint64 // the same in bytes of frames, but always one message; at least 1
}

func appendWelcome(dst []byte, w Welcome) []byte {
	dst = appendHead(dst, majorArray, 5)
	dst = appendText(dst, Version)
	dst = appendText(dst, w.Prefix)
	dst = appendText(dst, w.Stream)
	dst = appendHead(dst, majorUint, w.Messages)
	return appendHead(dst, majorUint, w.Bytes)
}

func (r *reader) welcome() (w Welcome) {
	w.Prefix = r.text(maxText)
	w.Stream = r.text(maxText)
	w.Messages = r.uint()
	w.Bytes = r.uint()
	if w.Messages == 0 || w.Bytes == 0 {
		r.bad = true
	}
	return w
}

// appendFrame appends [number, message], the message in the array form of
// docs/format.md, section 1.
func appendFrame(dst []byte, number uint64, m *envelope.Message) []byte {
	dst = appendHead(dst, majorArray, 2)
	dst = appendHead(dst, majorUint, number)
	return envelope.AppendMessage(dst, m)
}

// unreadable is a frame in order around a message that is not.
type unreadable struct{ err error }

// Error gives what is wrong with the message.
func (u *unreadable) Error() string { return u.err.Error() }

// Unwrap gives the cause.
func (u *unreadable) Unwrap() error { return u.err }

// parseFrame reads what appendFrame wrote. The message's body aliases b. Where
// only the message cannot be read, the number is good and the error is
// *unreadable.
func parseFrame(b []byte) (number uint64, m envelope.Message, err error) {
	r := reader{b: b}
	n := r.head(majorArray)
	number = r.uint()
	if r.bad || n != 2 {
		return 0, m, fmt.Errorf("cannot read frame: %w", errFrame)
	}
	if m, err = envelope.ParseMessage(r.b); err != nil {
		return number, envelope.Message{}, &unreadable{err}
	}
	return number, m, nil
}

// Words of the hub, by number.
const (
	wordStored  uint64 = 1 // [1, number]: all up to number are stored durably or refused
	wordRefused uint64 = 2 // [2, number, reason]: number can never be accepted; all before it are dealt with
	wordFault   uint64 = 3 // [3, what, instead]: will not mend without configuration; the hub closes
	wordBusy    uint64 = 4 // [4, reason]: alive, and cannot store right now; it goes on trying
)

// word is one frame from the hub.
type word struct {
	kind    uint64 // 0: the welcome
	number  uint64
	text    string
	instead string
	welcome Welcome
}

func appendWord(dst []byte, w word) []byte {
	switch w.kind {
	case 0:
		return appendWelcome(dst, w.welcome)
	case wordStored:
		dst = appendHead(appendHead(dst, majorArray, 2), majorUint, w.kind)
		return appendHead(dst, majorUint, w.number)
	case wordRefused:
		dst = appendHead(appendHead(dst, majorArray, 3), majorUint, w.kind)
		return appendText(appendHead(dst, majorUint, w.number), clip(w.text))
	case wordFault:
		dst = appendHead(appendHead(dst, majorArray, 3), majorUint, w.kind)
		return appendText(appendText(dst, clip(w.text)), clip(w.instead))
	default:
		dst = appendHead(appendHead(dst, majorArray, 2), majorUint, w.kind)
		return appendText(dst, clip(w.text))
	}
}

// parseWord reads a frame from the hub. Of a word that this version does not
// know, only the kind is given.
func parseWord(b []byte) (word, error) {
	var w word
	r := reader{b: b}
	n := r.head(majorArray)
	if len(r.b) > 0 && r.b[0]>>5 == majorText {
		if v := r.text(maxText); !r.bad && v != Version {
			return w, fmt.Errorf("the hub speaks %q instead of %q", v, Version)
		}
		w.welcome = r.welcome()
		if err := r.end(); err != nil || n != 5 {
			return word{}, fmt.Errorf("cannot read welcome: %w", errFrame)
		}
		return w, nil
	}
	w.kind = r.uint()
	want := uint64(2)
	switch {
	case r.bad || w.kind == 0 || n == 0:
		return word{}, fmt.Errorf("cannot read word: %w", errFrame)
	case w.kind == wordStored:
		w.number = r.uint()
	case w.kind == wordRefused:
		w.number, w.text, want = r.uint(), r.text(maxText), 3
	case w.kind == wordFault:
		w.text, w.instead, want = r.text(maxText), r.text(maxText), 3
	case w.kind == wordBusy:
		w.text = r.text(maxText)
	default:
		return w, nil
	}
	if err := r.end(); err != nil || n != want {
		return word{}, fmt.Errorf("cannot read word: %w", errFrame)
	}
	return w, nil
}

// clip gives s as UTF-8 of at most maxText bytes.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "?") // no longer than what it stands for
}
