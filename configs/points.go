package configs

import (
	"maps"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
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
	ContentType string            // of a payload that the device encrypts
	Values      map[int64]string  // what the numbers of an enumeration mean
	Counter     *Counter          // nil: it is none
	Guard       ciphertext.Config // of a payload that the device encrypts: what it is to be
}

// Report says which readings are sent. The zero value sends each.
type Report struct {
	OnChange     bool          // only what differs from the last one sent
	Deadband     float64       // by more than this, in engineering units
	AtLeastEvery time.Duration // and after this time in any case; 0: never
}

// Counter says that a point only rises.
type Counter struct {
	Resets bool // to zero, as on a restart of the machine
}

// reading is one point while its entry is read.
type reading struct {
	m      *mapping
	point  Point
	period time.Duration // between two reads

	// Of the type, where it is known.
	typed   bool
	word    string // for it
	numeric bool   // it has differences
	octets  bool   // it may be what a device encrypts

	modbus modbus.Point // the one of the machine's protocol
	opcua  opcua.Point
}

// pointOf reads one entry from its keys, some of which may be an override's.
func (r *machineReader) pointOf(m *mapping) {
	p := reading{m: m}
	before := *r.wrong
	name := p.m.need("name", "write name: NAME")
	p.point.Name, _ = name.ident()
	r.speaks.point(&p)
	p.point.Unit, _ = m.get("unit").text()
	p.period = r.period(m)
	r.label(&p)
	p.values()
	p.counter()
	r.passthrough(&p)
	p.report()
	p.m.done()
	r.speaks.take(name, p, before)
}

// take adds a point, unless its entry has problems.
func (r *machineReader) take(at node, p reading, before int) {
	name := p.point.Name
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
	r.speaks.add(&p)
	p.point.Address = p.point.At
	r.m.Points = append(r.m.Points, p.point)
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

// report reads which readings are sent.
func (p *reading) report() {
	n := p.m.get("report")
	m := n.mapping()
	deadband := m.get("deadband")
	every := m.get("at_least_every")
	m.done()
	p.point.Report.OnChange = n.present()
	p.point.Report.Deadband, _ = deadband.number()
	switch {
	case p.point.Report.Deadband < 0:
		deadband.wrong("'deadband' is less than 0", "write how much a value must change to be sent")
	case p.typed && !p.numeric:
		deadband.wrong("'deadband' is for numbers, and this is none", "leave it out: each change is sent")
	}
	d, ok := every.duration(leastPeriod, "10s")
	if ok && d < p.period {
		every.wrong("'at_least_every' is shorter than the poll period "+p.period.String(), "poll faster, or write a longer time")
	}
	p.point.Report.AtLeastEvery = d
}
