package nats

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

func TestSend(t *testing.T) {
	s := plant(t, natstest.Options{})
	u := uplink(t, config(t, s))
	require.Zero(t, u.Connections())
	batch := messages(1, 600, 200)
	n, err := u.Send(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, 600, n)
	n, err = u.Send(t.Context(), batch[500:]) // again
	require.NoError(t, err)
	require.Equal(t, 100, n)
	n, err = u.Send(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 1, u.Connections())
	require.Equal(t, upTo(600), sequences(t, s, u.cfg.TLS), "ids drop what is sent again")
}

// The server is stopped and started six times while messages are sent.
func TestSendOverRestarts(t *testing.T) {
	const total, each, restarts = 12_000, 200, 6
	s := plant(t, natstest.Options{})
	u := uplink(t, config(t, s))
	restart := make(chan struct{})
	restarted := make(chan error)
	go func() {
		defer close(restarted)
		for range restart {
			restarted <- s.Restart()
		}
	}()
	stored, done, waiting := 0, 0, false
	for stored < total {
		if !waiting && done < restarts && stored >= (done+1)*total/(restarts+1) {
			restart <- struct{}{} // while the next batches are under way
			waiting = true
		}
		end := min(stored+each, total)
		n, err := u.Send(t.Context(), messages(stored+1, end, 500))
		require.LessOrEqual(t, n, end-stored)
		if n < end-stored {
			requireTransient(t, err, "")
		}
		stored += n
		if waiting {
			select {
			case err := <-restarted:
				require.NoError(t, err)
				waiting = false
				done++
			default:
				if err != nil { // there is no server: wait for it
					require.NoError(t, <-restarted)
					waiting = false
					done++
				}
			}
		}
	}
	close(restart)
	if waiting {
		require.NoError(t, <-restarted)
		done++
	}
	for range restarted {
	}
	require.Equal(t, restarts, done)
	require.GreaterOrEqual(t, u.Connections(), uint64(restarts))
	require.Equal(t, upTo(total), sequences(t, s, u.cfg.TLS), "nothing missing, nothing twice, in order")
}

func TestFaultsOfConnection(t *testing.T) {
	s := plant(t, natstest.Options{})
	other, err := natstest.NewCA("other")
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		client func(t *testing.T) *tls.Config
		want   string
	}{
		{"the server's CA is unknown", func(t *testing.T) *tls.Config {
			config, err := s.Client("gw-1")
			require.NoError(t, err)
			config.RootCAs = other.Pool()
			return config
		}, "the server's certificate is not accepted"},
		{"the server has another name", func(t *testing.T) *tls.Config {
			config, err := s.Client("gw-1")
			require.NoError(t, err)
			config.ServerName = "hub.example"
			return config
		}, "the server's certificate is not accepted"},
		{"no client certificate", func(*testing.T) *tls.Config {
			return &tls.Config{RootCAs: s.CA.Pool()}
		}, "the server rejects this client's certificate"},
		{"no client certificate, TLS 1.2", func(*testing.T) *tls.Config {
			return &tls.Config{RootCAs: s.CA.Pool(), MaxVersion: tls.VersionTLS12}
		}, "the server rejects this client's certificate"},
		{"a client certificate of another CA", func(t *testing.T) *tls.Config {
			config, err := other.Client("gw-1", natstest.Usual)
			require.NoError(t, err)
			config.RootCAs = s.CA.Pool()
			return config
		}, "the server rejects this client's certificate"},
		{"an expired client certificate", func(t *testing.T) *tls.Config {
			config, err := s.CA.Client("gw-1", natstest.Expired)
			require.NoError(t, err)
			return config
		}, "the server rejects this client's certificate"},
		{"a key that is gone", func(*testing.T) *tls.Config {
			return &tls.Config{RootCAs: s.CA.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return nil, context.Canceled
			}}
		}, "TLS cannot be set up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, s)
			cfg.TLS = c.client(t)
			u := uplink(t, cfg)
			n, err := u.Send(t.Context(), messages(1, 3, 10))
			require.Zero(t, n)
			requireFault(t, err, c.want)
			require.Zero(t, u.Connections())
		})
	}
	require.Empty(t, sequences(t, s, config(t, s).TLS))
}

