package hub

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

func TestCertificatesAtHub(t *testing.T) {
	p := newPlant(t)
	revoked := p.issue("gw-1", authority.Gateway)
	p.revoke(revoked)
	h := p.hub(p.config())
	foreign, err := authority.New("other")
	require.NoError(t, err)
	stranger, err := foreign.Issue("gw-1", authority.Gateway)
	require.NoError(t, err)
	const rejects = "the hub rejects this gateway's certificate"
	for _, c := range []struct {
		name        string
		certificate tls.Certificate
		want        string
	}{
		{"of another authority", stranger, rejects},
		{"revoked", revoked, rejects},
		{"expired", p.issue("gw-1", authority.Expired), "this gateway's certificate expired on"},
		{"for a server", p.issue("gw-1", authority.Hub), rejects},
		{"without a name", p.issue("gw-1", authority.Names()), rejects},
		{"with two names", p.issue("gw-1", authority.Names("gw-1", "gw-2")), rejects},
		{"with a wildcard", p.issue("gw-1", authority.Names("*")), rejects},
		{"with a subject's token", p.issue("gw-1", authority.Names("urn:fieldseal:_keys")), rejects},
		{"of another gateway", p.issue("gw-2", authority.Gateway), `calls itself "gw-1", its certificate says "gw-2"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := p.uplinkWith("gw-1", c.certificate, h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 3, 10))
			require.Zero(t, n)
			requireFault(t, err, c.want)
		})
	}
	t.Run("expired, past the gateway's own look", func(t *testing.T) {
		_, err := p.handshake(h.Addr().String(), piondtls.WithCertificates(p.issue("gw-1", authority.Expired)))
		require.ErrorContains(t, err, "BadCertificate")
	})
	t.Run("none", func(t *testing.T) {
		_, err := p.handshake(h.Addr().String())
		require.ErrorContains(t, err, "NoCertificate")
		_, err = dtls.New(dtls.Config{Servers: []string{h.Addr().String()}, Gateway: "gw-1", TLS: &tls.Config{RootCAs: p.authority.Pool()}})
		require.ErrorContains(t, err, "no client certificate")
	})
	t.Run("without an AEAD suite", func(t *testing.T) {
		_, err := p.handshake(h.Addr().String(), piondtls.WithCertificates(p.issue("gw-1", authority.Gateway)),
			piondtls.WithCipherSuites(piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA))
		require.ErrorContains(t, err, "InsufficientSecurity")
	})
	t.Run("without the extended master secret", func(t *testing.T) {
		_, err := p.handshake(h.Addr().String(), piondtls.WithCertificates(p.issue("gw-1", authority.Gateway)),
			piondtls.WithExtendedMasterSecret(piondtls.DisableExtendedMasterSecret))
		require.ErrorContains(t, err, "InsufficientSecurity")
	})
	require.Empty(t, p.sequences())
	require.Eventually(t, func() bool { return h.Status().Rejected == 9 }, long, time.Millisecond)
}

func TestNamesInCertificates(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	for _, names := range [][]string{
		{"gw-1"}, {"gw-1", "gw-1.plant.example"}, {"urn:fieldseal:gw-1"}, {"gw-7", "urn:fieldseal:gw-1"}, {"gw-1", "urn:other:gw-2"},
	} {
		n, err := p.uplinkWith("gw-1", p.issue("whatever", authority.Names(names...)), h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 3, 10))
		require.NoError(t, err, "%v", names)
		require.Equal(t, 3, n)
	}
}

// A gateway's own certificate, as the keystore makes it, is let in where the hub
// lists it.
func TestSelfSignedCertificate(t *testing.T) {
	p := newPlant(t)
	own, err := authority.New("gw-1")
	require.NoError(t, err)
	certificate, err := own.Own(authority.Gateway)
	require.NoError(t, err)
	cert, _, err := authority.PEM(certificate)
	require.NoError(t, err)
	p.write("authorities.pem", append(p.authority.PEM(), cert...))
	h := p.hub(p.config())
	n, err := p.uplinkWith("gw-1", certificate, h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 3, 10))
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

// A certificate of a gateway that may issue others would let that gateway be any.
func TestGatewayThatIssuesCertificates(t *testing.T) {
	p := newPlant(t)
	mayIssue := func(c *x509.Certificate) {
		authority.Gateway(c)
		c.IsCA, c.BasicConstraintsValid = true, true
		c.KeyUsage |= x509.KeyUsageCertSign
	}
	t.Run("trusted itself", func(t *testing.T) {
		own, err := authority.New("gw-1")
		require.NoError(t, err)
		certificate, err := own.Own(mayIssue) // as openssl req -x509 makes one
		require.NoError(t, err)
		cert, _, err := authority.PEM(certificate)
		require.NoError(t, err)
		cfg := p.config()
		cfg.Authorities = p.file("both.pem")
		p.write("both.pem", append(p.authority.PEM(), cert...))
		_, err = New(cfg)
		require.ErrorContains(t, err, `both.pem: the certificate "CN=gw-1" names the gateway "gw-1" and may issue certificates (CA:TRUE)`)
		require.ErrorContains(t, err, "issue it without CA:TRUE")

		p.write("both.pem", p.authority.PEM())
		h := p.hub(cfg)
		p.write("both.pem", append(p.authority.PEM(), cert...))
		require.ErrorContains(t, h.Reload(), "may issue certificates")
		require.Contains(t, h.Status().Trust.Problem, "may issue certificates")
	})
	t.Run("from an authority", func(t *testing.T) {
		h := p.hub(p.config())
		between := p.issue("gw-1", mayIssue)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		forged := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw-2"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
		authority.Gateway(forged)
		der, err := x509.CreateCertificate(rand.Reader, forged, between.Leaf, key.Public(), between.PrivateKey)
		require.NoError(t, err)
		_, err = p.handshake(h.Addr().String(), piondtls.WithCertificates(tls.Certificate{
			Certificate: [][]byte{der, between.Certificate[0]}, PrivateKey: key,
		}))
		require.ErrorContains(t, err, "BadCertificate")
		require.Empty(t, p.sequences())
	})
}

func TestHubIsNotTrusted(t *testing.T) {
	p := newPlant(t)
	foreign, err := authority.New("other")
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		hub  func(*Config)
		to   func(*dtls.Config)
		want string
	}{
		{"other authority", nil, func(c *dtls.Config) { c.TLS.RootCAs = foreign.Pool() }, "an authority that is not trusted here"},
		{"other name", nil, func(c *dtls.Config) { c.TLS.ServerName = "hub.example" }, "is for another name"},
		{"expired", func(c *Config) {
			c.Certificate = p.issue("hub", func(x *x509.Certificate) {
				authority.Hub(x)
				x.NotAfter = time.Now().Add(-time.Minute)
			})
		}, nil, "the hub's certificate is not accepted"},
		{"for a client", func(c *Config) { c.Certificate = p.issue("localhost", authority.Gateway) }, func(c *dtls.Config) { c.TLS.ServerName = "localhost" }, "the hub's certificate is not accepted"},
		{"other prefix", nil, func(c *dtls.Config) { c.Prefix = "plant.ulm" }, `under the prefix "plant.augsburg" instead of "plant.ulm"`},
		{"other stream", nil, func(c *dtls.Config) { c.Stream = "OTHER" }, `in the stream "PLANT" instead of "OTHER"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := p.config()
			if c.hub != nil {
				c.hub(&cfg)
			}
			h := p.hub(cfg)
			to := dtls.Config{Servers: []string{h.Addr().String()}, Gateway: "gw-1", TLS: &tls.Config{
				RootCAs: p.authority.Pool(), Certificates: []tls.Certificate{p.issue("gw-1", authority.Gateway)},
			}}
			if c.to != nil {
				c.to(&to)
			}
			u, err := dtls.New(to)
			require.NoError(t, err)
			defer u.Close()
			n, err := u.Send(t.Context(), messages("gw-1", 1, 3, 10))
			require.Zero(t, n)
			requireFault(t, err, c.want)
		})
	}
}

