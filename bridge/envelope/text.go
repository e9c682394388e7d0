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

// ascii tells whether s is ASCII, and so valid. It is for short names, of which
// there is one to each point.
func ascii(s string) bool {
	var all byte
	for ; len(s) >= 8; s = s[8:] {
		all |= s[0] | s[1] | s[2] | s[3] | s[4] | s[5] | s[6] | s[7]
	}
	for i := 0; i < len(s); i++ {
		all |= s[i]
	}
	return all < utf8.RuneSelf
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
