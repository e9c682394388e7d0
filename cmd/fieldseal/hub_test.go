package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/hub"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// hubSite is a NATS server, an authority, and the folder of a hub.
type hubSite struct {
	t         *testing.T
	dir       string
	listen    string
	server    *natstest.Server
	authority *authority.Authority
}

func newHubSite(t *testing.T) *hubSite {
	t.Helper()
	s := &hubSite{t: t, dir: t.TempDir(), server: natstest.Start(t, natstest.Options{})}
	s.addStream(nil)
	var err error
	s.authority, err = authority.New("plant")
	require.NoError(t, err)
	s.listen = freeUDP(t)
	s.write("gateways.pem", s.authority.PEM())
	s.revoke()
	s.issue("hub")
	atNATS, err := s.server.CA.Issue("hub", natstest.Usual)
	require.NoError(t, err)
	s.put("nats", atNATS)
	s.write("nats-ca.pem", s.server.CA.PEM())
	s.configure("PLANT", "")
	return s
}

// addStream makes the stream anew: one that keeps what it has, but for the change.
func (s *hubSite) addStream(change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	require.NoError(s.t, s.server.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		if err := js.DeleteStream(ctx, "PLANT"); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return nil
	}))
	s.changeStream(change)
}

// changeStream changes the stream that is there, or makes it.
func (s *hubSite) changeStream(change func(*jetstream.StreamConfig)) {
	s.t.Helper()
	require.NoError(s.t, s.server.AddStream("PLANT", func(c *jetstream.StreamConfig) {
		c.DenyDelete, c.DenyPurge, c.Duplicates = true, true, 2*time.Minute
		if change != nil {
			change(c)
		}
	}, "plant.test.>"))
}

func freeUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().String()
}

func (s *hubSite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *hubSite) write(name string, b []byte) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.path(name), b, 0o600))
}

// configure writes the hub's file, with these lines at the end.
func (s *hubSite) configure(stream, more string) {
	s.t.Helper()
	s.write("hub.yaml", fmt.Appendf(nil, `fieldseal: hub/v1
listen: %q
certificate: hub.pem
key: hub.key
trust: gateways.pem
revoked: [gateways.crl]
nats: {servers: [%q], stream: %s, prefix: plant.test, certificate: nats.pem, key: nats.key, trust: nats-ca.pem}
metrics: {listen: "unix:%s"}
%s`, s.listen, s.server.URL(), stream, s.path("m.sock"), more))
}

func (s *hubSite) issue(name string) {
	s.t.Helper()
	c, err := s.authority.Issue(name, authority.Hub)
	require.NoError(s.t, err)
	s.put(name, c)
}

func (s *hubSite) put(name string, c tls.Certificate) {
	s.t.Helper()
	certificate, key, err := authority.PEM(c)
	require.NoError(s.t, err)
	s.write(name+".pem", certificate)
	s.write(name+".key", key)
}

func (s *hubSite) revoke(certificates ...tls.Certificate) {
	s.t.Helper()
	list, err := s.authority.Revoke(certificates...)
	require.NoError(s.t, err)
	s.write("gateways.crl", list)
}

// run runs a command to its end.
func (s *hubSite) run(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = run(s.t.Context(), append([]string{"hub"}, append(args, "-c", s.path("hub.yaml"))...), nil, &out, &errs)
	return code, strings.ReplaceAll(out.String(), s.dir+"/", ""), strings.ReplaceAll(errs.String(), s.dir+"/", "")
}

// begin runs the hub until the end of the test, or until stop, and waits until it
// listens.
func (s *hubSite) begin() (log *heard, stop func() int) {
	s.t.Helper()
	log = &heard{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"hub", "-c", s.path("hub.yaml")}, nil, log, log) }()
	stop = sync.OnceValue(func() int { cancel(); return <-ended })
	s.t.Cleanup(func() { stop() })
	log.until(s.t, "msg=running")
	return log, stop
}

// heard is what a command says.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(b)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func (h *heard) until(t *testing.T, words string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(h.String(), words) }, deadline, 10*time.Millisecond,
		"%q is not said", words)
}

