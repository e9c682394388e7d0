package envelope

import (
	"math/bits"
	"slices"
)

// padme gives the padded length of n: the next one of which only as many leading
// bits are free as the length of its logarithm needs (Padmé, from "Reducing
// Metadata Leakage from Encrypted Files and Communication with PURBs", 2019).
// It adds less than 12 %, and leaks no more than the size's magnitude.
func padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// appendPadding appends n ≥ 1 bytes of CBOR: a byte string of zeros, preceded by
// an empty one where no byte string has exactly that size. Padmé asks for less than
// an eighth of MaxBody, where such gaps are one byte wide.
func appendPadding(dst []byte, n int) []byte {
	size, ok := paddingContent(n)
	if !ok {
		dst = append(dst, cborBytes)
		size, _ = paddingContent(n - 1)
	}
	dst = appendHead(dst, cborBytes, uint64(size))
	from := len(dst)
	dst = slices.Grow(dst, size)[:from+size]
	clear(dst[from:])
	return dst
}

// paddingContent gives the length of the byte string that takes n bytes with
// its head, if there is one.
func paddingContent(n int) (size int, ok bool) {
	for head := 1; head <= 5 && head <= n; head++ {
		if headSize(uint64(n-head)) == head {
			return n - head, true
		}
	}
	return 0, false
}

// padding reads what appendPadding wrote, up to the end.
func (c *cursor) padding() {
	from := c.i
	b := c.bytes()
	if len(b) == 0 && c.i < len(c.b) {
		b = c.bytes()
	}
	var sum byte
	for _, x := range b {
		sum |= x
	}
	if sum != 0 {
		c.fail("padding that is not zero")
	}
	if c.end() != nil {
		return
	}
	n := c.i - from
	size, ok := paddingContent(n)
	if !ok {
		size, _ = paddingContent(n - 1)
	}
	if size != len(b) {
		c.fail("padding in another form than the one of its size")
	}
}
