package configs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fieldseal/fieldseal/policy"
)

// template is what several machines have in common.
type template struct {
	name    string
	version int
	f       *file
	root    *yaml.Node
	wrong   int
}

func (t *template) String() string { return t.name + "@" + itoa(t.version) }

// templates reads all templates.
func (l *loader) templates(n node, p *policy.Policy, trust *Trust) {
	l.known = map[string][]*template{}
	files, _ := l.matching(n)
	for _, path := range files {
		if d := (&file{path: path, problems: &l.problems}).read(); d != nil {
			l.template(d, p, trust)
		}
	}
}

// template reads one template, as far as that can be done without a machine.
func (l *loader) template(d *document, p *policy.Policy, trust *Trust) {
	m, _, ok := d.top("template")
	if !ok {
		return
	}
	t := &template{f: d.f, root: m.y}
	d.f.wrong = &t.wrong
	r := &machineReader{l: l, policy: p, trust: trust, wrong: &t.wrong, partial: true, template: true, places: map[string]map[string]node{}}
	name := m.need("template", "write template: NAME")
	if s, ok := name.ident(); ok {
		t.name = s
	}
	version, _ := m.need("version", "write version: 1, and a greater number with every change").whole(1, 1<<31-1)
	t.version = int(version)
	l.vendorList(m.get("vendor_list"))
	m.get("about").text()
	m.need("points", "write the list of points")
	r.nameNode = name
	r.body(m, &mapping{})
	if t.name == "" || t.version == 0 {
		return
	}
	for _, other := range l.known[t.name] {
		if other.version == t.version {
			name.wrong("the template "+quote(t.String())+" is in "+other.f.path+" already", "write another version")
			other.wrong++ // which one is meant?
		}
	}
	if l.known != nil {
		l.known[t.name] = append(l.known[t.name], t)
	}
}

// vendorList compares the list that a template was written from.
func (l *loader) vendorList(n node) {
	if !n.present() {
		return
	}
	m := n.mapping()
	fileName := m.need("file", "write the path of the vendor's list")
	digest := m.need("sha256", "write the file's fingerprint, as sha256sum prints it")
	m.done()
	name, nameOK := fileName.text()
	want, wantOK := digest.source("write the file's fingerprint, as sha256sum prints it")
	if !nameOK || !wantOK || l.alone {
		return
	}
	b, err := readFile(n.f.beside(name))
	if err != nil {
		fileName.wrong(cannotRead(name, err))
		return
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, want) {
		digest.wrong("'sha256' is not that of "+quote(name), "compare the template with the list, which has changed: this file has "+got)
	}
}

// find gives the template that a machine's file names; nil, and a problem, where
// there is none that can be used.
func (l *loader) find(n node) *template {
	s, ok := n.text()
	if !ok {
		return nil
	}
	name, version, cut := strings.Cut(s, "@")
	v, err := parseInt(version)
	if cut && (err != nil || v < 1) || !isName(name) {
		n.wrong(quote(s)+" is no template", "write NAME@VERSION, such as hotrunner@2")
		return nil
	}
	if l.alone {
		return nil
	}
	versions, ok := l.known[name]
	if !ok {
		what, instead := unknown("template", name, slices.Sorted(maps.Keys(l.known)))
		n.wrong(what, instead+" ('templates' in the gateway file names their files)")
		return nil
	}
	newest := slices.MaxFunc(versions, func(a, b *template) int { return cmp.Compare(a.version, b.version) })
	if !cut {
		n.wrong("the template "+quote(name)+" is named without a version", "write "+newest.String())
		return nil
	}
	for _, t := range versions {
		if int64(t.version) == v {
			if t.wrong > 0 {
				n.wrong("the template "+quote(s)+" has problems", "mend "+t.f.path)
				return nil
			}
			return t
		}
	}
	n.wrong("the template "+quote(name)+" has no version "+version, "write "+newest.String())
	return nil
}

// use gives the keys of the template that the machine is of, as this machine
// sees them: none where it is of none, and false where it cannot be used.
func (l *loader) use(n node, r *machineReader) (base *mapping, ok bool) {
	if !n.present() {
		return &mapping{}, true
	}
	t := l.find(n)
	if l.alone {
		r.partial = true
		return &mapping{}, true
	}
	if t == nil {
		return nil, false
	}
	return t.seenBy(r), true
}

func (t *template) seenBy(r *machineReader) *mapping {
	return node{f: t.f.view(r.m.Name, r.wrong), y: t.root}.mapping()
}

// part gives the mapping under a key, empty where there is none.
func (m *mapping) part(key string) *mapping { return m.get(key).mapping() }

// over lays keys over those of a template.
func over(own, base *mapping) *mapping {
	m := &mapping{node: own.node, entries: slices.Clone(own.entries)}
	if !own.present() {
		m.node = base.node
	}
	for _, e := range base.entries {
		if _, ok := own.peek(e.key.Value); !ok {
			m.entries = append(m.entries, e)
		}
	}
	return m
}

// points reads the points of the template and those of the machine's own file.
func (r *machineReader) points(own, base, override *mapping) {
	seen := map[string]bool{}
	for _, item := range base.get("points").items() {
		r.entries(item, override, seen)
	}
	for _, item := range own.get("points").list() {
		r.entries(item, &mapping{}, seen)
	}
	names := slices.Sorted(maps.Keys(seen))
	for _, e := range override.entries {
		if !seen[e.key.Value] {
			node{f: e.value.f, y: e.key}.wrong(unknown("point", e.key.Value, names))
		}
	}
}

// entries reads one entry of the list of points: one point, or with each many.
func (r *machineReader) entries(item node, override *mapping, seen map[string]bool) {
	m := item.mapping()
	if !m.present() {
		return
	}
	if _, several := m.peek("each"); !several {
		r.overridden(m, override, seen)
		return
	}
	for _, v := range m.get("each").runs(false) {
		one, ok := &mapping{node: m.node}, true
		for _, e := range m.entries {
			switch key := e.key.Value; key {
			case "each":
				continue
			case "name", "at", "changes_with", "node":
				var good bool
				e.value, good = e.value.with(v, key == "name")
				ok = ok && good
			}
			one.entries = append(one.entries, e)
		}
		if !ok {
			return
		}
		r.overridden(one, override, seen)
	}
}

// overridden reads one point with what the machine says differently of it.
func (r *machineReader) overridden(m, override *mapping, seen map[string]bool) {
	name, _ := m.peek("name")
	if !name.value.present() {
		r.pointOf(m)
		return
	}
	seen[name.value.y.Value] = true
	o, ok := override.peek(name.value.y.Value)
	if !ok {
		r.pointOf(m)
		return
	}
	own := o.value.mapping()
	for _, key := range []string{"name", "each"} {
		if e, ok := own.peek(key); ok {
			node{f: e.value.f, y: e.key}.wrong("an override does not change "+quote(key), "remove it")
			return
		}
	}
	if label, ok := own.peek("sensitivity"); ok {
		than, whose := r.common, "the template's"
		if e, ok := m.peek("sensitivity"); ok {
			than = e.value.y.Value
		} else if than == "" && r.policy != nil {
			than, whose = r.policy.Default, "the policy's default"
		}
		r.loosens(label.value, than, whose)
	}
	point := over(own, m)
	point.node = m.node
	r.pointOf(point)
}