func (s *hubSite) uplink(name string, certificate tls.Certificate) *dtls.Uplink {
	s.t.Helper()
	u, err := dtls.New(dtls.Config{Servers: []string{s.listen}, Gateway: name, TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: s.authority.Pool(), Certificates: []tls.Certificate{certificate},
	}})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = u.Close() })
	return u
}

func hubMessage(gateway string, sequence uint64) envelope.Message {
	return envelope.Message{
		ID:       [16]byte{byte(sequence)},
		Address:  envelope.Address{Stream: envelope.Stream{Gateway: gateway, Machine: "press-1", Level: "restricted"}, Kind: envelope.Data},
		Sequence: sequence, ContentType: envelope.TypeSealed, Body: []byte("sealed"),
	}
}

func TestHub(t *testing.T) {
	s := newHubSite(t)
	code, said, _ := s.run("check", "--online")
	require.Zero(t, code, said)
	require.Contains(t, said, "hub.yaml: fine: "+s.listen+", stream PLANT, prefix plant.test\n")
	code, _, said = s.run("status")
	require.Equal(t, exitNoLook, code)
	require.Contains(t, said, "no hub answers at m.sock; is it running?")

	log, stop := s.begin()
	log.until(t, "the stream answers")
	code, said, _ = s.run("healthcheck")
	require.Zero(t, code)
	require.Equal(t, "ready\n", said)

	certificate, err := s.authority.Issue("gw-1", authority.Gateway)
	require.NoError(t, err)
	u := s.uplink("gw-1", certificate)
	n, err := u.Send(t.Context(), []envelope.Message{hubMessage("gw-1", 1), hubMessage("gw-1", 2), hubMessage("gw-2", 1)})
	require.Equal(t, 2, n)
	var refused *envelope.Refused
	require.ErrorAs(t, err, &refused, "of another gateway")

	code, said, _ = s.run("status")
	require.Zero(t, code)
	assert.Contains(t, said, "2 stored, 1 refused")
	assert.Regexp(t, `(?m)^gw-1 +127\.0\.0\.1:\d+ +\d+s +2 +1 +0 +20\d\d-`, said)
	_, metrics, err := askHub(t.Context(), s.path("hub.yaml"), "/metrics")
	require.NoError(t, err)
	for _, line := range []string{
		"fieldseal_hub_ready 1", `fieldseal_hub_connections{gateway="gw-1"} 1`, "fieldseal_hub_messages_received_total 3",
		"fieldseal_hub_messages_stored_total 2", "fieldseal_hub_messages_refused_total 1", "fieldseal_hub_impostors_total 1",
		"fieldseal_hub_handshakes_failed_total 0", "fieldseal_hub_datagrams_dropped_total 0",
	} {
		assert.Contains(t, string(metrics), line+"\n")
	}

	// The server goes, and comes back: the hub is there all the time.
	s.server.Stop()
	s.runUntil("healthcheck", exitProblems, "not ready: NATS does not answer")
	require.NoError(t, s.server.Restart())
	s.runUntil("healthcheck", exitFine, "ready")
	require.Zero(t, stop())
	assert.NotContains(t, log.String(), "BEGIN")
}

// runUntil runs a command again and again until it ends like this.
func (s *hubSite) runUntil(command string, code int, words string) {
	s.t.Helper()
	var last string
	require.Eventually(s.t, func() bool {
		got, out, errs := s.run(command)
		last = out + errs
		return got == code && strings.Contains(last, words)
	}, deadline, 100*time.Millisecond, "%s; last: %s", words, &last)
}

// SIGHUP takes another certificate and another revocation list into use, and
// nothing where one of the files is wrong.
func TestHubHangup(t *testing.T) {
	s := newHubSite(t)
	log, _ := s.begin()
	certificate, err := s.authority.Issue("gw-1", authority.Gateway)
	require.NoError(t, err)
	u := s.uplink("gw-1", certificate)
	_, err = u.Send(t.Context(), []envelope.Message{hubMessage("gw-1", 1)})
	require.NoError(t, err)

	require.NoError(t, os.Chmod(s.path("hub.key"), 0o644))
	hangup := func() { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) }
	hangup()
	log.until(t, "hub.key' can be read by others (mode 0644); run: chmod 600 ")
	log.until(t, "SIGHUP changes nothing before the problems above are mended")

	require.NoError(t, os.Remove(s.path("hub.key")))
	s.issue("hub") // another one, which only its owner reads
	s.configure("PLANT", "limits: {connections: 7}\n")
	s.revoke(certificate)
	hangup()
	log.until(t, "certificates are read again")
	log.until(t, "has an effect at the next start only")
	require.Eventually(t, func() bool {
		_, err := u.Send(t.Context(), []envelope.Message{hubMessage("gw-1", 2)})
		var fault *envelope.Fault
		return err != nil && assert.ErrorAs(t, err, &fault)
	}, deadline, 20*time.Millisecond)
	log.until(t, "is revoked")
}

