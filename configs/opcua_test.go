package configs

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/policy"
)

const aPin = "9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c"

const mixer = `fieldseal: machine/v1
machine: mixer-4
about: batch mixer
opcua:
  endpoint: opc.tcp://Mixer.example/
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:9F:2C:9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c9f2c"
  certificate: keystore:opcua-client
  user: {name: fieldseal, password: "credential:mixer-4"}
  namespace: http://vendor.example/mixer;v2
  timeout: 5s
poll: {fast: 250ms, normal: 1s, slow: 1m}
points:
  - {name: speed, node: s=Line1.Mixer.Speed, type: float64, unit: 1/min, poll: fast, report: {deadband: 5, at_least_every: 10s}, sensitivity: internal}
  - {name: recipe, node: i=7, type: string, sensitivity: secret}
  - {name: running, node: g=09087E75-8e5e-499b-954f-f2a9603db28a, type: bool}
  - {name: again, node: {namespace: "http://vendor.example/mixer;v2", id: i=7}, type: string, max_bytes: 64, sensitivity: internal}
  - name: server-time
    node: {namespace: "http://opcfoundation.org/UA/", id: i=2258}
    type: datetime
    poll: slow
  - {name: log, node: 's="Diag"."Log"[1]', type: bytes, max_bytes: 1024, passthrough: cose, readable_by: [engineering]}
`

func TestOPCUAMachine(t *testing.T) {
	c, problems, dir := tree(t, map[string]string{"machines/mixer-4.yaml": mixer})
	require.Empty(t, texts(dir, problems))
	m := c.Machines[0]
	assert.Equal(t, []string{"mixer-4", "opcua", "opc.tcp://mixer.example:4840/", ""}, []string{m.Name, m.Protocol(), m.Endpoint(), m.Device()})
	pin := opcua.Spec{}.ServerSHA256
	for i := range pin {
		pin[i] = []byte{0x9f, 0x2c}[i%2]
	}
	node := func(s string) opcua.NodeID {
		n, err := opcua.ParseNode(s)
		require.NoError(t, err)
		return n
	}
	assert.Nil(t, m.Modbus)
	assert.Equal(t, &OPCUA{
		Endpoint: opcua.Spec{
			Endpoint: "opc.tcp://mixer.example:4840/", Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt", ServerSHA256: pin,
			User: opcua.User{Name: "fieldseal"}, Timeout: 5 * time.Second,
		},
		Certificate: "opcua-client", Credential: "mixer-4",
		Machine: opcua.Machine{Name: "mixer-4", Namespace: "http://vendor.example/mixer;v2", Points: []opcua.Point{
			{Name: "speed", Node: node("s=Line1.Mixer.Speed"), Type: opcua.Float64, Period: 250 * time.Millisecond, Unit: "1/min"},
			{Name: "recipe", Node: node("i=7"), Type: opcua.String, MaxBytes: 4096, Period: time.Second},
			{Name: "running", Node: node("g=09087e75-8e5e-499b-954f-f2a9603db28a"), Type: opcua.Bool, Period: time.Second},
			{Name: "again", Node: node("i=7"), Namespace: "http://vendor.example/mixer;v2", Type: opcua.String, MaxBytes: 64, Period: time.Second},
			{Name: "server-time", Node: node("i=2258"), Namespace: "http://opcfoundation.org/UA/", Type: opcua.DateTime, Period: time.Minute},
			{Name: "log", Node: node(`s="Diag"."Log"[1]`), Type: opcua.Bytes, MaxBytes: 1024, Period: time.Second},
		}},
	}, m.OPCUA)

	pt := func(name, label, where, at, typ string) Point {
		return Point{Point: policy.Point{Name: name, Label: label, Where: "mixer-4.yaml:" + where, Address: at}, At: at, Type: typ}
	}
	const ns = "nsu=http://vendor.example/mixer%3Bv2;"
	points := []Point{
		pt("speed", "internal", "14", ns+"s=Line1.Mixer.Speed", "float64"),
		pt("recipe", "secret", "15", ns+"i=7", "string[4096]"),
		pt("running", "", "16", ns+"g=09087e75-8e5e-499b-954f-f2a9603db28a", "bool"),
		pt("again", "internal", "17", ns+"i=7", "string[64]"),
		pt("server-time", "", "18", "nsu=http://opcfoundation.org/UA/;i=2258", "datetime"),
		pt("log", "", "22", ns+`s="Diag"."Log"[1]`, "bytes[1024]"),
	}
	points[0].Unit, points[0].Report = "1/min", Report{OnChange: true, Deadband: 5, AtLeastEvery: 10 * time.Second}
	points[5].Passthrough, points[5].ReadableBy, points[5].ContentType = "cose", []string{"engineering"}, "application/cose"
	points[5].Guard.Format = "cose"
	assert.Equal(t, points, m.Points)

	decided := c.Policy.Compile(m.Name, []policy.Point{m.Points[1].Point, m.Points[3].Point}, m.Security(), at("2026-11-22").Now()).Decisions
	assert.Equal(t, "secret", decided[1].Level, "one node in two points takes the stricter level")
	for _, p := range problems {
		assert.NotContains(t, p.What, "asks for a connection", "it is encrypted")
	}
}

