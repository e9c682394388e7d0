package configs

import (
	"github.com/fieldseal/fieldseal/adapters/coap"
	"github.com/fieldseal/fieldseal/bridge/point"
)

// point reads where the device sends what it encrypted.
func (r *coapReader) point(p *reading) {
	m := p.m
	r.last = coap.Point{}
	const opaque = "remove it: nobody but its readers can look into it"
	m.foreign("other protocols", "CoAP", map[string]string{
		"at": sendsPath, "node": sendsPath, "bytes": "write max_bytes: for the greatest length", "poll": devicePolls,
		"bits": opaque, "scale": opaque, "invert": opaque, "order": opaque, "valid": opaque, "invalid": opaque, "fields": opaque, "changes_with": opaque,
	})
	r.last.Path, _ = m.need("path", sendsPath).text()
	t := m.need("type", "write type: bytes")
	if s, ok := t.text(); ok && s != "bytes" {
		t.wrong("what a device encrypts is of type bytes, not "+s, "write type: bytes, or read the device with modbus: or opcua:")
	}
	size, _ := m.get("max_bytes").whole(1, point.MaxValueSize)
	r.last.MaxBytes = int(size)
	p.typed, p.word, p.octets = true, "bytes", true
	if !m.get("passthrough").present() {
		m.wrong("the point has no 'passthrough', and what is sent over CoAP is what devices encrypt themselves",
			"write passthrough: cose and readable_by:, or read the device with modbus: or opcua:")
	}
}

// add adds a point without problems.
func (r *coapReader) add(p *reading) {
	f := r.last
	if f.MaxBytes == 0 {
		f.MaxBytes = usualMaxBytes
	}
	f.Name, f.Passthrough = p.point.Name, p.point.Passthrough
	p.point.At, p.point.Type = f.Path, "bytes["+itoa(f.MaxBytes)+"]"
	r.m.CoAP.Points = append(r.m.CoAP.Points, f)
}
