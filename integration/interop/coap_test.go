//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/coap"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// coapClients are libcoap's, over two libraries for DTLS.
var coapClients = []string{"coap-client-openssl", "coap-client-gnutls"}

// postCoAP has a client send a file, and gives what it printed: nothing where all
// went well.
func postCoAP(t testing.TB, client, file, url string, more ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"-m", "post", "-B", "20", "-f", file}, more...)
	out, err := exec.CommandContext(ctx, client, append(args, url)...).CombinedOutput()
	require.NoError(t, err, "%s: %s; run integration/interop/install.sh", client, out)
	version, _ := exec.CommandContext(ctx, client, "-?").CombinedOutput() // prints it, and fails
	if _, rest, found := strings.Cut(string(version), " v"); found {
		number, _, _ := strings.Cut(rest, " ")
		ran("libcoap", number)
	}
	return strings.TrimSpace(string(out))
}

// TestLibcoap: libcoap's clients send with a key, a pinned certificate and a
// named one, in one message and block by block, confirmed or not; what they send
// comes byte for byte, and who is not known is not let in.
func TestLibcoap(t *testing.T) {
	const key = "a key of libcoap"
	p := newDTLSPlant(t)
	own, _ := p.issue(p.Authority, "gateway", authority.Hub)
	pinned, pinnedFiles := p.issue(p.Authority, "anything", nil)
	_, namedFiles := p.issue(p.Authority, "pump-4", authority.Gateway)
	stranger, err := authority.New("another")
	require.NoError(t, err)
	_, strangerFiles := p.issue(stranger, "pump-4", authority.Gateway)
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)

	listen := "127.0.0.1:" + freeUDP(t)
	source, err := coap.New(coap.Spec{Listen: listen, Certificate: &own, Authorities: pool}, coap.Options{
		Key: func(string) (coap.Secret, error) { return key, nil },
	})
	require.NoError(t, err)
	sinks := map[string]*sinktest.Recorder{}
	for name, device := range map[string]coap.Device{
		"keyed":  {Identity: "keyed", Credential: "keyed"},
		"pinned": {CertificateSHA256: sha256.Sum256(pinned.Certificate[0])},
		"named":  {CertificateName: "pump-4"},
	} {
		sinks[name] = sinktest.New()
		m := &coap.Machine{Name: name, Device: device, Points: []coap.Point{{Name: "vibration", Path: "/vibration", MaxBytes: 20_000, Passthrough: "cose"}}}
		require.NoError(t, source.Attach(point.Machine{Name: name, Spec: m}, sinks[name]))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- source.Run(ctx) }()
	defer func() {
		cancel()
		assert.NoError(t, <-ended)
	}()
	until(t, time.Minute, "a listener", func() bool {
		taken, err := net.ListenPacket("udp4", listen)
		if err == nil {
			_ = taken.Close()
		}
		return err != nil
	})

	files := func(f []string) []string { return []string{"-c", f[1], "-j", f[3], "-C", p.path("ca.pem")} }
	sent := map[string][][]byte{}
	url := "coaps://" + listen + "/vibration"
	for _, client := range coapClients {
		for name, who := range map[string][]string{
			"keyed": {"-u", "keyed", "-k", key}, "pinned": files(pinnedFiles), "named": files(namedFiles),
		} {
			for _, size := range []int{1, 200, 1000, 5000, 20_000} {
				for _, more := range [][]string{nil, {"-N"}, {"-b", "256"}} {
					payload := make([]byte, size)
					_, _ = rand.Read(payload) // never fails
					p.write("payload", payload)
					said := postCoAP(t, client, p.path("payload"), url, append(append([]string{"-t", "16"}, who...), more...)...)
					assert.Empty(t, said, "%s %s %d %v", client, name, size, more)
					sent[name] = append(sent[name], payload)
				}
			}
		}
		for what, who := range map[string][]string{
			"no such identity": {"-u", "nobody", "-k", key}, "another key": {"-u", "keyed", "-k", "another key of it"}, "another authority": files(strangerFiles),
		} {
			p.write("payload", []byte("what nobody may send"))
			_ = postCoAP(t, client, p.path("payload"), url, append([]string{"-B", "3"}, who...)...)
			_ = what
		}
		p.write("payload", []byte("text"))
		who := []string{"-u", "keyed", "-k", key}
		assert.Contains(t, postCoAP(t, client, p.path("payload"), url, append(who, "-t", "0")...), "4.15")
		assert.Contains(t, postCoAP(t, client, p.path("payload"), "coaps://"+listen+"/elsewhere", who...), "4.04")
		assert.Contains(t, postCoAP(t, client, p.path("payload"), url, append(who, "-m", "delete")...), "4.05")
		p.write("payload", make([]byte, 20_001))
		assert.Contains(t, postCoAP(t, client, p.path("payload"), url, who...), "4.13")
	}
	for name, sink := range sinks {
		got := sink.Payloads(0)
		require.Len(t, got, len(sent[name]), name)
		for i := range got {
			require.True(t, bytes.Equal(sent[name][i], []byte(got[i])), "%s: payload %d came changed", name, i)
		}
		sink.Lock()
		assert.Empty(t, sink.Breaches)
		for _, l := range sink.Links {
			if l.State == point.LinkUp {
				assert.Equal(t, point.Encrypted, l.Security)
			}
		}
		t.Logf("%s: %d payloads, byte for byte, over %s", name, len(got), sink.Links[1].Mechanism)
		sink.Unlock()
	}
}

