package main

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/configs"
)

// table writes rows in columns; the last one is wrapped.
func (p *planPrinter) table(rows [][]string) {
	widths := make([]int, len(rows[0])-1)
	for _, row := range rows {
		for k := range widths {
			widths[k] = max(widths[k], utf8.RuneCountInString(row[k]))
		}
	}
	for _, row := range rows {
		s := "  "
		for k, w := range widths {
			s += row[k] + strings.Repeat(" ", w-utf8.RuneCountInString(row[k])) + "  "
		}
		blank := strings.Repeat(" ", utf8.RuneCountInString(s))
		for i, part := range wrapped(blank, row[len(row)-1]) {
			if i == 0 {
				part = s + strings.TrimPrefix(part, blank)
			}
			p.line("%s", part)
		}
	}
}

func (p *planPrinter) wrap(indent, s string) {
	for i, part := range wrapped(indent, s) {
		if i > 0 {
			part = "  " + part
		}
		p.line("%s", part)
	}
}

// wrapped breaks a text at blanks into lines of the plan's width.
func wrapped(indent, s string) (lines []string) {
	line := indent
	for word := range strings.FieldsSeq(s) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > planWidth-2 {
			lines = append(lines, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func people(names []string) string { return cmp.Or(list(names), "nobody") }

// runs shortens lists of names that count: hotrunner-01…16, hotrunner-18…40.
func runs(names []string) string {
	var out []string
	for i := 0; i < len(names); {
		k := i
		for k+1 < len(names) && follows(names[k], names[k+1]) {
			k++
		}
		if k >= i+2 {
			stem, _ := stemOf(names[i])
			out = append(out, configs.Printable(names[i])+"…"+strings.TrimPrefix(names[k], stem))
			i = k + 1
			continue
		}
		out = append(out, configs.Printable(names[i]))
		i++
	}
	return strings.Join(out, ", ")
}

// stemOf cuts the number off the end of a name.
func stemOf(name string) (stem, digits string) {
	stem = strings.TrimRight(name, "0123456789")
	return stem, name[len(stem):]
}

// follows tells whether b is a with the next number at its end.
func follows(a, b string) bool {
	stemA, digitsA := stemOf(a)
	stemB, digitsB := stemOf(b)
	x, errX := strconv.Atoi(digitsA)
	y, errY := strconv.Atoi(digitsB)
	return errX == nil && errY == nil && stemA == stemB && y == x+1
}
