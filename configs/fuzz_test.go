package configs

import (
	"os"
	"path/filepath"
	"strings"
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
		sound(t, c)
		CheckSnippet(kind, b)
	})
}

// sound checks that the adapters find nothing wrong with the machines that start.
func sound(t *testing.T, c *Config) {
	if c == nil {
		return
	}
	for i := range c.Machines {
		m := &c.Machines[i]
		count, problems := 0, 0
		if m.OPCUA != nil {
			e := m.OPCUA.Endpoint
			count, problems = len(m.OPCUA.Points), len(m.OPCUA.Machine.Check())+len(e.Check())
		} else {
			count, problems = len(m.Modbus.Points), len(m.Modbus.Check())+len(m.Modbus.Endpoint.Check())
		}
		if count != len(m.Points) || problems > 0 || (m.OPCUA == nil) == (m.Modbus == nil) {
			t.Fatalf("%s starts with problems", m.Name)
		}
	}
}

func FuzzMachine(f *testing.F) { fuzz(f, "machine", "machines/press-3.yaml") }
func FuzzPolicy(f *testing.F)  { fuzz(f, "policy", "policy.yaml") }
func FuzzTrust(f *testing.F)   { fuzz(f, "trust", "trust.yaml") }
func FuzzGateway(f *testing.F) { fuzz(f, "gateway", "gateway.yaml") }

func FuzzTemplate(f *testing.F) {
	dir := f.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/good")); err != nil {
		f.Fatal(err)
	}
	seeds, _ := filepath.Glob("testdata/mistakes/tree-template*/templates/*.yaml")
	examples, _ := filepath.Glob("examples/templates/*.yaml")
	for _, path := range append(seeds, examples...) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte("{zone-1: {at: holding/1}}"))
	}
	f.Add([]byte(strings.NewReplacer("template: mixer", "template: hotrunner", "version: 1", "version: 2").Replace(mixerTemplate)), []byte("{zone-01: {node: i=1}}"))
	if err := os.Mkdir(filepath.Join(dir, "templates"), 0o755); err != nil {
		f.Fatal(err)
	}
	o := at("2026-11-22")
	f.Fuzz(func(t *testing.T, b, override []byte) {
		machine := append([]byte("fieldseal: machines/v1\ntemplate: hotrunner@2\nfor_each: {n: 1..2}\nmachine: \"oven-{n}\"\n"+
			"modbus: {connect: \"tcp://10.0.0.1\", unit_id: \"{n}\"}\noverride:\n  oven-2: "), override...)
		for name, content := range map[string][]byte{"templates/a.yaml": b, "machines/oven.yaml": machine} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c, problems := Load(filepath.Join(dir, "gateway.yaml"), o)
		if c == nil || Fatal(problems) {
			t.Fatalf("a template stops a start: %v", problems)
		}
		sound(t, c)
		CheckSnippet("template", b)
		CheckSnippet("machines", machine)
	})
}

func FuzzExpression(f *testing.F) {
	for _, s := range []string{"zone-{z}", "holding/{199+z}", "{z:02}", "{z-1+n:09}", "{", "}{", "{{z}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := variables{"z": "8", "n": "12"}
		out, whole, err := v.evaluate(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(out, "{}") {
			t.Fatalf("%q gives %q", s, out)
		}
		if whole && !isDigits(out) {
			t.Fatalf("%q is one expression and gives %q", s, out)
		}
		if again, _, _ := v.evaluate(out); again != out {
			t.Fatalf("%q gives %q and then %q", s, out, again)
		}
	})
}
