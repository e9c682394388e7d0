package approval

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// writer writes the lines of a text that is signed: a word that says what the
// line is, then values. A line has no empty neighbours, so that the text ends
// where the signatures begin.
type writer struct{ strings.Builder }

func (w *writer) line(words ...string) {
	w.WriteString(strings.Join(words, " "))
	w.WriteByte('\n')
}

// plain writes a value as it is where that can mean one thing only, and quoted
// otherwise. In quotes everything beyond ASCII is escaped: two addresses that
// look the same are the same.
func plain(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return strconv.QuoteToASCII(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// attr writes key=value.
func attr(key, value string) string { return key + "=" + plain(value) }

// list writes names, sorted, each once.
func list(key string, names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return attr(key, strings.Join(slices.Compact(names), ","))
}

// reader reads what writer wrote. It keeps the first error. It need not refuse
// what is merely written in another way: whoever reads compares in the end with
// what the writer would have written.
type reader struct {
	rest string // lines not begun
	line string // what is left of the line
	open bool   // in a line
	n    int    // its number
	err  error
}

func newReader(text string) *reader {
	r := &reader{rest: text}
	if !strings.HasSuffix(text, "\n") {
		r.fail("the text does not end with a line")
	}
	r.next()
	return r
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("line %d: %s", r.n, what)
	}
}

// next begins the next line.
func (r *reader) next() {
	r.n++
	r.line, r.rest, r.open = strings.Cut(r.rest, "\n")
}

// end ends the line.
func (r *reader) end() {
	if r.err == nil && r.line != "" {
		r.fail("there is more on the line than belongs there")
	}
	r.next()
}

// finish ends the text.
func (r *reader) finish() error {
	if r.err == nil && r.open {
		r.fail("this line does not belong here")
	}
	return r.err
}

// header reads the first line.
func (r *reader) header(want string) {
	if r.line != want {
		r.fail(strconv.Quote(want) + " has to stand here")
	}
	r.next()
}

// at tells whether a line of a kind begins, and begins it.
func (r *reader) at(kind string) bool {
	if r.err != nil || !r.open {
		return false
	}
	rest, ok := strings.CutPrefix(r.line, kind+" ")
	if ok {
		r.line = rest
	}
	return ok
}

// need begins a line of a kind.
func (r *reader) need(kind string) {
	if !r.at(kind) {
		r.fail("a line that begins with " + strconv.Quote(kind) + " is missing here")
	}
}

// number reads a line with a number above 0, of which none is greater than the
// greatest revision.
func (r *reader) number(kind string) int {
	r.need(kind)
	v, err := strconv.Atoi(r.word())
	if r.err == nil && (err != nil || v < 1 || v > MaxRevision) {
		r.fail("no number above 0")
	}
	r.end()
	return v
}

// name reads a name.
func (r *reader) name() string {
	s := r.word()
	if r.err == nil && !isName(s) {
		r.fail(notName(s).Error())
	}
	return s
}

// word reads a value.
func (r *reader) word() string {
	if r.err != nil {
		return ""
	}
	s := ""
	if strings.HasPrefix(r.line, `"`) {
		quoted, err := strconv.QuotedPrefix(r.line)
		if err == nil {
			s, err = strconv.Unquote(quoted)
		}
		if err != nil {
			r.fail("a quote is not closed, or wrong")
			return ""
		}
		r.line = r.line[len(quoted):]
	} else {
		i := strings.IndexByte(r.line+" ", ' ')
		if i == 0 {
			r.fail("a value is missing")
			return ""
		}
		s, r.line = r.line[:i], r.line[i:]
	}
	if after, ok := strings.CutPrefix(r.line, " "); ok && after != "" {
		r.line = after
	}
	return s
}

// has tells whether the next value is that of a key.
func (r *reader) has(key string) bool {
	return r.err == nil && strings.HasPrefix(r.line, key+"=")
}

// attr reads key=value.
func (r *reader) attr(key string) string {
	if !r.has(key) {
		r.fail(strconv.Quote(key+"=") + " is missing here")
		return ""
	}
	r.line = r.line[len(key)+1:]
	return r.word()
}

// list reads key=NAME,NAME.
func (r *reader) list(key string, valid func(string) bool) []string {
	s := r.attr(key)
	if s == "" || r.err != nil {
		return nil
	}
	names := strings.Split(s, ",")
	for _, n := range names {
		if !valid(n) {
			r.fail(strconv.Quote(n) + " does not belong into " + strconv.Quote(key))
			return nil
		}
	}
	return names
}

// choice reads one of some words.
func (r *reader) choice(s string, words ...string) string {
	if r.err == nil && !slices.Contains(words, s) {
		r.fail(strconv.Quote(s) + " is not one of " + strings.Join(words, ", "))
	}
	return s
}

// ascend refuses what does not come after the one before.
func ascend[T cmp.Ordered](r *reader, items []T) {
	if n := len(items); n > 1 && items[n-2] >= items[n-1] {
		r.fail("this line is there twice, or not in its order")
	}
}

func sortedBy[T any](items []T, key func(T) string) []T {
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return items
}

// and lists words: "a", "a and b", "a, b and c".
func and(words []string) string { return join(words, "and") }
func or(words []string) string  { return join(words, "or") }

func join(words []string, last string) string {
	n := len(words) - 1
	if n < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
