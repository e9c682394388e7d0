package policy

import (
	"fmt"
	"path"
	"strings"
)

// Pattern matches points by machine and name: "press-3/state", "*/recipe*".
type Pattern struct{ machine, point string }

// ParsePattern parses machine/point, each side a glob of path.Match without
// character classes. A pattern without a slash is an error.
func ParsePattern(s string) (Pattern, error) {
	m, p, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return Pattern{}, fmt.Errorf("pattern %q has no slash; write machine/point, such as %q or %q", s, s+"/*", "*/"+s)
	case m == "" || p == "":
		return Pattern{}, fmt.Errorf("pattern %q has an empty side; write * for all", s)
	case strings.Contains(p, "/"):
		return Pattern{}, fmt.Errorf("pattern %q has two slashes; write machine/point", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-*?/", r) {
			return Pattern{}, fmt.Errorf("pattern %q has %q in it; names are lower case, digits and dashes, and * and ? stand for any of them", s, r)
		}
	}
	return Pattern{m, p}, nil
}

// Match tells whether the pattern covers a point.
func (p Pattern) Match(machine, name string) bool {
	m, _ := path.Match(p.machine, machine)
	if !m {
		return false
	}
	n, _ := path.Match(p.point, name)
	return n
}

// MatchMachine tells whether the pattern covers points of a machine.
func (p Pattern) MatchMachine(machine string) bool {
	m, _ := path.Match(p.machine, machine)
	return m
}

// String gives the pattern as it was written.
func (p Pattern) String() string { return p.machine + "/" + p.point }
