package configs

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// TestCanonicalOPCUA: an endpoint is written in one way, and stays one.
func TestCanonicalOPCUA(t *testing.T) {
	for in, want := range map[string]string{
		"opc.tcp://Press-3.Example":             "opc.tcp://press-3.example:4840",
		"opc.tcp://10.1.2.3:4841":               "opc.tcp://10.1.2.3:4841",
		"opc.tcp://h/Server/":                   "opc.tcp://h:4840/Server/",
		"opc.tcp://h/":                          "opc.tcp://h:4840/",
		"opc.tcp://h/a%20b":                     "opc.tcp://h:4840/a%20b",
		"opc.tcp://[FE80::1%25Eth0]":            "opc.tcp://[fe80::1%25Eth0]:4840",
		"opc.tcp://[fe80::1%25eth0]:4840/Path/": "opc.tcp://[fe80::1%25eth0]:4840/Path/",
		"opc.tcp://[2001:DB8::7]:4840":          "opc.tcp://[2001:db8::7]:4840",
	} {
		got := canonicalOPCUA(in)
		assert.Equal(t, want, got)
		assert.Equal(t, got, canonicalOPCUA(got))
		spec := opcua.Spec{Endpoint: got, Policy: "Basic256Sha256", Mode: "Sign", ServerSHA256: [32]byte{1}, User: opcua.User{Anonymous: true}}
		assert.Empty(t, spec.Check(), got)
	}
}
