package configs

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/coap"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/policy"
)

const pump = `fieldseal: machine/v1
machine: pump-4
about: encrypts itself
coap:
  listen: "0.0.0.0:5684"
  certificate: keystore:uplink
  trust: ../trust/hub-ca.pem
  device: {psk_identity: "Pump 4", psk: "credential:pump-4"}
  silence: 10m
points:
  - {name: vibration, path: /vibration, type: bytes, max_bytes: 2048, passthrough: cose, readable_by: [engineering], sensitivity: secret}
  - {name: torque, path: /a/torque, type: bytes, passthrough: cose, readable_by: [engineering]}
`

func TestCoAPMachine(t *testing.T) {
	c, problems, dir := tree(t, map[string]string{
		"machines/pump-4.yaml": pump,
		"machines/pump-5.yaml": strings.NewReplacer("pump-4", "pump-5", `{psk_identity: "Pump 4", psk: "credential:pump-4"}`,
			`{certificate: "sha256:`+aPin+`"}`).Replace(pump),
		"machines/pump-6.yaml": strings.NewReplacer("pump-4", "pump-6", `{psk_identity: "Pump 4", psk: "credential:pump-4"}`,
			`{certificate: pump-6.plant}`).Replace(pump),
	})
	require.Empty(t, texts(dir, problems))
	m := c.Machines[1] // behind press-3
	assert.Equal(t, []string{"pump-4", "coap", "coaps://0.0.0.0:5684", "psk:Pump 4"}, []string{m.Name, m.Protocol(), m.Endpoint(), m.Device()})
	assert.Equal(t, "sha256:"+aPin, c.Machines[2].Device())
	assert.Equal(t, "certificate:pump-6.plant", c.Machines[3].Device())
	assert.Equal(t, point.Encrypted, m.Security())
	assert.Nil(t, m.Modbus)
	digest := c.Machines[1].CoAP.TrustDigest
	assert.NotEqual(t, [32]byte{}, digest)
	assert.Equal(t, &CoAP{
		Endpoint: coap.Spec{Listen: "0.0.0.0:5684"}, Certificate: "uplink", Trust: dir + "/trust/hub-ca.pem", TrustDigest: digest,
		Machine: coap.Machine{
			Name: "pump-4", Device: coap.Device{Identity: "Pump 4", Credential: "pump-4"}, Silence: 10 * time.Minute,
			Points: []coap.Point{
				{Name: "vibration", Path: "/vibration", MaxBytes: 2048, Passthrough: "cose"},
				{Name: "torque", Path: "/a/torque", MaxBytes: 4096, Passthrough: "cose"},
			},
		},
	}, m.CoAP)
	assert.Equal(t, []string{"/vibration", "bytes[2048]"}, []string{m.Points[0].At, m.Points[0].Type})
	assert.Equal(t, policy.Point{
		Name: "torque", Address: "/a/torque", Passthrough: "cose", ReadableBy: []string{"engineering"}, Where: m.Points[1].Where,
	}, m.Points[1].Point)
}

