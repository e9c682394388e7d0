package configs

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	mostRuns  = 1000      // values of one range, or rows of one file
	mostTerm  = 1_000_000 // of a number in an expression
	mostTerms = 8
	mostDigit = 9
)

// variables are the values that expressions in braces name. Those of a table
// may be texts.
type variables map[string]string

func (v variables) names() []string { return slices.Sorted(maps.Keys(v)) }

// badExpression is what is wrong with one.
type badExpression struct{ what, instead string }

func (e *badExpression) Error() string { return e.what + "; " + e.instead }

// evaluate puts values in the place of all expressions of a text. whole tells
// that the text is one expression and nothing else.
func (v variables) evaluate(s string) (out string, whole bool, err *badExpression) {
	var b strings.Builder
	rest := s
	for {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			break
		}
		end := strings.IndexAny(rest[open+1:], "{}")
		if rest[open] == '}' || end < 0 || rest[open+1+end] == '{' {
			return "", false, &badExpression{"the braces of " + quote(s) + " do not match", "write " + v.example("")}
		}
		value, err := v.expression(rest[open+1 : open+1+end])
		if err != nil {
			return "", false, err
		}
		b.WriteString(rest[:open] + value)
		rest = rest[open+2+end:]
		whole = b.Len() == len(value) && rest == ""
	}
	b.WriteString(rest)
	return b.String(), whole, nil
}

func (v variables) example(format string) string {
	if names := v.names(); len(names) > 0 {
		return "{" + names[0] + format + "}"
	}
	return "{n" + format + "}"
}

// expression gives the value of what stands between braces: n, 199+z or n:02.
func (v variables) expression(s string) (string, *badExpression) {
	bad := func() *badExpression {
		return &badExpression{quote("{"+s+"}") + " is no sum of whole numbers", "write " + v.example("") + ", " + v.example("+1") + " or " + v.example(":02")}
	}
	sum, format, formatted := strings.Cut(s, ":")
	if text, ok := v[strings.TrimSpace(sum)]; ok && !formatted {
		return text, nil
	}
	total, sign, terms := int64(0), int64(1), 0
	for sum = strings.TrimSpace(sum); ; terms++ {
		end := strings.IndexAny(sum, "+-")
		word := sum
		if end >= 0 {
			word = sum[:end]
		}
		word = strings.TrimSpace(word)
		if word == "" || terms == mostTerms {
			return "", bad()
		}
		if text, ok := v[word]; ok {
			word = text
		} else if isName(word) && (word[0] < '0' || word[0] > '9') {
			what, instead := unknown("variable", word, v.names())
			return "", &badExpression{what, instead}
		}
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil || n > mostTerm {
			return "", bad()
		}
		total += sign * int64(n)
		if end < 0 {
			break
		}
		sign = 1
		if sum[end] == '-' {
			sign = -1
		}
		sum = sum[end+1:]
	}
	if !formatted {
		return strconv.FormatInt(total, 10), nil
	}
	width, err := strconv.Atoi(format)
	if err != nil || len(format) != 2 || format[0] != '0' || width < 1 || width > mostDigit || total < 0 {
		return "", &badExpression{quote("{"+s+"}") + " has no width", "write " + v.example(":02") + " for two digits at least"}
	}
	digits := strconv.FormatInt(total, 10)
	return strings.Repeat("0", max(0, width-len(digits))) + digits, nil
}

// with gives the node with values in the place of its expressions. A text that is
// one expression may become a number, unless it is a name.
func (n node) with(v variables, name bool) (node, bool) {
	if !n.present() {
		return n, true
	}
	y, ok := n.substituted(n.y, v, name)
	n.y = y
	return n, ok
}

func (n node) substituted(y *yaml.Node, v variables, name bool) (*yaml.Node, bool) {
	out := *y
	if y.Kind == yaml.ScalarNode {
		if !strings.ContainsAny(y.Value, "{}") {
			return y, true
		}
		value, whole, err := v.evaluate(y.Value)
		if err != nil {
			node{f: n.f, y: y}.wrong(err.what, err.instead)
			return y, false
		}
		out.Value, out.Tag = value, "!!str"
		if whole && !name && isDigits(value) {
			out.Tag, out.Style = "!!int", 0
		}
		return &out, true
	}
	ok := true
	out.Content = slices.Clone(y.Content)
	for i, c := range y.Content {
		if y.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		var good bool
		out.Content[i], good = n.substituted(c, v, name)
		ok = ok && good
	}
	return &out, ok
}

func isDigits(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// runs reads a mapping of one variable to its values: {n: 1..40}. Where except
// is allowed, it may leave some out.
func (n node) runs(except bool) (runs []variables) {
	m := n.mapping()
	example := "write {n: 1..40}"
	if except {
		example = "write {n: 1..40, except: [17]}"
	}
	var name string
	var values node
	for _, e := range m.entries {
		switch key := e.key.Value; {
		case except && key == "except":
		case name != "":
			node{f: e.value.f, y: e.key}.wrong("a second variable is in "+m.called, example)
			return nil
		case !isName(key) || isDigits(key[:1]) || strings.Contains(key, "-"):
			node{f: e.value.f, y: e.key}.wrong(quote(key)+" is no variable", "write a letter such as n")
			return nil
		default:
			name, values = key, e.value
		}
	}
	if !m.present() {
		return nil
	}
	if name == "" {
		m.wrong("no variable is in "+m.called, example)
		return nil
	}
	first, last, ok := values.run()
	if !ok {
		return nil
	}
	left := map[int64]bool{}
	if except {
		if e, ok := m.peek("except"); ok {
			for _, item := range e.value.list() {
				v, ok := item.whole(0, mostTerm)
				if ok && (v < first || v > last) {
					item.wrong(item.y.Value+" is not within "+values.y.Value, "remove it")
				} else if ok {
					left[v] = true
				}
			}
		}
	}
	for v := first; v <= last; v++ {
		if !left[v] {
			runs = append(runs, variables{name: strconv.FormatInt(v, 10)})
		}
	}
	if len(runs) == 0 {
		m.wrong(m.called+" leaves nothing", example)
	}
	return runs
}

// run reads a run of whole numbers, both ends included: 1..40.
func (n node) run() (first, last int64, ok bool) {
	const example = "write a run such as 1..40"
	s, ok := n.source(example)
	if !ok {
		return 0, 0, false
	}
	a, b, cut := strings.Cut(s, "..")
	first, aErr := parseInt(a)
	last, bErr := parseInt(b)
	switch {
	case !cut || aErr != nil || bErr != nil || first < 0 || last > mostTerm:
		n.wrong(quote(s)+" is no run of whole numbers", example)
	case first > last:
		n.wrong("the run "+s+" ends before it begins", "write the lower number first")
	case last-first >= mostRuns:
		n.wrong("the run "+s+" has more than "+itoa(mostRuns)+" numbers", "write shorter ones")
	default:
		return first, last, true
	}
	return 0, 0, false
}
