package hub

import (
	"context"
	"crypto/tls"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

const tick = 20 * time.Millisecond

// stored is a message as a server has it.
type stored struct {
	subject string
	header  map[string][]string
	body    string
}

func storedAt(t *testing.T, s *natstest.Server) (all []stored) {
	t.Helper()
	require.NoError(t, s.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		in, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		for n := uint64(1); n <= in.CachedInfo().State.LastSeq; n++ {
			m, err := in.GetMsg(ctx, n)
			if err != nil {
				return err
			}
			all = append(all, stored{m.Subject, m.Header, string(m.Data)})
		}
		return nil
	}))
	return all
}

// everyKind is a message of each kind, with all that can be in one.
func everyKind(gateway string) (all []envelope.Message) {
	for i, kind := range []envelope.Kind{
		envelope.KeyFrame, envelope.Data, envelope.Passthrough, envelope.Checkpoint, envelope.LossRecord, envelope.Statement, envelope.Event,
	} {
		m := message(gateway, i+1, 100)
		m.Address.Kind = kind
		m.Body[0] = byte(i)
		switch kind {
		case envelope.Passthrough:
			m.Address.Point, m.ContentType = "torque-log", "application/octet-stream"
		case envelope.Statement: // of the gateway
			m.Address.Stream.Machine, m.Address.Stream.Level, m.Epoch = "", "", envelope.Epoch{}
		}
		all = append(all, m)
	}
	return all
}

// A message is the same in the stream whatever way it went: the same subject, the
// same headers and so the same id, or a stream would have it twice after a
// failover.
func TestSameAsOverNATS(t *testing.T) {
	p, straight := newPlant(t), newPlant(t)
	client, err := straight.server.Client("gw-1")
	require.NoError(t, err)
	overNATS, err := nats.New(nats.Config{Servers: []string{straight.server.URL()}, Stream: stream, Prefix: prefix, Gateway: "gw-1", TLS: client})
	require.NoError(t, err)
	defer overNATS.Close()
	overDTLS := p.uplink("gw-1", p.hub(p.config()).Addr().String())

	all := everyKind("gw-1")
	n, err := overNATS.Send(t.Context(), all)
	require.NoError(t, err, "message %d", n)
	n, err = overDTLS.Send(t.Context(), all)
	require.NoError(t, err, "message %d", n)
	want := storedAt(t, straight.server)
	require.Len(t, want, len(all))
	require.Equal(t, want, storedAt(t, p.server))

	// What went one way is not stored again by the other.
	client, err = p.server.Client("gw-1")
	require.NoError(t, err)
	same, err := nats.New(nats.Config{Servers: []string{p.server.URL()}, Stream: stream, Prefix: prefix, Gateway: "gw-1", TLS: client})
	require.NoError(t, err)
	defer same.Close()
	_, err = same.Send(t.Context(), all)
	require.NoError(t, err)
	require.Len(t, storedAt(t, p.server), len(all))
}

func TestReady(t *testing.T) {
	p := newPlant(t)
	h, err := New(p.config())
	require.NoError(t, err)
	require.ErrorIs(t, h.Ready(), errNotAsked)
	require.Equal(t, errNotAsked.Error(), h.Status().NotReady)
	require.NoError(t, h.Close())

	r := p.hub(p.config())
	ready := func(words ...string) func() bool {
		return func() bool {
			err := r.Ready()
			for _, w := range words {
				if err == nil || !strings.Contains(err.Error(), w) {
					return false
				}
			}
			return len(words) > 0 || err == nil
		}
	}
	require.Eventually(t, ready(), long, tick)
	p.server.Stop()
	require.Eventually(t, ready("NATS does not answer"), long, tick)
	require.NoError(t, p.server.Restart()) // the stream was in memory
	require.Eventually(t, ready("the stream PLANT cannot be used: the stream does not exist", "$JS.API.STREAM.INFO.PLANT"), long, tick)
	require.NoError(t, p.server.AddStream("PLANT", nil, "other.>"))
	require.Eventually(t, ready("the stream PLANT does not store"), long, tick)
	require.NoError(t, p.server.JetStream(func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, "PLANT") }))
	p.addStream()
	require.Eventually(t, ready(), long, tick)
}

