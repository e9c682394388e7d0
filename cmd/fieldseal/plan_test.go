package main

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs"
)

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"a"}, "a"},
		{[]string{"a-1", "a-2"}, "a-1, a-2"},
		{[]string{"a-08", "a-09", "a-10", "a-12"}, "a-08…10, a-12"},
		{[]string{"a-1", "b-2", "b-3", "b-4"}, "a-1, b-2…4"},
		{[]string{"1", "2", "3"}, "1…3"},
	} {
		assert.Equal(t, c.want, runs(c.names))
	}
}

func TestWrapped(t *testing.T) {
	text := strings.Repeat("word ", 60) + strings.Repeat("x", 120)
	lines := wrapped("    ", text)
	for _, l := range lines[:len(lines)-1] {
		assert.LessOrEqual(t, utf8.RuneCountInString(l), planWidth)
		assert.True(t, strings.HasPrefix(l, "    "))
	}
	assert.Equal(t, strings.Fields(text), strings.Fields(strings.Join(lines, " ")))
}

// What a file says must not end the command that an annotation is, nor begin
// another.
func TestAnnotation(t *testing.T) {
	for _, c := range []struct {
		problem configs.Problem
		want    string
	}{
		{
			configs.Problem{File: "a.yaml", Line: 2, Column: 3, What: "100% wrong\n::warning::x", Instead: "a, b: c"},
			"::error file=a.yaml,line=2,col=3,title=fieldseal check::100%25 wrong%0A::warning::x; a, b: c",
		},
		{configs.Problem{File: "a,b:c%\r.yaml", What: "w", Note: true}, "::notice file=a%2Cb%3Ac%25%0D.yaml,title=fieldseal check::w"},
		{configs.Problem{File: "a.yaml", What: "w\x1b[2J", Machine: "press-3"}, `::error file=a.yaml,title=fieldseal check%3A press-3 is left out::w\x1b[2J`},
		{configs.Problem{File: "a.yaml", What: "w", Machine: "press-3", Stops: true}, "::error file=a.yaml,title=fieldseal check%3A points stop::w"},
	} {
		assert.Equal(t, c.want, annotation(&found{Problem: c.problem}))
	}
}

// A point's line, in the ways that a file can have it.
func TestPlaces(t *testing.T) {
	var p places
	file := t.TempDir() + "/m.yaml"
	writeFile(t, file, `fieldseal: machine/v1
machine: press-4
template: press@3
modbus: {connect: "tcp://10.20.3.14:502", unit_id: 1}
override:
  strokes: {poll: slow}
points:
  - {name: force, at: 40101, type: float32}
  - name: alarms
    bits: {0: overload, 3: {name: guard-open, invert: true}}
  - {name: "zone-{z}", each: {z: 1..8}, at: "holding/{199+z}", type: int16}
`)
	for name, line := range map[string]int{
		"force": 8, "alarms-overload": 9, "alarms-guard-open": 9, "zone-7": 11, "strokes": 6, "elsewhere": 3,
	} {
		assert.Equal(t, line, p.point(file, "press-4", name).line, name)
	}
	assert.Equal(t, at{4, 19}, p.connection(file))
	assert.Equal(t, at{}, p.point("none.yaml", "a", "b"))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}
