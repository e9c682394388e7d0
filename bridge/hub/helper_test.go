package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/adapters/dtls"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	prefix = "plant.augsburg"
	stream = "PLANT"
	long   = time.Minute // no test waits for so long unless it fails
)

// plant is a NATS server with the stream, and what gateways and hubs need.
type plant struct {
	t         testing.TB
	server    *natstest.Server
	authority *authority.Authority
	folder    string
}

func newPlant(t testing.TB) *plant {
	t.Helper()
	p := &plant{t: t, server: natstest.Start(t, natstest.Options{}), folder: t.TempDir()}
	p.addStream()
	var err error
	p.authority, err = authority.New("plant")
	require.NoError(t, err)
	p.write("authorities.pem", p.authority.PEM())
	p.revoke()
	return p
}

func (p *plant) addStream() {
	p.t.Helper()
	require.NoError(p.t, p.server.AddStream(stream, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, prefix+".>"))
}

func (p *plant) file(name string) string { return filepath.Join(p.folder, name) }

func (p *plant) write(name string, b []byte) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(p.file(name), b, 0o600))
}

// revoke writes a revocation list with these certificates.
func (p *plant) revoke(certificates ...tls.Certificate) {
	p.t.Helper()
	list, err := p.authority.Revoke(certificates...)
	require.NoError(p.t, err)
	p.write("revoked.pem", list)
}

func (p *plant) issue(name string, change func(*x509.Certificate)) tls.Certificate {
	p.t.Helper()
	c, err := p.authority.Issue(name, change)
	require.NoError(p.t, err)
	return c
}

// config is that of a hub at a free port.
func (p *plant) config() Config {
	p.t.Helper()
	client, err := p.server.Client("hub")
	require.NoError(p.t, err)
	return Config{
		Listen: "127.0.0.1:0", Certificate: p.issue("hub", authority.Hub),
		Authorities: p.file("authorities.pem"), Revoked: []string{p.file("revoked.pem")},
		NATS: nats.Config{Servers: []string{p.server.URL()}, Stream: stream, Prefix: prefix, TLS: client},
	}
}

// running is a hub that runs.
type running struct {
	*Hub
	stop func()
}

// hub starts a hub, and stops it at the end of the test if nobody did before.
func (p *plant) hub(cfg Config) *running {
	p.t.Helper()
	h, err := New(cfg)
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	r := &running{Hub: h}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(p.t, <-ended)
	}
	p.t.Cleanup(r.stop)
	return r
}

// uplink makes that of a gateway with a certificate for its name.
func (p *plant) uplink(gateway string, servers ...string) *dtls.Uplink {
	p.t.Helper()
	return p.uplinkWith(gateway, p.issue(gateway, authority.Gateway), servers...)
}

// trusting is uplink for a gateway that trusts another authority.
func (p *plant) trusting(a *authority.Authority, gateway string, servers ...string) *dtls.Uplink {
	p.t.Helper()
	return p.connect(a, gateway, p.issue(gateway, authority.Gateway), servers...)
}

func (p *plant) uplinkWith(gateway string, certificate tls.Certificate, servers ...string) *dtls.Uplink {
	p.t.Helper()
	return p.connect(p.authority, gateway, certificate, servers...)
}

func (p *plant) connect(a *authority.Authority, gateway string, certificate tls.Certificate, servers ...string) *dtls.Uplink {
	p.t.Helper()
	u, err := dtls.New(dtls.Config{
		Servers: servers, Gateway: gateway,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.Pool(), Certificates: []tls.Certificate{certificate}},
	})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, u.Close()) })
	return u
}

// message makes message number i of a gateway's stream, with a body of size
// bytes.
func message(gateway string, i, size int) envelope.Message {
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: gateway, Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
		Epoch:       envelope.Epoch{Start: 7, Instance: [8]byte{1, 2, 3}, Number: 1},
		Sequence:    uint64(i),
		ContentType: envelope.TypeSealed,
		Time:        1_700_000_000_000_000_000 + int64(i),
		Body:        make([]byte, size),
	}
	copy(m.ID[8:], gateway)
	binary.BigEndian.PutUint64(m.ID[:], uint64(i))
	return m
}

func messages(gateway string, from, to, size int) []envelope.Message {
	var all []envelope.Message
	for i := from; i <= to; i++ {
		all = append(all, message(gateway, i, size))
	}
	return all
}

// deliver sends messages from to to as the relay does: again from the first that
// is not stored, at once. It gives how often an attempt failed.
func deliver(ctx context.Context, u *dtls.Uplink, gateway string, from, to, size int) (failures int, err error) {
	for from <= to {
		end := min(from+255, to)
		n, err := u.Send(ctx, messages(gateway, from, end, size))
		from += n
		if err == nil {
			continue
		}
		var f *envelope.Fault
		var r *envelope.Refused
		if ctx.Err() != nil || errors.As(err, &f) || errors.As(err, &r) {
			return failures, err
		}
		failures++
	}
	return failures, nil
}

// sequences reads the stream to its end, raw: the numbers of each gateway's
// messages in the order in which they are there.
func (p *plant) sequences() map[string][]uint64 {
	p.t.Helper()
	client, err := p.server.Client("reader")
	require.NoError(p.t, err)
	all := make(map[string][]uint64)
	err = nats.Consume(context.Background(), nats.ConsumeConfig{
		Servers: []string{p.server.URL()}, Stream: stream, Prefix: prefix, TLS: client, FromStart: true, UntilEnd: true,
	}, func(m envelope.Message) error {
		all[m.Address.Stream.Gateway] = append(all[m.Address.Stream.Gateway], m.Sequence)
		return nil
	})
	require.NoError(p.t, err)
	return all
}

func (p *plant) requireOnce(t testing.TB, gateway string, n int) {
	t.Helper()
	require.Equal(t, upTo(n), p.sequences()[gateway], "each once, in order")
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

func requireFault(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	require.ErrorAs(t, err, &f)
	require.Contains(t, f.Error(), words)
	require.NotEmpty(t, f.Instead)
}
