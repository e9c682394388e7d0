package configs

import (
	"maps"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/policy"
)

// Point is what the mapping says of a point besides how it is read.
type Point struct {
	policy.Point
	// The very thing that is read and its type with its size, each written in
	// one way: "holding/121.3", "bytes[240]". Policy may know the address of
	// more: equal ones take the stricter level.
	At, Type    string
	Unit        string // of the value, as the file writes it
	Report      Report
	ContentType string // of a payload that the device encrypts
}

// Report says which readings are sent. The zero value sends each.
type Report struct {
	OnChange     bool          // only what differs from the last one sent
	Deadband     float64       // by more than this, in engineering units
	AtLeastEvery time.Duration // and after this time in any case; 0: never
}

// reading is one point while its entry is read.
type reading struct {
	m     *mapping
	field modbus.Point
	point Point
	typed bool // the type is known
}

// pointOf reads one entry from its keys, some of which may be an override's.
func (r *machineReader) pointOf(m *mapping) {
	p := reading{m: m}
	p.m.notYet("values", "counter")
	before := *r.wrong
	name := p.m.need("name", "write name: NAME")
	p.field.Name, _ = name.ident()
	r.field(&p)
	r.label(&p)
	r.passthrough(&p)
	bits := p.m.get("bits")
	p.report(bits.present())
	p.m.done()
	if bits.present() {
		r.bits(bits, p, before)
		return
	}
	r.take(name, p, before)
}

// take adds a point, unless its entry has problems.
func (r *machineReader) take(at node, p reading, before int) {
	name := p.field.Name
	if first, twice := r.places[name]; twice && name != "" {
		at.wrong("the point "+quote(name)+" is on line "+itoa(first["name"].y.Line)+" already", "write another name")
		return
	}
	if name != "" {
		r.keep(name, p.m)
		r.places[name]["name"] = at
	}
	if *r.wrong > before {
		return
	}
	p.point.Name = name
	p.point.At = p.field.At.String()
	if p.field.Bit >= 0 {
		p.point.At += "." + itoa(int(p.field.Bit))
	}
	p.point.Address = p.point.At
	p.point.Type, p.point.Unit = p.field.Type.String(), p.field.Unit
	if p.field.Bytes > 0 {
		p.point.Type += "[" + itoa(p.field.Bytes) + "]"
	}
	r.m.Modbus.Points = append(r.m.Modbus.Points, p.field)
	r.m.Points = append(r.m.Points, p.point)
}

// field reads how a point is read.
func (r *machineReader) field(p *reading) {
	m, f := p.m, &p.field
	f.Bit = -1
	f.At, _ = m.need("at", "write at: holding/100, 40101 or reg/101").address()
	f.Type, p.typed = m.need("type", "write type: bool, int16, uint16, float32, …").modbusType()
	f.Order = r.order
	if o := m.get("order"); o.present() {
		f.Order = order(o)
	}
	size, _ := m.get("bytes").whole(1, 1<<16)
	f.Bytes = int(size)
	f.Invert = m.get("invert").flag()
	f.Scale = m.get("scale").scale()
	f.Valid = m.get("valid").valid()
	invalid := m.get("invalid")
	if p.typed {
		f.Invalid = invalid.bitPattern(16 * f.Type.Registers(f.Bytes))
	}
	f.Unit, _ = m.get("unit").text()
	f.Period = r.period(m)
	if w := m.get("changes_with"); w.present() {
		if at, ok := w.address(); ok {
			f.ChangesWith = &at
		}
	}
}

// period gives the time between two reads, by the point's poll class.
func (r *machineReader) period(m *mapping) time.Duration {
	class, said := "normal", m.get("poll")
	if len(r.polls) == 0 { // that is a problem already
		return time.Second
	}
	if said.present() {
		var ok bool
		if class, ok = said.text(); !ok {
			return 0
		}
	}
	d, ok := r.polls[class]
	switch known := slices.Sorted(maps.Keys(r.polls)); {
	case ok:
	case said.present():
		said.wrong(unknown("poll class", class, known))
	default:
		m.wrong("the point has no poll class, and there is none called normal", "write poll: "+oneOf(known)+", or give the machine normal")
	}
	return d
}

