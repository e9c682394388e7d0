package ciphertext

// cursor reads CBOR (RFC 8949) as strictly as a guard has to: definite lengths
// and shortest forms only, so that nothing can hide in how a value is written.
// It allocates nothing, and after a mistake all it reads is zero and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

// Major types (RFC 8949, section 3.1).
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

func (c *cursor) fail() { c.b, c.bad = nil, true }

// head takes a data item's first bytes.
func (c *cursor) head() (major byte, n uint64) {
	if len(c.b) == 0 {
		c.fail()
		return 0, 0
	}
	major, info := c.b[0]>>5, c.b[0]&31
	c.b = c.b[1:]
	if info < 24 {
		return major, uint64(info)
	}
	size := 1 << (info - 24)
	if info > 27 || len(c.b) < size {
		c.fail()
		return 0, 0
	}
	for _, x := range c.b[:size] {
		n = n<<8 | uint64(x)
	}
	c.b = c.b[size:]
	if least := uint64(1) << (4 * size); n < 24 || size > 1 && n < least {
		if major != majorSimple { // floats have one size each
			c.fail()
			return 0, 0
		}
	}
	return major, n
}

// expect takes the head of one item of a major type.
func (c *cursor) expect(major byte) uint64 {
	got, n := c.head()
	if got != major {
		c.fail()
	}
	if c.bad {
		return 0
	}
	return n
}

// size takes the head of an array or a map, which has at most most entries.
func (c *cursor) size(major byte, most uint64) int {
	n := c.expect(major)
	if n > most {
		c.fail()
		return 0
	}
	return int(n)
}

// bytes takes a byte string.
func (c *cursor) bytes() []byte { return c.take(c.expect(majorBytes)) }

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
	}
	if c.bad {
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

// isNull takes a null, where one stands.
func (c *cursor) isNull() bool {
	if len(c.b) > 0 && c.b[0] == 0xf6 {
		c.b = c.b[1:]
		return true
	}
	return false
}

// integer takes a signed integer of at most 32 bits: all labels and algorithms
// that are registered have room in it.
func (c *cursor) integer() int64 {
	major, n := c.head()
	if c.bad || major > majorNegative || n > 1<<31 {
		c.fail()
		return 0
	}
	if major == majorNegative {
		return -1 - int64(n)
	}
	return int64(n)
}
