package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// What a machine says is no command for a terminal. JSON says the same with
// escapes; rows are escaped for terminals alone.
func TestOpenPrintsNoCommands(t *testing.T) {
	alone(t)
	const text = "a\u009b31m\x7f\u202eb\x1b[2J\U000e0041ü"
	s := newSite(t)
	f := s.feed("press-1", "restricted", "engineering")
	f.catalogue(envelope.Entry{Name: "force", Unit: text, Tags: map[string]string{text: text}})
	f.sealed(envelope.Sample{Name: "force", Value: envelope.OfText([]byte(text))})
	s.checkpoints()
	dir := s.folder()
	a := s.open("engineering", "--tags", dir)
	require.Zero(t, a.code, a.stderr)
	assert.False(t, strings.ContainsFunc(a.stdout, func(c rune) bool { return hidden(c) || c < ' ' && c != '\n' }), "%q", a.stdout)
	assert.Equal(t, 4, strings.Count(a.stdout, `a\u009b31m\u007f\u202eb\u001b[2J\udb40\udc41ü`), a.stdout)
	got := a.printed(t)[0]
	var value string
	require.NoError(t, json.Unmarshal(got.Value, &value))
	assert.Equal(t, []string{text, text, text}, []string{value, got.Unit, got.Tags[text]})

	rows := s.open("engineering", "--format", "csv", dir)
	assert.Contains(t, rows.stdout, `"`+text+`"`, "a file has what the machine said")
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	terminal := lines{csv: true, terminal: true}
	l := line{point: text, unit: text, value: envelope.OfText([]byte(text))}
	require.NoError(t, terminal.line(w, &envelope.Delivery{}, &l))
	require.NoError(t, w.Flush())
	assert.False(t, strings.ContainsFunc(out.String(), func(c rune) bool { return hidden(c) || c < ' ' && c != '\r' && c != '\n' }), "%q", out.String())
	assert.Equal(t, 3, strings.Count(out.String(), `a\u009b31m`), out.String())
}