// label gives the point its own label, or the machine's.
func (r *machineReader) label(p *reading) {
	own := p.m.get("sensitivity")
	switch {
	case own.present():
		p.point.Label, _ = own.level(r.policy)
		p.point.Where = own.where()
	case r.common != "":
		p.point.Label, p.point.Where = r.common, r.commonAt.where()
	default:
		p.point.Where = p.m.where()
	}
}

// passthrough reads what the device encrypts itself.
func (r *machineReader) passthrough(p *reading) {
	n, readers := p.m.get("passthrough"), p.m.get("readable_by")
	format, ok := n.choice("format", "cose", "jwe", "opaque")
	switch {
	case !n.present() && readers.present():
		readers.wrong("'readable_by' is for what the device encrypts", "remove it, or write passthrough: cose")
	case ok && format != "cose":
		n.notYet(quote("passthrough: " + format))
	case ok && p.typed && p.field.Type != modbus.Bytes:
		n.wrong("a passthrough payload is of type bytes, not "+p.field.Type.String(), "write type: bytes")
	}
	if ok && !readers.present() {
		p.m.missing("readable_by", "name who the device encrypts it for")
	}
	p.point.ReadableBy = readers.recipients(r.trust)
	if ok {
		p.point.Passthrough, p.point.ContentType = format, "application/cose"
	}
}

// report reads which readings are sent.
func (p *reading) report(bits bool) {
	n := p.m.get("report")
	m := n.mapping()
	deadband := m.get("deadband")
	every := m.get("at_least_every")
	m.done()
	p.point.Report.OnChange = n.present()
	p.point.Report.Deadband, _ = deadband.number()
	switch t := p.field.Type; {
	case p.point.Report.Deadband < 0:
		deadband.wrong("'deadband' is less than 0", "write how much a value must change to be sent")
	case p.typed && (bits || t == modbus.Bool || t == modbus.String || t == modbus.Bytes):
		deadband.wrong("'deadband' is for numbers, and this is none", "leave it out: each change is sent")
	}
	d, ok := every.duration(leastPeriod, "10s")
	if ok && d < p.field.Period {
		every.wrong("'at_least_every' is shorter than the poll period "+p.field.Period.String(), "poll faster, or write a longer time")
	}
	p.point.Report.AtLeastEvery = d
}

// bits makes a point of each bit that the mapping names. The register itself
// does not leave.
func (r *machineReader) bits(n node, p reading, before int) {
	m := n.mapping()
	if p.typed && p.field.Type != modbus.Uint16 && p.field.Type != modbus.Int16 {
		n.wrong("'bits' are those of one register, and this is of type "+p.field.Type.String(), "write type: uint16")
	}
	for _, key := range []string{"scale", "invalid", "valid", "bytes", "invert"} {
		if e, ok := p.m.peek(key); ok {
			node{f: e.value.f, y: e.key}.wrong(quote(key)+" does not apply to bits", "remove it")
		}
	}
	if m.present() && len(m.entries) == 0 {
		n.wrong("'bits' is empty", "write bits: {0: NAME}")
	}
	register, seen := p.field.Name, map[int64]bool{}
	for _, e := range m.entries {
		key := node{f: n.f, y: e.key, called: "the bit"}
		b, ok := key.whole(0, 15)
		if !ok {
			continue
		}
		if seen[b] {
			key.wrong("bit "+itoa(int(b))+" is there already", "write it once")
		}
		seen[b] = true
		name := e.value
		bit := p
		if e.value.isMapping() {
			v := e.value.mapping()
			name = v.need("name", "write name: NAME")
			bit.field.Invert = v.get("invert").flag()
			v.done()
		}
		s, ok := name.ident()
		if !ok || register == "" {
			continue
		}
		bit.field.Name, bit.field.Type, bit.field.Bit = register+"-"+s, modbus.Bool, int8(b)
		r.take(name, bit, before)
	}
}

// shareAddresses gives the bits of a register the address of the whole where a
// point reads that too: who may read the register can read its bits.
func (r *machineReader) shareAddresses() {
	whole := map[modbus.Address]bool{}
	for i := range r.m.Modbus.Points {
		if p := &r.m.Modbus.Points[i]; p.Bit < 0 {
			whole[p.At] = true
		}
	}
	for i := range r.m.Modbus.Points {
		if p := &r.m.Modbus.Points[i]; p.Bit >= 0 && whole[p.At] {
			r.m.Points[i].Address = p.At.String()
		}
	}
}
