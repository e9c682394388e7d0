package configs

import (
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// node is one value of a YAML file, or none. The readers of a node note what is
// wrong with it and give the zero value then; those of an absent node give the
// zero value only.
type node struct {
	f      *file
	y      *yaml.Node // nil: absent
	called string     // what messages call it, quoted; empty for the whole file
}

// present tells whether the value is there.
func (n node) present() bool { return n.y != nil }

// into gives the node with another place for what is wrong with it.
func (n node) into(problems *[]Problem) node {
	if n.f != nil {
		f := *n.f
		f.problems = problems
		n.f = &f
	}
	return n
}

// mild notes a problem at the node that leaves out nothing and stops nothing.
func (n node) mild(what, instead string) {
	f := &file{path: n.f.path, problems: n.f.problems}
	node{f: f, y: n.y}.wrong(what, instead)
}

// wrong notes a problem at the node.
func (n node) wrong(what, instead string) {
	if n.present() {
		n.f.add(Problem{Line: n.y.Line, Column: n.y.Column, What: what, Instead: instead})
	}
}

// note notes something that nobody has to change.
func (n node) note(what, instead string) {
	n.f.add(Problem{Line: n.y.Line, Column: n.y.Column, What: what, Instead: instead, Note: true})
}

// where names the node's line.
func (n node) where() string { return n.f.where(n.y.Line) }

// subject is what a sentence about the node begins with.
func (n node) subject() string {
	if n.called == "" {
		return "the file"
	}
	return n.called
}

// mistaken notes that the node is of another kind than it should.
func (n node) mistaken(instead string) {
	kind := "a text"
	switch n.y.Kind {
	case yaml.MappingNode:
		kind = "a mapping"
	case yaml.SequenceNode:
		kind = "a list"
	default:
		switch n.y.ShortTag() {
		case "!!null":
			kind = "empty"
		case "!!int", "!!float":
			kind = "a number"
		case "!!bool":
			kind = "true or false"
		case "!!timestamp":
			kind = "a date"
		}
	}
	n.wrong(n.subject()+" is "+kind, instead)
}

// mapping is a YAML mapping whose values are asked for one by one. What nobody
// asked for is unknown.
type mapping struct {
	node
	entries []entry
	known   []string // keys that were asked for
	later   []string // keys that a later version honours
}

type entry struct {
	key   *yaml.Node
	value node
}

// mapping reads a mapping. It is empty where the node is none, and then nothing
// is missing from it.
func (n node) mapping() *mapping {
	m := &mapping{node: n}
	if !n.present() {
		return m
	}
	if n.y.Kind != yaml.MappingNode {
		n.mistaken("write a mapping of keys and values")
		m.y = nil
		return m
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		k, v := n.y.Content[i], n.y.Content[i+1]
		key := node{f: n.f, y: k, called: "the key"}
		if k.Kind != yaml.ScalarNode {
			key.mistaken("write a word")
			continue
		}
		if line, twice := first[k.Value]; twice {
			key.wrong("duplicate key "+quote(k.Value), "it is on line "+itoa(line)+" already: write it once")
			continue
		}
		first[k.Value] = k.Line
		m.entries = append(m.entries, entry{k, node{f: n.f, y: v, called: quote(k.Value)}})
	}
	return m
}

// has tells whether the node is a mapping with that key.
func (n node) has(key string) bool {
	if n.y.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		if n.y.Content[i].Value == key {
			return true
		}
	}
	return false
}

// find gives the entry of a key.
func (m *mapping) find(key string) (entry, bool) {
	if !slices.Contains(m.known, key) {
		m.known = append(m.known, key)
	}
	return m.peek(key)
}

// get gives the value of a key, absent where it is not there.
func (m *mapping) get(key string) node {
	e, _ := m.find(key)
	return e.value
}

// need gives the value of a key, and notes a problem where it is not there.
func (m *mapping) need(key, instead string) node {
	e, ok := m.find(key)
	if !ok {
		m.missing(key, instead)
	}
	return e.value
}

