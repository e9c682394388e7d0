package configs

import (
	"cmp"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
)

// usualMaxBytes is the greatest length of a text or of bytes where the file gives
// none.
const usualMaxBytes = 4096

// point reads how a point is read.
func (r *opcuaReader) point(p *reading) {
	m, f := p.m, &p.opcua
	const spellings = "write node: s=Line1.Mixer.Speed, i=7013, g=… or b=…"
	const mapped = "remove it: values leave as the server gives them"
	m.foreign("Modbus", "OPC UA", map[string]string{
		"at": spellings, "bytes": "write max_bytes: for the greatest length", "bits": mapped, "scale": mapped, "invert": mapped,
		"order": "remove it: values come with their type", "changes_with": "remove it: the server tells what changed",
		"valid": "remove it: values come with their quality", "invalid": "remove it: values come with their quality",
	})
	r.node(m.needUnless("node", spellings, "at"), f)
	t := m.need("type", "write type: bool, int16, uint16, float32, …")
	if s, ok := t.text(); ok {
		typ, err := opcua.ParseType(s)
		if err != nil {
			t.wrong(split(err))
		}
		f.Type, p.typed = typ, err == nil
		if fields := m.get("fields"); p.typed {
			fields.wrong("'fields' are those of a structure, and this is of type "+s, "remove it")
		}
	}
	size, _ := m.get("max_bytes").whole(1, point.MaxValueSize)
	f.MaxBytes = int(size)
	if p.typed {
		p.word = f.Type.String()
		p.octets = f.Type == opcua.Bytes
		p.numeric = opcua.Int8 <= f.Type && f.Type <= opcua.Float64
	}
}

// node reads an identifier, alone or with the namespace that it is in.
func (r *opcuaReader) node(n node, f *opcua.Point) {
	if n.isMapping() {
		m := n.mapping()
		if uri := m.need("namespace", "write namespace: URI, or the node alone for the machine's own namespace"); uri.present() {
			f.Namespace = uri.namespace()
		}
		n = m.need("id", "write id: s=Line1.Mixer.Speed, i=7013, g=… or b=…")
		m.done()
	}
	s, ok := n.source("write s=Line1.Mixer.Speed, i=7013, g=… or b=…")
	if !ok {
		return
	}
	id, err := opcua.ParseNode(s)
	if err != nil {
		n.wrong(split(err))
	}
	f.Node = id
}

// add adds a point without problems.
func (r *opcuaReader) add(p *reading) {
	f := &p.opcua
	f.Name, f.Unit, f.Period = p.point.Name, p.point.Unit, p.period
	p.point.At, p.point.Type = f.Node.In(cmp.Or(f.Namespace, r.m.OPCUA.Namespace)), f.Type.String()
	if f.Type == opcua.String || f.Type == opcua.Bytes {
		f.MaxBytes = cmp.Or(f.MaxBytes, usualMaxBytes)
		p.point.Type += "[" + itoa(f.MaxBytes) + "]"
	}
	r.m.OPCUA.Points = append(r.m.OPCUA.Points, *f)
}