// A revocation list that is put in place ends the connection that stands.
func TestRevokedWhileConnected(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	certificate := p.issue("gw-1", authority.Gateway)
	u, other := p.uplinkWith("gw-1", certificate, h.Addr().String()), p.uplink("gw-2", h.Addr().String())
	for gateway, u := range map[string]*dtls.Uplink{"gw-1": u, "gw-2": other} {
		_, err := deliver(t.Context(), u, gateway, 1, 5, 10)
		require.NoError(t, err)
	}
	p.write("revoked.pem", []byte("nonsense"))
	require.Error(t, h.Reload())
	require.Contains(t, h.Status().Trust.Problem, "revocation list")
	_, err := deliver(t.Context(), u, "gw-1", 6, 10, 10)
	require.NoError(t, err, "what was in force stays")
	p.revoke(certificate)
	require.NoError(t, h.Reload())
	require.Empty(t, h.Status().Trust.Problem)
	_, err = deliver(t.Context(), u, "gw-1", 11, 15, 10)
	requireFault(t, err, "certificate")
	_, err = deliver(t.Context(), other, "gw-2", 6, 10, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, other.Connections())
	require.EqualValues(t, 1, h.Status().Distrusted)
	p.requireOnce(t, "gw-1", 10)
}

// A compromised gateway can send what it likes; it is published under its own
// name or not at all.
func TestCompromisedGateway(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	bad, good := p.uplink("gw-bad", h.Addr().String()), p.uplink("gw-1", h.Addr().String())
	for _, c := range []struct {
		name   string
		change func(*envelope.Message)
		want   string
	}{
		{"another's name", func(m *envelope.Message) { m.Address.Stream.Gateway = "gw-1" }, `of the gateway "gw-1", and came from "gw-bad"`},
		{"more tokens", func(m *envelope.Message) { m.Address.Stream.Machine = "press.x" }, "'.'"},
		{"wildcard", func(m *envelope.Message) { m.Address.Stream.Level = ">" }, "'>'"},
		{"a token of ours", func(m *envelope.Message) { m.Address.Stream.Machine = "_keys" }, "_keys"},
		{"a line break in a header", func(m *envelope.Message) { m.ContentType = "a/b\r\nNats-Rollup: all" }, "header cannot carry"},
		{"no level", func(m *envelope.Message) { m.Address.Stream.Level = "" }, "without"},
		{"unknown kind", func(m *envelope.Message) { m.Address.Kind = 99 }, "kind"},
		{"too large", func(m *envelope.Message) { m.Body = make([]byte, envelope.MaxBody+1) }, "122881"},
	} {
		t.Run(c.name, func(t *testing.T) {
			batch := messages("gw-bad", 1, 3, 10)
			c.change(&batch[0])
			n, err := bad.Send(t.Context(), batch)
			require.Zero(t, n)
			var refused *envelope.Refused
			require.ErrorAs(t, err, &refused)
			require.Contains(t, refused.Reason, c.want)
		})
	}
	// It uses up the ids that the other will use.
	stolen := messages("gw-bad", 1, 3, 10)
	for i := range stolen {
		stolen[i].ID = message("gw-1", i+1, 10).ID
	}
	n, err := bad.Send(t.Context(), stolen)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	_, err = deliver(t.Context(), good, "gw-1", 1, 3, 10)
	require.NoError(t, err)
	p.requireOnce(t, "gw-1", 3)
	require.EqualValues(t, 1, h.Status().Impostors)
	require.EqualValues(t, 8, h.Status().Refused)
}

