package envelope

import (
	"strings"
	"unicode/utf8"
)

// replacement stands for bytes that are no UTF-8. It is no longer than they
// are, so that size bounds hold.
const replacement = "?"

// valid gives s, with what is no UTF-8 replaced, so that one odd name from a
// device cannot make a whole message unreadable.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, replacement)
}

// clip gives valid UTF-8 of at most n bytes.
func clip(s string, n int) string {
	s = valid(s)
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
