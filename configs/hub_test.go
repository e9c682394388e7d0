package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

const goodHub = `fieldseal: hub/v1
listen: "0.0.0.0:5684"
certificate: hub.pem
key: hub.key
trust: gateways.pem
revoked: [gateways.crl]
nats:
  servers: ["tls://nats-a.example:4222", "tls://nats-b.example"]
  stream: PLANT
  prefix: plant.augsburg
  certificate: nats.pem
  key: nats.key
  trust: nats-ca.pem
limits: {connections: 100, messages_per_second: 2000, bytes_per_second: 8MiB, idle: 30s, handshakes_per_host: 4}
metrics: {listen: "127.0.0.1:9465"}
health: {listen: "0.0.0.0:8081"}
`

// hubFolder writes a hub's file and everything that it names.
type hubFolder struct {
	t         *testing.T
	dir       string
	authority *authority.Authority
}

func newHubFolder(t *testing.T) *hubFolder {
	t.Helper()
	a, err := authority.New("plant")
	require.NoError(t, err)
	f := &hubFolder{t: t, dir: t.TempDir(), authority: a}
	f.write("hub.yaml", []byte(goodHub))
	f.write("gateways.pem", a.PEM())
	f.write("nats-ca.pem", a.PEM())
	list, err := a.Revoke()
	require.NoError(t, err)
	f.write("gateways.crl", list)
	f.issue("hub", authority.Hub)
	f.issue("nats", authority.Gateway)
	return f
}

func (f *hubFolder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *hubFolder) write(name string, b []byte) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path(name), b, 0o600))
}

// issue writes NAME.pem and NAME.key.
func (f *hubFolder) issue(name string, change func(*x509.Certificate)) {
	f.t.Helper()
	c, err := f.authority.Issue(name, change)
	require.NoError(f.t, err)
	f.put(name, c)
}

func (f *hubFolder) put(name string, c tls.Certificate) {
	f.t.Helper()
	certificate, key, err := authority.PEM(c)
	require.NoError(f.t, err)
	f.write(name+".pem", certificate)
	f.write(name+".key", key)
}

func (f *hubFolder) load() (*Hub, []string) {
	f.t.Helper()
	h, problems := LoadHub(f.path("hub.yaml"), HubOptions{})
	assert.Equal(f.t, Fatal(problems), h == nil)
	return h, texts(f.dir, problems)
}

func TestHub(t *testing.T) {
	f := newHubFolder(t)
	h, problems := f.load()
	// The test's authority issues for a day.
	require.Len(t, problems, 2)
	assert.Regexp(t, `^hub.yaml:3:14: note: 'hub.pem' expires on .* UTC; have a new one issued, and send the hub a SIGHUP$`, problems[0])
	assert.Equal(t, "hub", h.Certificate.Leaf.Subject.CommonName)
	assert.Equal(t, "nats", h.NATS.Certificate.Leaf.Subject.CommonName)
	assert.NotNil(t, h.NATS.Roots)
	h.Certificate, h.NATS.Certificate, h.NATS.Roots = tls.Certificate{}, tls.Certificate{}, nil
	assert.Equal(t, &Hub{
		Listen: "0.0.0.0:5684", Trust: f.path("gateways.pem"), Revoked: []string{f.path("gateways.crl")},
		NATS:    HubNATS{Servers: []string{"tls://nats-a.example:4222", "tls://nats-b.example"}, Stream: "PLANT", Prefix: "plant.augsburg"},
		Limits:  HubLimits{Connections: 100, MessagesPerSecond: 2000, BytesPerSecond: 8 << 20, Idle: 30 * time.Second, HandshakesPerHost: 4},
		Metrics: Metrics{"tcp", "127.0.0.1:9465"}, Health: "0.0.0.0:8081",
	}, h)
}

// The documents show a hub's file that loads as it stands.
func TestDocumentedHub(t *testing.T) {
	doc, err := os.ReadFile("../docs/hub.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml[^\n]*\n(fieldseal: hub/v1\n.*?)```").FindAllSubmatch(doc, -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		f := newHubFolder(t)
		f.write("hub.yaml", b[1])
		_, problems := LoadHub(f.path("hub.yaml"), HubOptions{})
		for _, p := range problems {
			assert.True(t, p.Note, "%v", p)
		}
	}
}