const mixerTemplate = `fieldseal: template/v1
template: mixer
version: 1
opcua: {security: {policy: Basic256Sha256, mode: Sign}, certificate: "keystore:opcua-client", user: anonymous}
poll: {normal: 10s}
sensitivity: secret
points:
  - {name: "zone-{z:02}", each: {z: 1..2}, node: "s=Zone[{z}].T", type: float32}
  - {name: "load-{z}", each: {z: 8..8}, node: {namespace: "urn:x", id: "i={z+100}"}, type: int32}
`

// TestOPCUATemplate: a table of machines of one template, some of them behind one
// server, with overrides.
func TestOPCUATemplate(t *testing.T) {
	c, problems, dir := tree(t, map[string]string{
		"templates/mixer.yaml": mixerTemplate,
		"machines/mixers.csv":  "n,host,pin\n1,10.0.0.1," + aPin + "\n2,10.0.0.1," + aPin + "\n3,10.0.0.3," + strings.Repeat("01", 32) + "\n",
		"machines/mixers.yaml": `fieldseal: machines/v1
template: mixer@1
rows: mixers.csv
machine: "mixer-{n}"
opcua: {endpoint: "opc.tcp://{host}:4840", server_certificate: "sha256:{pin}", namespace: "urn:mixer:{n}"}
override:
  mixer-2: {zone-02: {node: "s=Other", poll: normal}}
`,
		"machines/alone.yaml": `fieldseal: machine/v1
machine: alone
template: mixer@1
opcua: {endpoint: "opc.tcp://10.0.0.9", server_certificate: "sha256:` + aPin + `", namespace: "urn:alone", security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}, user: {name: a, password: "credential:a"}}
points:
  - {name: extra, node: i=5, type: bool}
`,
	})
	require.Empty(t, texts(dir, problems))
	of := map[string]*Machine{}
	for i := range c.Machines {
		of[c.Machines[i].Name] = &c.Machines[i]
	}
	assert.Equal(t, "opc.tcp://10.0.0.1:4840", of["mixer-1"].Endpoint())
	assert.True(t, of["mixer-1"].OPCUA.Endpoint.Equal(&of["mixer-2"].OPCUA.Endpoint))
	assert.Equal(t, byte(1), of["mixer-3"].OPCUA.Endpoint.ServerSHA256[0])
	ats := func(name string) (out []string) {
		for _, p := range of[name].Points {
			out = append(out, p.Name+" "+p.At)
		}
		return out
	}
	assert.Equal(t, []string{"zone-01 nsu=urn:mixer:1;s=Zone[1].T", "zone-02 nsu=urn:mixer:1;s=Zone[2].T", "load-8 nsu=urn:x;i=108"}, ats("mixer-1"))
	assert.Equal(t, []string{"zone-01 nsu=urn:mixer:2;s=Zone[1].T", "zone-02 nsu=urn:mixer:2;s=Other", "load-8 nsu=urn:x;i=108"}, ats("mixer-2"))
	assert.Equal(t, []string{"zone-01 nsu=urn:alone;s=Zone[1].T", "zone-02 nsu=urn:alone;s=Zone[2].T", "load-8 nsu=urn:x;i=108", "extra nsu=urn:alone;i=5"}, ats("alone"))
	assert.Equal(t, opcua.User{Name: "a"}, of["alone"].OPCUA.Endpoint.User)
	assert.Equal(t, "SignAndEncrypt", of["alone"].OPCUA.Endpoint.Mode)
	assert.True(t, of["mixer-3"].OPCUA.Endpoint.User.Anonymous)
	assert.Equal(t, 10*time.Second, of["mixer-3"].OPCUA.Endpoint.Timeout)
}

// TestOPCUASnippets: a block of documentation, and templates without the machine.
func TestOPCUASnippets(t *testing.T) {
	assert.Empty(t, texts("", CheckSnippet("machine", []byte(mixer))))
	assert.Empty(t, texts("", CheckSnippet("template", []byte(mixerTemplate))))
	without := strings.Replace(mixerTemplate, mixerTemplate[strings.Index(mixerTemplate, "opcua:"):strings.Index(mixerTemplate, "poll:")], "", 1)
	assert.Empty(t, texts("", CheckSnippet("template", []byte(without))), "the nodes tell the protocol")
}
