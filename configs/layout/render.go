package layout

import (
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// render writes a value in flow style on one line. It is not ok where that would
// not be the same.
func render(n *yaml.Node) (string, bool) {
	var b strings.Builder
	if !write(&b, n) {
		return "", false
	}
	again, err := parse([]byte("- " + b.String() + "\n"))
	if err != nil || len(again.Content) != 1 || !equal(n, again.Content[0]) {
		return "", false
	}
	return b.String(), true
}

func write(b *strings.Builder, n *yaml.Node) bool {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteString(", ")
			}
			if !write(b, n.Content[i]) {
				return false
			}
			b.WriteString(": ")
			if !write(b, n.Content[i+1]) {
				return false
			}
		}
		b.WriteByte('}')
		return true
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			if !write(b, c) {
				return false
			}
		}
		b.WriteByte(']')
		return true
	case yaml.ScalarNode:
		return scalar(b, n)
	}
	return false
}

// scalar writes a text in the quotes that it has, where it can stand in braces so.
func scalar(b *strings.Builder, n *yaml.Node) bool {
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return false
	case n.Style&yaml.DoubleQuotedStyle != 0:
		b.WriteString(double(n.Value))
	case n.Style&yaml.SingleQuotedStyle != 0 && !strings.ContainsFunc(n.Value, unicode.IsControl):
		b.WriteString("'" + strings.ReplaceAll(n.Value, "'", "''") + "'")
	case n.Style&yaml.SingleQuotedStyle != 0:
		b.WriteString(double(n.Value))
	case n.Value == "": // nothing is there
		return false
	case strings.ContainsAny(n.Value, ",[]{}\n") || strings.HasSuffix(n.Value, ":"):
		if n.ShortTag() != "!!str" {
			return false
		}
		b.WriteString(quoted(n.Value))
	default:
		b.WriteString(n.Value)
	}
	return true
}

// quoted puts a text into the quotes in which it is easier to read.
func quoted(s string) string {
	if strings.ContainsAny(s, `"\\`) && !strings.Contains(s, "'") && !strings.ContainsFunc(s, unicode.IsControl) {
		return "'" + s + "'"
	}
	return double(s)
}

// double writes a text in double quotes.
func double(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 1<<8:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 1<<16:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
