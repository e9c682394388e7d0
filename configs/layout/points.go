package layout

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// edit replaces some lines by others.
type edit struct {
	from, to int // to is not replaced
	lines    []string
}

// points puts the entries of points on one line each.
func points(text string) (string, error) {
	root, err := parse([]byte(text))
	if err != nil {
		return "", err
	}
	f := &former{lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n")}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Value != "points" {
			continue
		}
		end := len(f.lines)
		if i+2 < len(root.Content) {
			end = root.Content[i+2].Line - 1
		}
		f.sequence(key, value, end)
	}
	return f.done(), nil
}

type former struct {
	lines []string
	edits []edit // in their order
}

func (f *former) done() string {
	var out []string
	at := 0
	for _, e := range f.edits {
		out = append(out, f.lines[at:e.from]...)
		out = append(out, e.lines...)
		at = e.to
	}
	return strings.Join(append(out, f.lines[at:]...), "\n") + "\n"
}

// sequence puts a list of entries into form that ends before the line end.
func (f *former) sequence(key, list *yaml.Node, end int) {
	if list.Kind != yaml.SequenceNode {
		return
	}
	if list.Style&yaml.FlowStyle != 0 {
		f.flowSequence(key, list, end)
		return
	}
	for i, item := range list.Content {
		to := end
		if i+1 < len(list.Content) {
			to = list.Content[i+1].Line - 1
		}
		f.item(item, to)
	}
}

// item puts one entry of a list in block style on one line.
func (f *former) item(item *yaml.Node, end int) {
	from := item.Line - 1
	if item.Kind != yaml.MappingNode || from < 0 || from >= end || end > len(f.lines) {
		return
	}
	before := f.lines[from][:min(item.Column-1, len(f.lines[from]))]
	if strings.TrimSpace(before) != "-" || strings.Contains(before, "\t") { // the dash is elsewhere
		return
	}
	end = f.content(from, end)
	if fields := value(item, "fields"); fields != nil && item.Style&yaml.FlowStyle == 0 {
		f.fields(item, fields, end)
		return
	}
	own, note, ok := f.cut(from, end)
	if !ok {
		return
	}
	flow, ok := render(item)
	if !ok {
		return
	}
	line := before[:strings.IndexByte(before, '-')] + "- " + flow
	if note != "" {
		gap := "  "
		if end-from == 1 && strings.TrimRight(own, " ") == line { // its place is somebody's choice
			gap = own[len(strings.TrimRight(own, " ")):]
		}
		line += gap + note
	}
	f.edits = append(f.edits, edit{from, end, []string{line}})
}

// content leaves out empty lines and comments at the end of a run of lines: they
// belong to what follows.
func (f *former) content(from, end int) int {
	for end-1 > from {
		s := strings.TrimSpace(f.lines[end-1])
		if s != "" && s[0] != '#' {
			break
		}
		end--
	}
	return end
}

// cut gives a run of lines without the comment at its end, and that. It is not ok
// where comments are elsewhere.
func (f *former) cut(from, end int) (own, note string, ok bool) {
	s := scanner{}
	var all []string
	for n := from; n < end; n++ {
		line := f.lines[n]
		if k := s.comment(line); k >= 0 {
			if n != end-1 {
				return "", "", false
			}
			note, line = line[k:], line[:k]
		}
		all = append(all, line)
	}
	if note != "" && end-from > 1 && strings.TrimSpace(all[len(all)-1]) == "" {
		return "", "", false
	}
	return strings.Join(all, "\n"), note, s.quote == 0
}

// fields puts those of a structure on a line each; the point keeps its lines.
func (f *former) fields(item, fields *yaml.Node, end int) {
	if fields.Kind != yaml.SequenceNode || fields.Style&yaml.FlowStyle != 0 {
		return
	}
	for i := 0; i+1 < len(item.Content); i += 2 {
		if item.Content[i+1] == fields && i+2 < len(item.Content) {
			end = item.Content[i+2].Line - 1
		}
	}
	f.sequence(nil, fields, end)
}

// flowSequence makes lines of a list in brackets, if it has no comments.
func (f *former) flowSequence(key, list *yaml.Node, end int) {
	from := key.Line - 1
	if len(list.Content) == 0 || end > len(f.lines) || from >= end {
		return
	}
	end = f.content(from, end)
	if _, note, ok := f.cut(from, end); !ok || note != "" {
		return
	}
	head := f.lines[from][:key.Column-1]
	if strings.TrimSpace(head) != "" { // the file itself is in braces
		return
	}
	out := []string{head + "points:"}
	for _, item := range list.Content {
		flow, ok := render(item)
		if !ok {
			return
		}
		out = append(out, head+"  - "+flow)
	}
	f.edits = append(f.edits, edit{from, end, out})
}

// value gives the value of a key of a mapping; nil where there is none.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
