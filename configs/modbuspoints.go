package configs

import (
	"github.com/fieldseal/fieldseal/adapters/modbus"
)

// point reads how a point is read.
func (r *modbusReader) point(p *reading) {
	m, f := p.m, &p.modbus
	f.Bit = -1
	const spellings = "write at: holding/100, 40101 or reg/101"
	m.foreign("OPC UA", "Modbus", map[string]string{
		"node": spellings, "max_bytes": "write bytes: and the length in the registers", "fields": "write a point for each",
	})
	f.At, _ = m.needUnless("at", spellings, "node").address()
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
	bits := m.get("bits")
	if p.typed {
		p.word = f.Type.String()
		p.octets = f.Type == modbus.Bytes
		p.numeric = !bits.present() && !p.octets && f.Type != modbus.Bool && f.Type != modbus.String
	}
	if w := m.get("changes_with"); w.present() {
		if at, ok := w.address(); ok {
			f.ChangesWith = &at
		}
	}
}

// take adds the point, or those of its bits.
func (r *modbusReader) take(name node, p reading, before int) {
	if bits := p.m.get("bits"); bits.present() {
		r.bits(bits, p, before)
		return
	}
	r.machineReader.take(name, p, before)
}

// add adds a point without problems.
func (r *modbusReader) add(p *reading) {
	f := &p.modbus
	f.Name, f.Unit, f.Period = p.point.Name, p.point.Unit, p.period
	p.point.At, p.point.Type = f.At.String(), f.Type.String()
	if f.Bit >= 0 {
		p.point.At += "." + itoa(int(f.Bit))
	}
	if f.Bytes > 0 {
		p.point.Type += "[" + itoa(f.Bytes) + "]"
	}
	r.m.Modbus.Points = append(r.m.Modbus.Points, *f)
}

// bits makes a point of each bit that the mapping names. The register itself
// does not leave.
func (r *modbusReader) bits(n node, p reading, before int) {
	m := n.mapping()
	if p.typed && p.modbus.Type != modbus.Uint16 && p.modbus.Type != modbus.Int16 {
		n.wrong("'bits' are those of one register, and this is of type "+p.modbus.Type.String(), "write type: uint16")
	}
	for _, key := range []string{"scale", "invalid", "valid", "bytes", "invert", "values", "counter"} {
		if e, ok := p.m.peek(key); ok {
			node{f: e.value.f, y: e.key}.wrong(quote(key)+" does not apply to bits", "remove it")
		}
	}
	if m.present() && len(m.entries) == 0 {
		n.wrong("'bits' is empty", "write bits: {0: NAME}")
	}
	register, seen := p.point.Name, map[int64]bool{}
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
			bit.modbus.Invert = v.get("invert").flag()
			v.done()
		}
		s, ok := name.ident()
		if !ok || register == "" {
			continue
		}
		bit.point.Name, bit.modbus.Type, bit.modbus.Bit = register+"-"+s, modbus.Bool, int8(b)
		r.machineReader.take(name, bit, before)
	}
}

// shareAddresses gives the bits of a register the address of the whole where a
// point reads that too: who may read the register can read its bits.
func (r *modbusReader) shareAddresses() {
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
