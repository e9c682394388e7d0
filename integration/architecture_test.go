// Package integration holds what no single package can test: who imports whom,
// what the documents promise, and the program against other people's.
package integration

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const module = "github.com/fieldseal/fieldseal"

// maxLines is where a file has to answer the question whether it is two things.
const maxLines = 700

const (
	backoff = "github.com/cenkalti/backoff/v5"
	cbor    = "github.com/fxamacker/cbor/v2"
)

// layer says what one package, and those below it, may import outside of tests.
// The standard library and the package's own tree are always allowed. A pattern
// is the beginning of an import path; one that ends with $ is the whole path.
type layer struct {
	pkg    string
	own    []string // of this module
	others []string // of other modules
	alone  bool     // pkg itself, not what is below it
	closed []string // if set: all other modules' packages that it may link, direct or not
}

// layers is the one table of who may import whom. .golangci.yml repeats it for
// editors and `make lint`; TestLinterHoldsTheSameTable compares the two.
var layers = []layer{
	{
		pkg: "bridge", alone: true,
		own:    []string{"bridge/", "adapters/", "policy$", "policy/", "configs$"},
		others: []string{backoff, "github.com/fsnotify/fsnotify", "golang.org/x/sys/"},
	},
	{pkg: "bridge/durable"},
	{pkg: "bridge/clock", own: []string{"bridge/durable$"}, others: []string{"golang.org/x/sys/unix"}},
	{pkg: "bridge/point"},
	{pkg: "bridge/status", own: []string{"bridge/point$"}},
	{pkg: "bridge/stream", own: []string{"bridge/point$", "bridge/envelope$", "policy$", "policy/"}},
	{
		pkg: "bridge/envelope", others: []string{cbor, "github.com/veraison/go-cose"},
		// Consumers import it: what it drags in is theirs too.
		closed: []string{cbor, "github.com/veraison/go-cose", "github.com/x448/float16"},
	},
	{pkg: "bridge/outbox"},
	{pkg: "bridge/relay", own: []string{"bridge/outbox$", "bridge/envelope$"}, others: []string{backoff}},
	{pkg: "bridge/hub", own: []string{"bridge/envelope$", "adapters/dtls$", "adapters/nats$"}, others: []string{backoff}},
	{
		pkg: "bridge/keystore", own: []string{"bridge/durable$", "bridge/status$"},
		others: []string{"golang.org/x/crypto/", "golang.org/x/sys/", "filippo.io/age", "github.com/google/go-tpm/"},
	},
	{pkg: "bridge/audit", own: []string{"bridge/status$"}, others: []string{"golang.org/x/mod/sumdb/"}},
	{pkg: "bridge/console", own: []string{"bridge/status$"}, others: []string{"github.com/prometheus/client_golang/"}},
	{pkg: "bridge/update", own: []string{"bridge/status$"}, others: []string{"github.com/theupdateframework/go-tuf/v2"}},
	{
		pkg: "adapters/modbus", own: []string{"bridge/point$"},
		others: []string{"github.com/simonvetter/modbus", "github.com/goburrow/serial", backoff},
	},
	{
		pkg: "adapters/opcua", own: []string{"bridge/point$"},
		others: []string{"github.com/gopcua/opcua", backoff, "golang.org/x/sys/"},
	},
	{
		pkg: "adapters/coap", own: []string{"adapters/dtls/record$", "bridge/point$"},
		others: []string{"github.com/plgd-dev/go-coap/v3/message", "github.com/plgd-dev/go-coap/v3/udp/coder$", "github.com/pion/", backoff},
	},
	{pkg: "adapters/nats", own: []string{"bridge/envelope$"}, others: []string{"github.com/nats-io/nats.go", backoff}},
	{pkg: "adapters/dtls", own: []string{"bridge/envelope$"}, others: []string{"github.com/pion/", cbor, backoff}},
	{pkg: "adapters/files", own: []string{"bridge/envelope$"}, others: []string{cbor}},
	{pkg: "policy", own: []string{"bridge/durable$", "bridge/point$"}, others: []string{"golang.org/x/mod/sumdb/note", cbor}},
	{
		pkg: "configs", own: []string{"bridge/point$", "policy$", "policy/", "adapters/"},
		others: []string{"go.yaml.in/yaml/v4", "github.com/invopop/jsonschema"},
	},
}

// free are the trees that may import anything; the product among them is held
// by TestProductLinksNoTestCode.
var free = []string{"cmd", "integration"}

// glob is the pattern of the layer's files in .golangci.yml.
func (l layer) glob() string {
	if l.alone {
		return "${config-path}/" + l.pkg + "/*.go"
	}
	return "${config-path}/" + l.pkg + "/**"
}

// allowed lists the patterns in the order of .golangci.yml.
func (l layer) allowed() []string {
	var out []string
	if !l.alone {
		out = append(out, module+"/"+l.pkg+"$", module+"/"+l.pkg+"/")
	}
	for _, p := range l.own {
		out = append(out, module+"/"+p)
	}
	return append(out, l.others...)
}

func (l layer) holds(pkg string) bool {
	return pkg == l.pkg || !l.alone && strings.HasPrefix(pkg, l.pkg+"/")
}