// What happens to the hub's files while it runs does not make it look dead.
func TestHubIsAskedByAWrongFile(t *testing.T) {
	s := newHubSite(t)
	log, _ := s.begin()
	log.until(t, "the stream answers")
	c, err := s.authority.Issue("hub", authority.Expired)
	require.NoError(t, err)
	s.put("nats", c)
	for _, more := range []string{"", "trusts: x\n", "limits: {\n"} {
		s.configure("PLANT", more)
		code, said, errs := s.run("healthcheck")
		require.Zero(t, code, errs)
		require.Equal(t, "ready\n", said)
		code, said, errs = s.run("status")
		require.Zero(t, code, errs)
		require.Contains(t, said, "0 stored")
	}
	s.write("hub.yaml", []byte("metrics: {listen: nowhere}\n"))
	code, _, said := s.run("healthcheck")
	require.Equal(t, exitNoLook, code)
	require.Contains(t, said, "hub.yaml:1:19: 'nowhere' is no address with a port")
}

// SIGHUP follows trust: to another file, though the one before is gone.
func TestHubHangupMovesTrust(t *testing.T) {
	s := newHubSite(t)
	log, _ := s.begin()
	other, err := authority.New("next")
	require.NoError(t, err)
	s.write("next.pem", append(s.authority.PEM(), other.PEM()...))
	require.NoError(t, os.Remove(s.path("gateways.pem")))
	b, err := os.ReadFile(s.path("hub.yaml"))
	require.NoError(t, err)
	s.write("hub.yaml", bytes.Replace(b, []byte("trust: gateways.pem"), []byte("trust: next.pem"), 1))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	log.until(t, "certificates are read again")
	certificate, err := other.Issue("gw-1", authority.Gateway)
	require.NoError(t, err)
	n, err := s.uplink("gw-1", certificate).Send(t.Context(), []envelope.Message{hubMessage("gw-1", 1)})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NotContains(t, log.String(), "has an effect at the next start only")
}