// TestCoAPMistakes changes one thing in a file that is right.
func TestCoAPMistakes(t *testing.T) {
	device := `{psk_identity: "Pump 4", psk: "credential:pump-4"}`
	const place = "machines/pump-4.yaml:"
	for _, c := range []struct{ from, to, want string }{
		{`"0.0.0.0:5684"`, `":5684"`, place + `5:11: 'listen' is no address and port; write listen: "0.0.0.0:5684" for every interface, or the address of one: "10.20.3.1:5684", "[fd00::1]:5684"`},
		{`  listen: "0.0.0.0:5684"` + "\n", "", place + `5:3: 'listen' is missing in 'coap'; ` + anyListen},
		{`  device: ` + device + "\n", "", place + `5:3: 'device' is missing in 'coap'; ` + anyDevice},
		{device, "Pump", place + `8:11: 'device' is no mapping; ` + anyDevice},
		{device, "{}", place + `8:11: 'device' says nothing; ` + anyDevice},
		{device, `{psk_identity: p}`, place + `8:11: 'psk' is missing in 'device'; write psk: "credential:NAME"`},
		{device, `{psk_identity: p, psk: hunter2}`, place + `8:34: 'psk' is no reference to a credential; write credential:NAME; secrets are never in these files`},
		{device, `{psk_identity: p, psk: "credential:keystore"}`, place + `8:34: credential:keystore unlocks the keystore; write another one, with this device's key alone`},
		{device, `{psk_identity: p, psk: "credential:p", certificate: p}`, place + `8:11: 'device' has a certificate and a key; write one of them`},
		{device, `{certificate: Pump}`, place + `8:11: the name of the certificate is none that a certificate has; write the DNS name that is in it, in lower case`},
		{device, `{psk_identity: p, psk: "credential:p", hint: p}`, place + `8:50: unknown key 'hint'; write certificate, psk_identity or psk`},
		{"silence: 10m", "silence: 10ms", place + `9:12: 'silence' is shorter than 1s; write a duration such as 5m`},
		{"silence: 10m", "timeout: 10s", place + `9:3: 'timeout' is for other protocols, and this is read over CoAP; write silence: for how long a device may say nothing`},
		{"type: bytes, max_bytes: 2048", "type: float32", place + `11:47: what a device encrypts is of type bytes, not float32; write type: bytes, or read the device with modbus: or opcua:`},
		{"passthrough: cose, readable_by: [engineering], sensitivity: secret", "sensitivity: secret", place + `11:5: the point has no 'passthrough', and what is sent over CoAP is what devices encrypt themselves; write passthrough: cose and readable_by:, or read the device with modbus: or opcua:`},
		{"path: /vibration, ", "", place + `11:5: 'path' is missing in item 1 of 'points'; ` + sendsPath},
		{"path: /vibration", "path: vibration", place + `11:29: point 'vibration': the path is none that begins with / and has at most 255 letters; write path: /vibration`},
		{"path: /a/torque", "path: /vibration", place + `12:26: point 'torque': the path is that of vibration already; write another one`},
		{"path: /a/torque", "at: holding/7, path: /x", place + `12:20: 'at' is for other protocols, and this is read over CoAP; ` + sendsPath},
		{"path: /a/torque", "poll: fast, path: /x", place + `12:20: 'poll' is for other protocols, and this is read over CoAP; remove it: the device sends when it will`},
		{"points:\n", "poll: {normal: 1s}\npoints:\n", place + `10:1: 'poll' is for other protocols, and this is read over CoAP; remove it: the device sends when it will`},
		{"coap:\n", "modbus: {connect: tcp://a, unit_id: 1}\ncoap:\n", place + `5:1: 'modbus' and 'coap' are there both; write one of them; what speaks both is two machines`},
		{"  certificate: keystore:uplink\n", "  certificate: uplink\n", place + `6:16: 'certificate' is no reference to a keystore; write keystore:NAME; secrets are never in these files`},
	} {
		require.Contains(t, pump, c.from)
		_, problems, dir := tree(t, map[string]string{"machines/pump-4.yaml": strings.Replace(pump, c.from, c.to, 1)})
		got := texts(dir, problems)
		assert.Contains(t, got, c.want)
		assert.NotContains(t, strings.Join(got, "\n"), "hunter2")
	}
	for device, want := range map[string]string{
		`{certificate: "sha256:` + aPin + `"}`: place + "5:3: 'certificate' is missing in 'coap'; write certificate: keystore:uplink: a device with a certificate wants to see the gateway's",
		`{certificate: pump-4}`:                place + "5:3: 'trust' is missing in 'coap'; write trust: and the file with the authority that issued the device's certificate, or device: {certificate: \"sha256:…\"}",
	} {
		text := strings.Replace(pump, `{psk_identity: "Pump 4", psk: "credential:pump-4"}`, device, 1)
		text = strings.Replace(text, "  trust: ../trust/hub-ca.pem\n", "", 1)
		if strings.Contains(want, "keystore") {
			text = strings.Replace(text, "  certificate: keystore:uplink\n", "", 1)
		}
		_, problems, dir := tree(t, map[string]string{"machines/pump-4.yaml": text})
		assert.Contains(t, texts(dir, problems), want)
	}
}

// TestCoAPListener is about machines that share one.
func TestCoAPListener(t *testing.T) {
	other := strings.NewReplacer("machine: pump-4", "machine: pump-5")
	_, problems, dir := tree(t, map[string]string{"machines/pump-4.yaml": pump, "machines/pump-5.yaml": other.Replace(pump)})
	require.Len(t, problems, 1)
	assert.Equal(t, `machines/pump-5.yaml:8:11: the device is that of the machine 'pump-4' in `+dir+`/machines/pump-4.yaml already; a device is one machine: put its points into one file`,
		strings.TrimPrefix(problems[0].String(), dir+"/"))
	for _, listen := range []string{"127.0.0.1:5684", "0.0.0.0:5685"} { // the device may choose
		elsewhere := strings.NewReplacer("machine: pump-4", "machine: pump-5", "0.0.0.0:5684", listen)
		_, problems, dir = tree(t, map[string]string{"machines/pump-4.yaml": pump, "machines/pump-5.yaml": elsewhere.Replace(pump)})
		require.Len(t, problems, 1)
		assert.Contains(t, texts(dir, problems)[0], "machines/pump-5.yaml:8:11: the device is that of the machine 'pump-4'")
	}
	other = strings.NewReplacer("machine: pump-4", "machine: pump-5", "Pump 4", "Pump 5", "keystore:uplink", "keystore:other")
	_, problems, dir = tree(t, map[string]string{"machines/pump-4.yaml": pump, "machines/pump-5.yaml": other.Replace(pump)})
	require.Len(t, problems, 1)
	assert.Contains(t, texts(dir, problems)[0], "the certificate is 'other' here, and 'uplink' in machines/pump-4.yaml, for one connection; write the same certificate in both")
}

