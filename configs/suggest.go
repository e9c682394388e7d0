package configs

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// unknown says that a word is none of the known ones, and which was meant.
func unknown(what, word string, known []string) (string, string) {
	return "unknown " + what + " " + quote(word), suggest(word, known)
}

// suggest gives the nearest known word, or all of them where none is near.
func suggest(word string, known []string) string {
	if len(known) == 0 {
		return "there is none to choose from"
	}
	if w, ok := nearest(word, known); ok {
		return "did you mean " + quote(w) + "?"
	}
	return "write " + oneOf(known)
}

// oneOf lists words: "a", "a or b", "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// nearest finds the known word that the given one is a slip of.
func nearest(word string, known []string) (string, bool) {
	if len(word) > 64 {
		return "", false
	}
	slips := max(1, min(len(word)/3, 3)) // more slips than this make another word
	best, least := "", slips+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best, best != ""
}

// distance counts the letters to add, to remove, to change or to swap with
// their neighbour that make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			d := last[j-1]
			if a[i-1] != b[j-1] {
				d = 1 + min(d, last[j], row[j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					d = min(d, before[j-2]+1)
				}
			}
			row[j] = d
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// quote puts a word of a file into a message: short and printable, whatever
// it was.
func quote(s string) string {
	const most = 48
	cut := ""
	if len(s) > most {
		n := most
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s, cut = s[:n], "…"
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return strconv.QuoteToASCII(s + cut)
		}
	}
	return "'" + s + cut + "'"
}
