package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

// show runs everything for a while and gives the result.
func show(ctx context.Context, f flags, view io.Writer, edit func(name, text string) string) (*result, error) {
	dir, err := os.MkdirTemp("", "fieldseal-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := startPlant(dir, f, edit)
	if err != nil {
		return nil, err
	}
	defer p.close()
	config, problems := configs.Load(p.path("gateway.yaml"), configs.Options{})
	for _, problem := range problems {
		if !problem.Note {
			return nil, fmt.Errorf("the demo's own configuration: %w", problem)
		}
	}
	r, err := newReader(p, true) // the live view
	if err != nil {
		return nil, err
	}
	stop, err := startGateway(p, config)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(view, "%d simulated machines, a gateway, and NATS with TLS client certificates at %s.\n", f.machines, p.nats.URL())

	reading, endReading := context.WithCancel(ctx)
	defer endReading()
	go watch(reading, p, r, view)
	if f.duration > 0 {
		timer := time.NewTimer(f.duration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	} else {
		<-ctx.Done()
	}
	endReading()
	p.quiesce()
	if err := stop(); err != nil {
		return nil, fmt.Errorf("the gateway: %w", err)
	}
	return judge(p, config)
}

// startGateway runs a gateway on the plant's folder. stop waits until it has
// noticed that no machine answers any more, and ends it.
func startGateway(p *plant, config *configs.Config) (stop func() error, err error) {
	credential, _, err := keystore.Credential(config.State, config.Keystore.Credential)
	if err != nil {
		return nil, err
	}
	keys, err := keystore.Open(config.State, credential)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(p.path("gateway.log"))
	if err != nil {
		return nil, err
	}
	g, err := bridge.New(bridge.Options{Config: config, Keys: keys, Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "demo"})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, nil) }()
	return func() error {
		look, enough := time.NewTicker(50*time.Millisecond), time.After(5*time.Second)
		defer look.Stop()
		for waiting := true; waiting && up(g); {
			select {
			case <-look.C:
			case <-enough:
				waiting = false
			}
		}
		cancel()
		return errors.Join(<-ended, log.Close())
	}, nil
}

func up(g *bridge.Gateway) bool {
	for _, m := range g.Status().Machines {
		if m.State == "up" {
			return true
		}
	}
	return false
}

// watch prints each second what the broker stores beside what the recipient
// reads, until ctx ends.
func watch(ctx context.Context, p *plant, r *reader, view io.Writer) {
	go func() {
		if err := r.read(ctx, p, false); err != nil {
			fmt.Fprintln(view, "the recipient:", err)
		}
	}()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			sideBySide(p, r.newest(), view)
		}
	}
}

// serve runs the simulated plant alone.
func serve(ctx context.Context, f flags, out io.Writer) error {
	if _, err := os.Stat(f.serve); err == nil {
		return fmt.Errorf("%s exists already; name a new folder", f.serve)
	}
	p, err := startPlant(f.serve, f, nil)
	if err != nil {
		return err
	}
	defer p.close()
	fmt.Fprintf(out, `%d simulated machines at %s, NATS with TLS client certificates at %s.
In another terminal:

  fieldseal check -c %[4]s/gateway.yaml
  fieldseal run   -c %[4]s/gateway.yaml
  fieldseal status -c %[4]s/gateway.yaml
  fieldseal open  -i %[4]s/keys/%[5]s.identity --trust %[4]s/trust.yaml \
      --nats %[3]s --stream %[6]s --prefix %[7]s --cert %[4]s/reader.pem --key %[4]s/reader.key --ca %[4]s/hub-ca.pem

Ends with Ctrl-C.
`, f.machines, p.press.URL(), p.nats.URL(), f.serve, recipient, streamName, prefix)
	<-ctx.Done()
	return nil
}
