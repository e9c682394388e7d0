//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

const (
	dtlsCipher = "ECDHE-ECDSA-AES128-GCM-SHA256"
	dtlsTime   = 20 * time.Second // for one run of openssl
)

// dtlsPlant is an authority, and a folder of what it issued.
type dtlsPlant struct {
	*authority.Authority
	t      *testing.T
	folder string
}

func newDTLSPlant(t *testing.T) *dtlsPlant {
	t.Helper()
	a, err := authority.New("Fieldseal interop")
	require.NoError(t, err)
	p := &dtlsPlant{Authority: a, t: t, folder: t.TempDir()}
	p.write("ca.pem", a.PEM())
	p.revoke()
	return p
}

func (p *dtlsPlant) path(name string) string { return filepath.Join(p.folder, name) }

func (p *dtlsPlant) write(name string, b []byte) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(p.path(name), b, 0o600))
}

func (p *dtlsPlant) revoke(certificates ...tls.Certificate) {
	p.t.Helper()
	list, err := p.Revoke(certificates...)
	require.NoError(p.t, err)
	p.write("crl.pem", list)
}

// issue makes a certificate, and gives openssl's options for its files.
func (p *dtlsPlant) issue(a *authority.Authority, name string, change func(*x509.Certificate)) (tls.Certificate, []string) {
	p.t.Helper()
	c, err := a.Issue(name, change)
	require.NoError(p.t, err)
	cert, key, err := authority.PEM(c)
	require.NoError(p.t, err)
	file := fmt.Sprintf("%s-%X", name, c.Leaf.SerialNumber)
	p.write(file+".pem", cert)
	p.write(file+"-key.pem", key)
	return c, []string{"-cert", p.path(file + ".pem"), "-key", p.path(file + "-key.pem")}
}

// pair makes a certificate of the authority, and gives its files.
func (p *dtlsPlant) pair(name string, change func(*x509.Certificate)) Pair {
	p.t.Helper()
	_, options := p.issue(p.Authority, name, change)
	return Pair{Cert: options[1], Key: options[3]}
}

// TestOpenSSLAgainstHub: OpenSSL's client gets into a fieldseal hub with a
// certificate of the authority, and with no other.
func TestOpenSSLAgainstHub(t *testing.T) {
	p := newDTLSPlant(t)
	hubFiles := p.pair("hub", authority.Hub)
	stranger, err := authority.New("another")
	require.NoError(t, err)
	revoked, revokedFiles := p.issue(p.Authority, "gw-1", authority.Gateway)
	p.revoke(revoked)
	h := startHub(t, hubOptions{
		dir: filepath.Join(p.folder, "hub"), trust: p.path("ca.pem"), revoked: p.path("crl.pem"), server: hubFiles,
		servers: "tls://127.0.0.1:1", client: NewCerts(t, filepath.Join(p.folder, "nats")), // nobody publishes here
	})
	_, right := p.issue(p.Authority, "gw-1", authority.Gateway)
	_, wrong := p.issue(stranger, "gw-1", authority.Gateway)
	_, expired := p.issue(p.Authority, "gw-1", authority.Expired)
	_, nameless := p.issue(p.Authority, "gw-1", authority.Names())
	for _, c := range []struct {
		name    string
		options []string
		want    string // of what it says; empty: it gets in
	}{
		{"right", append([]string{"-cipher", dtlsCipher}, right...), ""},
		{"ChaCha20", append([]string{"-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"}, right...), ""},
		{"wrong authority", wrong, "alert bad certificate"},
		{"expired", expired, "alert bad certificate"},
		{"revoked", revokedFiles, "alert bad certificate"},
		{"without a gateway's name", nameless, "alert bad certificate"},
		{"none", nil, "alert no certificate"},
		{"CBC", append([]string{"-cipher", "ECDHE-ECDSA-AES256-SHA"}, right...), "alert insufficient security"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), dtlsTime)
			defer cancel()
			cmd := exec.CommandContext(ctx, "openssl", append([]string{
				"s_client", "-dtls1_2", "-connect", h.address, "-CAfile", p.path("ca.pem"), "-verify_return_error",
			}, c.options...)...)
			said, err := cmd.CombinedOutput()
			if c.want == "" {
				require.NoError(t, err, "%s", said)
				assert.Contains(t, string(said), "Cipher is "+c.options[1])
				assert.Contains(t, string(said), "Verification: OK")
				assert.Contains(t, string(said), "Extended master secret: yes")
				return
			}
			require.Error(t, err, "%s", said)
			assert.Contains(t, strings.ToLower(string(said)), c.want)
		})
	}
	// The hub's log says why, for each.
	for _, why := range []string{"unknown authority", "has expired", "is revoked", "names no gateway"} {
		h.p.line(t, why)
	}
	version, err := exec.CommandContext(t.Context(), "openssl", "version").Output()
	require.NoError(t, err)
	if words := strings.Fields(string(version)); len(words) > 1 {
		ran("openssl", words[1])
	}
}

