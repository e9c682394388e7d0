package ciphertext

// isDeflate tells whether b is a complete deflate stream (RFC 1951), raw or in
// zlib's frame (RFC 1950), from its first bit to its last byte or to zeros that
// fill it up. It inflates nothing: it follows the codes and counts.
func isDeflate(b []byte) bool {
	if len(b) >= 8 && b[0]&0x0f == 8 && b[0]>>4 <= 7 && (int(b[0])<<8|int(b[1]))%31 == 0 && b[1]&0x20 == 0 {
		if used, ok := inflates(b[2:]); ok && ends(b[2:], used, 4) {
			return true
		}
	}
	used, ok := inflates(b)
	return ok && ends(b, used, 0)
}

// ends tells whether used bytes and a checksum are all of b, but for zeros.
func ends(b []byte, used, checksum int) bool {
	if len(b) < used+checksum {
		return false
	}
	for _, c := range b[used+checksum:] {
		if c != 0 {
			return false
		}
	}
	return used > 2 // two bytes are an empty stream
}

type bitReader struct {
	b    []byte
	at   int
	word uint32
	have uint
	bad  bool
}

func (r *bitReader) bits(n uint) uint32 {
	for r.have < n {
		if r.at == len(r.b) {
			r.bad = true
			return 0
		}
		r.word |= uint32(r.b[r.at]) << r.have
		r.at++
		r.have += 8
	}
	v := r.word & (1<<n - 1)
	r.word >>= n
	r.have -= n
	return v
}

// huffman is a canonical code: how many codes have each length, and the symbols
// in the order of their codes.
type huffman struct {
	count  [16]uint16
	symbol [288]uint16
}

// set makes the code of the symbols' lengths, and tells whether it is complete.
func (h *huffman) set(lengths []uint8) bool {
	h.count = [16]uint16{}
	for _, l := range lengths {
		h.count[l]++
	}
	left := 1
	var at [16]uint16
	for l := 1; l < 16; l++ {
		if left = left<<1 - int(h.count[l]); left < 0 {
			return false
		}
		if l < 15 {
			at[l+1] = at[l] + h.count[l]
		}
	}
	for s, l := range lengths {
		if l > 0 {
			h.symbol[at[l]] = uint16(s)
			at[l]++
		}
	}
	// One code of one bit is allowed to be incomplete, and none at all.
	return left == 0 || int(h.count[0])+int(h.count[1]) == len(lengths) && h.count[1] <= 1
}

func (h *huffman) decode(r *bitReader) int {
	code, first, index := 0, 0, 0
	for l := 1; l < 16; l++ {
		code |= int(r.bits(1))
		if r.bad {
			return -1
		}
		n := int(h.count[l])
		if code-n < first {
			return int(h.symbol[index+code-first])
		}
		index += n
		first = (first + n) << 1
		code <<= 1
	}
	return -1
}

// inflates follows blocks up to the final one, or to the marker that a flush
// leaves at the end of the buffer.
func inflates(b []byte) (used int, ok bool) {
	r := bitReader{b: b}
	out := 0
	for {
		final := r.bits(1) == 1
		switch kind := r.bits(2); {
		case r.bad:
			return 0, false
		case kind == 0:
			r.word, r.have = 0, 0
			if len(b)-r.at < 4 || b[r.at]^b[r.at+2] != 0xff || b[r.at+1]^b[r.at+3] != 0xff {
				return 0, false
			}
			n := int(b[r.at]) | int(b[r.at+1])<<8
			if r.at += 4; len(b)-r.at < n {
				return 0, false
			}
			r.at += n
			out += n
			if n == 0 && r.at == len(b) && out > 0 {
				return r.at, true // a flush
			}
		case kind == 3:
			return 0, false
		default:
			if !r.block(kind == 2, &out) {
				return 0, false
			}
		}
		if final {
			return r.at, true
		}
	}
}

// block follows one block of codes.
func (r *bitReader) block(dynamic bool, out *int) bool {
	var literals, distances huffman
	if dynamic {
		if !r.codes(&literals, &distances) {
			return false
		}
	} else {
		var l [288]uint8
		for i := range l {
			switch {
			case i < 144 || i >= 280:
				l[i] = 8
			case i < 256:
				l[i] = 9
			default:
				l[i] = 7
			}
		}
		var d [30]uint8
		for i := range d {
			d[i] = 5
		}
		literals.set(l[:])
		distances.set(d[:])
	}
	for {
		switch s := literals.decode(r); {
		case s < 0 || s > 285:
			return false
		case s < 256:
			*out++
		case s == 256:
			return true
		default:
			n := length(r, s-257)
			d := distances.decode(r)
			if d < 0 || d > 29 {
				return false
			}
			extra := uint(max(0, d/2-1))
			distance := 1 + d
			if d >= 2 {
				distance = 1 + (2+d&1)<<extra + int(r.bits(extra))
			}
			if r.bad || distance > *out {
				return false
			}
			*out += n
		}
	}
}

// length gives the length of a match (RFC 1951, 3.2.5).
func length(r *bitReader, s int) int {
	switch {
	case s < 8:
		return 3 + s
	case s == 28:
		return 258
	}
	extra := uint(s/4 - 1)
	return 3 + (4+s&3)<<extra + int(r.bits(extra))
}

// codes reads the codes of a dynamic block (RFC 1951, 3.2.7).
func (r *bitReader) codes(literals, distances *huffman) bool {
	order := [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	nl, nd, nc := int(r.bits(5))+257, int(r.bits(5))+1, int(r.bits(4))+4
	if r.bad || nl > 286 || nd > 30 {
		return false
	}
	var lengths [316]uint8
	for _, o := range order[:nc] {
		lengths[o] = uint8(r.bits(3))
	}
	if r.bad || !literals.set(lengths[:19]) {
		return false
	}
	lengths = [316]uint8{}
	for at := 0; at < nl+nd; {
		s := literals.decode(r)
		switch {
		case s < 0:
			return false
		case s < 16:
			lengths[at] = uint8(s)
			at++
			continue
		}
		var value uint8
		n := 0
		switch s {
		case 16:
			if at == 0 {
				return false
			}
			value, n = lengths[at-1], 3+int(r.bits(2))
		case 17:
			n = 3 + int(r.bits(3))
		default:
			n = 11 + int(r.bits(7))
		}
		if r.bad || at+n > nl+nd {
			return false
		}
		for range n {
			lengths[at] = value
			at++
		}
	}
	return lengths[256] > 0 && literals.set(lengths[:nl]) && distances.set(lengths[nl:nl+nd])
}
