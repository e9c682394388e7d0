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

// source gives what reads all messages and hands them to the receiver.
func (o *openOptions) source(args []string, stdin io.Reader) (func(context.Context, *receiver) error, error) {
	if len(args) > 0 && len(o.servers) == 0 {
		if err := o.ofNATS(); err != nil {
			return nil, err
		}
	}
	switch {
	case len(args) > 0 && len(o.servers) > 0:
		return nil, errors.New("--nats and files at once; read one after the other")
	case len(args) == 1 && args[0] == "-":
		return func(ctx context.Context, r *receiver) error {
			if err := r.begin(false); err != nil {
				return err
			}
			return r.damage(files.ReadFrom(ctx, "standard input", stdin, r.message))
		}, nil
	case len(args) > 0:
		return func(ctx context.Context, r *receiver) error {
			if err := r.begin(false); err != nil {
				return err
			}
			return r.damage(files.Read(ctx, args, r.message))
		}, nil
	case len(o.servers) == 0:
		return nil, errors.New("nothing to read: name files, or a server with --nats; see: fieldseal open --help")
	}
	return o.natsSource()
}

func (o *openOptions) natsSource() (func(context.Context, *receiver) error, error) {
	for _, flag := range []struct{ name, value string }{{"--stream", o.stream}, {"--prefix", o.prefix}, {"--ca", o.authorities}} {
		if flag.value == "" {
			return nil, fmt.Errorf("%s is missing; see: fieldseal open --help", flag.name)
		}
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, r *receiver) error {
		logger, err := newLogger(r.stderr)
		if err != nil {
			return err
		}
		r.broker, r.live = true, !o.end
		err = nats.Consume(ctx, nats.ConsumeConfig{
			Servers: o.servers, Stream: o.stream, Prefix: o.prefix, TLS: config, Logger: logger,
			FromStart: true, From: r.from(), UntilEnd: o.end, Begin: r.extent, At: r.at, Foreign: r.notOurs,
		}, r.message)
		if err == nil {
			r.reached()
		}
		return err
	}, nil
}

// from is where the stream has to be read from; 0: from its start.
func (r *receiver) from() uint64 {
	if r.kept == nil || r.kept.was == nil {
		return 0
	}
	return r.kept.was.Position
}

// extent looks at the stream before its messages come.
func (r *receiver) extent(e nats.Extent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first, r.last = e.First, e.Last
	if k := r.kept; k != nil {
		if k.was != nil && !k.was.Source.Created.Equal(e.Created) || !k.ours.Source.Created.IsZero() && !k.ours.Source.Created.Equal(e.Created) {
			return fmt.Errorf("stream %s was made again since %s was written: its numbers begin anew; name another file to read all of it", r.o.stream, k.shown())
		}
		if at := max(r.from(), r.position); at > e.Last+1 {
			return fmt.Errorf("stream %s ends at %d, and %s is at %d already: it was restored from an older copy, perhaps; name another file to read all of it", r.o.stream, e.Last, k.shown(), at)
		}
		k.ours.Source.Created = e.Created
	}
	if r.reader != nil {
		return nil // after an interruption
	}
	r.goal = e.Last
	return r.start(e.First > 1)
}

// at notes where the next message stands.
func (r *receiver) at(p nats.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reader.Mark(p.Sequence)
	r.position, r.left = p.Sequence, p.Left
	r.last = max(r.last, p.Sequence+p.Left)
}

// reached notes that all was read up to the end asked for. What others wrote
// behind it meanwhile is not waited for.
func (r *receiver) reached() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = 0
}

// notOurs counts what is no message of Fieldseal.
func (r *receiver) notOurs(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.foreign++; r.foreign <= maxLines {
		r.say("not a message of fieldseal: %v", err)
	}
}

// damage takes what is wrong with files as something that is not in order: what
// could be read was read.
func (r *receiver) damage(err error) error {
	var d *files.Damage
	if !errors.As(err, &d) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.foreign++
	r.say("%v", err)
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