// Refused in the midst of a window: the rest goes on, in order.
func TestRefusedInBetween(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	u := p.uplink("gw-1", h.Addr().String())
	batch := messages("gw-1", 1, 20, 10)
	batch[4].ContentType, batch[9].Address.Stream.Gateway = "\n", "gw-2"
	var stored []uint64
	for len(batch) > 0 {
		n, err := u.Send(t.Context(), batch)
		for _, m := range batch[:n] {
			stored = append(stored, m.Sequence)
		}
		batch = batch[n:]
		var refused *envelope.Refused
		if errors.As(err, &refused) {
			batch = batch[1:]
		} else {
			require.NoError(t, err)
		}
	}
	require.Len(t, stored, 18)
	require.Equal(t, stored, p.sequences()["gw-1"])
	require.EqualValues(t, 1, u.Connections())
}

// A stream that is not there is the gateway's fault to report; one that does not
// answer is waited for.
func TestStreamIsGone(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	cfg.NATS.Stream = "MISSING"
	h := p.hub(cfg)
	_, err := p.uplink("gw-1", h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 3, 10))
	requireFault(t, err, "MISSING")
	require.EqualValues(t, 1, h.Status().Faults)
}

func TestNATSIsDown(t *testing.T) {
	p := newPlant(t)
	h := p.hub(p.config())
	u := p.uplink("gw-1", h.Addr().String())
	_, err := deliver(t.Context(), u, "gw-1", 1, 5, 10)
	require.NoError(t, err)
	p.server.Stop()
	n, err := u.Send(t.Context(), messages("gw-1", 6, 10, 10))
	require.Zero(t, n)
	require.ErrorContains(t, err, "cannot store")
	var f *envelope.Fault
	require.NotErrorAs(t, err, &f)
	require.NoError(t, p.server.Restart())
	p.addStream()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	_, err = deliver(ctx, u, "gw-1", 6, 10, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, u.Connections(), "a hub that is there is not redialled")
	require.Equal(t, []uint64{6, 7, 8, 9, 10}, p.sequences()["gw-1"], "the stream was in memory")
}
