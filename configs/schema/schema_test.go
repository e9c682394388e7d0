package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/configs/schema"
)

// load gives the schema of a kind as plain values.
func load(t *testing.T, kind string) map[string]any {
	t.Helper()
	b, err := schema.JSON(kind)
	require.NoError(t, err)
	var s map[string]any
	require.NoError(t, json.Unmarshal(b, &s))
	return s
}

// walk gives every schema, with where it is: "uplinks[].nats". Names of mappings
// that may be any are <>.
func walk(s map[string]any, path string, visit func(path string, s map[string]any)) {
	visit(path, s)
	if p, ok := s["properties"].(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(p)) {
			walk(p[key].(map[string]any), strings.TrimPrefix(path+"."+key, "."), visit)
		}
	}
	if more, ok := s["additionalProperties"].(map[string]any); ok {
		walk(more, strings.TrimPrefix(path+".<>", "."), visit)
	}
	if items, ok := s["items"].(map[string]any); ok {
		walk(items, path+"[]", visit)
	}
	if several, ok := s["anyOf"].([]any); ok {
		for _, one := range several {
			walk(one.(map[string]any), path, visit)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, kind := range schema.Kinds() {
		s := load(t, kind)
		assert.Equal(t, "https://json-schema.org/draft/2020-12/schema", s["$schema"])
		assert.Equal(t, "https://fieldseal.example/schema/"+kind+"-v1.json", s["$id"])
		assert.Equal(t, schema.URL(kind), s["$id"])
	}
	_, err := schema.JSON("hall")
	assert.EqualError(t, err, `there is no kind of file "hall"; write gateway, policy, trust, machine, machines, template, hub`)
}

// An editor shows the description where a key is written: none has none. Each
// mapping is closed, each pattern is one, and each example is valid.
func TestEveryKeyIsDescribed(t *testing.T) {
	for _, kind := range schema.Kinds() {
		walk(load(t, kind), "", func(path string, s map[string]any) {
			where := kind + ": " + path
			if !strings.HasSuffix(path, "[]") && !strings.HasSuffix(path, "<>") && s["description"] == nil {
				inner := s["type"] != nil || s["enum"] != nil || s["const"] != nil // one of several, of a key that is described
				assert.True(t, inner, "%s has no description", where)
			}
			if p, ok := s["properties"].(map[string]any); ok {
				for key, of := range p {
					text, _ := of.(map[string]any)["description"].(string)
					assert.Greater(t, len(text), 8, "%s.%s has no description", where, key)
					assert.Contains(t, ".…", string([]rune(text)[len([]rune(text))-1:]), "%s.%s: a description is a sentence: %s", where, key, text)
				}
				assert.Contains(t, s, "additionalProperties", where)
			}
			if pattern, ok := s["pattern"].(string); ok {
				_, err := regexp.Compile(pattern)
				assert.NoError(t, err, where)
			}
			examples, _ := s["examples"].([]any)
			for _, e := range examples {
				assert.Empty(t, validate(s, e, ""), "%s: its example %v", where, e)
			}
		})
	}
}

// bases are documents of each kind that load, apart from files that they name.
var bases = map[string][]string{
	"gateway": {`
fieldseal: gateway/v1
gateway: gw-1
policy: policy.yaml
trust: trust.yaml
machines: machines/*.yaml
state: /var/lib/fieldseal
keystore: {unlock: "credential:keystore"}
uplinks: [{name: up, nats: {servers: ["tls://a:4222"], stream: PLANT, prefix: plant, certificate: "keystore:uplink", trust: ca.pem}}]
outbox: {max_size: 512MiB, when_full: drop-oldest}
`},
	"policy": {`
fieldseal: policy/v1
policy: plant
revision: 1
levels: [{name: restricted, send: sealed, to: [a], connection: any}]
default: restricted
`},
	"trust": {`
fieldseal: trust/v1
revision: 1
gateways: {gw-1: {signing_key: "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", until: 2028-12-31}}
recipients: {a: {keys: [{file: a.pub, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}]}}
`},
	"machine": {`
fieldseal: machine/v1
machine: press-3
modbus: {connect: "tcp://10.20.3.13:502", unit_id: 1}
points: [{name: force, at: 40101, type: uint16}]
`, `
fieldseal: machine/v1
machine: mixer-4
opcua:
  endpoint: opc.tcp://10.20.4.14:4840
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c"
  certificate: keystore:opcua-client
  user: anonymous
  namespace: http://vendor.example/mixer/v2
points: [{name: speed, node: s=Speed, type: float64}]
`, `
fieldseal: machine/v1
machine: pump-4
coap: {listen: "0.0.0.0:5684", device: {psk_identity: pump-4, psk: "credential:pump-4"}}
points: [{name: log, path: /log, type: bytes, passthrough: cose, readable_by: [a]}]
`},
	"machines": {`
fieldseal: machines/v1
template: hotrunner@2
for_each: {n: 1..4}
machine: "hotrunner-{n}"
modbus: {connect: "tcp://10.20.3.13:502", unit_id: "{n}"}
`, `
fieldseal: machines/v1
template: mixer@2
for_each: {n: 1..4}
machine: "mixer-{n}"
opcua: {endpoint: "opc.tcp://10.20.4.{n}:4840"}
`, `
fieldseal: machines/v1
template: pump@2
for_each: {n: 1..4}
machine: "pump-{n}"
coap: {listen: "0.0.0.0:5684", device: {psk_identity: "pump-{n}", psk: "credential:pump-{n}"}}
`},
	"hub": {`
fieldseal: hub/v1
listen: "0.0.0.0:5684"
certificate: hub.pem
key: hub.key
trust: gateways.pem
nats: {servers: ["tls://a:4222"], stream: PLANT, prefix: plant, certificate: n.pem, key: n.key, trust: ca.pem}
`},
	"template": {`
fieldseal: template/v1
template: hotrunner
version: 2
modbus: {order: ABCD}
points: [{name: zone, at: holding/200, type: uint16}]
`, `
fieldseal: template/v1
template: mixer
version: 2
opcua: {namespace: "http://vendor.example/mixer/v2"}
points: [{name: speed, node: s=Speed, type: float64}]
`, `
fieldseal: template/v1
template: pump
version: 2
coap: {listen: "0.0.0.0:5684"}
points: [{name: log, path: /log, type: bytes, passthrough: cose, readable_by: [a]}]
`},
}

// instead says which keys a key takes the place of: not both are read.
var instead = map[string][]string{
	"nats": {"dtls", "files"}, "dtls": {"nats", "files"}, "files": {"nats", "dtls"}, "rows": {"for_each"},
	"modbus": {"opcua", "coap"}, "opcua": {"modbus", "coap"}, "coap": {"modbus", "opcua"},
	"psk": {"certificate"}, "psk_identity": {"certificate"},
}

// nobody is a key that nobody knows, and that is a slip of none.
const nobody = "zzzzzzzzzzzz-nobody"

// unread are the mappings into which this version does not look, because it does
// not honour the key, or not where there is no template to override.
var unread = []string{"gateway: console", "points[].fields[]", "override.<>", "machines: for_each"}

// TestSchemaHasTheLoadersKeys holds the schema and the loader to the same keys.
// In every mapping of a schema a key that nobody knows is put beside the others:
// the loader then lists those that it knows.
func TestSchemaHasTheLoadersKeys(t *testing.T) {
	for _, kind := range schema.Kinds() {
		walk(load(t, kind), "", func(path string, s map[string]any) {
			properties, ok := s["properties"].(map[string]any)
			if !ok {
				return
			}
			known, refused := map[string]bool{}, map[string]int{}
			read := false
			for _, base := range bases[kind] {
				for _, key := range append(slices.Sorted(maps.Keys(properties)), nobody) {
					for _, p := range configs.CheckSnippet(kind, put(t, base, path, key, example(properties[key]))) {
						if strings.HasPrefix(p.What, "unknown key '"+nobody+"'") {
							read = true
							for _, word := range regexp.MustCompile(`, | or `).Split(strings.TrimPrefix(p.Instead, "write "), -1) {
								known[word] = true
							}
						}
						if strings.HasPrefix(p.What, "unknown key '"+key+"'") {
							refused[key]++
						}
					}
				}
			}
			where := kind + ": " + path
			if !read {
				assert.True(t, slices.ContainsFunc(unread, func(u string) bool { return strings.Contains(where, u) }), "the loader does not look into %s", where)
				return
			}
			for key := range known {
				_, has := properties[key]
				assert.True(t, has, "the loader knows %s.%s, which the schema does not", where, key)
			}
			for key, n := range refused {
				assert.True(t, n < len(bases[kind]) || key == nobody, "the schema has %s.%s, which the loader does not know", where, key)
			}
		})
	}
}

// example is a value for a key.
func example(s any) any {
	m, _ := s.(map[string]any)
	if e, ok := m["examples"].([]any); ok {
		return e[0]
	}
	if e, ok := m["enum"].([]any); ok {
		return e[0]
	}
	switch m["type"] {
	case "object":
		return map[string]any{}
	case "array":
		return []any{}
	case "integer":
		return 1
	case "boolean":
		return true
	}
	return "x"
}

// put gives a document with a key at a path, and on the way only what has to be
// there.
func put(t *testing.T, base, path, key string, v any) []byte {
	t.Helper()
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(base), &doc))
	at := doc
	if path != "" {
		for step := range strings.SplitSeq(path, ".") {
			word, isList := strings.CutSuffix(step, "[]")
			if word == "<>" { // a name, or the number of a bit
				word = "1"
				for k := range at {
					word = k
				}
			}
			for _, other := range instead[word] {
				delete(at, other)
			}
			var next map[string]any
			if isList {
				if l, ok := at[word].([]any); ok && len(l) > 0 {
					next, _ = l[0].(map[string]any)
				}
				if next == nil {
					next = map[string]any{}
					at[word] = []any{next}
				}
			} else if next, _ = at[word].(map[string]any); next == nil {
				next = map[string]any{}
				at[word] = next
			}
			at = next
		}
	}
	for _, other := range instead[key] {
		delete(at, other)
	}
	if _, there := at[key]; !there {
		at[key] = v
	}
	b, err := yaml.Marshal(doc)
	require.NoError(t, err)
	return []byte(strings.ReplaceAll(string(b), `"1":`, "1:")) // a number is a number
}

