package configs

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// Machine is one machine's file.
type Machine struct {
	Name   string
	About  string            // for people
	Tags   map[string]string // for the catalogue: site, line, asset
	File   string
	Modbus *Modbus // how it is read; nil where another protocol reads it
	OPCUA  *OPCUA
	CoAP   *CoAP
	Points []Point // in the order of those that the protocol reads
}

// Protocol is the word for how the machine is read: "modbus", "opcua" or "coap".
func (m *Machine) Protocol() string {
	if m.CoAP != nil {
		return "coap"
	}
	if m.OPCUA != nil {
		return "opcua"
	}
	return "modbus"
}

// Endpoint is where it is reached, written in one way: "tcp://10.20.3.13:502",
// "opc.tcp://10.20.4.14:4840". Of CoAP it is where the gateway listens:
// "coaps://0.0.0.0:5684".
func (m *Machine) Endpoint() string {
	if m.CoAP != nil {
		return m.CoAP.endpoint()
	}
	if m.OPCUA != nil {
		return m.OPCUA.Endpoint.Endpoint
	}
	return m.Modbus.Endpoint.URL
}

// Device says which one it is behind the endpoint: "1", "psk:pump-4"; empty where
// there is but one.
func (m *Machine) Device() string {
	if m.CoAP != nil {
		return m.CoAP.Device.String()
	}
	if m.OPCUA != nil {
		return ""
	}
	return itoa(int(m.Modbus.UnitID))
}

// Security is what a connection gives that is made as the file says. One that
// gives less is not made.
func (m *Machine) Security() point.Security {
	if m.CoAP != nil {
		return point.Encrypted // with a device that is known, or not at all
	}
	if m.OPCUA != nil {
		return m.OPCUA.security()
	}
	return point.AnyConnection // Modbus TCP proves nothing
}

// leastPeriod is the shortest time between two reads of a point.
const leastPeriod = 10 * time.Millisecond

// machineReader reads one machine's file.
type machineReader struct {
	l      *loader
	policy *policy.Policy // nil where unknown
	trust  *Trust         // nil where unknown
	m      Machine
	speaks protocol

	wrong    *int // problems that leave the machine out
	partial  bool // not all of it is there: a template, or a file without the others
	template bool

	// What the file says for all its points.
	polls    map[string]time.Duration
	common   string // the label of points that have none
	commonAt node

	// Points whose payloads the trust file's 'only' keeps from these recipients.
	outside map[string][]string

	// Where things stand, for what the adapter finds.
	connect, nameNode node                       // of the endpoint, and of the name
	places            map[string]map[string]node // point, or none for the machine → key → value
}

// protocol reads what a machine's file says in the words of one protocol.
type protocol interface {
	connection(own, base *mapping)                           // the mapping that is named like the protocol
	point(p *reading)                                        // how a point is read
	take(name node, p reading, before int)                   // an entry that is read; there were so many problems before
	add(p *reading)                                          // a point without problems
	check()                                                  // what the adapter says of all of it
	differs(other *machineReader) (what, here, there string) // in a connection that both have; empty: nothing does
}

// machines reads the files of all machines. whole tells that none of them has a
// problem.
func (l *loader) machines(n node, t *Trust, by approved) (readers []*machineReader, whole bool) {
	files, ok := l.matching(n)
	if ok && len(files) == 0 {
		n.wrong(quote(n.y.Value)+" matches no file: the gateway polls nothing", "write a file for each machine, or correct the pattern")
	}
	wrong := 0
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		f := &file{path: path, machine: name, problems: &l.problems, wrong: &wrong}
		d := f.read()
		if d == nil {
			continue
		}
		of := l.machine(d, by.policy, t)
		if len(of) == 0 {
			wrong++
		}
		readers = append(readers, of...)
	}
	for _, r := range readers {
		if *r.wrong == 0 {
			r.withinOnly()
			l.hold(r, by)
		}
	}
	ranked := slices.Clone(readers)
	slices.SortStableFunc(ranked, l.rank)
	l.distinct(ranked)
	l.endpoints(ranked)
	l.distinctDevices(ranked)
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
	r.m.About, _ = m.get("about").text()
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
	word, ok := r.choose(m, base)
	if !ok {
		return
	}
	r.speaks.connection(m.part(word), base.part(word))
	if r.m.CoAP != nil {
		m.foreign("other protocols", "CoAP", map[string]string{"poll": devicePolls})
	}
	r.classes(over(m.part("poll"), base.part("poll")), m.get("poll").present())
	r.labels(m.get("sensitivity"), base.get("sensitivity"))
	m.get("tags")
	r.tags(over(m.part("tags"), base.part("tags")))
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
	r.speaks.check()
}

// choose finds out which protocol reads the machine, and gives the word for it;
// false where the rest of the file means nothing.
func (r *machineReader) choose(m, base *mapping) (word string, ok bool) {
	const modbusWord, opcuaWord, coapWord = "modbus", "opcua", "coap"
	var own, from []string
	var at node
	for _, w := range []string{modbusWord, opcuaWord, coapWord} {
		if e, ok := m.find(w); ok {
			own, at = append(own, w), node{f: e.value.f, y: e.key}
		}
		if base.get(w).present() {
			from = append(from, w)
		}
	}
	points := slices.Concat(base.get("points").items(), m.get("points").items())
	byNode := slices.ContainsFunc(points, func(item node) bool { return item.has("node") })
	word, ok = modbusWord, true
	switch {
	case len(own) == 1:
		word = own[0]
		if ok = len(from) == 0 || slices.Contains(from, word); !ok {
			at.wrong(quote(word)+" is here, and the template has "+quote(from[0]), "write "+from[0]+": in its place, or use another template")
		}
	case len(own) == 0 && len(from) > 0:
		word = from[0]
	default:
		if byNode {
			word = opcuaWord
		}
		if len(own) > 1 {
			at.wrong(quote(own[0])+" and "+quote(own[1])+" are there both", "write one of them; what speaks both is two machines")
		} else if !r.partial {
			m.wrong("none of 'modbus', 'opcua' and 'coap' is there", "write modbus: {connect: \"tcp://HOST:502\", unit_id: 1}, or opcua: with endpoint, security, server_certificate, certificate, user and namespace, or coap: with listen and device")
		}
	}
	switch word {
	case coapWord:
		r.m.CoAP = &CoAP{}
		r.speaks = &coapReader{machineReader: r}
	case opcuaWord:
		r.m.OPCUA = &OPCUA{}
		r.speaks = &opcuaReader{machineReader: r}
	default:
		r.m.Modbus = &Modbus{}
		r.speaks = &modbusReader{machineReader: r}
	}
	return word, ok
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
		if r.m.Endpoint() == "" {
			continue
		}
		if line := l.lineOf(r); line != nil {
			if r.m.Modbus.Endpoint != line.spec {
				r.connect.wrong("this is the connection of the line "+quote(line.name)+" ("+line.at.where()+")", "write line: "+line.name)
			}
			continue
		}
		other, shared := first[r.m.Endpoint()]
		if !shared {
			first[r.m.Endpoint()] = r
			continue
		}
		if what, here, there := r.speaks.differs(other); what != "" {
			r.connect.wrong("the "+what+" is "+here+" here, and "+there+" in "+other.m.File+", for one connection", "write the same "+what+" in both")
		}
	}
}