func TestHubMistakes(t *testing.T) {
	replace := func(old, to string) func(*hubFolder) {
		return func(f *hubFolder) {
			require.Equal(f.t, 1, strings.Count(goodHub, old))
			f.write("hub.yaml", []byte(strings.Replace(goodHub, old, to, 1)))
		}
	}
	for name, c := range map[string]struct {
		change func(*hubFolder)
		want   string // the problem, but for notes
	}{
		"another kind":      {replace("hub/v1", "gateway/v1"), `hub.yaml:1:12: this is 'gateway/v1', where a hub's file belongs; name another file, or write fieldseal: hub/v1`},
		"no kind":           {replace("fieldseal: hub/v1\n", ""), `hub.yaml:1:1: 'fieldseal' is missing; write fieldseal: hub/v1 as the first line`},
		"unknown key":       {replace("trust: gateways", "trusts: gateways"), "hub.yaml:1:1: 'trust' is missing; write the file of the authorities that issue the gateways' certificates\nhub.yaml:5:1: unknown key 'trusts'; did you mean 'trust'?"},
		"no port":           {replace(`"0.0.0.0:5684"`, `"0.0.0.0"`), `hub.yaml:2:9: '0.0.0.0' is no address with a port; write listen: "0.0.0.0:5684"`},
		"a name":            {replace(`"0.0.0.0:5684"`, `"hub.example:5684"`), `hub.yaml:2:9: 'hub.example:5684' is no address with a port; write listen: "0.0.0.0:5684"`},
		"public metrics":    {replace(`127.0.0.1:9465`, `0.0.0.0:9465`), `hub.yaml:15:19: '0.0.0.0:9465' is not a loopback address: metrics have neither encryption nor login; write listen: "127.0.0.1:9464" or listen: unix:/run/fieldseal/metrics.sock`},
		"plain NATS":        {replace("tls://nats-a", "nats://nats-a"), `hub.yaml:8:13: nats:// would connect without TLS where the server allows it; write tls://HOST:PORT`},
		"limit too large":   {replace("connections: 100", "connections: 100000"), `hub.yaml:14:23: 'connections' is out of range; write a number from 1 to 65536`},
		"limit too small":   {replace("8MiB", "8KiB"), `hub.yaml:14:73: 'bytes_per_second' is out of range; write 128KiB to 1048576KiB, such as 64MiB`},
		"idle too long":     {replace("idle: 30s", "idle: 2h"), `hub.yaml:14:85: 'idle' is longer than 1h; write a duration such as 2m: a gateway that is gone keeps its place for so long`},
		"no key file":       {func(f *hubFolder) { require.NoError(f.t, os.Remove(f.path("hub.key"))) }, `hub.yaml:4:6: cannot read 'hub.key': there is no such file; write its path from this file's folder`},
		"key for others":    {func(f *hubFolder) { require.NoError(f.t, os.Chmod(f.path("nats.key"), 0o640)) }, `hub.yaml:12:8: 'nats.key' can be read by others (mode 0640); run: chmod 600 nats.key`},
		"another's key":     {replace("key: hub.key", "key: nats.key"), `hub.yaml:4:6: the key is not that of 'hub.pem'; name the key for which that certificate was issued`},
		"no key in it":      {replace("key: hub.key", "key: nats-ca.pem"), `hub.yaml:4:6: 'nats-ca.pem' has no private key in it; name a file with one, in PEM, without a password`},
		"no certificate":    {replace("certificate: hub.pem", "certificate: hub.key"), `hub.yaml:3:14: 'hub.key' has no certificate in it; name a file with one, in PEM`},
		"nonsense in trust": {func(f *hubFolder) { f.write("gateways.pem", []byte("nonsense")) }, `hub.yaml:5:8: 'gateways.pem' has no certificate in it; write the file of the authorities' certificates, in PEM`},
		"a key in trust":    {replace("trust: nats-ca.pem", "trust: nats.key"), `hub.yaml:13:10: 'nats.key' has something in it that is no certificate; leave certificates only, in PEM`},
		"no list":           {replace("[gateways.crl]", "[gateways.pem]"), `hub.yaml:6:11: 'gateways.pem' has something in it that is no revocation list; write a file of revocation lists, in PEM or DER`},
		"another's list": {func(f *hubFolder) {
			other, err := authority.New("other")
			require.NoError(f.t, err)
			list, err := other.Revoke()
			require.NoError(f.t, err)
			f.write("gateways.crl", list)
		}, `hub.yaml:6:11: 'gateways.crl' is not signed by an authority that is in 'trust' and may sign revocation lists; write the list of one of them, or add that authority (keyUsage cRLSign) to 'trust'`},
		"a client's": {func(f *hubFolder) {
			f.issue("hub", func(c *x509.Certificate) {
				authority.Hub(c)
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			})
		}, `hub.yaml:3:14: 'hub.pem' is not for server authentication; have one issued with extendedKeyUsage serverAuth`},
		"a server's":     {func(f *hubFolder) { f.issue("nats", authority.Hub) }, `hub.yaml:11:16: 'nats.pem' is not for client authentication; have one issued with extendedKeyUsage clientAuth`},
		"without a name": {func(f *hubFolder) { f.issue("hub", nil) }, `hub.yaml:3:14: 'hub.pem' is for no name: gateways hold it against the name or address that they connect to; have one issued with subject alternative names, as DNS: or IP:`},
		"RSA for DTLS":   {func(f *hubFolder) { f.put("hub", rsaCertificate(f.t)) }, `hub.yaml:3:14: 'hub.pem' is for a key of RSA, and DTLS takes ECDSA only; have one issued for an ECDSA P-256 key`},
		"expired": {func(f *hubFolder) {
			f.issue("hub", func(c *x509.Certificate) { authority.Hub(c); c.NotAfter = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC) })
		}, `hub.yaml:3:14: 'hub.pem' expired on 2026-01-02 03:04 UTC; have a new one issued, or set this machine's clock right`},
		"not yet": {func(f *hubFolder) {
			f.issue("hub", func(c *x509.Certificate) {
				authority.Hub(c)
				c.NotBefore, c.NotAfter = time.Date(2126, 1, 2, 3, 4, 0, 0, time.UTC), time.Date(2127, 1, 2, 3, 4, 0, 0, time.UTC)
			})
		}, `hub.yaml:3:14: 'hub.pem' is not valid before 2126-01-02 03:04 UTC; set this machine's clock right`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newHubFolder(t)
			c.change(f)
			h, problems := f.load()
			assert.Nil(t, h)
			var got []string
			for _, p := range problems {
				if !strings.Contains(p, ": note: ") {
					got = append(got, p)
				}
			}
			assert.Equal(t, c.want, strings.Join(got, "\n"))
		})
	}
}

