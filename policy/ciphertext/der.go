package ciphertext

// Tags of X.690 that CMS needs.
const (
	derInteger  = 0x02
	derBits     = 0x03
	derOctets   = 0x04
	derOID      = 0x06
	derSequence = 0x30
	derSet      = 0x31
	derContext  = 0x80 // and its number
	derCompound = 0x20
)

// der reads DER (X.690, section 10): definite lengths in their shortest form.
// After a mistake all it reads is nil and bad is set.
type der struct {
	b   []byte
	bad bool
}

func (d *der) fail() { d.b, d.bad = nil, true }

// next tells whether an element with the tag stands next.
func (d *der) next(tag byte) bool { return len(d.b) > 0 && d.b[0] == tag }

// take takes an element's content, or fails.
func (d *der) take(tag byte) []byte {
	if !d.next(tag) || len(d.b) < 2 {
		d.fail()
		return nil
	}
	n, rest := int(d.b[1]), d.b[2:]
	if n >= 0x80 {
		size := n & 0x7f
		if size == 0 || size > 3 || len(rest) < size || rest[0] == 0 {
			d.fail()
			return nil
		}
		n = 0
		for _, c := range rest[:size] {
			n = n<<8 | int(c)
		}
		if rest = rest[size:]; n < 0x80 {
			d.fail()
			return nil
		}
	}
	if n > len(rest) {
		d.fail()
		return nil
	}
	d.b = rest[n:]
	return rest[:n:n]
}

// inside gives a reader for an element's content.
func (d *der) inside(tag byte) der { return der{b: d.take(tag), bad: d.bad} }

// whole takes an element and gives it with its tag and length.
func (d *der) whole(tag byte) []byte {
	before := d.b
	d.take(tag)
	if d.bad {
		return nil
	}
	return before[:len(before)-len(d.b)]
}

// small takes an INTEGER from 0 to 127.
func (d *der) small() int {
	b := d.take(derInteger)
	if len(b) != 1 || b[0] > 127 {
		d.fail()
		return -1
	}
	return int(b[0])
}

// end fails unless all was read.
func (d *der) end() bool {
	if len(d.b) > 0 {
		d.fail()
	}
	return !d.bad
}
