package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one thing wrong with the configuration, and where.
type Problem struct {
	File    string `json:"file"`              // as seen from the working directory
	Line    int    `json:"line,omitempty"`    // from 1; 0 where the whole file is meant
	Column  int    `json:"column,omitempty"`  // from 1
	Machine string `json:"machine,omitempty"` // whose file it is in; empty for gateway, policy, trust and template files
	What    string `json:"what"`              // what is wrong, lower case, no full stop
	Instead string `json:"instead,omitempty"` // what to write instead; may end with a line to paste
	Fatal   bool   `json:"fatal"`             // in the gateway, policy or trust file: nothing can start
	Stops   bool   `json:"stops"`             // the points it concerns stop; everything else goes on
	Note    bool   `json:"note"`              // good to know; nothing has to change
}

// String gives file:line:column: what is wrong; what to write instead.
func (p Problem) String() string {
	var s strings.Builder
	s.WriteString(Printable(p.File))
	if p.Line > 0 {
		fmt.Fprintf(&s, ":%d:%d", p.Line, p.Column)
	}
	s.WriteString(": ")
	if p.Note {
		s.WriteString("note: ")
	}
	s.WriteString(strings.ReplaceAll(Plain(p.What), "\n", `\n`))
	if p.Instead != "" {
		s.WriteString("; " + Plain(p.Instead))
	}
	return s.String()
}

// Printable gives a path, or another word, as it can be shown: quoted where it
// holds anything but printable characters. A name of a file may hold what a
// terminal obeys, and line breaks that make another message out of one.
func Printable(s string) string {
	if isPrintable(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// Plain gives a text of some lines with all that does not print escaped.
func Plain(s string) string {
	if isPrintable(s) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		switch {
		case r == '\n', unicode.IsPrint(r) && (r != utf8.RuneError || strings.HasPrefix(s[i:], string(utf8.RuneError))):
			out.WriteRune(r)
		case r == '\t':
			out.WriteByte(' ')
		case r == utf8.RuneError:
			fmt.Fprintf(&out, `\x%02x`, s[i])
		default:
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return out.String()
}

// Error gives the same as String, so that a Problem is an error.
func (p Problem) Error() string { return p.String() }

// LeavesOut tells whether a start leaves out the machine in whose file it is.
func (p Problem) LeavesOut() bool { return p.Machine != "" && !p.Note && !p.Stops }

// Fatal tells whether a problem stops a start. Problems of a machine's file
// leave that machine out, or stop some of its points.
func Fatal(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal })
}

// sorted puts problems in the order of files and lines, each once.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return slices.Compact(problems)
}
