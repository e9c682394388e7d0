package opcua

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNode is the greatest length of a text or opaque identifier (OPC 10000-3,
// 8.2.4).
const maxNode = 4096

const nodeSpellings = "write s=Line1.Mixer.Speed, i=7013, g=… or b=…"

// ParseNode reads the identifier of a node in the text form of OPC 10000-6,
// 5.3.1.10, without a namespace: s=Line1.Mixer.Speed, i=7013,
// g=09087e75-8e5e-499b-954f-f2a9603db28a, b=M/RbKBsRVkePCePcx24oRA==. All
// that follows s= belongs to the name: quotes, brackets, dots, blanks.
func ParseNode(s string) (NodeID, error) {
	if s == "" {
		return NodeID{}, fmt.Errorf("the node is empty; %s", nodeSpellings)
	}
	kind, id, ok := strings.Cut(s, "=")
	if !ok {
		return NodeID{}, bareNode(s)
	}
	switch kind {
	case "i":
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil || id[0] < '0' || id[0] > '9' {
			return NodeID{}, fmt.Errorf("%q is no number from 0 to 4294967295; write i=7013", shorten(id))
		}
		if id[0] == '0' && len(id) > 1 {
			return NodeID{}, fmt.Errorf("%q has leading zeros; write i=%d", shorten(id), n)
		}
		return NodeID{Kind: Numeric, Number: uint32(n)}, nil
	case "s":
		switch {
		case id == "":
			return NodeID{}, fmt.Errorf("there is no name after s=; write s=Line1.Mixer.Speed")
		case len(id) > maxNode:
			return NodeID{}, fmt.Errorf("the name has %d bytes, and %d are the most", len(id), maxNode)
		case !utf8.ValidString(id):
			return NodeID{}, fmt.Errorf("the name is no UTF-8 text; write b= and base64 for bytes")
		}
		return NodeID{Kind: TextNode, Text: id}, nil
	case "g":
		b, err := parseGUID(id)
		if err != nil {
			return NodeID{}, err
		}
		return NodeID{Kind: GUID, Text: string(b)}, nil
	case "b":
		b, err := base64.StdEncoding.Strict().DecodeString(id)
		if err != nil || len(b) == 0 || strings.ContainsAny(id, "\r\n") {
			return NodeID{}, fmt.Errorf("%q is no base64; write b=M/RbKBsRVkePCePcx24oRA==", shorten(id))
		}
		if len(b) > maxNode {
			return NodeID{}, fmt.Errorf("the identifier has %d bytes, and %d are the most", len(b), maxNode)
		}
		return NodeID{Kind: Opaque, Text: string(b)}, nil
	case "ns":
		_, rest, _ := strings.Cut(id, ";")
		return NodeID{}, fmt.Errorf("%q has a namespace index, and indexes move when firmware changes; write %s, and in namespace: the URI",
			shorten(s), orElse(shorten(rest), "s=Line1.Mixer.Speed"))
	case "nsu":
		uri, rest, _ := strings.Cut(id, ";")
		return NodeID{}, fmt.Errorf("%q holds its namespace; write node: {namespace: %q, id: %s}", shorten(s), shorten(uri), orElse(shorten(rest), "s=Line1.Mixer.Speed"))
	}
	return NodeID{}, bareNode(s)
}

// bareNode is the error for an identifier that does not say its kind.
func bareNode(s string) error {
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		return fmt.Errorf("a bare %s does not say what kind of identifier it is; write i=%s for the number, s=%s for the name", s, s, s)
	}
	return fmt.Errorf("%q does not say what kind of identifier it is; write s=%s", shorten(s), shorten(s))
}

// parseGUID reads 8-4-4-4-12 hexadecimal digits.
func parseGUID(s string) ([]byte, error) {
	const example = "write g=09087e75-8e5e-499b-954f-f2a9603db28a"
	parts := strings.Split(s, "-")
	if len(parts) != 5 {
		return nil, fmt.Errorf("%q is no GUID; %s", shorten(s), example)
	}
	for i, n := range [...]int{8, 4, 4, 4, 12} {
		if len(parts[i]) != n {
			return nil, fmt.Errorf("%q is no GUID; %s", shorten(s), example)
		}
	}
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		return nil, fmt.Errorf("%q is no GUID; %s", shorten(s), example)
	}
	return b, nil
}

// String gives the text form that ParseNode reads.
func (n NodeID) String() string {
	switch n.Kind {
	case Numeric:
		return fmt.Sprintf("i=%d", n.Number)
	case TextNode:
		return "s=" + n.Text
	case GUID:
		return "g=" + n.guid()
	case Opaque:
		return "b=" + base64.StdEncoding.EncodeToString([]byte(n.Text))
	}
	return "none"
}

// In gives the whole identifier with its namespace, in the one way of OPC 10000-6,
// 5.3.1.10: nsu=http://vendor.example/mixer/v2;s=Line1.Mixer.Speed.
func (n NodeID) In(namespace string) string {
	return "nsu=" + strings.NewReplacer("%", "%25", ";", "%3B").Replace(namespace) + ";" + n.String()
}

// guid is the text of a GUID.
func (n NodeID) guid() string {
	if len(n.Text) != 16 {
		return "?"
	}
	h := hex.EncodeToString([]byte(n.Text))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// valid tells whether ParseNode could have made it.
func (n NodeID) valid() bool {
	switch n.Kind {
	case Numeric:
		return n.Text == ""
	case TextNode:
		return n.Number == 0 && n.Text != "" && len(n.Text) <= maxNode && utf8.ValidString(n.Text)
	case GUID:
		return n.Number == 0 && len(n.Text) == 16
	case Opaque:
		return n.Number == 0 && n.Text != "" && len(n.Text) <= maxNode
	}
	return false
}

// types are the words for the types, by [Type].
var types = [...]string{
	Bool: "bool", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64",
	Uint8: "uint8", Uint16: "uint16", Uint32: "uint32", Uint64: "uint64",
	Float32: "float32", Float64: "float64", String: "string", Bytes: "bytes", DateTime: "datetime",
}

// String gives the word that mapping files use.
func (t Type) String() string {
	if t > 0 && int(t) < len(types) {
		return types[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads bool, int8 … int64, uint8 … uint64, float32, float64, string,
// bytes or datetime.
func ParseType(s string) (Type, error) {
	for t, name := range types {
		if t > 0 && s == name {
			return Type(t), nil
		}
	}
	if s == "structure" {
		return 0, fmt.Errorf("structures are understood but not honoured yet; map their fields as points where the server has nodes for them")
	}
	other := map[string]string{ // what OPC UA and other systems call them
		"boolean": "bool", "sbyte": "int8", "byte": "uint8", "int": "int32", "integer": "int32", "uint": "uint32", "enum": "int32", "enumeration": "int32",
		"sint": "int8", "usint": "uint8", "word": "uint16", "uinteger": "uint32", "dint": "int32", "dword": "uint32", "udint": "uint32",
		"lint": "int64", "lword": "uint64", "ulint": "uint64", "float": "float32", "real": "float32", "double": "float64", "lreal": "float64",
		"text": "string", "bytestring": "bytes", "raw": "bytes", "utctime": "datetime", "date": "datetime", "time": "datetime", "timestamp": "datetime",
	}[strings.ToLower(s)]
	if other == "" {
		other = "one of " + strings.Join(types[1:], ", ")
	}
	return 0, fmt.Errorf("there is no type %q; write %s", shorten(s), other)
}

// sized tells whether values have a length of their own.
func (t Type) sized() bool { return t == String || t == Bytes }

// shorten keeps an error text short whatever stands in the file.
func shorten(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