// What is valid for the loader is for the schema.
func TestGoodFilesAreValid(t *testing.T) {
	files := 0
	for _, folder := range []string{"../testdata/good", "../examples", "../../cmd/fieldseal/testdata/plant"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".yaml" {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text := strings.NewReplacer(
				"ed25519:AAAA...", "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "0000...", strings.Repeat("0", 64), "9f2c...", strings.Repeat("9f2c", 16),
				"$SIGNING", "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "$HISTORIAN", strings.Repeat("0", 64), "$ENGINEERING", strings.Repeat("0", 64),
				"$SIM", "tcp://127.0.0.1:502", "$NATS", "tls://127.0.0.1:4222", "$WORK", "/work",
			).Replace(string(b))
			text = strings.ReplaceAll(text, "ed25519:ed25519:", "ed25519:")
			kind, doc := parse(t, text)
			assert.Empty(t, validate(load(t, kind), doc, ""), path)
			files++
			return nil
		}))
	}
	assert.Greater(t, files, 12)
	for kind, docs := range bases {
		for _, text := range docs {
			_, doc := parse(t, text)
			assert.Empty(t, validate(load(t, kind), doc, ""), kind)
		}
	}
}

// What the loader takes, in ways of writing that an editor may not know.
func TestWhatTheLoaderTakesIsValid(t *testing.T) {
	for _, c := range []struct{ kind, old, new string }{
		{"machine", "type: uint16", "type: bytes, bytes: 64, passthrough: cose, readable_by: [a], key_ids: [press-3, 0x6b31, 0x00ff]"},
		{"machine", "points:", "tags: {}\npoints:"},
		{"machine", "points:", "tags: {site: augsburg, 4: \"hall 4\"}\npoints:"},
		{"machine", "type: uint16", "type: uint16, scale: 0.5"},
		{"policy", "send: sealed, to: [a], connection: any", "send: withheld"},
	} {
		text := strings.Replace(bases[c.kind][0], c.old, c.new, 1)
		require.NotEqual(t, bases[c.kind][0], text)
		if c.kind != "policy" { // a default that sends nothing is none
			assert.Empty(t, configs.CheckSnippet(c.kind, []byte(text)), text)
		}
		_, doc := parse(t, text)
		assert.Empty(t, validate(load(t, c.kind), doc, ""), text)
	}
}

