package configs

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/policy"
)

func itoa(i int) string { return strconv.Itoa(i) }

// ident reads a name: lower case letters, digits and dashes.
func (n node) ident() (string, bool) {
	s, ok := n.text()
	if !ok {
		return "", false
	}
	return s, n.checkName(s)
}

// isName tells whether s is lower case letters and digits, with dashes between
// them.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		s[0] != '-' && s[len(s)-1] != '-'
}

func (n node) checkName(s string) bool {
	switch {
	case len(s) > 64:
		n.wrong(quote(s)+" is longer than 64 letters", "write a shorter name")
	case !isName(s):
		n.wrong(quote(s)+" is no name", properName(s))
	default:
		return true
	}
	return false
}

// properName suggests a name for what is none.
func properName(s string) string {
	const rule = "names are lower case letters, digits and dashes"
	s = strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
	if s == "" {
		return rule
	}
	return "write " + s + ": " + rule
}

// idents reads a list of names, each once.
func (n node) idents() []string {
	var names []string
	for _, item := range n.list() {
		s, ok := item.ident()
		if ok && slices.Contains(names, s) {
			item.wrong(quote(s)+" is in the list already", "write it once")
		} else if ok {
			names = append(names, s)
		}
	}
	return names
}

// choice reads one of some words.
func (n node) choice(what string, known ...string) (string, bool) {
	s, ok := n.source("write " + oneOf(known))
	if !ok {
		return "", false
	}
	if !slices.Contains(known, s) {
		n.wrong("unknown "+what+" "+quote(s), "write "+oneOf(known))
		return "", false
	}
	return s, true
}

// whole reads a whole number within bounds.
func (n node) whole(least, most int64) (int64, bool) {
	s, ok := n.scalar("write a number", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	v, err := parseInt(s)
	switch {
	case err != nil:
		n.wrong(n.called+" "+err.Error(), "write a number such as "+strconv.FormatInt(max(least, 1), 10))
	case v < least || v > most:
		n.wrong(n.called+" is out of range", "write a number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
	default:
		return v, true
	}
	return 0, false
}

// scalar reads the source of a scalar of certain YAML types.
func (n node) scalar(instead string, tags ...string) (string, bool) {
	s, ok := n.source(instead)
	if ok && !slices.Contains(tags, n.y.ShortTag()) {
		n.mistaken(instead)
		return "", false
	}
	return s, ok
}

// number reads a finite number.
func (n node) number() (float64, bool) {
	s, ok := n.scalar("write a number", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	if i, err := parseInt(s); err == nil {
		return float64(i), true
	}
	v, err := strconv.ParseFloat(s, 64)
	leadingZero := len(s) > 1 && strings.TrimLeft(s, "-")[0] == '0' && !strings.ContainsAny(s, ".eE")
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) || leadingZero || strings.Contains(s, "_") {
		n.wrong(n.called+" is no finite decimal number", "write a number such as 0.1 or 12")
		return 0, false
	}
	return v, true
}

// flag reads true or false.
func (n node) flag() bool {
	s, ok := n.scalar("write true or false", "!!bool")
	return ok && strings.EqualFold(s, "true")
}

// duration reads a duration that is not shorter than least.
func (n node) duration(least time.Duration, example string) (time.Duration, bool) {
	s, ok := n.source("write a duration such as " + example)
	if !ok {
		return 0, false
	}
	d, err := parseDuration(s)
	switch {
	case errors.Is(err, errNoUnit):
		n.wrong(n.called+" has no unit", "write a duration such as "+example)
	case err != nil:
		n.wrong(n.called+" is no duration", "write a duration such as "+example)
	case d < least:
		n.wrong(n.called+" is shorter than "+least.String(), "write a duration such as "+example)
	default:
		return d, true
	}
	return 0, false
}

// until reads a last day and gives the first instant after it.
func (n node) until(loc *time.Location) (time.Time, bool) {
	s, ok := n.scalar("write a day such as 2027-03-31", "!!str", "!!timestamp")
	if !ok {
		return time.Time{}, false
	}
	t, err := parseUntil(s, loc)
	if err != nil {
		n.wrong(n.called+" "+err.Error(), "write a day such as 2027-03-31")
		return time.Time{}, false
	}
	return t, true
}

// zone reads the name of a time zone.
func (n node) zone(otherwise *time.Location) *time.Location {
	s, ok := n.text()
	if !ok {
		return otherwise
	}
	loc, err := time.LoadLocation(s)
	if err != nil || s == "Local" {
		n.wrong("unknown time zone "+quote(s), "write a name such as Europe/Berlin or UTC")
		return otherwise
	}
	return loc
}

// patterns reads a list of machine/point patterns, and where they stand.
func (n node) patterns() (patterns []policy.Pattern, places []node) {
	for _, item := range n.list() {
		if p, ok := item.pattern(); ok {
			patterns, places = append(patterns, p), append(places, item)
		}
	}
	return patterns, places
}

func (n node) pattern() (policy.Pattern, bool) {
	s, ok := n.text()
	if !ok {
		return policy.Pattern{}, false
	}
	p, err := policy.ParsePattern(s)
	if err != nil {
		n.wrong(split(err))
		return policy.Pattern{}, false
	}
	return p, true
}

// split takes an error that says what is wrong and what to write apart.
func split(err error) (what, instead string) {
	what, instead, _ = strings.Cut(err.Error(), "; ")
	return what, instead
}

// secret reads a reference to a secret: "credential:NAME". It never quotes what
// stands there instead: that may be the secret.
func (n node) secret(kind string) (string, bool) {
	instead := "write " + kind + ":NAME; secrets are never in these files"
	s, ok := n.source(instead)
	if !ok {
		return "", false
	}
	name, ok := strings.CutPrefix(s, kind+":")
	if !ok || !isName(name) {
		n.wrong(n.called+" is no reference to a "+kind, instead)
		return "", false
	}
	return name, true
}
