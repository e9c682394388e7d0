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
	Name   string
	About  string // for people
	File   string
	Modbus *Modbus // how it is read
	Points []Point // in the order of those that the protocol reads
}

// Modbus is how a machine is read that speaks it.
type Modbus struct {
	Endpoint modbus.Spec // machines with an equal one share it
	modbus.Machine
}

// Protocol is the word for how the machine is read.
func (m *Machine) Protocol() string { return "modbus" }

// Endpoint is where it is reached, written in one way: "tcp://10.20.3.13:502".
func (m *Machine) Endpoint() string { return m.Modbus.Endpoint.URL }

// Device says which one it is behind the endpoint: "1"; empty where there is
// but one.
func (m *Machine) Device() string { return itoa(int(m.Modbus.UnitID)) }

// leastPeriod is the shortest time between two reads of a point.
const leastPeriod = 10 * time.Millisecond

// machineReader reads one machine's file.
type machineReader struct {
	l      *loader
	policy *policy.Policy // nil where unknown
	trust  *Trust         // nil where unknown
	m      Machine

	wrong    *int // problems that leave the machine out
	partial  bool // not all of it is there: a template, or a file without the others
	template bool

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
	wrong := 0
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		f := &file{path: path, machine: name, problems: &l.problems, wrong: &wrong}
		b, err := readFile(path)
		if err != nil {
			f.refuse("cannot be read: "+err.Error(), "")
			continue
		}
		of := l.machine(&document{f, b}, p, t)
		if len(of) == 0 {
			wrong++
		}
		readers = append(readers, of...)
	}
	// Those without problems come first, so that a file that is left out anyway
	// takes neither name nor connection from another machine.
	ranked := slices.Clone(readers)
	slices.SortStableFunc(ranked, func(a, b *machineReader) int { return cmp.Compare(min(*a.wrong, 1), min(*b.wrong, 1)) })
	l.distinct(ranked)
	l.endpoints(ranked)
	broken := func(r *machineReader) bool { return *r.wrong > 0 }
	return readers, len(files) > 0 && wrong == 0 && !slices.ContainsFunc(readers, broken)
}

// machine reads one file, of a machine or of many; none where this version
// cannot use it.
func (l *loader) machine(d *document, p *policy.Policy, t *Trust) []*machineReader {
	if d.f.machine == "" {
		d.f.machine = "machine"
	}
	m, kind, ok := d.top("machine", "machines")
	if !ok {
		return nil
	}
	r := &machineReader{l: l, policy: p, trust: t}
	if kind == "machines" {
		if d.f.wrong == nil {
			d.f.wrong = new(int)
		}
		return l.expand(m, r)
	}
	r.wrong = new(int)
	d.f.wrong = r.wrong
	if r.file(m) {
		return []*machineReader{r}
	}
	return nil
}

// file reads what a file says of one machine; false where the rest of it means
// nothing.
func (r *machineReader) file(m *mapping) bool {
	r.places = map[string]map[string]node{}
	r.m.File = m.f.path
	r.nameNode = m.need("machine", "write machine: NAME")
	r.m.Name, _ = r.nameNode.ident()
	if m.notYet("opcua") { // the rest of the file means nothing without it
		return false
	}
	r.m.About, _ = m.get("about").text()
	m.notYet("tags")
	base, ok := r.l.use(m.get("template"), r)
	if !ok {
		return false
	}
	r.body(m, base)
	return true
}

// body reads what machines and templates have in common, over the one that the
// machine is of.
func (r *machineReader) body(m, base *mapping) {
	r.m.Modbus = &Modbus{}
	if !base.get("modbus").present() && !r.partial {
		m.need("modbus", "write modbus: {connect: \"tcp://HOST:502\", unit_id: 1}")
	}
	r.modbus(m.part("modbus"), base.part("modbus"))
	r.classes(over(m.part("poll"), base.part("poll")), m.get("poll").present())
	r.labels(m.get("sensitivity"), base.get("sensitivity"))
	override := &mapping{}
	if !r.template {
		override = m.part("override")
	}
	switch {
	case base.present():
	case !r.partial:
		m.need("points", "write the list of points")
		override.wrong("'override' changes the points of a template, and there is none", "change the points themselves")
		override = &mapping{}
	case !r.template: // what it overrides is not known
		override = &mapping{}
	}
	r.points(m, base, override)
	m.done()
	r.shareAddresses()
	r.m.Modbus.Name = r.m.Name
	r.adapter(r.m.Modbus.Check())
	r.onSerial()
}