const pumpYAML = `fieldseal: machine/v1
machine: %s
about: encrypts itself
coap:
  listen: %q
  certificate: keystore:uplink
  trust: ../hub-ca.pem
  device: %s
points:
  - {name: vibration, path: /vibration, type: bytes, max_bytes: 4096, passthrough: cose, readable_by: [process-engineering], sensitivity: restricted}
`

// serves has the authority certify the gateway for servers too: a device that
// verifies whom it sends to asks for that.
func serves(s *site) {
	s.t.Helper()
	certs := s.broker.Certs
	request, extensions, out := s.path("serves.csr"), s.path("serves.ext"), s.path("serves.pem")
	s.write("serves.csr", must(s.t, "keys", "export", "uplink", "--request", "-c", s.path("gateway.yaml")))
	s.write("serves.ext", "extendedKeyUsage=clientAuth,serverAuth\nkeyUsage=critical,digitalSignature\nsubjectAltName=DNS:"+gatewayName+",IP:127.0.0.1\n")
	said, err := exec.CommandContext(s.t.Context(), "openssl", "x509", "-req", "-in", request, "-CA", certs.CA, "-CAkey", certs.keyFile(),
		"-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", out).CombinedOutput()
	require.NoError(s.t, err, "openssl: %s", said)
	must(s.t, "keys", "import", "uplink", out, "-c", s.path("gateway.yaml"))
}

// encrypted makes a COSE_Encrypt0 as a device would: nobody here has its key.
func encrypted(t testing.TB, size int) []byte {
	t.Helper()
	protected, err := cbor.Marshal(map[int]any{1: 1}) // A128GCM
	require.NoError(t, err)
	random := make([]byte, 12+size)
	_, _ = rand.Read(random) // never fails
	b, err := cbor.Marshal(cbor.Tag{Number: 16, Content: []any{protected, map[int]any{5: random[:12]}, random[12:]}})
	require.NoError(t, err)
	return b
}

// TestLibcoapToTheReader: what libcoap's client posts to a gateway arrives
// upstream byte for byte; plaintext that is posted to the same point does not.
func TestLibcoapToTheReader(t *testing.T) {
	dir := t.TempDir()
	broker := StartNATS(t, filepath.Join(dir, "nats"), NewCerts(t, filepath.Join(dir, "ca")))
	broker.CreateStream(streamName, prefix+".>")
	listen := "127.0.0.1:" + freeUDP(t)
	key := canary()[:24]
	device := broker.Certs.Client("pump-5")
	s := newSite(t, siteOptions{
		dir: filepath.Join(dir, "gateway"), broker: broker, poll: "1s",
		machines: map[string]string{
			"pump-4": fmt.Sprintf(pumpYAML, "pump-4", listen, `{psk_identity: pump-4, psk: "credential:pump-4"}`),
			"pump-5": fmt.Sprintf(pumpYAML, "pump-5", listen, "{certificate: pump-5}"),
		},
		credentials: map[string]string{"pump-4": hex.EncodeToString([]byte(key)) + "\n"},
	})
	serves(s)
	s.start()
	who := map[string][]string{
		"pump-4": {"-u", "pump-4", "-k", key},
		"pump-5": {"-c", device.Cert, "-j", device.Key, "-C", broker.Certs.CA},
	}
	plain := canary() + " is what the pump would say in clear " + canary()
	file := filepath.Join(dir, "payload")
	post := func(client, machine string, payload []byte) {
		require.NoError(t, os.WriteFile(file, payload, 0o600))
		said := postCoAP(t, client, file, "coaps://"+listen+"/vibration", append([]string{"-t", "16"}, who[machine]...)...)
		assert.Empty(t, said, "%s to %s", client, machine)
	}
	sent := map[string][][]byte{}
	for i, size := range []int{200, 300, 3000} {
		for machine := range who {
			payload := encrypted(t, size)
			post(coapClients[i%2], machine, payload)
			sent[machine] = append(sent[machine], payload)
		}
	}
	for machine := range who {
		post(coapClients[0], machine, []byte(plain))
	}
	s.drained(20 * time.Second)
	g := s.status()
	for machine := range who {
		assert.Equal(t, map[string]int{"passthrough": 1}, g.machine(machine).Points)
		assert.Contains(t, g.machine(machine).Mechanism, "DTLS 1.2")
	}
	s.stop()
	o := s.open()
	complete(t, o)
	for machine, payloads := range sent {
		var got [][]byte
		read := 0
		for _, one := range o.samples {
			switch {
			case one.Machine != machine || one.Quality != "":
			case one.Payload != nil:
				got = append(got, one.Payload)
			default:
				assert.True(t, one.Sealed, "%s: plaintext left unsealed", machine)
				read++
			}
		}
		require.Len(t, got, len(payloads), machine)
		for i := range got {
			assert.True(t, bytes.Equal(payloads[i], got[i]), "%s: payload %d came changed", machine, i)
		}
		assert.Equal(t, 1, read, "%s: the plaintext, for those who may read it", machine)
	}
	found := 0
	for _, m := range all(t, broker, streamName) {
		assert.False(t, sees(m.raw, plain), "plaintext upstream: %s", m.Subject)
		for _, payloads := range sent {
			for _, payload := range payloads {
				if bytes.Equal(m.Data, payload) {
					found++
				}
			}
		}
	}
	assert.Equal(t, 6, found, "messages that are what a device sent, byte for byte")
	files, _ := filesWith(t, s.path("state"), plain)
	assert.Empty(t, files)
	assert.False(t, sees([]byte(s.log()), plain))
	assert.False(t, sees([]byte(s.log()), key))
}
