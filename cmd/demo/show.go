package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

// hooks let a test disturb what the demo judges. Elsewhere all are nil.
type hooks struct {
	edit    func(name, text string) string         // a file before it is written
	started func(p *plant)                         // the machines run, the gateway does not yet
	ended   func(p *plant, config *configs.Config) // the gateway has ended, and nothing is judged yet
	message func(m *envelope.Message) bool         // whether the judging recipient gets it
	deliver func(d *envelope.Delivery)             // before the judging recipient looks at it
}

// logFile is what the gateway logs, in the plant's folder.
const logFile = "gateway.log"

// show runs everything for a while and gives the result.
func show(ctx context.Context, f flags, view io.Writer, h hooks) (*result, error) {
	dir, err := os.MkdirTemp("", "fieldseal-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := startPlant(dir, f, h.edit)
	if err != nil {
		return nil, err
	}
	defer p.close()
	config, problems, err := p.load()
	if err != nil {
		return nil, err
	}
	for _, problem := range problems {
		if !problem.Note {
			return nil, fmt.Errorf("the demo's own configuration: %w", problem)
		}
	}
	if h.started != nil {
		h.started(p)
	}
	r, err := newReader(p, true, hooks{}) // the live view
	if err != nil {
		return nil, err
	}
	stop, err := startGateway(p, config)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(view, "%s, a gateway, and NATS with TLS client certificates at %s.\n", f.machinery(), p.nats.URL())
	if p.hub != nil {
		how := "The gateway delivers over DTLS to a hub at %s.\n"
		if f.uplink == overBoth {
			how = "A hub at %s stands by, over DTLS.\n"
		}
		fmt.Fprintf(view, how, p.hub.address)
	}

	// What is given out until an interrupt has to arrive too.
	reading, endReading := context.WithCancel(context.WithoutCancel(ctx))
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
	err = p.rest(config, r)
	endReading()
	if err := errors.Join(err, stop()); err != nil {
		return nil, fmt.Errorf("at the end: %w", err)
	}
	if h.ended != nil {
		h.ended(p, config)
	}
	return judge(p, config, h)
}

// rest brings the machines to rest, and waits until the recipient has what they
// gave out. What he does not have by then is lost: judge says so.
func (p *plant) rest(config *configs.Config, r *reader) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.quiesce(ctx); err != nil {
		return err
	}
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !p.arrived(config, r) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (p *plant) arrived(config *configs.Config, r *reader) bool {
	for i := range config.Machines {
		m := &config.Machines[i]
		for _, pt := range m.Points {
			if r.count(m.Name, pt.Name) < p.of(m.Name).History(m.Name, pt.Name).Total {
				return false
			}
		}
	}
	return true
}

// startGateway runs a gateway on the plant's folder. stop ends it.
func startGateway(p *plant, config *configs.Config) (stop func() error, err error) {
	credential, _, err := keystore.Credential(config.State, config.Keystore.Credential)
	if err != nil {
		return nil, err
	}
	keys, err := keystore.Open(config.State, credential)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(p.path(logFile))
	if err != nil {
		return nil, err
	}
	g, err := bridge.New(bridge.Options{
		Config: config, Keys: keys, Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "demo",
		Synchronised: func() (bool, error) { return true, nil }, // the plant is simulated, and so is its time server
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, nil) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, log.Close())
	}, nil
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

// machinery says which machines there are.
func (f flags) machinery() string {
	say := func(n int, what, plural string) string {
		if n > 1 {
			what = plural
		}
		return fmt.Sprintf("%d simulated %s", n, what)
	}
	return say(f.machines, "press (Modbus)", "presses (Modbus)") + ", " + say(f.mixers(), "mixer (OPC UA)", "mixers (OPC UA)")
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
	if err := timeServer(f.serve); err != nil {
		return err
	}
	fmt.Fprintf(out, `%[1]s at %[2]s and %[8]s,
NATS with TLS client certificates at %[3]s.
In another terminal:

  bin/fieldseal check  -c %[4]s/gateway.yaml
  bin/fieldseal plan   -c %[4]s/gateway.yaml
  bin/fieldseal run    -c %[4]s/gateway.yaml
  bin/fieldseal status -c %[4]s/gateway.yaml
  bin/fieldseal open   -i %[4]s/keys/%[5]s.identity --trust %[4]s/trust.yaml --approvers %[4]s/approvers \
      --nats %[3]s --stream %[6]s --prefix %[7]s --cert %[4]s/reader.pem --key %[4]s/reader.key --ca %[4]s/hub-ca.pem

After a change of policy, trust file or labels, with a higher revision; in a real plant approver/ is a folder
on another machine, of the person who approves:

  bin/fieldseal policy sign -c %[4]s/gateway.yaml --key %[4]s/approver/anna.approver

The points of level restricted need an exception over Modbus, and exceptions count only while a gateway's clock
can be trusted. This plant's has seen a time server an hour ago, or so its state folder says; on a real one,
timedatectl or chronyc tracking tell.

Ends with Ctrl-C.
`, f.machinery(), p.press.URL(), p.nats.URL(), f.serve, recipient, streamName, prefix, p.mixer.Endpoint())
	<-ctx.Done()
	return nil
}

// timeServer lets the gateway of a folder remember a synchronised clock: a plant
// has a time server, and not every machine that a plant is simulated on.
func timeServer(folder string) error {
	mark := fmt.Sprintf(`{"mark":%q,"policy":0}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	return os.WriteFile(filepath.Join(folder, "state", "clock"), []byte(mark), 0o600)
}
