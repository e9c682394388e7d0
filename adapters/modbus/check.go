package modbus

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	maxRegisters    = 125 // in one request (Modbus Application Protocol 1.1b3, 6.3)
	bitsPerRegister = 16  // so that 125 registers are 2000 bits, the limit of 6.1
	minPeriod       = 10 * time.Millisecond
)

// checker gathers problems; the current point's name is on each.
type checker struct {
	m     *Machine
	point string
	found []point.Problem
}

func (c *checker) add(key, what, instead string) {
	c.found = append(c.found, point.Problem{Point: c.point, Key: key, What: what, Instead: instead})
}

// Check gives all that is wrong with the machine and its points, in their
// order.
func (m *Machine) Check() []point.Problem {
	c := &checker{m: m}
	sound := c.reads()
	names := make(map[string]bool, len(m.Points))
	for i := range m.Points {
		p := &m.Points[i]
		c.point = p.Name
		switch {
		case p.Name == "":
			c.add("name", fmt.Sprintf("point %d has no name", i+1), "give it one of lower case, digits and dashes")
		case names[p.Name]:
			c.add("name", "the name is there twice", "names of one machine differ")
		}
		names[p.Name] = true
		if !c.typed(p) {
			sound = false
			continue
		}
		c.extent(p)
		c.numbers(p)
		c.watched(p)
		if p.Period < minPeriod {
			c.add("poll", fmt.Sprintf("a period of %v is too short", p.Period), "10ms is the least")
			sound = false
		}
	}
	c.point = ""
	c.overlaps()
	if sound {
		c.pauses()
	}
	return c.found
}

// reads checks the limits of requests.
func (c *checker) reads() (sound bool) {
	r, before := c.m.Reads, len(c.found)
	if r.MaxRegisters < 0 || r.MaxRegisters > maxRegisters {
		c.add("reads", fmt.Sprintf("max_registers %d is outside 1–125", r.MaxRegisters), "leave it out for 125")
	}
	if r.MaxGap < 0 || r.MaxGap >= maxRegisters {
		c.add("reads", fmt.Sprintf("max_gap %d is outside 0–124", r.MaxGap), "leave it out for 0")
	}
	if r.Pause < 0 || r.Pause > time.Minute {
		c.add("reads", fmt.Sprintf("a pause of %v is outside 0–1m", r.Pause), "leave it out for none")
	}
	for _, f := range r.Forbidden {
		if f.First > f.Last || f.Table > Discrete {
			c.add("reads", fmt.Sprintf("forbidden %v is no run of addresses", f), "write the lower one first")
		}
	}
	return len(c.found) == before
}

// typed checks whether type, table and bit go together.
func (c *checker) typed(p *Point) bool {
	before := len(c.found)
	bits := p.At.Table.bits()
	switch {
	case p.At.Table > Discrete:
		c.add("at", "there is no such table", "write holding, input, coil or discrete")
	case p.Type < Bool || p.Type > Bytes:
		c.add("type", "the point has no type", "write bool, int16, uint16, float32, …")
	case bits && p.Type != Bool:
		c.add("type", fmt.Sprintf("%v is one bit, not %v", p.At, p.Type), "write type: bool, or holding/ or input/ for a register")
	case bits && p.Bit >= 0:
		c.add("bit", fmt.Sprintf("%v is one bit and has no bits", p.At), "leave the bit out")
	case !bits && p.Type == Bool && (p.Bit < 0 || p.Bit > 15):
		c.add("bit", fmt.Sprintf("a bool of the register %v needs a bit from 0 to 15", p.At), "name the bit, or write coil/ or discrete/")
	case p.Type != Bool && p.Bit >= 0:
		c.add("bit", fmt.Sprintf("bit %d of a point of type %v", p.Bit, p.Type), "a bit is a point of type bool")
	}
	if p.Invert && p.Type != Bool {
		c.add("invert", fmt.Sprintf("a value of type %v has no inverse", p.Type), "only a bool has one")
	}
	if _, ok := p.Order.For(p.Type); !ok {
		c.add("order", fmt.Sprintf("order %v is for %d bytes, and %v has %d", p.Order, p.Order.letters, p.Type, p.Type.width()),
			"write ABCD, CDAB, BADC or DCBA")
	}
	return len(c.found) == before
}

// extent checks length, end and forbidden registers.
func (c *checker) extent(p *Point) {
	limit := c.m.Reads.limit(p.At.Table)
	switch sized := p.Type == String || p.Type == Bytes; {
	case !sized && p.Bytes != 0:
		c.add("bytes", fmt.Sprintf("a value of type %v has a fixed length", p.Type), "leave bytes out")
		return
	case sized && p.Bytes < 1:
		c.add("bytes", "the length is missing", fmt.Sprintf("write bytes: 1–%d", 2*limit))
		return
	}
	count := p.count()
	if count > limit {
		c.add("bytes", fmt.Sprintf("the value has %d registers, and a request at most %d; a value is never split over requests", count, limit),
			"shorten it, or raise max_registers up to 125")
		return
	}
	if int(p.At.Offset)+count > 1<<16 {
		c.add("at", fmt.Sprintf("the value ends behind address 65535: %d registers from %v", count, p.At), "")
		return
	}
	if f, ok := c.m.Reads.touches(p.At.Table, int(p.At.Offset), count); ok {
		c.add("at", fmt.Sprintf("%v lies in the forbidden %v", p.At, f), "remove the point, or change reads.forbidden")
	}
}

