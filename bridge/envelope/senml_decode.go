package envelope

import (
	"encoding/binary"
	"math"
)

// names keeps the strings of names that come again in every frame, so that
// opening a frame does not allocate them.
type names struct {
	last  []string          // of the frame before, in its order
	known map[string]string // all of them
	bytes int               // that this takes, about
	base  string            // of the frame before
}

// maxNames bounds what names keeps, and maxNameBytes how large it gets.
const (
	maxNames     = 8192
	maxNameBytes = 1 << 20
	costName     = 96
)

// at gives b as a string; i is its place in the frame.
func (n *names) at(i int, b []byte) string {
	if i < len(n.last) && n.last[i] == string(b) {
		return n.last[i]
	}
	s, ok := n.known[string(b)]
	if !ok {
		s = string(b)
		if len(s) > MaxName {
			return s
		}
		if n.known == nil || n.bytes >= maxNameBytes || len(n.known) >= maxNames {
			n.known, n.last, n.bytes = make(map[string]string), nil, 0
		}
		n.known[s] = s
		n.bytes += costName + len(s)
	}
	switch {
	case i < len(n.last):
		n.last[i] = s
	case i == len(n.last) && i < maxNames:
		n.last = append(n.last, s)
	}
	return s
}

// decodePack reads what appendPack wrote, and nothing else, from the cursor.
// Texts and bytes alias the input.
func (n *names) decodePack(c *cursor, room *arena) (base string, samples []Sample) {
	count := c.want(cborArray, "an array of records")
	if count > uint64(len(c.b)-c.i)/3 { // no record is smaller
		c.fail("ends too soon")
	}
	if count == 0 || c.wrong != "" {
		return "", nil
	}
	samples = room.take(int(count))
	var now int64
	for i := 0; i < len(samples); i++ {
		if c.wrong != "" {
			return "", nil
		}
		if i > 0 {
			if i = n.floatRecords(c, i, samples, now); i == len(samples) {
				break
			}
		}
		s := &samples[i]
		*s = Sample{}
		pairs := c.want(cborMap, "a record") - 1
		if !c.next(labelName) {
			c.fail("a record without a name")
		}
		s.Name = n.at(i, c.text(MaxName))
		if c.next(labelUnit) {
			if s.Unit = n.unit(c.text(MaxName)); s.Unit == "" {
				c.fail("an empty unit, written out")
			}
			pairs--
		}
		if c.value(&s.Value) {
			pairs--
		}
		if i == 0 {
			if !c.next(labelBaseName) {
				c.fail("no base name")
			}
			base = n.baseOf(c.text(MaxBody))
			pairs--
		}
		if c.next(labelBaseTime) {
			t := c.nanoseconds()
			if i != 0 && t == now {
				c.fail("a base time that does not change")
			}
			now = t
			pairs--
		} else if i == 0 {
			c.fail("no base time")
		}
		s.Time = now
		if c.next(cborText | 1) {
			s.Quality = c.quality()
			pairs--
		}
		if pairs != 0 {
			c.fail("a label that this format does not have there")
		}
		if s.Bad() && s.Value.kind != NoValue {
			c.fail("a bad sample with a value")
		}
	}
	if c.wrong != "" {
		return "", nil
	}
	return base, samples
}

