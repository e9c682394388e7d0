// Package schema gives the JSON Schemas (draft 2020-12) of the files that
// operators write, for editors: with a description on every key, so that one
// shows what a key means where it is written, and finds a slip before `fieldseal
// check` does.
//
// A schema sees one file alone, and says less than package configs does, which
// has the last word. A test holds both to the same keys.
package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Base is what the addresses of the schemas begin with, as the first line of a
// file names one: Base + "machine-v1.json".
const Base = "https://fieldseal.example/schema/"

// Kinds are the kinds of files, by the word of their first line.
func Kinds() []string {
	return []string{"gateway", "policy", "trust", "machine", "machines", "template", "hub"}
}

// URL is the address of the schema of a kind of file.
func URL(kind string) string { return Base + kind + "-v1.json" }

// JSON gives the schema of a kind of file, indented.
func JSON(kind string) ([]byte, error) {
	top, ok := map[string]func() schema{
		"gateway": gateway, "policy": policy, "trust": trust, "machine": machine, "machines": machines, "template": template, "hub": hub,
	}[kind]
	if !ok {
		return nil, fmt.Errorf("there is no kind of file %q; write %s", kind, strings.Join(Kinds(), ", "))
	}
	s := top()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = URL(kind)
	s["title"] = "Fieldseal " + kind + " file, version 1"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the schema: %w", err)
	}
	return append(b, '\n'), nil
}

// schema is one schema, as JSON has it. Its keys come out sorted.
type schema map[string]any

// keys are those of a mapping.
type keys map[string]schema

// eg adds values as they may stand in a file.
func (s schema) eg(examples ...any) schema {
	s["examples"] = examples
	return s
}

// with adds a keyword.
func (s schema) with(keyword string, value any) schema {
	s[keyword] = value
	return s
}

// file is the top of a kind of file.
func file(kind, about string, k keys, required ...string) schema {
	k["fieldseal"] = schema{
		"const": kind + "/v1", "description": "What kind of file this is, and of which version: the first line of each.",
	}
	return object(about, k, append([]string{"fieldseal"}, required...)...)
}

// object is a mapping with these keys and no others.
func object(about string, k keys, required ...string) schema {
	s := schema{"type": "object", "description": about, "properties": k, "additionalProperties": false}
	if len(required) > 0 {
		slices.Sort(required)
		s["required"] = required
	}
	return s
}

// mapOf is a mapping from names to the same kind of value.
func mapOf(about string, value schema) schema {
	return schema{
		"type": "object", "description": about, "additionalProperties": value, "minProperties": 1,
		"propertyNames": schema{"pattern": namePattern},
	}
}

// where asks for more keys where one has a certain value.
func where(key, value string, needs ...string) schema {
	return schema{
		"if":   schema{"properties": keys{key: {"const": value}}, "required": []string{key}},
		"then": schema{"required": needs},
	}
}

// list is a list that is not empty.
func list(about string, items schema) schema {
	return schema{"type": "array", "description": about, "items": items, "minItems": 1}
}

// either is one of some.
func either(about string, of ...schema) schema {
	return schema{"description": about, "anyOf": of}
}

const (
	namePattern     = `^` + nameAlone + `$`
	namesPattern    = `^([a-z0-9-]|\{[^{}]+\})+$` // a name with expressions in it
	durationPattern = `^([0-9]+d)?(([0-9]+(\.[0-9]+)?)(ns|us|µs|ms|s|m|h))*$`
	pointsPattern   = `^[a-z0-9*?-]+/[a-z0-9*?-]+$`
	addressPattern  = `^((holding|input|coil|discrete|reg)/([0-9]+|0x[0-9A-Fa-f]+|\{[^{}]+\})|[134][0-9]{4,5}|.*\{[^{}]+\}.*)$`
	spanPattern     = `^((holding|input|coil|discrete|reg)/([0-9]+|0x[0-9A-Fa-f]+)(-([0-9]+|0x[0-9A-Fa-f]+))?|[134][0-9]{4,5}(-[134][0-9]{4,5})?)$`
	nodePattern     = `^([isgb]=.+|.*\{[^{}]+\}.*)$`
	dayPattern      = `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`
	digestPattern   = `^[0-9A-Fa-f]{64}$`
	nameAlone       = `[a-z0-9]([a-z0-9-]*[a-z0-9])?`
	keystorePattern = `^keystore:` + nameAlone + `$`
	subjectPattern  = `^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`
)

func text(about string) schema {
	return schema{"type": "string", "description": about, "minLength": 1}
}

// like is a text of a certain form.
func like(about, pattern string) schema {
	return schema{"type": "string", "description": about, "pattern": pattern}
}

func name(about string) schema { return like(about, namePattern).with("maxLength", 64) }

func names(about string) schema {
	return list(about, schema{"type": "string", "pattern": namePattern, "maxLength": 64}).with("uniqueItems", true)
}

func oneOf(about string, words ...string) schema {
	return schema{"description": about, "enum": words}
}

func flag(about string) schema { return schema{"type": "boolean", "description": about} }

func whole(about string, least, most int64) schema {
	return schema{"type": "integer", "description": about, "minimum": least, "maximum": most}
}

func number(about string) schema { return schema{"type": "number", "description": about} }

// duration is a number with a unit; 0 needs none.
func duration(about string) schema {
	return schema{"type": []string{"string", "integer"}, "description": about, "pattern": durationPattern, "minLength": 2, "minimum": 0, "maximum": 0}
}

func size(about string) schema { return like(about, `^[0-9]+(KiB|MiB|GiB)$`) }

func day(about string) schema { return like(about, dayPattern).eg("2027-03-31") }

// credential is a reference to a secret that stands elsewhere. It may be one of many machines', whose name has an expression in it.
func credential(about string) schema { return like(about, `^credential:([a-z0-9-]|\{[^{}]+\})+$`) }

func patterns(about string) schema {
	return list(about, like("machine/point, each side a name or a pattern with * and ?.", pointsPattern)).eg([]string{"press-3/*", "*/recipe*"})
}

func why(about string) schema { return text(about).eg("Modbus stays inside the cabinet") }

// notYet marks a key that this version understands and does not honour.
const notYet = " Understood, and not honoured by this version yet."
