package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/fieldseal/fieldseal/adapters/files"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/relay"
	"github.com/fieldseal/fieldseal/configs"
)

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
