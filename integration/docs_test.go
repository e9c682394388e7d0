package integration

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs"
)

var (
	// header is the first line of a configuration file, or of a block of one.
	header = regexp.MustCompile(`^fieldseal: *(gateway|policy|trust|machines?|template|hub)/v1( +#.*)?$`)
	// fence opens or closes a block of code: indentation, marks, info string.
	fence = regexp.MustCompile("^([ >]*)(```+|~~~+) *([^`]*)$")
	// code is a span of code within a line.
	code = regexp.MustCompile("`+[^`]*`+")
	// link is [text](target), ![text](target) or [name]: target.
	link = regexp.MustCompile(`\]\( *<?([^)>\s]+)>?[^)]*\)|^ *\[[^\]]+\]: *<?([^>\s]+)`)
)

// block is one fenced block of code.
type block struct {
	line    int    // of its first line of content
	info    string // what stands behind the opening fence
	content string
}

// target is where a link leads.
type target struct {
	line int
	to   string
}

// TestDocumentedConfiguration holds that the YAML which documents show is valid:
// a reader will copy it.
func TestDocumentedConfiguration(t *testing.T) {
	for _, path := range documents(t) {
		blocks, _ := markdown(t, path)
		for _, b := range blocks {
			language, mark, _ := strings.Cut(b.info, " ")
			if language != "yaml" && language != "yml" || mark == "fragment" {
				continue
			}
			first, _, _ := strings.Cut(b.content, "\n")
			kind := header.FindStringSubmatch(first)
			if kind == nil || mark != "" {
				t.Errorf("%s:%d: a block of YAML begins with fieldseal: KIND/v1, or is marked ```yaml fragment; this one is ```%s and begins with %q",
					relative(t, path), b.line, b.info, first)
				continue
			}
			for _, p := range configs.CheckSnippet(kind[1], []byte(b.content)) {
				if p.Note {
					continue
				}
				p.File = relative(t, path)
				p.Line = b.line + max(p.Line, 1) - 1
				t.Error(p.String())
			}
		}
	}
}

func TestDocumentsLinkToWhatExists(t *testing.T) {
	for _, path := range documents(t) {
		_, links := markdown(t, path)
		for _, l := range links {
			u, err := url.Parse(l.to)
			if !assert.NoError(t, err, "%s:%d", relative(t, path), l.line) || u.Scheme != "" || u.Host != "" || u.Path == "" {
				continue
			}
			to := filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
			if strings.HasPrefix(u.Path, "/") {
				to = filepath.Join(root(t), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s:%d: links to %s, which does not exist", relative(t, path), l.line, l.to)
			}
		}
	}
}

// TestMarkdown holds that the two tests above see what there is to see.
func TestMarkdown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.md")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join([]string{
		"See [one](a.md#top), ![two](<b.png>) and `[none](c.md)`.", // 1
		"",
		"- a list",
		"  ```yaml",
		"  fieldseal: policy/v1", // 5
		"    a: [x](d.md)",
		"  ```",
		"~~~yaml fragment",
		"```",
		"~~~", // 10
		"[name]: e.md",
		"```", "open",
	}, "\n")), 0o600))
	blocks, links := markdown(t, path)
	assert.Equal(t, []target{{1, "a.md#top"}, {1, "b.png"}, {11, "e.md"}}, links)
	assert.Equal(t, []block{
		{5, "yaml", "fieldseal: policy/v1\n  a: [x](d.md)\n"},
		{9, "yaml fragment", "```\n"},
		{13, "", "open\n"},
	}, blocks)
}

// documents are the Markdown files at the root and below docs.
func documents(t *testing.T) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(root(t), "*.md"))
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(filepath.Join(root(t), "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir // documents of others
		}
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			out = append(out, path)
		}
		return err
	}))
	require.NotEmpty(t, out)
	return out
}

// markdown takes the fenced blocks and the links out of a file. A block that is
// never closed ends with the file.
func markdown(t *testing.T, path string) (blocks []block, links []target) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var open, indent string
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open != "" && m != nil && strings.HasPrefix(m[2], open) && m[3] == "":
			open = ""
		case open != "":
			blocks[len(blocks)-1].content += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			indent, open = m[1], m[2]
			blocks = append(blocks, block{line: i + 2, info: strings.TrimSpace(m[3])})
		default:
			for _, l := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
				links = append(links, target{line: i + 1, to: l[1] + l[2]})
			}
		}
	}
	return blocks, links
}
