package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/hub"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// hubLog is what the hub logs, in the plant's folder.
const hubLog = "hub.log"

// runningHub is a hub in this process, which stores at the plant's NATS server.
type runningHub struct {
	address string
	stop    func()
}

// startHub runs a hub that lets in whoever has a certificate of the plant's
// authority, as its NATS server does.
func startHub(p *plant) (*runningHub, error) {
	certificate, err := p.nats.CA.Issue("localhost", natstest.Usual)
	if err != nil {
		return nil, err
	}
	client, err := p.nats.Client("hub")
	if err != nil {
		return nil, err
	}
	authorities := p.path("gateways-ca.pem")
	if err := os.WriteFile(authorities, p.nats.CA.PEM(), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(p.path(hubLog))
	if err != nil {
		return nil, err
	}
	h, err := hub.New(hub.Config{
		Listen: "127.0.0.1:0", Certificate: certificate, Authorities: authorities, Logger: slog.New(slog.NewTextHandler(log, nil)),
		NATS: nats.Config{Servers: []string{p.nats.URL()}, Stream: streamName, Prefix: prefix, TLS: client},
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.Run(ctx) // what it has to say is in its log
	}()
	return &runningHub{address: h.Addr().String(), stop: func() {
		cancel()
		<-ended
		_ = log.Close()
	}}, nil
}