func TestImports(t *testing.T) {
	for _, path := range sources(t) {
		name := filepath.ToSlash(filepath.Dir(path))
		if slices.ContainsFunc(free, func(tree string) bool { return name == tree || strings.HasPrefix(name, tree+"/") }) {
			continue
		}
		i := slices.IndexFunc(layers, func(l layer) bool { return l.holds(name) })
		if i < 0 {
			t.Errorf("%s: package %s is in no layer; say what it may import in integration/architecture_test.go and .golangci.yml", path, name)
			continue
		}
		allowed := layers[i].allowed()
		fset, file := parse(t, path, parser.ImportsOnly)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			line := fset.Position(spec.Pos()).Line
			if imported == "testing" || strings.HasPrefix(imported, "testing/") {
				t.Errorf("%s:%d: package %s imports %s, which is for tests", path, line, name, imported)
			} else if !standard(imported) && !matchAny(allowed, imported) {
				t.Errorf("%s:%d: package %s imports %s; allowed beside the standard library: %s",
					path, line, name, imported, strings.Join(allowed, ", "))
			}
		}
	}
}

func TestClosedPackagesLinkLittle(t *testing.T) {
	for _, l := range layers {
		here := func(path string) bool { return filepath.ToSlash(filepath.Dir(path)) == l.pkg }
		if l.closed == nil || !slices.ContainsFunc(sources(t), here) {
			continue
		}
		for _, p := range deps(t, l.pkg) {
			if p.Standard || strings.HasPrefix(p.ImportPath, module) {
				continue
			}
			assert.True(t, matchAny(l.closed, p.ImportPath),
				"package %s links %s; whoever imports it does too. Allowed: %s", l.pkg, p.ImportPath, strings.Join(l.closed, ", "))
		}
	}
}

func TestProductLinksNoTestCode(t *testing.T) {
	trees := []string{module + "/integration", module + "/cmd/demo", "github.com/nats-io/nats-server", "github.com/stretchr", "testing"}
	unwanted := func(pkg string) bool {
		return slices.ContainsFunc(trees, func(tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") })
	}
	for _, main := range commands(t) {
		if main == "cmd/demo" {
			continue
		}
		for _, p := range deps(t, main) {
			if unwanted(p.ImportPath) {
				continue // said once, of who brings it in
			}
			for _, imported := range p.Imports {
				if unwanted(imported) {
					t.Errorf("%s links %s, which %s imports; simulators, servers and test kits stay out of the product",
						main, imported, p.ImportPath)
				}
			}
		}
	}
}

func TestLinterHoldsTheSameTable(t *testing.T) {
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						ListMode string `yaml:"list-mode"`
						Files    []string
						Allow    []string
					}
				}
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(root(t), ".golangci.yml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &config))

	rules := config.Linters.Settings.Depguard.Rules
	for _, l := range layers {
		name := strings.ReplaceAll(l.pkg, "/", "-")
		rule, ok := rules[name]
		if !assert.True(t, ok, "depguard in .golangci.yml has no rule %s for package %s", name, l.pkg) {
			continue
		}
		assert.Equal(t, "strict", rule.ListMode, "depguard rule %s", name)
		assert.Equal(t, []string{l.glob(), "!$test"}, rule.Files, "depguard rule %s", name)
		assert.Equal(t, append([]string{"$gostd"}, l.allowed()...), rule.Allow, "depguard rule %s", name)
		delete(rules, name)
	}
	for name, rule := range rules {
		assert.NotEqual(t, "strict", rule.ListMode, "depguard rule %s in .golangci.yml has no layer in architecture_test.go", name)
	}
}

func TestNoInit(t *testing.T) {
	for _, path := range sources(t) {
		fset, file := parse(t, path, parser.SkipObjectResolution)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s:%d: func init; build it where it is used and hand it over", path, fset.Position(f.Pos()).Line)
			}
		}
	}
}

func TestFileLength(t *testing.T) {
	for _, path := range sources(t) {
		b, err := os.ReadFile(filepath.Join(root(t), path))
		require.NoError(t, err)
		if n := bytes.Count(b, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: is it two things?", path, n, maxLines)
		}
	}
}

// sources gives all non-test Go files, for every system and tag, as seen from
// the root. It walks the tree, rather than asking the go tool, so that the test
// cache knows of every folder.
func sources(t *testing.T) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root(t) && (name[0] == '.' || name[0] == '_' || slices.Contains([]string{"bin", "node_modules", "testdata"}, name)):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			out = append(out, relative(t, path))
		}
		return nil
	}))
	require.NotEmpty(t, out)
	return out
}

// commands gives the folders of the programs.
func commands(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, path := range sources(t) {
		if dir := filepath.ToSlash(filepath.Dir(path)); strings.HasPrefix(dir, "cmd/") {
			out = append(out, dir)
		}
	}
	return slices.Compact(out)
}

func parse(t *testing.T, path string, mode parser.Mode) (*token.FileSet, *ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, filepath.Join(root(t), path), nil, mode)
	require.NoError(t, err)
	return fset, file
}

// linked is what of go list -json is used here.
type linked struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// deps gives all that a package links, itself included. A package that does not
// compile is for other tests to complain about.
func deps(t *testing.T, pkg string) []linked {
	t.Helper()
	// Read here, so that the test cache knows that the answer depends on it.
	_, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports", "./"+pkg)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list %s: %s", pkg, stderr.String())

	var packages []linked
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p linked
		require.NoError(t, d.Decode(&p))
		packages = append(packages, p)
	}
	require.NotEmpty(t, packages, "go list %s", pkg)
	return packages
}

// standard tells whether an import path is of the standard library: its first
// element is no domain. Cgo is not: the program is built without it.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") && imported != "C"
}

func matchAny(patterns []string, imported string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if whole, ok := strings.CutSuffix(p, "$"); ok {
			return imported == whole
		}
		return strings.HasPrefix(imported, p)
	})
}

// root is the folder of go.mod: tests run in their package's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	require.NoError(t, err)
	return dir
}

// relative gives a path as seen from the root.
func relative(t *testing.T, path string) string {
	t.Helper()
	rel, err := filepath.Rel(root(t), path)
	require.NoError(t, err)
	return rel
}
