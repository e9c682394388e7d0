//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair"
)

// TestHubAndCompromisedGateway: a gateway that has a valid certificate, and runs
// another program, gets nothing into the stream but under its own name.
func TestHubAndCompromisedGateway(t *testing.T) {
	dir := t.TempDir()
	certs := NewCerts(t, filepath.Join(dir, "ca"))
	broker := StartNATS(t, filepath.Join(dir, "nats"), certs)
	stream := broker.CreateStream(streamName, prefix+".>")
	h := startHub(t, hubOptions{dir: filepath.Join(dir, "hub"), trust: certs.CA, server: certs.Server("hub-server"), servers: broker.URL, client: certs})
	h.p.line(t, "the stream answers")
	r := h.run("healthcheck")
	require.Zero(t, r.code, r.stderr)

	uplink := func(certificate, says string) *dtls.Uplink {
		u, err := dtls.New(dtls.Config{Servers: []string{h.address}, Gateway: says, TLS: certs.ClientTLS(certificate)})
		require.NoError(t, err)
		t.Cleanup(func() { _ = u.Close() })
		return u
	}
	message := func(gateway string, n byte, change func(*envelope.Message)) []envelope.Message {
		m := envelope.Message{
			ID:       [16]byte{n},
			Address:  envelope.Address{Stream: envelope.Stream{Gateway: gateway, Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
			Sequence: uint64(n), ContentType: envelope.TypeSealed, Body: []byte("of " + gateway),
		}
		if change != nil {
			change(&m)
		}
		return []envelope.Message{m}
	}
	_, err := uplink("gw-bad", "gw-good").Send(t.Context(), message("gw-good", 1, nil))
	var fault *envelope.Fault
	require.ErrorAs(t, err, &fault, "a hello under another name")
	assert.Contains(t, fault.Error(), `calls itself "gw-good", its certificate says "gw-bad"`)

	bad := uplink("gw-bad", "gw-bad")
	for name, change := range map[string]func(*envelope.Message){
		"another's name":   func(m *envelope.Message) { m.Address.Stream.Gateway = "gw-good" },
		"another subject":  func(m *envelope.Message) { m.Address.Stream.Machine = "x.gw-good" },
		"every subject":    func(m *envelope.Message) { m.Address.Stream.Level = ">" },
		"a header more":    func(m *envelope.Message) { m.ContentType = "a/b\r\nNats-Rollup: all" },
		"a reserved token": func(m *envelope.Message) { m.Address.Stream.Machine = "_keys" },
	} {
		_, err := bad.Send(t.Context(), message("gw-bad", 1, change))
		var refused *envelope.Refused
		require.ErrorAs(t, err, &refused, name)
	}
	// It takes the ids that the other one is going to use.
	for n := byte(1); n <= 3; n++ {
		_, err := bad.Send(t.Context(), message("gw-bad", n, nil))
		require.NoError(t, err)
	}
	good := uplink("gw-good", "gw-good")
	for n := byte(1); n <= 3; n++ {
		_, err := good.Send(t.Context(), message("gw-good", n, nil))
		require.NoError(t, err)
	}

	said := h.run("status")
	require.Zero(t, said.code, said.stderr)
	assert.Contains(t, said.stdout, "6 stored, 5 refused")
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	require.NoError(t, err)
	assert.Equal(t, map[string]uint64{
		prefix + ".gw-bad.press-3.restricted": 3, prefix + ".gw-good.press-3.restricted": 3,
	}, info.State.Subjects)
	for n := uint64(1); n <= 6; n++ {
		m, err := stream.GetMsg(t.Context(), n)
		require.NoError(t, err)
		gateway := strings.TrimPrefix(string(m.Data), "of ")
		assert.Equal(t, prefix+"."+gateway+".press-3.restricted", m.Subject)
		assert.True(t, strings.HasPrefix(m.Header.Get("Nats-Msg-Id"), gateway+"/"), m.Header)
		assert.Empty(t, m.Header.Get("Nats-Rollup"))
	}
}

// TestFailover takes both ways of a gateway that polls away in turns, in each of
// the ways in which links and servers go: cut, stalled, killed, silent. What the
// machines gave out arrives once, signed.
func TestFailover(t *testing.T) {
	const polled = "100ms"
	p := startPlant(t, 1, 2, 3, 4, 5, 6, 7, 8)
	certs := p.broker.Certs
	h := startHub(t, hubOptions{
		dir: filepath.Join(p.dir, "hub"), trust: certs.CA, server: certs.Server("hub-server"), servers: p.broker.URL, client: certs,
	})
	toNATS, err := impair.ListenTCP(strings.TrimPrefix(p.broker.URL, "tls://"))
	require.NoError(t, err)
	defer toNATS.Close()
	toHub, err := impair.Listen(impair.Config{Target: h.address, Seed: 6})
	require.NoError(t, err)
	defer toHub.Close()
	p.site = p.newSite(t, "gateway", polled, p.units...)
	text, err := os.ReadFile(p.site.path("gateway.yaml"))
	require.NoError(t, err)
	p.site.write("gateway.yaml", strings.NewReplacer(
		p.broker.URL, "tls://"+toNATS.Addr(),
		"\noutbox:", fmt.Sprintf(`  - name: radio
    dtls: {server: %q, certificate: keystore:uplink, trust: hub-ca.pem}
outbox:`, toHub.Addr())).Replace(string(text)))
	must(t, "check", "-c", p.site.path("gateway.yaml"))
	p.site.start()
	p.enough(t, 10)

	const plantNATS, radio = 0, 1
	takesOver := func(uplink int, what string) {
		t.Helper()
		began, before := time.Now(), p.site.status()
		until(t, 2*time.Minute, what+": nothing goes over the other uplink", func() bool {
			g := p.site.status()
			return g.Uplinks[uplink].Messages > before.Uplinks[uplink].Messages+300
		})
		g := p.site.status()
		t.Logf("%s: the other uplink has taken over, and 300 messages, after %v; %d wait", what, time.Since(began).Round(100*time.Millisecond), g.Outbox.Messages)
	}
	toNATS.Cut()
	takesOver(radio, "NATS cut")
	toNATS.Mend()
	h.kill()
	takesOver(plantNATS, "hub killed")
	h.start()
	toNATS.Stall()
	takesOver(radio, "NATS stalled")
	toNATS.Mend()
	toHub.BlackHole(true)
	takesOver(plantNATS, "hub in a black hole")
	toHub.BlackHole(false)
	p.broker.Kill() // both
	p.enough(t, len(p.server.Truth(1))+30)
	p.broker.Start()
	p.server.Stop()
	p.site.drained(2 * time.Minute)
	p.site.stop()

	o := p.site.open()
	complete(t, o)
	n := everyCounter(t, o, p.units)
	t.Logf("%d counter values of %d units, every one once and signed; %d messages put aside by the reader as repeated", n, len(p.units), repeated(o))
	require.Contains(t, p.site.log(), "uplink=radio instead_of=plant-nats")
	require.Contains(t, p.site.log(), "uplink=plant-nats instead_of=radio")
}
