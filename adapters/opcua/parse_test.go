package opcua_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

func TestParseNode(t *testing.T) {
	for in, want := range map[string]opcua.NodeID{
		"i=7013":                                 {Kind: opcua.Numeric, Number: 7013},
		"i=4294967295":                           {Kind: opcua.Numeric, Number: 4294967295},
		"s=Line1.Mixer.Speed":                    {Kind: opcua.TextNode, Text: "Line1.Mixer.Speed"},
		`s="DB_Drv"."Drv"[1]`:                    {Kind: opcua.TextNode, Text: `"DB_Drv"."Drv"[1]`},
		"s= a=b;c ":                              {Kind: opcua.TextNode, Text: " a=b;c "},
		"b=M/RbKBsRVkePCePcx24oRA==":             {Kind: opcua.Opaque, Text: "3\xf4[(\x1b\x11VG\x8f\t\xe3\xdc\xc7n(D"},
		"g=09087e75-8e5e-499b-954f-f2a9603db28a": {Kind: opcua.GUID, Text: "\t\x08~u\x8e^I\x9b\x95O\xf2\xa9`=\xb2\x8a"},
	} {
		got, err := opcua.ParseNode(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got)
		assert.Equal(t, in, got.String())
	}
}

func TestParseNodeErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":              "the node is empty; write s=Line1.Mixer.Speed, i=7013, g=… or b=…",
		"7013":          "a bare 7013 does not say what kind of identifier it is; write i=7013 for the number, s=7013 for the name",
		"Line1.Mixer":   `"Line1.Mixer" does not say what kind of identifier it is; write s=Line1.Mixer`,
		"i=007":         `"007" has leading zeros; write i=7`,
		"i=-1":          `"-1" is no number from 0 to 4294967295; write i=7013`,
		"i=+1":          `"+1" is no number from 0 to 4294967295; write i=7013`,
		"i=":            `"" is no number from 0 to 4294967295; write i=7013`,
		"i=4294967296":  `"4294967296" is no number from 0 to 4294967295; write i=7013`,
		"s=":            "there is no name after s=; write s=Line1.Mixer.Speed",
		"s=\xff":        "the name is no UTF-8 text; write b= and base64 for bytes",
		"ns=2;s=Line1":  `"ns=2;s=Line1" has a namespace index, and indexes move when firmware changes; write s=Line1, and in namespace: the URI`,
		"nsu=urn:a;i=1": `"nsu=urn:a;i=1" holds its namespace; write node: {namespace: "urn:a", id: i=1}`,
		"g=1234":        `"1234" is no GUID; write g=09087e75-8e5e-499b-954f-f2a9603db28a`,
		"b=!":           `"!" is no base64; write b=M/RbKBsRVkePCePcx24oRA==`,
		"x=1":           `"x=1" does not say what kind of identifier it is; write s=x=1`,
	} {
		_, err := opcua.ParseNode(in)
		assert.EqualError(t, err, want, in)
	}
}

func FuzzParseNode(f *testing.F) {
	for _, s := range []string{"i=7013", "s=Line1", `s="DB"."x"[1]`, "g=09087e75-8e5e-499b-954f-f2a9603db28a", "b=M/RbKBsRVkePCePcx24oRA==", "ns=1;i=1", "nsu=u;s=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := opcua.ParseNode(s)
		if err != nil {
			return
		}
		again, err := opcua.ParseNode(n.String())
		require.NoError(t, err)
		require.Equal(t, n, again)
	})
}

func TestParseType(t *testing.T) {
	for typ := opcua.Bool; typ <= opcua.DateTime; typ++ {
		got, err := opcua.ParseType(typ.String())
		require.NoError(t, err)
		assert.Equal(t, typ, got)
	}
	for in, want := range map[string]string{
		"Double":    `there is no type "Double"; write float64`,
		"structure": "structures are understood but not honoured yet; map their fields as points where the server has nodes for them",
		"thing":     `there is no type "thing"; write one of bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, string, bytes, datetime`,
	} {
		_, err := opcua.ParseType(in)
		assert.EqualError(t, err, want)
	}
}

func goodSpec() opcua.Spec {
	return opcua.Spec{
		Endpoint: "opc.tcp://10.20.4.14", Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt", ServerSHA256: [32]byte{1},
		User: opcua.User{Name: "fieldseal"},
	}
}