// TestCoAPFleet is about many devices of one template.
func TestCoAPFleet(t *testing.T) {
	c, problems, dir := tree(t, map[string]string{
		"templates/pump.yaml": `fieldseal: template/v1
template: pump
version: 1
coap: {listen: "0.0.0.0:5684", silence: 10m}
points:
  - {name: vibration, path: /vibration, type: bytes, passthrough: cose, readable_by: [engineering]}
`,
		"machines/pumps.yaml": `fieldseal: machines/v1
template: pump@1
for_each: {n: 1..3}
machine: "a-pump-{n}"
coap: {device: {psk_identity: "pump-{n}", psk: "credential:pump-{n}"}}
`,
	})
	require.Empty(t, texts(dir, problems))
	var devices []string
	for _, m := range c.Machines {
		if m.CoAP != nil {
			devices = append(devices, m.Endpoint()+" "+m.Device()+" "+m.CoAP.Device.Credential)
		}
	}
	assert.Equal(t, []string{"coaps://0.0.0.0:5684 psk:pump-1 pump-1", "coaps://0.0.0.0:5684 psk:pump-2 pump-2", "coaps://0.0.0.0:5684 psk:pump-3 pump-3"}, devices)
}

// Whoever has another key is another device.
func TestDeviceCredentialIsSigned(t *testing.T) {
	o := newOffice(t, 1, "anna")
	require.NoError(t, os.WriteFile(o.path("machines/pump-4.yaml"), []byte(strings.Replace(pump, ", sensitivity: secret}", "}", 1)), 0o600))
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	require.Equal(t, "cose", c.Machines[1].Points[1].Passthrough)
	o.edit("machines/pump-4.yaml", `"credential:pump-4"`, `"credential:mine"`)
	c, problems = o.load()
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], `like points that nobody labelled: device is "psk:Pump 4@credential:mine", and "psk:Pump 4@credential:pump-4" was signed`)
	assert.Empty(t, c.Machines[1].Points[1].Passthrough)
}

// A device that is known by a name is the one to which a certain authority gave
// it: another file of authorities makes another device of it.
func TestAuthoritiesAreSigned(t *testing.T) {
	o := newOffice(t, 1, "anna")
	named := strings.Replace(pump, `{psk_identity: "Pump 4", psk: "credential:pump-4"}`, "{certificate: pump-4.plant}", 1)
	named = strings.Replace(named, ", sensitivity: secret}", "}", 1)
	require.NoError(t, os.WriteFile(o.path("machines/pump-4.yaml"), []byte(named), 0o600))
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	m := c.Machines[1]
	require.Equal(t, "cose", m.Points[1].Passthrough)
	pool, err := m.CoAP.Authorities()
	require.NoError(t, err)
	require.NotNil(t, pool)

	own, err := os.ReadFile(o.path("trust/hub-ca.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.path("trust/hub-ca.pem"), append([]byte("# the same, with a comment\n"), own...), 0o600))
	_, problems = o.load()
	require.Empty(t, problems)

	other, err := authority.New("other")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.path("trust/hub-ca.pem"), append(own, other.PEM()...), 0o600))
	_, err = m.CoAP.Authorities()
	require.ErrorContains(t, err, "has other certificates than when the configuration was read")
	c, problems = o.load()
	require.NotNil(t, c)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], "machines/pump-4.yaml:11:5: note: vibration and torque do not leave as this file says, but like points that nobody labelled: device is certificate:pump-4.plant@sha256:")
	assert.Empty(t, c.Machines[1].Points[1].Passthrough)

	for text, want := range map[string]string{"": "has no certificate in it", "-----BEGIN KEY-----\n-----END KEY-----\n": "has something in it that is no certificate"} {
		require.NoError(t, os.WriteFile(m.CoAP.Trust, []byte(text), 0o600))
		_, err = m.CoAP.Authorities()
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, os.Remove(m.CoAP.Trust))
	_, err = m.CoAP.Authorities()
	require.ErrorContains(t, err, "there is no such file")
	pool, err = (&CoAP{}).Authorities()
	require.NoError(t, err)
	require.Nil(t, pool)
}