// A certificate that has expired is replaced while the uplink lives.
func TestCertificateRotates(t *testing.T) {
	s := plant(t, natstest.Options{})
	expired, err := s.CA.Issue("gw-1", natstest.Expired)
	require.NoError(t, err)
	fresh, err := s.CA.Issue("gw-1", natstest.Usual)
	require.NoError(t, err)
	now := &expired
	cfg := config(t, s)
	cfg.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return now, nil }
	u := uplink(t, cfg)
	_, err = u.Send(t.Context(), messages(1, 3, 10))
	requireFault(t, err, "certificate")
	now = &fresh
	n, err := u.Send(t.Context(), messages(1, 3, 10))
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func TestFaultsOfServer(t *testing.T) {
	t.Run("plain TCP", func(t *testing.T) {
		s := plant(t, natstest.Options{Change: plain})
		_, err := uplink(t, config(t, s)).Send(t.Context(), messages(1, 1, 10))
		requireFault(t, err, "does not speak TLS")
	})
	t.Run("no JetStream", func(t *testing.T) {
		s := plant(t, natstest.Options{NoJetStream: true})
		u := uplink(t, config(t, s))
		u.patience = 500 * time.Millisecond
		n, err := u.Send(t.Context(), messages(1, 3, 10))
		require.Zero(t, n)
		requireFault(t, err, "no stream stores the subject")
	})
	t.Run("no stream, then one", func(t *testing.T) {
		s := natstest.Start(t, natstest.Options{})
		u := uplink(t, config(t, s))
		u.patience = 500 * time.Millisecond
		n, err := u.Send(t.Context(), messages(1, 3, 10))
		require.Zero(t, n)
		requireFault(t, err, "is created or changed from here")
		require.NoError(t, s.AddStream(testStream, nil, testPrefix+".>"))
		n, err = u.Send(t.Context(), messages(1, 3, 10))
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, upTo(3), sequences(t, s, u.cfg.TLS))
	})
	t.Run("a stream that goes away", func(t *testing.T) {
		s := plant(t, natstest.Options{})
		u := uplink(t, config(t, s))
		u.patience = 300 * time.Millisecond
		_, err := u.Send(t.Context(), messages(1, 3, 10))
		require.NoError(t, err)
		require.NoError(t, s.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
			return js.DeleteStream(ctx, testStream)
		}))
		for range leaderlessSends - 1 { // it may be an election
			_, err = u.Send(t.Context(), messages(4, 6, 10))
			requireTransient(t, err, "has no leader")
		}
		_, err = u.Send(t.Context(), messages(4, 6, 10))
		requireFault(t, err, "no stream stores the subject")
		require.NoError(t, s.AddStream(testStream, nil, testPrefix+".>"))
		n, err := u.Send(t.Context(), messages(4, 6, 10))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	})
	t.Run("another stream", func(t *testing.T) {
		s := natstest.Start(t, natstest.Options{})
		require.NoError(t, s.AddStream("OTHER", nil, testPrefix+".>"))
		n, err := uplink(t, config(t, s)).Send(t.Context(), messages(1, 3, 10))
		require.Zero(t, n)
		requireFault(t, err, `do not belong to the stream "PLANT"`)
	})
	t.Run("sealed stream", func(t *testing.T) {
		s := plant(t, natstest.Options{})
		require.NoError(t, s.AddStream(testStream, func(c *jetstream.StreamConfig) { c.Sealed = true }, testPrefix+".>"))
		_, err := uplink(t, config(t, s)).Send(t.Context(), messages(1, 3, 10))
		requireFault(t, err, "sealed")
	})
	t.Run("unknown user", func(t *testing.T) {
		s := plant(t, natstest.Options{Users: map[string]natstest.UserMay{"somebody": {}}})
		_, err := uplink(t, config(t, s)).Send(t.Context(), messages(1, 3, 10))
		requireFault(t, err, "does not let this client in")
	})
	t.Run("one server down, one wrong", func(t *testing.T) {
		s := plant(t, natstest.Options{Users: map[string]natstest.UserMay{"somebody": {}}})
		cfg := config(t, s)
		cfg.Servers = append(cfg.Servers, "tls://127.0.0.1:1")
		_, err := uplink(t, cfg).Send(t.Context(), messages(1, 3, 10))
		requireFault(t, err, "does not let this client in")
	})
}