func TestHubThatCannot(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hubSite)
		args   []string // run where there is none
		code   int
		want   string
	}{
		"no file":     {func(s *hubSite) { require.NoError(s.t, os.Remove(s.path("hub.yaml"))) }, nil, exitNoLook, "hub.yaml: cannot be read: there is no such file"},
		"no key file": {func(s *hubSite) { require.NoError(s.t, os.Remove(s.path("hub.key"))) }, nil, exitProblems, "hub.yaml:4:6: cannot read 'hub.key': there is no such file; write its path from this file's folder"},
		"expired": {func(s *hubSite) {
			c, err := s.authority.Issue("hub", authority.Expired)
			require.NoError(s.t, err)
			s.put("nats", c)
		}, []string{"check"}, exitProblems, "'nats.pem' expired on "},
		"a gateway as authority": {func(s *hubSite) {
			c, err := s.authority.Issue("gw-1", func(c *x509.Certificate) {
				authority.Gateway(c)
				c.IsCA, c.BasicConstraintsValid = true, true
			})
			require.NoError(s.t, err)
			certificate, _, err := authority.PEM(c)
			require.NoError(s.t, err)
			s.write("gateways.pem", append(s.authority.PEM(), certificate...))
		}, []string{"check"}, exitProblems, `hub.yaml:5:8: 'gateways.pem': the certificate "CN=gw-1" names the gateway "gw-1" and may issue certificates (CA:TRUE)`},
		"another authority's servers": {
			func(s *hubSite) { s.write("nats-ca.pem", s.authority.PEM()) },
			[]string{"check", "--online"},
			exitProblems, "the server's certificate is not accepted",
		},
		"another authority's client": {func(s *hubSite) {
			c, err := s.authority.Issue("hub", authority.Gateway)
			require.NoError(s.t, err)
			s.put("nats", c)
		}, []string{"check", "--online"}, exitProblems, "the server rejects this client's certificate"},
		"no stream": {
			func(s *hubSite) { s.configure("MISSING", "") },
			[]string{"check", "--online"},
			exitProblems,
			"hub.yaml: the stream MISSING cannot be used: the stream does not exist",
		},
		"a stream in which messages replace others": {
			func(s *hubSite) {
				s.addStream(func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false })
			},
			[]string{"check", "--online"},
			exitProblems,
			`hub.yaml: the stream "PLANT" allows a message to replace all others before it (allow_rollup_hdrs)`,
		},
		"a stream whose messages end": {
			func(s *hubSite) { s.addStream(func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }) },
			[]string{"check", "--online"},
			exitProblems,
			`hub.yaml: the stream "PLANT" allows messages that end by themselves`,
		},
		"a sealed stream": {
			func(s *hubSite) { s.changeStream(func(c *jetstream.StreamConfig) { c.Sealed = true }) },
			[]string{"check", "--online"},
			exitProblems,
			`hub.yaml: the stream "PLANT" is sealed and takes nothing more`,
		},
		"no server": {func(s *hubSite) { s.server.Stop() }, []string{"check", "--online"}, exitProblems, "hub.yaml: NATS does not answer"},
		"port taken": {func(s *hubSite) {
			c, err := net.ListenPacket("udp4", s.listen)
			require.NoError(s.t, err)
			s.t.Cleanup(func() { _ = c.Close() })
		}, nil, exitProblems, "is taken: "},
		"another machine's address": {
			func(s *hubSite) { s.listen = "192.0.2.1:5684"; s.configure("PLANT", "") }, nil, exitProblems,
			`this machine does not have the address of listen: "192.0.2.1:5684"`,
		},
		"metrics taken": {func(s *hubSite) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(s.t, err)
			s.t.Cleanup(func() { _ = l.Close() })
			s.configure("PLANT", fmt.Sprintf("health: {listen: %q}\n", l.Addr()))
		}, nil, exitProblems, "cannot serve health: {listen: "},
		"a word too many": {func(*hubSite) {}, []string{"chekc"}, exitNoLook, `hub does not take "chekc"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHubSite(t)
			c.change(s)
			code, out, errs := s.run(c.args...)
			assert.Equal(t, c.code, code)
			assert.Contains(t, out+errs, c.want)
		})
	}
}

// A stream that is not there does not keep a hub from starting: it may be made
// later. Until then nobody takes it for ready.
func TestHubWithoutStream(t *testing.T) {
	s := newHubSite(t)
	s.configure("MISSING", "")
	log, _ := s.begin()
	log.until(t, "the stream MISSING cannot be used")
	s.runUntil("healthcheck", exitProblems, "not ready: the stream MISSING cannot be used: the stream does not exist")
}

// Many gateways do not make many series.
func TestHubMetricsAreBounded(t *testing.T) {
	var sessions []hub.SessionStatus
	for i := range mostNamed + 50 {
		sessions = append(sessions, hub.SessionStatus{Gateway: fmt.Sprintf("gw-%d", i), Waiting: 2})
	}
	all := gatewaysOf(append(sessions, sessions[0]))
	require.Len(t, all, mostNamed+1)
	assert.Equal(t, 50, all[otherGateways].connections)
	assert.EqualValues(t, 100, all[otherGateways].waiting)
	assert.Equal(t, 2, all["gw-0"].connections)
}

// The file's bounds are the hub's: what the file may say, the hub takes.
func TestHubTakesWhatTheFileMaySay(t *testing.T) {
	s := newHubSite(t)
	for _, limits := range []string{
		"{connections: 1, connections_per_gateway: 1, messages_per_second: 1, bytes_per_second: 128KiB, idle: 5s, half_open: 1, handshakes: 1, handshakes_per_host: 1}",
		"{connections: 65536, connections_per_gateway: 16, messages_per_second: 1000000, bytes_per_second: 1GiB, idle: 1h, half_open: 65536, handshakes: 65536, handshakes_per_host: 65536}",
	} {
		s.configure("PLANT", "limits: "+limits+"\n")
		_, stop := s.begin()
		require.Zero(t, stop())
	}
}
