package configs

import (
	"os"
	"path/filepath"
	"testing"
)

// fuzz loads arbitrary bytes in place of one file of a good configuration.
func fuzz(f *testing.F, kind, name string) {
	dir := f.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/good")); err != nil {
		f.Fatal(err)
	}
	seeds, _ := filepath.Glob("testdata/mistakes/" + kind + "-*.yaml")
	examples, _ := filepath.Glob("examples/" + kind + "*.yaml")
	machines, _ := filepath.Glob("examples/" + kind + "s/*.yaml")
	for _, path := range append(append(append(seeds, examples...), machines...), "testdata/good/"+name) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	o := at("2026-11-22")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
		c, problems := Load(filepath.Join(dir, "gateway.yaml"), o)
		if (c == nil) != Fatal(problems) {
			t.Fatalf("the configuration is %v with %v", c, problems)
		}
		if kind == "machine" && c == nil {
			t.Fatalf("a machine's file stops a start: %v", problems)
		}
		CheckSnippet(kind, b)
	})
}

func FuzzMachine(f *testing.F) { fuzz(f, "machine", "machines/press-3.yaml") }
func FuzzPolicy(f *testing.F)  { fuzz(f, "policy", "policy.yaml") }
func FuzzTrust(f *testing.F)   { fuzz(f, "trust", "trust.yaml") }
func FuzzGateway(f *testing.F) { fuzz(f, "gateway", "gateway.yaml") }
