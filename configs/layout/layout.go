// Package layout puts the files that operators write into one form: one point on
// a line, so that a difference shows points. It moves text about and changes no
// meaning: what it gives reads as the same tree with the same comments, or it
// leaves the file as it is.
//
// What it does:
//
//   - each entry of points, and each of a structure's fields, is one line in flow
//     style. Keys stay in their order, and texts in the quotes that they have
//   - an entry with comments between its lines stays as it is, and so does one with
//     a text over several lines; a structure keeps its own lines
//   - no blanks at the ends of lines, one empty line in a row at most, line ends as
//     on Unix, one at the end of the file, and no byte order mark
//
// Everything else stays where it stands.
package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ErrKept says that no form was found that means the same.
var ErrKept = errors.New("it cannot be put into form without changing what it means, so it stays as it is")

// most is how often a file is put into form until it stays so.
const most = 3

// Format gives the content of a file in form: what it gives, it gives back as it
// is. An error is one of the YAML, or ErrKept.
func Format(content []byte) ([]byte, error) {
	for range most {
		out, err := format(content)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(out, content) {
			return out, nil
		}
		content = out
	}
	return nil, ErrKept
}

// format moves text about once.
func format(content []byte) ([]byte, error) {
	before, err := parse(content)
	if err != nil {
		return nil, err
	}
	if before.Kind != yaml.MappingNode {
		return nil, errors.New("it is no mapping")
	}
	notes := comments(string(content))
	same := func(text string) bool {
		after, err := parse([]byte(text))
		return err == nil && equal(before, after) && slices.Equal(notes, comments(text))
	}
	text := tidy(string(content))
	if !same(text) { // blanks that mean something
		if text = unix(string(content)); !same(text) {
			return nil, ErrKept
		}
	}
	if text, err = points(text); err != nil {
		return nil, err
	}
	if !same(text) {
		return nil, ErrKept
	}
	return []byte(text), nil
}

// parse gives the one document of a file.
func parse(content []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		return nil, errors.New("it cannot be read as YAML")
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, errors.New("it is empty")
	case err != nil:
		return nil, syntax(err)
	}
	if err := loader.Load(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	root := doc.Content[0]
	if !plain(root) {
		return nil, errors.New("it has aliases, anchors or tags in it, which these files do not use")
	}
	return root, nil
}

// syntax says where the YAML is wrong, without quoting it: a password may stand
// there.
func syntax(err error) error {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return fmt.Errorf("not valid YAML in line %d; fieldseal check says what is wrong", e.Mark.Line)
	}
	return errors.New("not valid YAML; fieldseal check says what is wrong")
}

func plain(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !plain(c) })
}

// equal tells whether two trees say the same.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Kind == yaml.ScalarNode && a.Value != b.Value {
		return false
	}
	return slices.EqualFunc(a.Content, b.Content, equal)
}

// unix has the line ends of Unix, and one at the end.
func unix(s string) string {
	s = strings.TrimPrefix(s, "\ufeff")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.TrimRight(s, "\n") + "\n"
}

// tidy removes blanks that nobody sees.
func tidy(s string) string {
	var out []string
	for line := range strings.SplitSeq(unix(s), "\n") {
		line = strings.TrimRight(line, " \t")
		if line == "" && (len(out) == 0 || out[len(out)-1] == "") {
			continue
		}
		out = append(out, line)
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n") + "\n"
}

// comments gives all of a text, in their order. Within a text over several lines
// it may take for one what is none, and does so before and after.
func comments(text string) (all []string) {
	s := scanner{}
	for line := range strings.SplitSeq(text, "\n") {
		if k := s.comment(line); k >= 0 {
			all = append(all, strings.TrimRight(line[k:], " \t\r"))
		}
	}
	return all
}

// scanner finds where comments begin, line by line.
type scanner struct {
	quote byte // of a text that is open; 0: none is
}

// comment gives where the comment of a line begins; -1 where it has none.
func (s *scanner) comment(line string) int {
	before := byte(':') // the last character that is no blank: what may stand before a text
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case s.quote == '"' && c == '\\':
			i++
		case s.quote != 0 && c == s.quote:
			if c == '\'' && i+1 < len(line) && line[i+1] == '\'' {
				i++
				continue
			}
			s.quote, before = 0, 'x'
		case s.quote != 0:
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return i
		case (c == '"' || c == '\'') && strings.IndexByte("{[,:-", before) >= 0:
			s.quote = c
		case c != ' ' && c != '\t':
			before = c
		}
	}
	return -1
}
