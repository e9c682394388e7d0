package envelope

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// The major types of CBOR (RFC 8949, 3.1), in place in the initial byte.
const (
	cborUint   = 0 << 5
	cborNeg    = 1 << 5
	cborBytes  = 2 << 5
	cborText   = 3 << 5
	cborArray  = 4 << 5
	cborMap    = 5 << 5
	cborTag    = 6 << 5
	cborSimple = 7 << 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborF32   = 0xfa
	cborF64   = 0xfb
)

// appendHead appends the shortest head of an item (RFC 8949, 4.2.1).
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|27), n)
	}
}

// headSize is the number of bytes that appendHead appends.
func headSize(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n < 1<<8:
		return 2
	case n < 1<<16:
		return 3
	case n < 1<<32:
		return 5
	default:
		return 9
	}
}

func appendUint(dst []byte, n uint64) []byte { return appendHead(dst, cborUint, n) }

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, cborNeg, uint64(^n))
	}
	return appendHead(dst, cborUint, uint64(n))
}

func appendBytes(dst, b []byte) []byte {
	return append(appendHead(dst, cborBytes, uint64(len(b))), b...)
}

func appendText(dst []byte, s string) []byte {
	return append(appendHead(dst, cborText, uint64(len(s))), s...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, cborTrue)
	}
	return append(dst, cborFalse)
}

// cursor reads deterministically encoded CBOR and nothing else: shortest heads,
// definite lengths, valid UTF-8. The first thing wrong sticks, and every later
// call gives zero values, so that callers check once at the end.
type cursor struct {
	b     []byte
	i     int
	wrong string
}

func (c *cursor) fail(what string) {
	if c.wrong == "" {
		c.wrong = what
	}
	c.b, c.i = nil, 0
}

// err is what is wrong so far.
func (c *cursor) err() error {
	if c.wrong != "" {
		return fmt.Errorf("%s", c.wrong)
	}
	return nil
}

// end is err, or that bytes follow.
func (c *cursor) end() error {
	if c.wrong == "" && c.i != len(c.b) {
		c.wrong = "bytes after the end"
	}
	return c.err()
}

// head reads the head of an item of one of the major types 0 to 6.
func (c *cursor) head() (major byte, n uint64) {
	if c.i >= len(c.b) {
		c.fail("ends too soon")
		return 0, 0
	}
	first := c.b[c.i]
	major, n = first&0xe0, uint64(first&0x1f)
	c.i++
	if n < 24 {
		return major, n
	}
	if n > 27 {
		c.fail("indefinite length or reserved head")
		return 0, 0
	}
	size := 1 << (n - 24)
	if len(c.b)-c.i < size {
		c.fail("ends too soon")
		return 0, 0
	}
	n = 0
	for _, x := range c.b[c.i : c.i+size] {
		n = n<<8 | uint64(x)
	}
	c.i += size
	if headSize(n) != size+1 {
		c.fail("not the shortest form")
		return 0, 0
	}
	return major, n
}

// want reads a head of one major type.
func (c *cursor) want(major byte, what string) uint64 {
	got, n := c.head()
	if got != major {
		c.fail("not " + what)
		return 0
	}
	return n
}

func (c *cursor) uint() uint64 { return c.want(cborUint, "an unsigned integer") }

func (c *cursor) uint32() uint32 {
	n := c.uint()
	if n > 1<<32-1 {
		c.fail("integer too large")
		return 0
	}
	return uint32(n)
}

func (c *cursor) int() int64 {
	major, n := c.head()
	if n > 1<<63-1 || (major != cborUint && major != cborNeg) {
		c.fail("not an integer of 64 bits")
		return 0
	}
	if major == cborNeg {
		return ^int64(n)
	}
	return int64(n)
}

// tag reads one tag number.
func (c *cursor) tag(n uint64) {
	if c.want(cborTag, "a tag") != n {
		c.fail("not the tag expected")
	}
}

// array reads the head of an array of n items.
func (c *cursor) array(n uint64) {
	if c.want(cborArray, "an array") != n {
		c.fail("not the number of items expected")
	}
}

// fields reads the head of a map of n pairs.
func (c *cursor) fields(n uint64) {
	if c.want(cborMap, "a map") != n {
		c.fail("not the number of pairs expected")
	}
}

// label reads a map key that has to be n.
func (c *cursor) label(n int64) {
	if c.int() != n {
		c.fail("not the label expected")
	}
}

// take gives the next n bytes, which alias the input.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)-c.i) {
		c.fail("ends too soon")
		return nil
	}
	b := c.b[c.i : c.i+int(n) : c.i+int(n)]
	c.i += int(n)
	return b
}

func (c *cursor) bytes() []byte { return c.take(c.want(cborBytes, "a byte string")) }

// fixed reads a byte string of exactly the length of dst.
func (c *cursor) fixed(dst []byte) {
	b := c.bytes()
	if len(b) != len(dst) {
		c.fail("byte string of the wrong length")
		return
	}
	copy(dst, b)
}

// text reads a text of at most limit bytes, which aliases the input.
func (c *cursor) text(limit int) []byte {
	b := c.take(c.want(cborText, "a text"))
	if len(b) > limit {
		c.fail("text too long")
		return nil
	}
	if !utf8.Valid(b) {
		c.fail("text is not UTF-8")
		return nil
	}
	return b
}

// name reads a text that has to fit MaxName.
func (c *cursor) name() string { return string(c.text(MaxName)) }

func (c *cursor) bool() bool {
	if c.i < len(c.b) && (c.b[c.i] == cborTrue || c.b[c.i] == cborFalse) {
		c.i++
		return c.b[c.i-1] == cborTrue
	}
	c.fail("not a boolean")
	return false
}