func TestCheckSpec(t *testing.T) {
	s := goodSpec()
	assert.Empty(t, s.Check(), "what the mapping file only names may be missing")
	other := goodSpec()
	assert.True(t, s.Equal(&other))
	other.User.Password = "x"
	assert.False(t, s.Equal(&other))
	for name, c := range map[string]struct {
		change func(*opcua.Spec)
		want   string
	}{
		"scheme":    {func(s *opcua.Spec) { s.Endpoint = "10.20.4.14:4840" }, "endpoint: the endpoint has no scheme; write opc.tcp://10.20.4.14:4840"},
		"https":     {func(s *opcua.Spec) { s.Endpoint = "opc.https://h" }, "endpoint: opc.https:// is understood but not honoured: this version speaks opc.tcp:// only; write opc.tcp://10.20.4.14:4840"},
		"port":      {func(s *opcua.Spec) { s.Endpoint = "opc.tcp://h:0" }, "endpoint: the port is outside 1–65535; write opc.tcp://10.20.4.14:4840"},
		"none":      {func(s *opcua.Spec) { s.Policy = "None" }, "security: without security anybody on the way reads and changes what the server sends; write security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}; without it the signed policy would need the exception {allow: connection-not-authenticated, points: […], why: …, until: …}, which this version does not honour for OPC UA yet"},
		"old":       {func(s *opcua.Spec) { s.Policy = "Basic128Rsa15" }, "security: Basic128Rsa15 is broken (SHA-1) and withdrawn; write security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}"},
		"mode":      {func(s *opcua.Spec) { s.Mode = "sign" }, `security: there is no security mode "sign"; write mode: SignAndEncrypt, or Sign`},
		"pin":       {func(s *opcua.Spec) { s.ServerSHA256 = [32]byte{} }, "server_certificate: the server's certificate is not pinned, so anybody could be the server; write \"sha256:…\" with the fingerprint that the server shows, or that this prints of its certificate: openssl x509 -in server.pem -noout -fingerprint -sha256"},
		"nobody":    {func(s *opcua.Spec) { s.User = opcua.User{} }, "user: there is no user; write user: {name: …, password: \"credential:…\"} or user: anonymous"},
		"both":      {func(s *opcua.Spec) { s.User.Anonymous = true }, "user: the user is anonymous and has a name or a password; write one of them"},
		"timeout":   {func(s *opcua.Spec) { s.Timeout = time.Hour }, "timeout: a timeout of 1h0m0s is outside 0–1m; leave it out for 10s"},
		"no cert":   {func(s *opcua.Spec) { s.Certificate = []byte("x") }, "certificate: the client certificate cannot be read as DER; fieldseal keys makes one that fits"},
		"other URI": {func(s *opcua.Spec) { s.Certificate, s.ApplicationURI = client.Certificate, "urn:else" }, "certificate: the client certificate is that of urn:fieldseal:test-client, not of urn:else; fieldseal keys makes one that fits"},
		"other key": {func(s *opcua.Spec) { s.Certificate, s.Key = client.Certificate, "key" }, "certificate: the private key of the client certificate is no RSA key in PKCS#8; fieldseal keys makes one that fits"},
	} {
		s := goodSpec()
		c.change(&s)
		found := s.Check()
		require.Len(t, found, 1, name)
		text := found[0].Key + ": " + found[0].What
		if found[0].Instead != "" {
			text += "; " + found[0].Instead
		}
		assert.Equal(t, c.want, text, name)
	}
	_, err := opcua.NewPool(opcua.Options{}).Source(goodSpec())
	assert.EqualError(t, err, "there is no client certificate; write certificate: keystore:NAME")
}

func TestCheckMachine(t *testing.T) {
	good := func() opcua.Point {
		return opcua.Point{Name: "speed", Node: opcua.NodeID{Kind: opcua.Numeric, Number: 1}, Type: opcua.Float64, Period: time.Second}
	}
	m := opcua.Machine{Namespace: "urn:a", Points: []opcua.Point{good()}}
	assert.Empty(t, m.Check())
	for name, c := range map[string]struct {
		change func(*opcua.Machine, *opcua.Point)
		want   string
	}{
		"twice":     {func(m *opcua.Machine, p *opcua.Point) { m.Points = append(m.Points, *p) }, "name: the name is there twice; names of one machine differ"},
		"nameless":  {func(_ *opcua.Machine, p *opcua.Point) { p.Name = "" }, "name: point 1 has no name; give it one of lower case, digits and dashes"},
		"node":      {func(_ *opcua.Machine, p *opcua.Point) { p.Node = opcua.NodeID{} }, "node: the point has no node; write s=Line1.Mixer.Speed, i=7013, g=… or b=…"},
		"namespace": {func(m *opcua.Machine, _ *opcua.Point) { m.Namespace = "" }, "node: the node's namespace is not known; write namespace: once in opcua:, or node: {namespace: URI, id: …}"},
		"index":     {func(m *opcua.Machine, _ *opcua.Point) { m.Namespace = "2" }, "namespace: 2 is an index, and indexes move when firmware changes; write the namespace's URI, as the server lists it in its NamespaceArray (i=2255)"},
		"field":     {func(_ *opcua.Machine, p *opcua.Point) { p.Field = "rSpeed" }, "field: fields of structures are understood but not honoured yet; map a node of its own where the server has one"},
		"type":      {func(_ *opcua.Machine, p *opcua.Point) { p.Type = 0 }, "type: the point has no type; write bool, int16, uint16, float32, …"},
		"size":      {func(_ *opcua.Machine, p *opcua.Point) { p.Type, p.MaxBytes = opcua.String, 1<<20 }, "max_bytes: max_bytes 1048576 is outside 1–65536; leave it out for 4096"},
		"sized":     {func(_ *opcua.Machine, p *opcua.Point) { p.MaxBytes = 4 }, "max_bytes: a value of type float64 has a fixed length; leave max_bytes out"},
		"short":     {func(_ *opcua.Machine, p *opcua.Point) { p.Period = time.Millisecond }, "poll: a period of 1ms is too short; 10ms is the least"},
		"long":      {func(_ *opcua.Machine, p *opcua.Point) { p.Period = 48 * time.Hour }, "poll: a period of 48h0m0s is too long; 24h is the most"},
	} {
		m := opcua.Machine{Namespace: "urn:a", Points: []opcua.Point{good()}}
		c.change(&m, &m.Points[0])
		found := m.Check()
		require.Len(t, found, 1, name)
		assert.Equal(t, c.want, fmt.Sprintf("%s: %s; %s", found[0].Key, found[0].What, found[0].Instead), name)
	}
}