// labels reads the label of points that have none of their own: the machine's,
// else the template's.
func (r *machineReader) labels(own, base node) {
	r.sensitivity(base)
	if !own.present() || base.present() && r.loosens(own, r.common, "the template's") {
		return
	}
	r.sensitivity(own)
}

// modbus reads how the machine is reached.
func (r *machineReader) modbus(own, base *mapping) {
	m := over(own, base)
	r.keep("", m)
	r.connect = m.get("connect")
	via := m.get("line")
	m.notYet("certificate", "trust")
	timeout := m.get("timeout")
	r.m.Modbus.Endpoint.Timeout, _ = timeout.duration(time.Millisecond, "800ms")
	switch {
	case via.present() && r.connect.present():
		via.wrong("'line' and 'connect' are there both", "write one of them")
	case via.present():
		r.connect = via
		r.onLine(via, timeout)
	case r.connect.present():
		if s, ok := r.connect.text(); ok {
			r.endpoint(s)
		}
	case !r.partial:
		m.missing("connect", "write connect: tcp://HOST:502")
	}
	if unit := m.get("unit_id"); unit.present() {
		id, _ := unit.whole(0, 255)
		r.m.Modbus.UnitID = uint8(id)
	} else if !r.partial {
		m.missing("unit_id", "write unit_id: 1, or what the device is set to")
	}
	r.order = order(m.get("order"))
	m.get("reads")
	r.reads(over(own.part("reads"), base.part("reads")))
	m.done()
}

// endpoint takes the endpoint that the machine's own file gives.
func (r *machineReader) endpoint(s string) {
	r.m.Modbus.Endpoint.URL = s
	before := len(r.l.problems)
	r.adapter(r.m.Modbus.Endpoint.Check())
	if len(r.l.problems) == before {
		r.m.Modbus.Endpoint.URL = canonical(s)
	}
	if r.m.Modbus.Endpoint.Timeout == 0 && !strings.HasPrefix(r.m.Modbus.Endpoint.URL, "rtu-tcp:") {
		r.m.Modbus.Endpoint.Timeout = time.Second
	}
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
func (r *machineReader) reads(m *mapping) {
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
func (r *machineReader) classes(m *mapping, said bool) {
	r.polls = map[string]time.Duration{}
	if !m.present() {
		if !said {
			r.polls["normal"] = time.Second
		}
		return
	}
	for _, e := range m.named() {
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
	if p := r.policy; p != nil && p.Default != "" && r.looser(s, p.Default) {
		whose := "the machine's"
		if r.template {
			whose = "the template's"
		}
		n.wrong(whose+" sensitivity "+quote(s)+" is looser than the policy's default "+quote(p.Default),
			"label the points that may be less than "+p.Default+" one by one")
		return
	}
	r.common, r.commonAt = s, n
}

// looser tells whether level a is looser than b, as far as the policy is known.
func (r *machineReader) looser(a, b string) bool {
	return r.policy != nil && a != "" && b != "" && a != b && r.policy.Stricter(a, b) == b
}

// loosens notes a label that is looser than the one it takes the place of.
func (r *machineReader) loosens(n node, than, whose string) bool {
	s, ok := n.level(r.policy)
	if !ok || !r.looser(s, than) {
		return !ok
	}
	n.wrong("sensitivity "+quote(s)+" is looser than "+whose+", "+quote(than), "write "+than+" or a stricter one, or change the template")
	return true
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
		if r.m.Modbus.Endpoint.URL == "" {
			continue
		}
		if line := l.lineOf(r); line != nil {
			if r.m.Modbus.Endpoint != line.spec {
				r.connect.wrong("this is the connection of the line "+quote(line.name)+" ("+line.at.where()+")", "write line: "+line.name)
			}
			continue
		}
		if other, shared := first[r.m.Modbus.Endpoint.URL]; !shared {
			first[r.m.Modbus.Endpoint.URL] = r
		} else if other.m.Modbus.Endpoint.Timeout != r.m.Modbus.Endpoint.Timeout {
			r.connect.wrong("the timeout is "+r.m.Modbus.Endpoint.Timeout.String()+" here, and "+other.m.Modbus.Endpoint.Timeout.String()+" in "+other.m.File+", for one connection",
				"write the same timeout in both")
		}
	}
}