// What a trust file must not hold is told at its place.
func TestHubAuthority(t *testing.T) {
	f := newHubFolder(t)
	_, problems := LoadHub(f.path("hub.yaml"), HubOptions{Authority: func(c *x509.Certificate) error {
		return errors.New(c.Subject.String() + " is not for this")
	}})
	require.True(t, Fatal(problems))
	assert.Contains(t, texts(f.dir, problems), "hub.yaml:5:8: 'gateways.pem': CN=plant is not for this")
}

// Where a hub answers is found in a file that has come to be wrong.
func TestHubAddresses(t *testing.T) {
	replace := func(old, to string) string {
		require.Equal(t, 1, strings.Count(goodHub, old))
		return strings.Replace(goodHub, old, to, 1)
	}
	const nested = "metrics:\n  # of this machine\n  listen: unix:/run/hub.sock\nnats: [\n"
	for name, c := range map[string]struct {
		text, metrics, health, want string
	}{
		"nothing else there": {goodHub, "127.0.0.1:9465", "0.0.0.0:8081", ""},
		"unknown key":        {replace("trust: gateways", "trusts: gateways"), "127.0.0.1:9465", "0.0.0.0:8081", ""},
		"no kind":            {replace("fieldseal: hub/v1\n", ""), "127.0.0.1:9465", "0.0.0.0:8081", ""},
		"no YAML":            {replace("stream: PLANT", "stream: \"PLANT"), "127.0.0.1:9465", "0.0.0.0:8081", ""},
		"no YAML, on lines":  {nested, "/run/hub.sock", "", ""},
		"wrong metrics":      {replace("127.0.0.1:9465", "127.0.0.1"), "", "0.0.0.0:8081", "hub.yaml:15:19: '127.0.0.1' is no address with a port"},
		"no YAML in metrics": {replace("metrics: {", "metrics: [{"), "", "", "hub.yaml:16:1: not valid YAML"},
		"empty":              {"", "", "", "hub.yaml: the file is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &hubFolder{t: t, dir: t.TempDir()}
			f.write("hub.yaml", []byte(c.text))
			m, health, problems := HubAddresses(f.path("hub.yaml"))
			assert.Equal(t, c.metrics, m.Listen)
			assert.Equal(t, c.health, health)
			said := strings.Join(texts(f.dir, problems), "\n")
			if c.want == "" {
				assert.Empty(t, said)
			}
			assert.True(t, strings.HasPrefix(said, c.want), said)
		})
	}
}

func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{IPAddresses: []net.IP{net.IPv6loopback}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	authority.Hub(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), signer)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// systemd shows the mode of a credential as if a group could read it.
func TestHubKeyIsACredential(t *testing.T) {
	f := newHubFolder(t)
	require.NoError(t, os.Chmod(f.path("hub.key"), 0o440))
	h, _ := f.load()
	assert.Nil(t, h)
	t.Setenv("CREDENTIALS_DIRECTORY", f.dir+"/")
	h, _ = f.load()
	assert.NotNil(t, h)
}

func TestHubOfNothing(t *testing.T) {
	for _, text := range []string{"", "fieldseal: hub/v1\n", "- a\n", "fieldseal: hub/v1\nnats: 5\nlimits: []\n"} {
		f := newHubFolder(t)
		f.write("hub.yaml", []byte(text))
		h, problems := f.load()
		assert.Nil(t, h)
		assert.NotEmpty(t, problems, "%q", text)
	}
}
