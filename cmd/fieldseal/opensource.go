package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fieldseal/fieldseal/adapters/files"
	"github.com/fieldseal/fieldseal/adapters/nats"
)

// source gives what reads all messages and hands them to the printer.
func (o *openOptions) source(args []string, stdin io.Reader) (func(context.Context, *printer) error, error) {
	switch {
	case len(args) > 0 && len(o.servers) > 0:
		return nil, errors.New("--nats and files at once; read one after the other")
	case len(args) == 1 && args[0] == "-":
		return func(ctx context.Context, p *printer) error {
			return p.damage(files.ReadFrom(ctx, "standard input", stdin, p.message))
		}, nil
	case len(args) > 0:
		return func(ctx context.Context, p *printer) error {
			return p.damage(files.Read(ctx, args, p.message))
		}, nil
	case len(o.servers) == 0:
		return nil, errors.New("nothing to read: name files, or a server with --nats; see: fieldseal open --help")
	}
	return o.natsSource()
}

func (o *openOptions) natsSource() (func(context.Context, *printer) error, error) {
	for _, flag := range []struct{ name, value string }{{"--stream", o.stream}, {"--prefix", o.prefix}, {"--ca", o.authorities}} {
		if flag.value == "" {
			return nil, fmt.Errorf("%s is missing; see: fieldseal open --help", flag.name)
		}
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, p *printer) error {
		logger, err := newLogger(p.stderr)
		if err != nil {
			return err
		}
		return nats.Consume(ctx, nats.ConsumeConfig{
			Servers: o.servers, Stream: o.stream, Prefix: o.prefix, TLS: config, FromStart: true, UntilEnd: o.end, Logger: logger,
			Foreign: func(err error) { p.foreign++; fmt.Fprintln(p.stderr, "fieldseal: not a message of fieldseal:", err) },
		}, p.message)
	}, nil
}

// damage takes what is wrong with files as something that is not in order: what
// could be read was read.
func (p *printer) damage(err error) error {
	var d *files.Damage
	if !errors.As(err, &d) {
		return err
	}
	p.foreign++
	fmt.Fprintln(p.stderr, "fieldseal:", err)
	return nil
}

func (o *openOptions) tls() (*tls.Config, error) {
	pem, err := os.ReadFile(o.authorities)
	if err != nil {
		return nil, fmt.Errorf("cannot read the authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", o.authorities)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if o.cert == "" && o.key == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("cannot read the client certificate: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