// The hub's own certificate, and what it shows at NATS, change while it runs.
// Connections that stand go on.
func TestRenew(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	h := p.hub(cfg)
	stays := p.uplink("gw-1", h.Addr().String())
	_, err := deliver(t.Context(), stays, "gw-1", 1, 5, 10)
	require.NoError(t, err)

	require.ErrorContains(t, h.Renew(renewal(cfg, tls.Certificate{}, cfg.NATS.TLS)), "the hub's certificate")
	other, err := authority.New("next year's")
	require.NoError(t, err)
	next, err := other.Issue("hub", authority.Hub)
	require.NoError(t, err)
	atNATS, err := natstest.NewCA("nobody knows it")
	require.NoError(t, err)
	wrong, err := atNATS.Client("hub", natstest.Usual)
	require.NoError(t, err)
	require.NoError(t, h.Renew(renewal(cfg, next, wrong)))

	_, err = deliver(t.Context(), stays, "gw-1", 6, 10, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, stays.Connections())
	_, err = p.uplink("gw-2", h.Addr().String()).Send(t.Context(), messages("gw-2", 1, 1, 10))
	requireFault(t, err, "the hub's certificate is of an authority that is not trusted here")
	trusting := p.trusting(other, "gw-2", h.Addr().String())
	_, err = trusting.Send(t.Context(), messages("gw-2", 1, 1, 10))
	requireFault(t, err, "certificate") // the one for NATS

	require.NoError(t, h.Renew(renewal(cfg, next, cfg.NATS.TLS)))
	_, err = deliver(t.Context(), p.trusting(other, "gw-2", h.Addr().String()), "gw-2", 1, 5, 10)
	require.NoError(t, err)
	p.requireOnce(t, "gw-1", 10)
	p.requireOnce(t, "gw-2", 5)
}

// renewal is that of certificates alone.
func renewal(cfg Config, certificate tls.Certificate, atNATS *tls.Config) Renewal {
	return Renewal{Certificate: certificate, NATS: atNATS, Authorities: cfg.Authorities, Revoked: cfg.Revoked}
}

// Certificates and trust change together or not at all, also where the file of
// authorities has another name now and the one before is gone.
func TestRenewMovesTrust(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	h := p.hub(cfg)
	before := h.tls.Load()
	require.NoError(t, os.Remove(p.file("authorities.pem")))
	next := &tls.Config{MinVersion: tls.VersionTLS12}

	r := renewal(cfg, p.issue("hub", authority.Hub), next)
	require.ErrorContains(t, h.Renew(r), "authorities.pem")
	require.Same(t, before, h.tls.Load())
	r.Authorities = p.file("moved.pem")
	p.write("moved.pem", p.authority.PEM())
	r.Certificate = tls.Certificate{}
	require.ErrorContains(t, h.Renew(r), "the hub's certificate")
	require.ErrorContains(t, h.Reload(), "authorities.pem", "the old name stays too")
	require.NotEmpty(t, h.Status().Trust.Problem)

	r.Certificate = p.issue("hub", authority.Hub)
	require.NoError(t, h.Renew(r))
	require.Same(t, next, h.tls.Load())
	require.NoError(t, h.Reload())
	require.Empty(t, h.Status().Trust.Problem)
}

// Each of several files of revocation lists counts.
func TestSeveralRevocationLists(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	other, err := authority.New("other")
	require.NoError(t, err)
	p.write("authorities.pem", append(p.authority.PEM(), other.PEM()...))
	bad, err := other.Issue("gw-1", authority.Gateway)
	require.NoError(t, err)
	list, err := other.Revoke(bad)
	require.NoError(t, err)
	p.write("other.crl", list)
	cfg.Revoked = append(cfg.Revoked, p.file("other.crl"))
	h := p.hub(cfg)
	_, err = p.uplinkWith("gw-1", bad, h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 1, 10))
	requireFault(t, err, "rejects this gateway's certificate")
	_, err = p.uplink("gw-1", h.Addr().String()).Send(t.Context(), messages("gw-1", 1, 1, 10))
	require.NoError(t, err)
	require.NoError(t, os.Remove(p.file("other.crl")))
	require.ErrorContains(t, h.Reload(), "other.crl")
}
