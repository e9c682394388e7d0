package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/fieldseal/fieldseal/adapters/files"
	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/configs"
)

// Source reads one endpoint and the machines behind it.
type Source interface {
	// Run reconnects by itself. It returns nil within 2 s of ctx ending (a dial
	// in progress may end later), or *point.ConfigError.
	Run(ctx context.Context) error
}

// Sharer is a Source to which machines come and from which they go without a
// reconnect.
type Sharer interface {
	Attach(m point.Machine, sink point.Sink) error
	// Detach returns after the last call to that machine's sink.
	Detach(machine string) error
}

// endpoint is one source and how it is called in logs.
type endpoint struct {
	name   string
	source Source
	again  func() (Source, error) // makes another one, with the same machines: a source runs once
}

// wireSources makes one source for each endpoint and attaches the machines
// behind it. A machine that cannot be attached is left out and reported.
func wireSources(machines []configs.Machine, sinks map[string]*sink, logger *slog.Logger, leftOut func(machine string, err error)) []endpoint {
	var order []modbus.Spec
	at := make(map[modbus.Spec][]*configs.Machine)
	for i := range machines {
		m := &machines[i]
		spec := m.Modbus.Endpoint
		if at[spec] == nil {
			order = append(order, spec)
		}
		at[spec] = append(at[spec], m)
	}
	var out []endpoint
	for _, spec := range order {
		connect := func(leftOut func(string, error)) (Source, error) {
			s, err := modbus.New(spec, modbus.Options{Logger: logger.With("endpoint", spec.URL)})
			if err != nil {
				return nil, err
			}
			for _, m := range at[spec] {
				if err := s.Attach(point.Machine{Name: m.Name, Spec: &m.Modbus.Machine}, sinks[m.Name]); err != nil {
					leftOut(m.Name, err)
				}
			}
			return s, nil
		}
		s, err := connect(leftOut)
		if err != nil {
			for _, m := range at[spec] {
				leftOut(m.Name, err)
			}
			continue
		}
		again := func() (Source, error) { return connect(func(string, error) {}) } // those are left out already
		out = append(out, endpoint{spec.URL, s, again})
	}
	return out
}

// wireUplinks makes the uplinks in the order of the configuration.
func wireUplinks(c *configs.Config, keys *keystore.Store, logger *slog.Logger) ([]relay.Named, error) {
	var out []relay.Named
	for _, u := range c.Uplinks {
		switch {
		case u.NATS != nil:
			t, err := clientTLS(keys, u.NATS.Certificate, u.NATS.Trust)
			if err != nil {
				return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
			}
			up, err := nats.New(nats.Config{
				Servers: u.NATS.Servers, Stream: u.NATS.Stream, Prefix: u.NATS.Prefix,
				Gateway: c.Gateway, TLS: t, Logger: logger.With("uplink", u.Name),
			})
			if err != nil {
				return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
			}
			out = append(out, relay.Named{Name: u.Name, Uplink: up})
		case u.Files != nil:
			up, err := files.New(files.Config{Folder: u.Files.Folder, Gateway: c.Gateway, Logger: logger.With("uplink", u.Name)})
			if err != nil {
				return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
			}
			out = append(out, relay.Named{Name: u.Name, Uplink: up})
		default:
			return nil, fmt.Errorf("uplink %s: no protocol", u.Name)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no uplink")
	}
	return out, nil
}

// clientTLS is the TLS configuration of a client that proves itself with a
// certificate of the keystore and trusts the authorities in a file only.
func clientTLS(keys *keystore.Store, certificate, trustFile string) (*tls.Config, error) {
	cert, err := keys.Certificate(certificate)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(trustFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authorities to trust: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", trustFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert, nil
		},
	}, nil
}