// TestUplinkAgainstOpenSSL: our gateway completes the handshake with OpenSSL's
// server, and tells what is wrong where it cannot.
func TestUplinkAgainstOpenSSL(t *testing.T) {
	p := newDTLSPlant(t)
	stranger, err := authority.New("another")
	require.NoError(t, err)
	right, _ := p.issue(p.Authority, "gw-1", authority.Gateway)
	revoked, _ := p.issue(p.Authority, "gw-1", authority.Gateway)
	wrong, _ := p.issue(stranger, "gw-1", authority.Gateway)
	_, hubFiles := p.issue(p.Authority, "hub", authority.Hub)
	_, strangeHub := p.issue(stranger, "hub", authority.Hub)
	_, expiredHub := p.issue(p.Authority, "hub", func(c *x509.Certificate) {
		authority.Hub(c)
		c.NotAfter = time.Now().Add(-time.Minute)
	})
	p.revoke(revoked)
	for _, c := range []struct {
		name   string
		client tls.Certificate
		server []string
		want   string // fault; empty: the handshake completes
	}{
		{"right", right, hubFiles, ""},
		{"wrong authority", wrong, hubFiles, "the hub rejects this gateway's certificate"},
		{"revoked", revoked, hubFiles, "the hub rejects this gateway's certificate"},
		{"server of a wrong authority", right, strangeHub, "an authority that is not trusted here"},
		{"server expired", right, expiredHub, "the hub's certificate is not accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := freeUDP(t)
			cmd := exec.CommandContext(t.Context(), "openssl", append([]string{
				"s_server", "-dtls1_2", "-listen", "-accept", port, "-CAfile", p.path("ca.pem"), "-Verify", "2", "-verify_return_error",
				"-crl_check", "-CRL", p.path("crl.pem"),
			}, c.server...)...)
			stdin, err := cmd.StdinPipe() // at its end it would leave
			require.NoError(t, err)
			defer stdin.Close()
			server := start(t, "openssl s_server", cmd)
			u, err := dtls.New(dtls.Config{
				Servers: []string{"127.0.0.1:" + port}, Gateway: "gw-1",
				TLS: &tls.Config{RootCAs: p.Pool(), Certificates: []tls.Certificate{c.client}},
			})
			require.NoError(t, err)
			defer u.Close()
			deadline := time.Now().Add(dtlsTime)
			said := func(words string) bool {
				return strings.Contains(strings.Join(server.log.last(everyLine), "\n"), words)
			}
			for {
				_, err = u.Send(t.Context(), []envelope.Message{{}}) // connects; there is nothing to take it
				if c.want != "" && strings.Contains(err.Error(), c.want) || c.want == "" && said("CIPHER is "+dtlsCipher) {
					break
				}
				require.True(t, time.Now().Before(deadline), "%v", err)
			}
			var fault *envelope.Fault
			if c.want == "" {
				require.NotErrorAs(t, err, &fault)
				return
			}
			require.ErrorAs(t, err, &fault)
			assert.NotEmpty(t, fault.Instead)
		})
	}
}

// freeUDP gives a port that nobody has right now.
func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	return port
}
