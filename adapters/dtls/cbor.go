package dtls

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// The little CBOR (RFC 8949) that frames are made of: arrays of unsigned
// integers and texts in the core deterministic encoding. What a reader accepts
// is exactly what appendHead writes, so that each frame has one form.

const (
	majorUint  byte = 0
	majorText  byte = 3
	majorArray byte = 4
)

func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

func appendText(dst []byte, s string) []byte {
	return append(appendHead(dst, majorText, uint64(len(s))), s...)
}

var errFrame = errors.New("not a frame of this protocol")

// reader takes a frame apart. After the first thing that is wrong it gives zero
// values only, and bad stays.
type reader struct {
	b   []byte
	bad bool
}

// head gives the argument of the next item, which must be of major type.
func (r *reader) head(major byte) uint64 {
	if r.bad || len(r.b) == 0 || r.b[0]>>5 != major {
		r.bad = true
		return 0
	}
	info := r.b[0] & 31
	r.b = r.b[1:]
	if info < 24 {
		return uint64(info)
	}
	var n, least uint64 // least: below it a shorter head would do
	switch size := 1 << (info - 24); {
	case info > 27 || len(r.b) < size:
		r.bad = true
		return 0
	case size == 1:
		n, least = uint64(r.b[0]), 24
		r.b = r.b[1:]
	case size == 2:
		n, least = uint64(binary.BigEndian.Uint16(r.b)), 1<<8
		r.b = r.b[2:]
	case size == 4:
		n, least = uint64(binary.BigEndian.Uint32(r.b)), 1<<16
		r.b = r.b[4:]
	default:
		n, least = binary.BigEndian.Uint64(r.b), 1<<32
		r.b = r.b[8:]
	}
	if n < least {
		r.bad = true
		return 0
	}
	return n
}

func (r *reader) uint() uint64 { return r.head(majorUint) }

// text gives a text of at most limit bytes.
func (r *reader) text(limit int) string {
	n := r.head(majorText)
	if r.bad || n > uint64(limit) || n > uint64(len(r.b)) || !utf8.Valid(r.b[:n]) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// end tells whether the frame was read whole and well.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errFrame
	}
	return nil
}