// floatRecords reads what appendFloatRecord wrote, as long as that is what comes
// next and the names are those of the frame before. Everything else it leaves to
// the long way. It gives the index of the first record that it did not read.
func (n *names) floatRecords(c *cursor, i int, samples []Sample, now int64) int {
	b, last := c.b[c.i:], n.last
	for ; i < len(samples) && i < len(last); i++ {
		name := last[i]
		k := len(name)
		if k >= 24 || len(b) < k+13 || b[0] != cborMap|2 || b[1] != labelName || b[2] != cborText|byte(k) || b[3+k] != labelValue {
			break
		}
		if k >= 8 { // in words, which overlap: a call is dear
			if binary.LittleEndian.Uint64(b[3:]) != word(name) || binary.LittleEndian.Uint64(b[k-5:]) != word(name[k-8:]) ||
				k > 16 && binary.LittleEndian.Uint64(b[11:]) != word(name[8:]) {
				break
			}
		} else if string(b[3:3+k]) != name {
			break
		}
		k += 4
		var bits uint64
		if b[k] == cborF64 {
			bits = binary.BigEndian.Uint64(b[k+1:])
			if f := math.Float64frombits(bits); float64(float32(f)) == f {
				break
			}
			k += 9
		} else {
			f := math.Float32frombits(binary.BigEndian.Uint32(b[k+1:]))
			if b[k] != cborF32 || f != f {
				break
			}
			bits = math.Float64bits(float64(f))
			k += 5
		}
		b = b[k:]
		s := &samples[i]
		s.Name, s.Unit, s.Time, s.Quality = name, "", now, 0
		s.Value.kind, s.Value.bits, s.Value.data = Float, bits, nil
	}
	c.i = len(c.b) - len(b)
	return i
}

// baseOf gives the base name as a string.
func (n *names) baseOf(b []byte) string {
	if n.base != string(b) {
		if len(b) > MaxName {
			return string(b)
		}
		n.base = string(b)
	}
	return n.base
}

// unit gives a unit as a string: they share the store of names.
func (n *names) unit(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return n.at(maxNames, b)
}

// next steps over the byte b if it is the next one.
func (c *cursor) next(b byte) bool {
	if c.i < len(c.b) && c.b[c.i] == b {
		c.i++
		return true
	}
	return false
}

// nanoseconds reads the decimal fraction 4([-9, n]).
func (c *cursor) nanoseconds() int64 {
	if !c.next(cborTag|4) || !c.next(cborArray|2) || !c.next(nanoExponent) {
		c.fail("not a decimal fraction of nanoseconds")
		return 0
	}
	return c.int()
}

// quality reads the rest of the label "q" and its status code.
func (c *cursor) quality() uint32 {
	if !c.next('q') {
		c.fail("a label that this format does not have")
		return 0
	}
	q := c.uint32()
	if q == 0 {
		c.fail("a good quality, written out")
	}
	return q
}

// value reads label and value, if there is one.
func (c *cursor) value(v *Value) bool {
	if c.i >= len(c.b) {
		return false
	}
	switch c.b[c.i] {
	case labelValue:
		c.i++
		c.number(v)
	case labelText:
		c.i++
		*v = OfText(c.text(MaxValue))
	case labelBool:
		c.i++
		*v = OfBool(c.bool())
	case labelData:
		c.i++
		if *v = OfBytes(c.bytes()); len(v.data) > MaxValue {
			c.fail("bytes too long")
		}
	default:
		return false
	}
	return true
}

// number reads an Int, Uint, Float or Time.
func (c *cursor) number(v *Value) {
	if c.i >= len(c.b) {
		c.fail("ends too soon")
		return
	}
	rest := c.b[c.i+1:]
	switch first := c.b[c.i]; {
	case first == cborF32 && len(rest) >= 4:
		f := math.Float32frombits(binary.BigEndian.Uint32(rest))
		if f != f {
			c.fail("a 32-bit float that is no number")
			return
		}
		*v = OfFloat(float64(f))
		c.i += 5
	case first == cborF64 && len(rest) >= 8:
		f := math.Float64frombits(binary.BigEndian.Uint64(rest))
		if float64(float32(f)) == f {
			c.fail("a float that is not in its shortest form")
			return
		}
		*v = OfFloat(f)
		c.i += 9
	case first == cborTag|4:
		*v = OfTime(c.nanoseconds())
	case first&0xe0 == cborUint:
		if n := c.uint(); n > math.MaxInt64 {
			*v = OfUint(n)
		} else {
			*v = OfInt(int64(n))
		}
	default:
		*v = OfInt(c.int())
	}
}

// packSize tells how many records a pack says it has; 0 for anything else.
func packSize(plain []byte) int {
	c := cursor{b: plain}
	if len(plain) == 0 || plain[0]&0xe0 != cborArray {
		return 0
	}
	return int(min(c.want(cborArray, "an array"), uint64(len(plain)/3)))
}
