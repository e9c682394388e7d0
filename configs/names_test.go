package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"machines/press-1.yaml": "machines/press-1.yaml",
		"Prüfstand 3/öl.yaml":   "Prüfstand 3/öl.yaml",
		"a\x1b[2Jb.yaml":        `"a\x1b[2Jb.yaml"`,
		"a\nb":                  `"a\nb"`,
		"a\u202eb":              `"a\u202eb"`,
		"a\x9bb":                `"a\x9bb"`,
		"a\u009bb":              `"a\u009bb"`,
	} {
		assert.Equal(t, want, Printable(in))
	}
	assert.Equal(t, "a\nb c\\x1b[2J\\x9b\\u202e\ufffd", Plain("a\nb\tc\x1b[2J\x9b\u202e\ufffd"))
}

// A file whose name a terminal would obey is refused, and shown in quotes.
func TestFileNamesThatDoNotPrint(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	clean, problems := o.start()
	require.Empty(t, problems)
	const evil = "x\x1b]0;owned\a\nfieldseal: fine.yaml"
	content, err := os.ReadFile(clean.Machines[0].File)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(clean.Machines[0].File), evil), content, 0o600))
	require.NoError(t, os.Mkdir(o.path("templates"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(o.dir, "templates", evil), []byte("nonsense"), 0o600))
	options := at("2026-11-22")
	options.Draft, options.Approvals = false, o.store
	c, found := Load(o.path("gateway.yaml"), options)
	require.NotNil(t, c)
	require.Equal(t, clean.Machines, c.Machines, "the others run")
	require.Len(t, found, 2)
	for _, p := range found {
		assert.Contains(t, p.String(), `"`)
		assert.True(t, strings.HasSuffix(p.String(), "the file's name holds characters that do not print; give it a name of letters, digits and dashes"), p.String())
		assert.True(t, isPrintable(p.String()+p.Machine), p.String())
	}
	assert.True(t, found[0].LeavesOut() || found[1].LeavesOut())

	// Nor does the gateway file name one.
	require.NoError(t, os.Rename(o.path("policy.yaml"), o.path("pol\x1bicy.yaml")))
	o.edit("gateway.yaml", "policy: policy.yaml", `policy: "pol\eicy.yaml"`)
	_, found = Load(o.path("gateway.yaml"), at("2026-11-22"))
	require.True(t, Fatal(found))
	for _, p := range found {
		assert.True(t, isPrintable(p.String()), p.String())
	}
}