// What an editor has to find.
func TestMistakesAreFound(t *testing.T) {
	for _, c := range []struct{ kind, old, new, want string }{
		{"machine", "at: 40101", "att: 40101", "points[0].att: unknown"},
		{"machine", "at: 40101", "at: 100", "points[0].at"},
		{"machine", "type: uint16", "type: uint17", "points[0].type"},
		{"machine", "machine: press-3", "machine: Press 3", "machine"},
		{"machine", "unit_id: 1", "unit_id: 256", "modbus.unit_id"},
		{"gateway", "512MiB", "512", "outbox.max_size"},
		{"gateway", "tls://a:4222", "nats://a:4222", "uplinks[0].nats.servers[0]"},
		{"gateway", "state: /var/lib/fieldseal\n", "", "state: missing"},
		{"policy", "send: sealed", "send: open", "levels[0].send"},
		{"policy", "revision: 1", "revision: 0", "revision"},
		{"policy", ", connection: any", "", "levels[0].connection: missing"},
		{"policy", "send: sealed, to: [a], connection: any", "send: clear", "levels[0].connection: missing"},
		{"policy", "to: [a], ", "", "levels[0].to: missing"},
		{"machine", "type: uint16", "type: uint16, scale: 0", "points[0].scale"},
		{"machine", "type: uint16", "type: uint16, scale: 0.0", "points[0].scale"},
		{"machine", "type: uint16", "type: uint16, key_ids: [-1]", "points[0].key_ids[0]"},
		{"machine", "points:", "tags: {Site: augsburg}\npoints:", "tags.Site"},
		{"trust", "until: 2028-12-31", "until: 31.12.2028", "gateways.gw-1.until"},
		{"machines", "n: 1..4", "n: 1-4", "for_each.n"},
		{"template", "version: 2", "version: two", "version"},
	} {
		text := strings.Replace(bases[c.kind][0], c.old, c.new, 1)
		require.NotEqual(t, bases[c.kind][0], text)
		_, doc := parse(t, text)
		found := validate(load(t, c.kind), doc, "")
		assert.NotEmpty(t, configs.CheckSnippet(c.kind, []byte(text)), text)
		assert.True(t, slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, c.want) }), "%s: %v", c.new, found)
	}
}

func parse(t *testing.T, text string) (kind string, doc any) {
	t.Helper()
	var n yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &n))
	doc = plain(n.Content[0])
	kind, _, _ = strings.Cut(fmt.Sprint(doc.(map[string]any)["fieldseal"]), "/")
	return kind, doc
}

// plain gives a YAML value as JSON has it; dates are texts, as in YAML 1.2.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, c := range n.Content {
			l = append(l, plain(c))
		}
		return l
	}
	var v any
	if n.ShortTag() == "!!timestamp" || n.Decode(&v) != nil {
		return n.Value
	}
	if i, ok := v.(int); ok {
		return float64(i)
	}
	return v
}
