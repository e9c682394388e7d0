package configs

import (
	"cmp"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// Machine is one machine's file.
type Machine struct {
	Name    string
	About   string // for people
	File    string
	Connect modbus.Spec // of the endpoint; machines with an equal one share it
	Modbus  modbus.Machine
	Points  []Point // in the order of Modbus.Points
}

// leastPeriod is the shortest time between two reads of a point.
const leastPeriod = 10 * time.Millisecond

// machineReader reads one machine's file.
type machineReader struct {
	l      *loader
	policy *policy.Policy // nil where unknown
	trust  *Trust         // nil where unknown
	m      Machine

	// What the file says for all its points.
	order    modbus.Order
	polls    map[string]time.Duration
	common   string // the label of points that have none
	commonAt node

	// Where things stand, for what the adapter finds.
	connect, nameNode node
	places            map[string]map[string]node // point, or none for the machine → key → value
}

// machines reads the files of all machines. whole tells that none of them has a
// problem.
func (l *loader) machines(n node, p *policy.Policy, t *Trust) (readers []*machineReader, whole bool) {
	files, ok := l.matching(n)
	if ok && len(files) == 0 {
		n.wrong(quote(n.y.Value)+" matches no file: the gateway polls nothing", "write a file for each machine, or correct the pattern")
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		f := &file{path: path, machine: name, problems: &l.problems}
		b, err := readFile(path)
		if err != nil {
			f.refuse("cannot be read: "+err.Error(), "")
			continue
		}
		if r := l.machine(&document{f, b}, p, t); r != nil {
			readers = append(readers, r)
		}
	}
	// Those without problems come first, so that a file that is left out anyway
	// takes neither name nor connection from another machine.
	ranked := slices.Clone(readers)
	slices.SortStableFunc(ranked, func(a, b *machineReader) int { return cmp.Compare(l.found(a), l.found(b)) })
	l.distinct(ranked)
	l.endpoints(ranked)
	broken := func(r *machineReader) bool { return l.found(r) > 0 }
	return readers, len(files) > 0 && len(readers) == len(files) && !slices.ContainsFunc(readers, broken)
}

// found counts the problems that leave out a machine: 0, or 1 for any number.
func (l *loader) found(r *machineReader) int {
	if slices.ContainsFunc(l.problems, func(p Problem) bool { return p.File == r.m.File && !p.Note && !p.Stops }) {
		return 1
	}
	return 0
}

// machine reads one machine's file; nil where this version cannot use it.
func (l *loader) machine(d *document, p *policy.Policy, t *Trust) *machineReader {
	if d.f.machine == "" {
		d.f.machine = "machine"
	}
	m, kind, ok := d.top("machine", "machines")
	if !ok {
		return nil
	}
	if kind == "machines" {
		m.get("fieldseal").notYet("a machines file (one template for many machines)")
		return nil
	}
	r := &machineReader{l: l, policy: p, trust: t, places: map[string]map[string]node{}}
	r.m.File = d.f.path
	r.nameNode = m.need("machine", "write machine: NAME")
	r.m.Name, _ = r.nameNode.ident()
	if m.notYet("template", "opcua") { // the rest of the file means nothing without it
		return nil
	}
	r.m.About, _ = m.get("about").text()
	m.notYet("tags")
	r.modbus(m.need("modbus", "write modbus: {connect: \"tcp://HOST:502\", unit_id: 1}"))
	r.classes(m.get("poll"))
	r.sensitivity(m.get("sensitivity"))
	for _, item := range m.need("points", "write the list of points").list() {
		r.point(item)
	}
	m.done()
	r.shareAddresses()
	r.m.Modbus.Name = r.m.Name
	r.adapter(r.m.Modbus.Check())
	return r
}

// modbus reads how the machine is reached.
func (r *machineReader) modbus(n node) {
	m := n.mapping()
	r.keep("", m)
	r.connect = m.get("connect")
	if !m.notYet("line") && !r.connect.present() {
		m.missing("connect", "write connect: tcp://HOST:502")
	}
	m.notYet("certificate", "trust")
	r.m.Connect.Timeout = time.Second
	if d, ok := m.get("timeout").duration(time.Millisecond, "800ms"); ok {
		r.m.Connect.Timeout = d
	}
	if s, ok := r.connect.text(); ok {
		r.m.Connect.URL = s
		before := len(r.l.problems)
		r.adapter(r.m.Connect.Check())
		if len(r.l.problems) == before {
			r.m.Connect.URL = canonical(s)
		}
	}
	id, _ := m.need("unit_id", "write unit_id: 1, or what the device is set to").whole(0, 255)
	r.m.Modbus.UnitID = uint8(id)
	r.order = order(m.get("order"))
	r.reads(m.get("reads"))
	m.done()
}

// canonical writes an endpoint's URL in one way, so that equal ones are shared.
func canonical(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	port := u.Port()
	if port == "" {
		port = "502"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func order(n node) modbus.Order {
	s, ok := n.text()
	if !ok {
		return modbus.Order{}
	}
	o, err := modbus.ParseOrder(s)
	if err != nil {
		n.wrong(split(err))
	}
	return o
}

// reads reads the limits of requests.
func (r *machineReader) reads(n node) {
	m := n.mapping()
	reads := &r.m.Modbus.Reads
	registers, _ := m.get("max_registers").whole(1, 125)
	gap, _ := m.get("max_gap").whole(0, 124)
	reads.MaxRegisters, reads.MaxGap = int(registers), int(gap)
	reads.Pause, _ = m.get("pause").duration(0, "20ms")
	for _, item := range m.get("forbidden").list() {
		const instead = "write a run of addresses such as holding/900-999"
		if s, ok := item.source(instead); ok {
			span, err := modbus.ParseSpan(s)
			if err != nil {
				item.wrong(split(err))
				continue
			}
			reads.Forbidden = append(reads.Forbidden, span)
		}
	}
	m.done()
}

// classes reads the poll classes. Without any there is normal, every second.
func (r *machineReader) classes(n node) {
	r.polls = map[string]time.Duration{}
	if !n.present() {
		r.polls["normal"] = time.Second
		return
	}
	for _, e := range n.named() {
		if d, ok := e.value.duration(leastPeriod, "1s"); ok {
			r.polls[e.key.Value] = d
		} else {
			r.polls[e.key.Value] = time.Second // so that points of this class are no problem too
		}
	}
}

// sensitivity reads the label of points that have none of their own.
func (r *machineReader) sensitivity(n node) {
	s, ok := n.level(r.policy)
	if !ok {
		return
	}
	if p := r.policy; p != nil && p.Default != "" && s != p.Default && p.Stricter(s, p.Default) == p.Default {
		n.wrong("the machine's sensitivity "+quote(s)+" is looser than the policy's default "+quote(p.Default),
			"label the points that may be less than "+p.Default+" one by one")
		return
	}
	r.common, r.commonAt = s, n
}

// keep remembers where a mapping's keys stand.
func (r *machineReader) keep(point string, m *mapping) {
	if !m.present() {
		return
	}
	keys := map[string]node{"": m.node}
	for _, e := range m.entries {
		keys[e.key.Value] = e.value
	}
	if bits, ok := keys["bits"]; ok {
		keys["bit"] = bits
	}
	r.places[point] = keys
}

// adapter takes what the adapter found, to where it stands in the file.
func (r *machineReader) adapter(problems []point.Problem) {
	for _, p := range problems {
		keys := r.places[p.Point]
		n, ok := keys[p.Key]
		if !ok {
			n = keys[""]
		}
		what := p.What
		if p.Point != "" {
			what = "point " + quote(p.Point) + ": " + what
		}
		n.wrong(what, p.Instead)
	}
}

// distinct refuses the second machine of a name.
func (l *loader) distinct(readers []*machineReader) {
	first := map[string]*machineReader{}
	for _, r := range readers {
		if other, twice := first[r.m.Name]; twice && r.m.Name != "" {
			r.nameNode.wrong("the machine "+quote(r.m.Name)+" is in "+other.m.File+" already", "write another name")
			continue
		}
		first[r.m.Name] = r
	}
}

// endpoints compares the machines that share one.
func (l *loader) endpoints(readers []*machineReader) {
	first := map[string]*machineReader{}
	for _, r := range readers {
		if r.m.Connect.URL == "" {
			continue
		}
		if other, shared := first[r.m.Connect.URL]; !shared {
			first[r.m.Connect.URL] = r
		} else if other.m.Connect.Timeout != r.m.Connect.Timeout {
			r.connect.wrong("the timeout is "+r.m.Connect.Timeout.String()+" here, and "+other.m.Connect.Timeout.String()+" in "+other.m.File+", for one connection",
				"write the same timeout in both")
		}
	}
}
