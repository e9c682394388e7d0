package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{
			"a point over several lines", `
points:
  - name: server-time
    node: {namespace: "http://opcfoundation.org/UA/", id: i=2258}
    type:   datetime
    poll: slow
  - {name: a,
     at: 40101, type: uint16}   # counts
`, `
points:
  - {name: server-time, node: {namespace: "http://opcfoundation.org/UA/", id: i=2258}, type: datetime, poll: slow}
  - {name: a, at: 40101, type: uint16}  # counts
`,
		},
		{
			"comments within a point keep it", `
points:
  - name: torque-log
    passthrough: cose               # the drive encrypts it itself
    type: bytes
  - name: b
    type: bool
`, `
points:
  - name: torque-log
    passthrough: cose               # the drive encrypts it itself
    type: bytes
  - {name: b, type: bool}
`,
		},
		{
			"comments around points stay", `
# top
points:   # all of them
  # the first
  - name: a
    type: bool

  # the second
  - {name: b,  type: bool}     # in its column
  # the end

override:
  x: {poll: slow}
`, `
# top
points:   # all of them
  # the first
  - {name: a, type: bool}

  # the second
  - {name: b, type: bool}  # in its column
  # the end

override:
  x: {poll: slow}
`,
		},
		{
			"a comment whose place was chosen", `
points:
  - {name: a, type: bool}            # one
  - {name: bbb, type: bool}          # three
`, "",
		},
		{
			"quotes as they are, unless braces need them", `
points:
  - name: 'it''s'
    unit: "°C"
    why: a, b [c] {d}
    node: s="DB"."Drv"[1]
    hex: 0x8000
    about: don't
`, `
points:
  - {name: 'it''s', unit: "°C", why: "a, b [c] {d}", node: 's="DB"."Drv"[1]', hex: 0x8000, about: don't}
`,
		},
		{
			"a structure keeps its lines, and its fields have one each", `
points:
  - name: drive
    type: structure
    fields:        # what is not listed never leaves
      - name: speed
        field: rSpeed
      - {name: torque,   field: rTorque}
    poll: slow
  - name: b
    type: bool
`, `
points:
  - name: drive
    type: structure
    fields:        # what is not listed never leaves
      - {name: speed, field: rSpeed}
      - {name: torque, field: rTorque}
    poll: slow
  - {name: b, type: bool}
`,
		},
		{
			"a list in brackets", `
points: [{name: a, type: bool},
  {name: b, type: bool}]
poll: {normal: 1s}
`, `
points:
  - {name: a, type: bool}
  - {name: b, type: bool}
poll: {normal: 1s}
`,
		},
		{
			"blanks and line ends", "\ufeffmachine: a  \r\n\r\n\r\n\r\npoints:\r\n- name: a\r\n  type: bool\t\r\n\r\n", "machine: a\n\npoints:\n- {name: a, type: bool}\n",
		},
		{
			"blanks that mean something", `
about: |
  two  


  lines
points:
  - name: |
      a
    type: bool
  - name: b
    type: bool
`, `
about: |
  two  


  lines
points:
  - name: |
      a
    type: bool
  - {name: b, type: bool}
`,
		},
		{"what is no list", "points: {a: b}\n", ""},
		{"an entry that is none", "points:\n  - a\n  -\n    name: b\n", ""},
		{"an empty value", "points:\n  - name: a\n    type:\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, want := strings.TrimPrefix(c.in, "\n"), strings.TrimPrefix(c.want, "\n")
			if want == "" {
				want = in
			}
			got, err := Format([]byte(in))
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
			again, err := Format(got)
			require.NoError(t, err)
			assert.Equal(t, string(got), string(again))
		})
	}
}

func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "it is empty",
		"- a\n":                  "it is no mapping",
		"a: [\n":                 "not valid YAML in line",
		"a: b\n---\nc: d\n":      "it has more than one document",
		"a: &b c\nd: *b\n":       "it has aliases, anchors or tags in it",
		"a: !!str 1\npoints: []": "it has aliases, anchors or tags in it",
	} {
		_, err := Format([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

// The examples are in form, but for two points that stand over several lines.
func TestExamples(t *testing.T) {
	files := 0
	require.NoError(t, filepath.WalkDir("../examples", func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		got, err := Format(b)
		require.NoError(t, err, path)
		before, err := parse(b)
		require.NoError(t, err)
		after, err := parse(got)
		require.NoError(t, err)
		assert.True(t, equal(before, after), path)
		if filepath.Base(path) != "mixer-4.yaml" {
			assert.Equal(t, string(b), string(got), path)
		}
		files++
		return nil
	}))
	assert.Greater(t, files, 6)
}

// Whatever a file is: what comes out means the same, and stays as it is.
func FuzzFormat(f *testing.F) {
	for _, pattern := range []string{"../examples/*.yaml", "../examples/*/*.yaml", "../testdata/mistakes/*.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, path := range files {
			b, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(b)
		}
	}
	f.Add([]byte("points:\n  - name: a\n    type: bool # x\n\n# y\n"))
	f.Add([]byte("l: \r")) // a carriage return alone ends a line too
	f.Add([]byte("points: [{a: 'b\n  c', d: \"e\\\n f\"}, [g]]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		out, err := Format(content)
		if err != nil {
			return
		}
		before, err := parse(content)
		require.NoError(t, err)
		after, err := parse(out)
		require.NoError(t, err)
		require.True(t, equal(before, after))
		require.Equal(t, comments(string(content)), comments(string(out)))
		again, err := Format(out)
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))
	})
}