// peek gives the entry of a key without counting it as known.
func (m *mapping) peek(key string) (entry, bool) {
	for _, e := range m.entries {
		if e.key.Value == key {
			return e, true
		}
	}
	return entry{}, false
}

func (m *mapping) missing(key, instead string) {
	in := ""
	if m.called != "" {
		in = " in " + m.called
	}
	m.wrong(quote(key)+" is missing"+in, instead)
}

// notYet notes keys that a later version will honour, and tells whether there
// was one.
func (m *mapping) notYet(keys ...string) bool {
	found := false
	for _, key := range keys {
		m.later = append(m.later, key)
		if e, ok := m.peek(key); ok {
			node{f: e.value.f, y: e.key}.notYet(quote(key))
			found = true
		}
	}
	return found
}

// foreign notes keys that belong to another protocol, with what to write instead.
func (m *mapping) foreign(of, this string, keys map[string]string) {
	for key, instead := range keys {
		m.later = append(m.later, key)
		if e, ok := m.peek(key); ok {
			node{f: e.value.f, y: e.key}.wrong(quote(key)+" is for "+of+", and this is read over "+this, instead)
		}
	}
}

// needUnless is need, and get where one of the other keys is there instead, which
// is a problem already.
func (m *mapping) needUnless(key, instead string, others ...string) node {
	for _, other := range others {
		if _, ok := m.peek(other); ok {
			return m.get(key)
		}
	}
	return m.need(key, instead)
}

// notYet says that something is understood but has no effect: to read over it
// would promise what does not happen.
func (n node) notYet(what string) {
	n.wrong(what+" is understood but not honoured by this version", "remove it")
}

// done notes the keys that nobody asked for.
func (m *mapping) done() {
	for _, e := range m.entries {
		if !slices.Contains(m.known, e.key.Value) && !slices.Contains(m.later, e.key.Value) {
			node{f: e.value.f, y: e.key}.wrong(unknown("key", e.key.Value, m.known))
		}
	}
}

// list reads a list that is not empty.
func (n node) list() []node {
	if !n.present() {
		return nil
	}
	if n.y.Kind != yaml.SequenceNode {
		n.mistaken("write a list: [a, b]")
		return nil
	}
	if len(n.y.Content) == 0 {
		n.wrong(n.subject()+" is an empty list", "write at least one")
	}
	return n.items()
}

// items gives the items of a list, without a look at them.
func (n node) items() []node {
	if !n.present() || n.y.Kind != yaml.SequenceNode {
		return nil
	}
	items := make([]node, len(n.y.Content))
	for i, y := range n.y.Content {
		items[i] = node{f: n.f, y: y, called: "item " + itoa(i+1) + " of " + n.subject()}
	}
	return items
}

// source gives a scalar as it stands in the file, not converted.
func (n node) source(instead string) (string, bool) {
	if !n.present() {
		return "", false
	}
	if n.y.Kind != yaml.ScalarNode || n.y.ShortTag() == "!!null" {
		n.mistaken(instead)
		return "", false
	}
	return n.y.Value, true
}

// text reads a text for people: something, without control characters.
func (n node) text() (string, bool) {
	if !n.present() {
		return "", false
	}
	if n.y.Kind != yaml.ScalarNode || n.y.ShortTag() != "!!str" {
		n.mistaken("write a text" + n.inQuotes())
		return "", false
	}
	s := strings.TrimSuffix(n.y.Value, "\n") // of a block
	if strings.TrimSpace(s) == "" {
		n.wrong(n.subject()+" is an empty text", "write something or remove the key")
		return "", false
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		n.wrong(n.subject()+" has a line break or another invisible character in it", "write it on one line, without them")
		return "", false
	}
	return s, true
}

func (n node) inQuotes() string {
	if n.y.Kind == yaml.ScalarNode && n.y.ShortTag() != "!!null" {
		return ", in quotes"
	}
	return ""
}
