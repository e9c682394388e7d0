// Package natstest is a NATS server with JetStream and TLS client certificates
// in this process, on a free loopback port, for tests and the demo.
//
// It makes its own CA. Only clients with a certificate of that CA get in.
package natstest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options of a server. The zero value is valid.
type Options struct {
	Folder      string                // of JetStream; a temporary one where it is empty
	MaxPayload  int32                 // 1 MiB where it is 0
	NoJetStream bool                  // a server without JetStream
	Sync        bool                  // flush before each acknowledgement
	Users       map[string]UserMay    // by the common name of the certificate; nil lets in every certificate of the CA
	Change      func(*server.Options) // last word
}

// UserMay says what a user may publish and subscribe to. Empty means anything.
type UserMay struct {
	Publish   []string
	Subscribe []string
}

// Server runs in this process.
type Server struct {
	CA *CA

	options server.Options
	folder  string // to remove at the end, may be empty
	running *server.Server
}

const ready = 10 * time.Second

// New starts a server. Close it.
func New(o Options) (*Server, error) {
	ca, err := NewCA("natstest")
	if err != nil {
		return nil, err
	}
	s := &Server{CA: ca}
	if o.Folder == "" {
		if s.folder, err = os.MkdirTemp("", "natstest"); err != nil {
			return nil, err
		}
		o.Folder = s.folder
	}
	certificate, err := ca.Issue("localhost", Usual)
	if err != nil {
		return nil, err
	}
	s.options = server.Options{
		ServerName: "natstest",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		NoSigs:     true,
		NoLog:      true,
		JetStream:  !o.NoJetStream,
		StoreDir:   o.Folder,
		SyncAlways: o.Sync,
		MaxPayload: o.MaxPayload,
		TLS:        true,
		TLSVerify:  true,
		TLSTimeout: 5,
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{certificate},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    ca.Pool(),
		},
	}
	if o.Users != nil {
		s.options.TLSMap = true
		for name, may := range o.Users {
			u := &server.User{Username: "CN=" + name, Permissions: &server.Permissions{}}
			if len(may.Publish) > 0 {
				u.Permissions.Publish = &server.SubjectPermission{Allow: may.Publish}
			}
			if len(may.Subscribe) > 0 {
				u.Permissions.Subscribe = &server.SubjectPermission{Allow: may.Subscribe}
			}
			s.options.Users = append(s.options.Users, u)
		}
	}
	if o.Change != nil {
		o.Change(&s.options)
	}
	if err := s.Restart(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Restart stops the server, if it runs, and starts it on the same port and
// folder.
func (s *Server) Restart() error {
	s.Stop()
	options := s.options // the server keeps and changes what it is given
	ns, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("cannot make a NATS server: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(ready) {
		ns.Shutdown()
		return errors.New("the NATS server does not get ready")
	}
	s.running = ns
	s.options.Port = ns.Addr().(*net.TCPAddr).Port
	return nil
}

// Stop stops the server; [Server.Restart] starts it again.
func (s *Server) Stop() {
	if s.running == nil {
		return
	}
	s.running.Shutdown()
	s.running.WaitForShutdown()
	s.running = nil
}

// Close stops the server and removes a temporary folder.
func (s *Server) Close() {
	s.Stop()
	if s.folder != "" {
		_ = os.RemoveAll(s.folder)
	}
}

// Address gives host:port.
func (s *Server) Address() string {
	return fmt.Sprintf("127.0.0.1:%d", s.options.Port)
}

// URL gives tls://host:port.
func (s *Server) URL() string { return "tls://" + s.Address() }

// Client gives a TLS configuration with a certificate for name.
func (s *Server) Client(name string) (*tls.Config, error) {
	return s.CA.Client(name, Usual)
}

// AddStream makes a stream in files with these subjects; change may be nil. It
// connects in this process, past TLS and permissions.
func (s *Server) AddStream(name string, change func(*jetstream.StreamConfig), subjects ...string) error {
	return s.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		config := jetstream.StreamConfig{Name: name, Subjects: subjects, Storage: jetstream.FileStorage}
		if change != nil {
			change(&config)
		}
		for {
			_, err := js.CreateOrUpdateStream(ctx, config)
			if api := (*jetstream.APIError)(nil); !errors.As(err, &api) || api.ErrorCode != noStore {
				return err
			}
			select {
			case <-time.After(again):
			case <-ctx.Done():
				return err
			}
		}
	})
}

const (
	// noStore is what the server answers while it still removes the files of a stream
	// that had the same name.
	noStore jetstream.ErrorCode = 10049
	again                       = 20 * time.Millisecond
)

// JetStream calls fn with a connection from within this process, as the server's
// owner has one.
func (s *Server) JetStream(fn func(context.Context, jetstream.JetStream) error) error {
	if s.options.TLSMap {
		return errors.New("a server with users has no connection without one; use Client")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s.running), nats.NoReconnect())
	if err != nil {
		return err
	}
	return with(nc, fn)
}

// JetStreamAs is JetStream for the user name, over TLS.
func (s *Server) JetStreamAs(name string, fn func(context.Context, jetstream.JetStream) error) error {
	config, err := s.Client(name)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(s.URL(), nats.Secure(config), nats.NoReconnect())
	if err != nil {
		return err
	}
	return with(nc, fn)
}

func with(nc *nats.Conn, fn func(context.Context, jetstream.JetStream) error) error {
	closed := nc.StatusChanged(nats.CLOSED)
	defer func() {
		nc.Close()
		<-closed
	}()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	return fn(ctx, js)
}

// TB is what Start needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Fatalf(format string, args ...any)
}

// Start is [New] for a test: it fails the test on an error and closes the server
// at its end.
func Start(t TB, o Options) *Server {
	t.Helper()
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	s, err := New(o)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}