func TestDenied(t *testing.T) {
	gateway := natstest.UserMay{Publish: []string{testPrefix + ".gw-1.press-3.>"}, Subscribe: []string{"_INBOX.>"}}
	owner := natstest.UserMay{}
	mute := natstest.UserMay{Publish: []string{">"}, Subscribe: []string{"other"}}
	s := plant(t, natstest.Options{Users: map[string]natstest.UserMay{"gw-1": gateway, "owner": owner, "mute": mute}})
	require.NoError(t, s.JetStreamAs("owner", func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: testStream, Subjects: []string{testPrefix + ".>"}})
		return err
	}))
	t.Run("a subject in the middle", func(t *testing.T) {
		u := uplink(t, config(t, s))
		batch := messages(1, 20, 10)
		batch[12].Address.Stream.Machine = "press-4"
		n, err := u.Send(t.Context(), batch)
		require.Equal(t, 12, n)
		requireFault(t, err, "permissions deny")
		requireFault(t, err, "press-4")
		n, err = u.Send(t.Context(), batch[12:]) // the probe: alone, so nothing overtakes it
		require.Zero(t, n)
		requireFault(t, err, "press-4")
		n, err = u.Send(t.Context(), batch[13:])
		require.NoError(t, err)
		require.Equal(t, 7, n)
		require.EqualValues(t, 1, u.Connections())
	})
	t.Run("the answers", func(t *testing.T) {
		cfg := config(t, s)
		var err error
		cfg.TLS, err = s.Client("mute")
		require.NoError(t, err)
		u := uplink(t, cfg)
		_, err = u.Send(t.Context(), messages(1, 3, 10))
		requireFault(t, err, "_INBOX")
	})
}

func TestRefused(t *testing.T) {
	s := plant(t, natstest.Options{MaxPayload: 4096})
	u := uplink(t, config(t, s))
	refuse := func(change func(*envelope.Message), words string) {
		t.Helper()
		batch := messages(1, 9, 10)
		change(&batch[5])
		n, err := u.Send(t.Context(), batch)
		require.Equal(t, 5, n)
		requireRefused(t, err, words)
	}
	refuse(func(m *envelope.Message) { m.Body = make([]byte, 4090) }, "max_payload of 4096") // its headers are too much
	refuse(func(m *envelope.Message) { m.Body = make([]byte, envelope.MaxBody+1) }, "more than 122880")
	refuse(func(m *envelope.Message) { m.ContentType = "a/b\r\nNats-Rollup: all" }, "a header cannot carry")
	refuse(func(m *envelope.Message) { m.Address.Stream.Machine = "press.3" }, "can be in a subject")
	refuse(func(m *envelope.Message) { m.Address.Kind = 99 }, "not a kind of message")
	require.EqualValues(t, 1, u.Connections())
	require.NoError(t, s.AddStream(testStream, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, testPrefix+".>"))
	purge(t, s)
	batch := messages(101, 109, 10)
	batch[4].Body = make([]byte, 1000)
	n, err := u.Send(t.Context(), batch)
	require.Equal(t, 4, n)
	requireRefused(t, err, "message size exceeds maximum allowed")
}

func TestStreamFull(t *testing.T) {
	s := natstest.Start(t, natstest.Options{})
	require.NoError(t, s.AddStream(testStream, func(c *jetstream.StreamConfig) {
		c.MaxMsgs, c.Discard = 5, jetstream.DiscardNew
	}, testPrefix+".>"))
	u := uplink(t, config(t, s))
	batch := messages(1, 9, 10)
	n, err := u.Send(t.Context(), batch)
	require.Equal(t, 5, n)
	requireTransient(t, err, "when the stream has room")
	n, err = u.Send(t.Context(), batch[5:])
	require.Zero(t, n)
	requireTransient(t, err, "when the stream has room")
	purge(t, s)
	n, err = u.Send(t.Context(), batch[5:])
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.EqualValues(t, 1, u.Connections())
}

