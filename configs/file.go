package configs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile is the greatest size of a file that is read.
const maxFile = 16 << 20

// file is one YAML file while it is read. It gathers what is wrong with it.
type file struct {
	path     string // as messages name it
	machine  string // whose file it is
	of       string // the machine, where the file says something of several
	fatal    bool   // its problems stop a start
	wrong    *int   // counts the problems that leave out the machine; nil: nobody asks
	problems *[]Problem
	revision node // of a policy or trust file
}

// add notes a problem.
func (f *file) add(p Problem) {
	p.File, p.Machine = f.path, f.machine
	p.Fatal = f.fatal && !p.Note && !p.Stops
	if f.of != "" {
		p.What += " (" + f.of + ")"
	}
	if f.wrong != nil && !p.Note && !p.Stops {
		*f.wrong++
	}
	*f.problems = append(*f.problems, p)
}

// refuse notes a problem of the whole file.
func (f *file) refuse(what, instead string) { f.add(Problem{What: what, Instead: instead}) }

// where names a line for the rule of a decision: "press-3.yaml:22", or
// "hotrunner.yaml:9 (hotrunner-03)" in a file about several machines.
func (f *file) where(line int) string {
	s := filepath.Base(f.path) + ":" + strconv.Itoa(line)
	if f.of != "" {
		s += " (" + f.of + ")"
	}
	return s
}

// view gives the file as one of the machines sees it that it says something of.
func (f *file) view(machine string, wrong *int) *file {
	return &file{path: f.path, machine: machine, of: machine, problems: f.problems, wrong: wrong}
}

// beside gives the path of a file that this one names.
func (f *file) beside(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(f.path), name)
}

// readFile reads an ordinary file. The error says what is wrong without naming
// the file.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, withoutPath(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no ordinary file")
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(b) > maxFile {
		return nil, errors.New("it is larger than 16 MiB")
	}
	return b, nil
}

func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// document is a file with its content.
type document struct {
	f       *file
	content []byte
}

// open reads the file that the caller names; nil where that fails.
func (l *loader) open(path string) *document {
	f := &file{path: path, fatal: true, problems: &l.problems}
	l.in(path)
	b, err := readFile(path)
	if err != nil {
		f.refuse("cannot be read: "+err.Error(), "")
		return nil
	}
	return &document{f, b}
}

// follow reads the file that a key of the gateway file names; nil where that
// fails. The problem is at the key then.
func (l *loader) follow(n node) *document {
	name, ok := n.text()
	if !ok || l.alone {
		return nil
	}
	path := n.f.beside(name)
	l.in(path)
	b, err := readFile(path)
	if err != nil {
		n.wrong(cannotRead(name, err))
		return nil
	}
	if !isPrintable(name) {
		n.wrong(oddName())
		return nil
	}
	return &document{&file{path: path, fatal: true, problems: &l.problems}, b}
}

// oddName refuses a file whose name terminals and logs cannot be shown as it is.
func oddName() (what, instead string) {
	return "the file's name holds characters that do not print", "give it a name of letters, digits and dashes"
}

// read reads a file that a pattern found; nil, and a problem, where that fails.
func (f *file) read() *document {
	if !isPrintable(f.path) {
		f.machine = strings.Trim(strconv.QuoteToASCII(f.machine), `"`) // it becomes part of names
		f.refuse(oddName())
		return nil
	}
	b, err := readFile(f.path)
	if err != nil {
		f.refuse("cannot be read: "+err.Error(), "")
		return nil
	}
	return &document{f, b}
}

func cannotRead(name string, err error) (what, instead string) {
	return "cannot read " + quote(name) + ": " + err.Error(), "write its path from this file's folder"
}

// top gives the top mapping of a document, and which of the kinds its header
// says it is. ok is false where it cannot be read as one of them.
func (d *document) top(kinds ...string) (m *mapping, kind string, ok bool) {
	if d == nil {
		return nil, "", false
	}
	root, ok := d.f.parse(d.content)
	if !ok {
		return nil, "", false
	}
	m = root.mapping()
	if !m.present() {
		return nil, "", false
	}
	if d.f.machine != "" { // its name so far is that of the file
		if e, ok := m.peek("machine"); ok && isName(e.value.y.Value) {
			d.f.machine = e.value.y.Value
		}
	}
	kind, ok = m.header(kinds)
	return m, kind, ok
}

// header reads the line that says what a file is: "fieldseal: machine/v1".
func (m *mapping) header(kinds []string) (kind string, ok bool) {
	line := "fieldseal: " + kinds[0] + "/v1"
	n := m.need("fieldseal", "write "+line+" as the first line")
	if !n.present() {
		return kinds[0], true
	}
	s, ok := n.source("write " + line)
	if !ok {
		return "", false
	}
	kind, version, _ := strings.Cut(s, "/")
	switch {
	case !slices.Contains([]string{"gateway", "policy", "trust", "machine", "machines", "template", "hub"}, kind):
		n.wrong("unknown kind of file "+quote(s), "write "+line)
	case !slices.Contains(kinds, kind):
		n.wrong("this is a "+kind+" file, where one of kind "+kinds[0]+" belongs", "name another file, or write "+line)
	case version != "v1":
		n.wrong("unknown version "+quote(s), "write "+line+", or use the fieldseal that it is for")
	default:
		return kind, true
	}
	return "", false
}

// parse gives the one document of a file. It refuses what makes a file mean
// something else than its lines say: aliases, tags and further documents.
func (f *file) parse(content []byte) (root node, ok bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		f.refuse("cannot be read as YAML", "")
		return node{}, false
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		f.refuse("the file is empty", "")
		return node{}, false
	case err != nil:
		f.syntax(err)
		return node{}, false
	}
	switch err := loader.Load(&next); {
	case err == nil:
		f.add(Problem{Line: next.Line, Column: next.Column, What: "a second document begins here", Instead: "write one file for each"})
		return node{}, false
	case !errors.Is(err, io.EOF):
		f.syntax(err)
		return node{}, false
	}
	return node{f: f, y: doc.Content[0]}, f.plain(doc.Content[0])
}

// syntax notes an error of the YAML parser. Its words never quote the file,
// but those about aliases do: an unquoted password may look like one.
func (f *file) syntax(err error) {
	p := Problem{What: "not valid YAML", Instead: "look at quotes, colons and indentation here"}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		p.Line, p.Column = e.Mark.Line, e.Mark.Column
		switch e.Stage {
		case yaml.ReaderStage, yaml.ScannerStage, yaml.ParserStage:
			p.What += ": " + e.Message
		case yaml.ComposerStage:
			p.What, p.Instead = noAlias()
		}
	}
	f.add(p)
}

func noAlias() (what, instead string) {
	return "aliases (*) and anchors (&) are not used in these files", "write the value out; a text that begins with one of them goes in quotes"
}

// plain refuses aliases, anchors and tags, anywhere in the file.
func (f *file) plain(y *yaml.Node) bool {
	p := Problem{Line: y.Line, Column: y.Column}
	switch {
	case y.Kind == yaml.AliasNode || y.Anchor != "":
		p.What, p.Instead = noAlias()
		f.add(p)
		return false
	case y.Style&yaml.TaggedStyle != 0:
		p.What, p.Instead = "tags (!) are not used in these files", "write the value alone; a text that begins with ! goes in quotes"
		f.add(p)
		return false
	}
	ok := true
	for _, c := range y.Content {
		ok = f.plain(c) && ok
	}
	return ok
}
