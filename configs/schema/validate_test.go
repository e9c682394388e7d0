package schema_test

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// validate checks a value with the keywords that the schemas use. It fails on a
// keyword that it does not know.
func validate(s map[string]any, v any, path string) (found []string) {
	bad := func(format string, a ...any) {
		found = append(found, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, a...))
	}
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		is := s[keyword]
		switch keyword {
		case "$schema", "$id", "title", "description", "examples", "additionalProperties":
		case "type":
			if !hasType(is, v) {
				bad("%v is no %v", v, is)
			}
		case "const":
			if !reflect.DeepEqual(is, v) {
				bad("%v is not %v", v, is)
			}
		case "enum":
			if !slices.ContainsFunc(is.([]any), func(o any) bool { return reflect.DeepEqual(o, v) }) {
				bad("%v is none of %v", v, is)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(is.(string)).MatchString(text) {
				bad("%q does not match %s", text, is)
			}
		case "minLength", "maxLength":
			if text, ok := v.(string); ok && (keyword == "minLength") == (float64(len([]rune(text))) < is.(float64)) && float64(len([]rune(text))) != is.(float64) {
				bad("%q: %s %v", text, keyword, is)
			}
		case "minimum", "maximum":
			if n, ok := v.(float64); ok && (keyword == "minimum" && n < is.(float64) || keyword == "maximum" && n > is.(float64)) {
				bad("%v: %s %v", n, keyword, is)
			}
		case "minItems", "maxItems", "uniqueItems":
			if l, ok := v.([]any); ok {
				n := float64(len(l))
				least, isNumber := is.(float64)
				if isNumber && (keyword == "minItems" && n < least || keyword == "maxItems" && n > least) {
					bad("%d items: %s %v", len(l), keyword, is)
				}
			}
		case "minProperties", "maxProperties":
			if m, ok := v.(map[string]any); ok && (keyword == "minProperties" && float64(len(m)) < is.(float64) || keyword == "maxProperties" && float64(len(m)) > is.(float64)) {
				bad("%d keys: %s %v", len(m), keyword, is)
			}
		case "required":
			if m, ok := v.(map[string]any); ok {
				for _, key := range is.([]any) {
					if _, there := m[key.(string)]; !there {
						found = append(found, strings.TrimPrefix(path+"."+key.(string), ".")+": missing")
					}
				}
			}
		case "propertyNames":
			if m, ok := v.(map[string]any); ok {
				for key := range m {
					if properties, ok := s["properties"].(map[string]any); ok && properties[key] != nil {
						continue
					}
					found = append(found, validate(is.(map[string]any), key, path+"."+key)...)
				}
			}
		case "items":
			if l, ok := v.([]any); ok {
				for i, item := range l {
					found = append(found, validate(is.(map[string]any), item, fmt.Sprintf("%s[%d]", path, i))...)
				}
			}
		case "properties":
		case "then": // with "if"
		case "if":
			if len(validate(is.(map[string]any), v, path)) == 0 {
				found = append(found, validate(s["then"].(map[string]any), v, path)...)
			}
		case "allOf":
			for _, one := range is.([]any) {
				found = append(found, validate(one.(map[string]any), v, path)...)
			}
		case "not":
			if len(validate(is.(map[string]any), v, path)) == 0 {
				bad("%v is what it must not be", v)
			}
		case "anyOf":
			if !slices.ContainsFunc(is.([]any), func(one any) bool { return len(validate(one.(map[string]any), v, path)) == 0 }) {
				bad("%v is none of what it may be", v)
			}
		default:
			bad("the test does not know the keyword %q", keyword)
		}
	}
	return append(found, members(s, v, path)...)
}

// members checks the values of a mapping.
func members(s map[string]any, v any, path string) (found []string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	properties, _ := s["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		of, known := properties[key].(map[string]any)
		if !known {
			if s["additionalProperties"] == false {
				found = append(found, strings.TrimPrefix(path+"."+key, ".")+": unknown")
			}
			of, known = s["additionalProperties"].(map[string]any)
		}
		if known {
			found = append(found, validate(of, m[key], path+"."+key)...)
		}
	}
	return found
}

func hasType(is, v any) bool {
	if several, ok := is.([]any); ok {
		return slices.ContainsFunc(several, func(one any) bool { return hasType(one, v) })
	}
	switch v := v.(type) {
	case string:
		return is == "string"
	case bool:
		return is == "boolean"
	case float64:
		return is == "number" || is == "integer" && v == math.Trunc(v)
	case uint64:
		return is == "number" || is == "integer"
	case []any:
		return is == "array"
	case map[string]any:
		return is == "object"
	}
	return false
}