// The messages arrive and the answers do not: all is sent again, and is there once.
func TestLostAcknowledgements(t *testing.T) {
	s := plant(t, natstest.Options{})
	p := newProxy(t, s.Address())
	cfg := config(t, s)
	cfg.Servers = []string{p.url()}
	u := uplink(t, cfg)
	u.patience = 400 * time.Millisecond
	n, err := u.Send(t.Context(), messages(1, 10, 100))
	require.NoError(t, err)
	require.Equal(t, 10, n)
	p.deaf.Store(true)
	n, err = u.Send(t.Context(), messages(11, 300, 100))
	require.Zero(t, n)
	requireTransient(t, err, "does not acknowledge")
	_, err = u.Send(t.Context(), messages(11, 300, 100))
	requireTransient(t, err, "cannot connect") // the proxy is deaf to a new connection too
	p.deaf.Store(false)
	u.patience = patience
	n, err = u.Send(t.Context(), messages(11, 300, 100))
	require.NoError(t, err)
	require.Equal(t, 290, n)
	require.EqualValues(t, 2, u.Connections())
	require.Equal(t, upTo(300), sequences(t, s, cfg.TLS))
}

func TestBounds(t *testing.T) {
	s := plant(t, natstest.Options{})
	t.Run("a server that says nothing", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		cfg := config(t, s)
		cfg.Servers = []string{"tls://" + l.Addr().String()}
		u := uplink(t, cfg)
		u.patience = 200 * time.Millisecond
		start := time.Now()
		_, err = u.Send(t.Context(), messages(1, 1, 10))
		requireTransient(t, err, "cannot connect")
		require.Less(t, time.Since(start), dialTimeout)
	})
	t.Run("no server", func(t *testing.T) {
		cfg := config(t, s)
		cfg.Servers = []string{"tls://127.0.0.1:1"}
		_, err := uplink(t, cfg).Send(t.Context(), messages(1, 1, 10))
		requireTransient(t, err, "connection refused")
	})
	t.Run("ctx ends while there is no answer", func(t *testing.T) {
		p := newProxy(t, s.Address())
		cfg := config(t, s)
		cfg.Servers = []string{p.url()}
		u := uplink(t, cfg)
		_, err := u.Send(t.Context(), messages(1, 1, 10))
		require.NoError(t, err)
		p.deaf.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		n, err := u.Send(ctx, messages(2, 5, 10))
		require.Zero(t, n)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("closed while there is no answer", func(t *testing.T) {
		p := newProxy(t, s.Address())
		cfg := config(t, s)
		cfg.Servers = []string{p.url()}
		u := uplink(t, cfg)
		_, err := u.Send(t.Context(), messages(1, 1, 10))
		require.NoError(t, err)
		p.deaf.Store(true)
		answer := make(chan error)
		go func() {
			_, err := u.Send(t.Context(), messages(2, 5, 10))
			answer <- err
		}()
		require.NoError(t, u.Close())
		requireTransient(t, <-answer, "")
		_, err = u.Send(t.Context(), messages(2, 5, 10))
		requireTransient(t, err, "closed")
	})
}

func TestNewRefuses(t *testing.T) {
	s := plant(t, natstest.Options{NoJetStream: true})
	for want, change := range map[string]func(*Config){
		"no server":                 func(c *Config) { c.Servers = nil },
		"without TLS are not made":  func(c *Config) { c.Servers = []string{"nats://hub.example:4222"} },
		"tls://host:port only":      func(c *Config) { c.Servers = []string{"tls://user:secret@hub.example:4222"} },
		"no TLS configuration":      func(c *Config) { c.TLS = nil },
		"verifies no server":        func(c *Config) { c.TLS = &tls.Config{InsecureSkipVerify: true} },
		"existing JetStream stream": func(c *Config) { c.Stream = "a.b" },
		"plant.augsburg":            func(c *Config) { c.Prefix = "plant.>" },
		"window":                    func(c *Config) { c.Window = -1 },
	} {
		cfg := config(t, s)
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
	cfg := config(t, s)
	cfg.Servers = []string{"tls://hub.example"}
	cfg.TLS.MinVersion = tls.VersionTLS10
	u, err := New(cfg)
	require.NoError(t, err)
	require.Equal(t, []string{"tls://hub.example:4222"}, u.where.servers)
	require.EqualValues(t, tls.VersionTLS12, u.where.tls.MinVersion)
}
