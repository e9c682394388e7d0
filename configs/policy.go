package configs

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// policyReader reads one policy file.
type policyReader struct {
	l     *loader
	trust *Trust // nil where unknown
	p     *policy.Policy
	lines map[string]int // of the levels
	named bool           // every level has a name of its own
}

// policy reads a policy file. It is nil where the file is not one; where it has
// problems, the levels that could be read are there.
func (l *loader) policy(d *document, zone *time.Location, trust *Trust) *policy.Policy {
	m, _, ok := d.top("policy")
	if !ok {
		return nil
	}
	r := &policyReader{l: l, trust: trust, p: &policy.Policy{}, lines: map[string]int{}, named: true}
	p := r.p
	p.Digest = sha256.Sum256(d.content)
	p.Name, _ = m.need("policy", "write policy: NAME").ident()
	p.Revision = revision(m)
	p.Location = m.get("time_zone").zone(zone)
	for _, item := range m.need("levels", "write the levels, least sensitive first").list() {
		r.level(item)
	}
	if !r.named { // whoever names the missing one is not wrong
		p.Levels = nil
	}
	r.standard(m.need("default", "name the level of points that nobody labelled"))
	r.events(m.get("events"))
	for _, item := range m.get("released").list() {
		e := item.mapping()
		n := r.rule(e)
		n.release = true
		p.Released = append(p.Released, policy.Release{Points: n.patterns, Why: why(e), Where: item.where()})
		e.done()
	}
	for _, item := range m.get("raise").list() {
		e := item.mapping()
		raise := policy.Raise{Points: r.rule(e).patterns, Where: item.where()}
		raise.Level, _ = e.need("level", "name the level").level(p)
		p.Raise = append(p.Raise, raise)
		e.done()
	}
	r.passthrough(m.get("passthrough"))
	for _, item := range m.get("exceptions").list() {
		r.exception(item)
	}
	m.done()
	return p
}

func revision(m *mapping) int {
	n := m.need("revision", "write revision: 1, and a greater number with every change")
	m.f.revision = n
	v, _ := n.whole(1, 1<<31-1)
	return int(v)
}

func why(m *mapping) string {
	const instead = "write the reason, for those who approve it"
	n := m.need("why", instead)
	if s, ok := n.source(instead); !ok || strings.TrimSpace(s) == "" {
		if ok {
			n.wrong("'why' is an empty text", instead)
		}
		return ""
	}
	s, _ := n.text()
	return s
}

func (r *policyReader) level(n node) {
	m := n.mapping()
	if !m.present() {
		return
	}
	var v policy.Level
	name := m.need("name", "write name: NAME")
	var ok bool
	v.Name, ok = name.ident()
	line, twice := r.lines[v.Name]
	switch {
	case !ok:
		r.named = false
	case twice:
		name.wrong("the level "+quote(v.Name)+" is on line "+itoa(line)+" already", "write another name")
		r.named = false
	default:
		r.lines[v.Name] = name.y.Line
	}
	send, sendOK := m.need("send", "write clear, sealed or withheld").choice("way to send", "clear", "sealed", "withheld")
	switch send {
	case "clear":
		v.Send = policy.SendClear
	case "withheld":
		v.Send = policy.SendWithheld
	}
	to := m.get("to")
	switch {
	case !sendOK:
	case send == "sealed" && !to.present():
		m.missing("to", "name who can open what this level sends")
	case send != "sealed" && to.present():
		to.wrong("'to' is for sealed levels, and this one is "+send, "remove it, or write send: sealed")
	}
	v.To = to.recipients(r.trust)
	connection := m.get("connection")
	if send == "clear" || send == "sealed" {
		connection = m.need("connection", "write any, authenticated or encrypted")
	}
	asked, connectionOK := connection.choice("connection", "any", "authenticated", "encrypted")
	if connectionOK {
		v.Connection = point.Security(slices.Index([]string{"any", "authenticated", "encrypted"}, asked))
	}
	v.Pad = m.get("pad").flag()
	v.HideNames = hidden(m.get("hide"), send)
	m.notYet("show")
	m.done()
	if sendOK && (connectionOK || send == "withheld") {
		r.order(n, v)
	}
	r.p.Levels = append(r.p.Levels, v)
}

