package bridge

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/fieldseal/fieldseal/adapters/dtls"
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
		up, err := wireUplink(c.Gateway, u, keys, logger.With("uplink", u.Name))
		if err != nil {
			for _, made := range out {
				_ = made.Uplink.Close() // none has connected
			}
			return nil, fmt.Errorf("uplink %s: %w", u.Name, err)
		}
		out = append(out, relay.Named{Name: u.Name, Uplink: up})
	}
	if len(out) == 0 {
		return nil, errors.New("no uplink")
	}
	return out, nil
}

func wireUplink(gateway string, u configs.Uplink, keys *keystore.Store, logger *slog.Logger) (relay.Uplink, error) {
	switch {
	case u.NATS != nil:
		t, err := clientTLS(keys, u.NATS.Certificate, u.NATS.Trust)
		if err != nil {
			return nil, err
		}
		return nats.New(nats.Config{
			Servers: u.NATS.Servers, Stream: u.NATS.Stream, Prefix: u.NATS.Prefix,
			Gateway: gateway, TLS: t, Logger: logger,
		})
	case u.DTLS != nil:
		c, err := dtlsConfig(gateway, u.DTLS, keys, logger)
		if err != nil {
			return nil, err
		}
		return dtls.New(c)
	case u.Files != nil:
		return files.New(files.Config{Folder: u.Files.Folder, Gateway: gateway, Logger: logger})
	}
	return nil, errors.New("no protocol")
}

func dtlsConfig(gateway string, u *configs.DTLS, keys *keystore.Store, logger *slog.Logger) (dtls.Config, error) {
	t, err := clientTLS(keys, u.Certificate, u.Trust)
	if err != nil {
		return dtls.Config{}, err
	}
	if c, err := keys.Certificate(u.Certificate); err != nil {
		return dtls.Config{}, err
	} else if _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		return dtls.Config{}, fmt.Errorf("keystore:%s has a key for %s, and DTLS takes ECDSA only; write certificate: keystore:%s",
			u.Certificate, c.Leaf.PublicKeyAlgorithm, keystore.Uplink)
	}
	return dtls.Config{
		Servers: u.Servers, Prefix: u.Prefix, Stream: u.Stream, MinCwnd: u.MinWindow,
		Gateway: gateway, TLS: t, Logger: logger,
	}, nil
}

// clientTLS is the TLS configuration of a client that proves itself with a
// certificate of the keystore and trusts the authorities in a file only.
func clientTLS(keys *keystore.Store, certificate, trustFile string) (*tls.Config, error) {
	cert, err := keys.Certificate(certificate)
	if err != nil {
		return nil, err
	}
	roots, err := authorities(trustFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert, nil
		},
	}, nil
}

// authorities reads the certificates of those to trust.
func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authorities to trust: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return roots, nil
}