// numbers checks scale, invalid and valid.
func (c *checker) numbers(p *Point) {
	if p.Scale == nil && p.Invalid == nil && p.Valid == nil {
		return
	}
	if p.Type == Bool || p.Type.width() == 0 {
		for _, k := range []struct {
			key string
			is  bool
		}{{"scale", p.Scale != nil}, {"invalid", p.Invalid != nil}, {"valid", p.Valid != nil}} {
			if k.is {
				c.add(k.key, fmt.Sprintf("%s does not apply to a value of type %v", k.key, p.Type), "leave it out")
			}
		}
		return
	}
	if s := p.Scale; s != nil {
		if f := s.Factor; f == 0 || f != f || math.IsInf(f, 0) || s.Offset != s.Offset || math.IsInf(s.Offset, 0) {
			c.add("scale", "the scale is no line: its factor is 0, or a number is not finite", "write scale: 0.1, or raw: and value: with two different numbers each")
		}
	}
	if w := p.Type.width(); p.Invalid != nil && w < 8 && *p.Invalid>>(8*w) != 0 {
		c.add("invalid", fmt.Sprintf("%#x is wider than the %d bits of %v", *p.Invalid, 8*w, p.Type), fmt.Sprintf("write %d hexadecimal digits at most", 2*w))
	}
	if v := p.Valid; v != nil {
		least, most := p.Type.rawRange()
		if v.Min > v.Max || v.Min > most || v.Max < least {
			c.add("valid", fmt.Sprintf("no raw value of type %v is within %d–%d", p.Type, v.Min, v.Max), "write the lower raw value first")
		}
	}
}

// rawRange is what a raw value of the type can be, as far as an int64 reaches.
func (t Type) rawRange() (least, most int64) {
	switch t {
	case Int16:
		return math.MinInt16, math.MaxInt16
	case Int32:
		return math.MinInt32, math.MaxInt32
	case Uint16:
		return 0, math.MaxUint16
	case Uint32:
		return 0, math.MaxUint32
	case Uint64:
		return 0, math.MaxInt64
	default:
		return math.MinInt64, math.MaxInt64
	}
}

// watched checks changes_with.
func (c *checker) watched(p *Point) {
	w := p.ChangesWith
	if w == nil {
		return
	}
	switch {
	case w.Table.bits() || w.Table > Discrete:
		c.add("changes_with", fmt.Sprintf("%v is no register", *w), "a counter is a holding or input register")
	case w.Table == p.At.Table && w.Offset >= p.At.Offset && int(w.Offset) < int(p.At.Offset)+p.count():
		c.add("changes_with", fmt.Sprintf("the counter %v lies in the value itself", *w), "name a register of its own")
	default:
		if f, ok := c.m.Reads.touches(w.Table, int(w.Offset), 1); ok {
			c.add("changes_with", fmt.Sprintf("%v lies in the forbidden %v", *w, f), "change reads.forbidden")
		}
	}
}

// overlaps finds points that share a part of their registers. Equal addresses
// share all of it on purpose, and so do bits of one register.
func (c *checker) overlaps() {
	order := make([]*Point, 0, len(c.m.Points))
	for i := range c.m.Points {
		order = append(order, &c.m.Points[i])
	}
	slices.SortStableFunc(order, func(a, b *Point) int {
		return cmp.Or(cmp.Compare(a.At.Table, b.At.Table), cmp.Compare(a.At.Offset, b.At.Offset), -cmp.Compare(a.count(), b.count()))
	})
	var widest *Point // the one that reaches farthest so far
	for _, p := range order {
		if widest != nil && widest.At.Table == p.At.Table && widest.At.Offset != p.At.Offset &&
			int(p.At.Offset) < int(widest.At.Offset)+widest.count() {
			c.point = p.Name
			c.add("at", fmt.Sprintf("%v lies within %s, which is %d registers from %v", p.At, widest.Name, widest.count(), widest.At),
				"correct the address, the type or the length of one of them")
		}
		if widest == nil || widest.At.Table != p.At.Table ||
			int(p.At.Offset)+p.count() > int(widest.At.Offset)+widest.count() {
			widest = p
		}
	}
	c.point = ""
}

// pauses checks that the pauses alone leave time for the periods.
func (c *checker) pauses() {
	if c.m.Reads.Pause == 0 || len(c.found) > 0 {
		return
	}
	var share float64
	var count int
	for _, r := range c.m.Requests() {
		if r.ChangesWith == nil {
			share += float64(c.m.Reads.Pause) / float64(r.Period)
			count++
		}
	}
	if share > 1 {
		c.add("reads", fmt.Sprintf("the pauses of %v between %d requests take %.0f %% of the time", c.m.Reads.Pause, count, 100*share),
			"shorten the pause, poll more slowly, or allow a max_gap")
	}
}