// hidden reads what of a level's points is hidden from those who carry them.
func hidden(n node, send string) (names bool) {
	const instead = "write hide: [names]"
	for _, item := range n.list() {
		s, ok := item.source(instead)
		switch {
		case ok && s != "names":
			item.wrong(quote(s)+" cannot be hidden", instead)
		case ok && names:
			item.wrong("'names' is in the list already", "write it once")
		case ok:
			names = true
		}
	}
	if names && send != "" && send != "sealed" {
		n.wrong("'hide' is for sealed levels, and this one is "+send, "remove it, or write send: sealed")
		return false
	}
	return names
}

// events reads who may read events upstream.
func (r *policyReader) events(n node) {
	m := n.mapping()
	r.p.Events = m.need("to", "name who can open events").recipients(r.trust)
	m.done()
}

// order checks that a level asks for no less than the one before it.
func (r *policyReader) order(n node, v policy.Level) {
	if len(r.p.Levels) == 0 {
		return
	}
	last := r.p.Levels[len(r.p.Levels)-1]
	rank := func(s policy.Send) int {
		return slices.Index([]policy.Send{policy.SendClear, policy.SendSealed, policy.SendWithheld}, s)
	}
	const instead = "put the least sensitive level first"
	switch {
	case rank(v.Send) < rank(last.Send):
		n.wrong("level "+quote(v.Name)+" sends more openly than "+quote(last.Name)+" before it", instead)
	case v.Send != policy.SendWithheld && v.Connection < last.Connection:
		n.wrong("level "+quote(v.Name)+" asks less of the connection than "+quote(last.Name)+" before it", instead)
	}
}

// recipients reads names that the trust file must know; any names where that is
// nil.
func (n node) recipients(t *Trust) []string {
	names := n.idents()
	if t == nil || t.Recipients == nil {
		return names
	}
	for _, item := range n.items() {
		if name := item.y.Value; slices.Contains(names, name) && !t.has(name) {
			what, instead := unknown("recipient", name, t.names())
			item.wrong(what, instead+" (the trust file lists them)")
		}
	}
	return names
}

// level reads the name of a level of a policy; any name where that is nil.
func (n node) level(p *policy.Policy) (string, bool) {
	s, ok := n.text()
	if !ok {
		return "", false
	}
	if p == nil || len(p.Levels) == 0 {
		return s, n.checkName(s)
	}
	if _, ok := p.Level(s); !ok {
		n.wrong(unknown("level", s, levelNames(p)))
		return "", false
	}
	return s, true
}

func levelNames(p *policy.Policy) []string {
	names := make([]string, len(p.Levels))
	for i := range p.Levels {
		names[i] = p.Levels[i].Name
	}
	return names
}

// standard reads the default level.
func (r *policyReader) standard(n node) {
	s, ok := n.level(r.p)
	if !ok {
		return
	}
	r.p.Default = s
	if v, ok := r.p.Level(s); ok && v.Send == policy.SendClear {
		n.wrong("the default level "+quote(s)+" sends in clear", "name a level that seals: what nobody labelled must not leave in clear")
	}
}

func (r *policyReader) passthrough(n node) {
	m := n.mapping()
	if !m.present() {
		return
	}
	formats := ciphertext.Formats()
	for _, item := range m.need("accept", "write accept: ["+formats[0]+"]").list() {
		s, ok := item.choice("format", formats...)
		if ok && slices.Contains(r.p.Passthrough.Accept, s) {
			item.wrong(quote(s)+" is in the list already", "write it once")
		} else if ok {
			r.p.Passthrough.Accept = append(r.p.Passthrough.Accept, s)
		}
	}
	if s, _ := m.need("if_readable", "write seal or hold").choice("rule", "seal", "hold"); s == "hold" {
		r.p.Passthrough.IfReadable = policy.HoldReadable
	}
	m.done()
}

func (r *policyReader) exception(n node) {
	m := n.mapping()
	if !m.present() {
		return
	}
	all := []string{string(policy.ConnectionNotEncrypted), string(policy.ConnectionNotAuthenticated)}
	allow, _ := m.need("allow", "write "+oneOf(all)).choice("exception", all...)
	points := r.rule(m)
	e := policy.Exception{Allow: policy.Allow(allow), Points: points.patterns, Why: why(m), Where: n.where()}
	until := m.need("until", "write its last day, such as until: 2027-03-31")
	var ok bool
	e.Until, ok = until.until(r.p.Location)
	m.done()
	if points.exception = &e; ok && !r.l.alone {
		points.until = until
	}
	r.p.Exceptions = append(r.p.Exceptions, e)
}
