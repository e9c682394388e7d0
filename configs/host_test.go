package configs

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// TestCanonical: an endpoint is written in one way, and stays one.
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"opc.tcp://Press-3.Example":             "opc.tcp://press-3.example:4840",
		"opc.tcp://press-3.example.":            "opc.tcp://press-3.example:4840",
		"opc.tcp://10.1.2.3:4841":               "opc.tcp://10.1.2.3:4841",
		"opc.tcp://10.1.2.3.:04841":             "opc.tcp://10.1.2.3:4841",
		"opc.tcp://h/Server/":                   "opc.tcp://h:4840/Server/",
		"opc.tcp://h/":                          "opc.tcp://h:4840/",
		"opc.tcp://h/a%20b":                     "opc.tcp://h:4840/a%20b",
		"opc.tcp://[FE80::1%25Eth0]":            "opc.tcp://[fe80::1%25Eth0]:4840",
		"opc.tcp://[fe80::1%25eth0]:4840/Path/": "opc.tcp://[fe80::1%25eth0]:4840/Path/",
		"opc.tcp://[2001:DB8::7]:4840":          "opc.tcp://[2001:db8::7]:4840",
		"opc.tcp://[2001:DB8:0:0::7]":           "opc.tcp://[2001:db8::7]:4840",
		"opc.tcp://[::ffff:10.1.2.3]":           "opc.tcp://10.1.2.3:4840",
		"opc.tcp://[::FFFF:a01:203]":            "opc.tcp://10.1.2.3:4840",
		"tcp://10.1.2.3":                        "tcp://10.1.2.3:502",
		"tcp://[::ffff:10.1.2.3]:0502":          "tcp://10.1.2.3:502",
		"tcp://[fe80::1%25eth0]":                "tcp://[fe80::1%25eth0]:502",
	} {
		port := "4840"
		if in[0] == 't' {
			port = "502"
		}
		got, err := canonical(in, port)
		require.NoError(t, err, in)
		assert.Equal(t, want, got)
		again, err := canonical(got, port)
		require.NoError(t, err, in)
		assert.Equal(t, got, again)
		if in[0] == 't' {
			assert.Empty(t, (&modbus.Spec{URL: got}).Check(), got)
			continue
		}
		spec := opcua.Spec{Endpoint: got, Policy: "Basic256Sha256", Mode: "Sign", ServerSHA256: [32]byte{1}, User: opcua.User{Anonymous: true}}
		assert.Empty(t, spec.Check(), got)
	}
}

// Some resolvers take less than four numbers, and more than decimal ones, for an
// address: one device would have many names.
func TestShortAddresses(t *testing.T) {
	for host, instead := range map[string]string{
		"127.1": "127.0.0.1", "127.0.1.": "127.0.0.1", "2130706433": "127.0.0.1", "0x7f.1": "127.0.0.1", "0177.0.0.1": "127.0.0.1",
		"127.0.0.01": "127.0.0.1", "0x7F000001": "127.0.0.1", "10.20.788": "10.20.3.20", "1.2.3.4.5": "10.20.3.13", "10.20.3.256": "10.20.3.13", "press.3": "10.20.3.13",
	} {
		for scheme, place := range map[string]string{"tcp://": "5:12", "opc.tcp://": "5:13"} {
			file := map[string]string{"machines/press-9.yaml": "fieldseal: machine/v1\nmachine: press-9\nmodbus:\n  unit_id: 1\n  connect: \"tcp://" + host + "\"\npoints:\n  - {name: a, at: 40101, type: int16}\n"}
			if scheme == "opc.tcp://" {
				file["machines/press-9.yaml"] = "fieldseal: machine/v1\nmachine: press-9\nopcua:\n  user: anonymous\n  endpoint: \"opc.tcp://" + host + `"` + `
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:` + aPin + `"
  certificate: keystore:opcua-client
  namespace: urn:mixer
points:
  - {name: speed, node: s=Speed, type: float32}
`
			}
			_, problems, dir := tree(t, file)
			assert.Equal(t, []string{"machines/press-9.yaml:" + place + ": '" + host + "' is a host's address written in short or in another way; write all four numbers in decimal: " + instead}, texts(dir, problems))
		}
	}
}
