package main

import (
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// places finds the lines of files that the loader took, for what shows only
// once a machine answers.
type places struct{ files map[string]*yaml.Node }

// at is a line and column; 0 where it is not known.
type at struct{ line, column int }

func atNode(n *yaml.Node) at {
	if n == nil {
		return at{}
	}
	return at{n.Line, n.Column}
}

// root gives the top mapping of a file; nil where it has none.
func (p *places) root(file string) *yaml.Node {
	if n, ok := p.files[file]; ok {
		return n
	}
	if p.files == nil {
		p.files = map[string]*yaml.Node{}
	}
	var doc yaml.Node
	var root *yaml.Node
	if b, err := os.ReadFile(file); err == nil && yaml.Unmarshal(b, &doc) == nil && len(doc.Content) == 1 {
		root = doc.Content[0]
	}
	p.files[file] = root
	return root
}

// value gives the value of a key of a mapping; nil where there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// connection gives where a machine's file says how it is reached.
func (p *places) connection(file string) at {
	root := p.root(file)
	for _, path := range [][2]string{{"modbus", "connect"}, {"modbus", "line"}, {"opcua", "endpoint"}, {"coap", "listen"}} {
		if n := value(value(root, path[0]), path[1]); n != nil {
			return atNode(n)
		}
	}
	return p.first(file, "modbus", "opcua", "coap", "template", "machine")
}

// first gives the first of some keys that a file has.
func (p *places) first(file string, keys ...string) at {
	for _, key := range keys {
		if n := value(p.root(file), key); n != nil {
			return atNode(n)
		}
	}
	return at{}
}

// point gives the entry of a point, where the machine's own file has it; else
// where the file names the template that does.
func (p *places) point(file, machine, name string) at {
	root := p.root(file)
	override := value(root, "override")
	for _, n := range []*yaml.Node{override, value(override, machine)} {
		if own := value(n, name); own != nil {
			return atNode(own)
		}
	}
	if points := value(root, "points"); points != nil && points.Kind == yaml.SequenceNode {
		for _, item := range points.Content {
			if makes(item, name) {
				return atNode(item)
			}
		}
	}
	return p.first(file, "template", "machine")
}

// makes tells whether an entry of the list of points makes one of this name.
func makes(item *yaml.Node, name string) bool {
	n := value(item, "name")
	if n == nil {
		return false
	}
	if value(item, "each") != nil {
		pattern := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(n.Value), ".+")
		ok, err := regexp.MatchString("^"+pattern+"$", name)
		return err == nil && ok
	}
	if n.Value == name {
		return true
	}
	rest, of := strings.CutPrefix(name, n.Value+"-")
	if !of {
		return false
	}
	if bits := value(item, "bits"); bits != nil && bits.Kind == yaml.MappingNode {
		for i := 1; i < len(bits.Content); i += 2 {
			if b := bits.Content[i]; b.Value == rest || valueText(b, "name") == rest {
				return true
			}
		}
	}
	if fields := value(item, "fields"); fields != nil && fields.Kind == yaml.SequenceNode {
		for _, f := range fields.Content {
			if valueText(f, "name") == rest {
				return true
			}
		}
	}
	return false
}

func valueText(n *yaml.Node, key string) string {
	if v := value(n, key); v != nil {
		return v.Value
	}
	return ""
}

// uplink gives the entry of an uplink in the gateway file.
func (p *places) uplink(file, name string) at {
	uplinks := value(p.root(file), "uplinks")
	if uplinks == nil {
		return at{}
	}
	for _, item := range uplinks.Content {
		if valueText(item, "name") == name {
			return atNode(item)
		}
	}
	return atNode(uplinks)
}
