package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

const (
	gatewayName = "gw-demo"
	streamName  = "PLANT"
	prefix      = "plant.demo"
	recipient   = "process-engineering"
)

// plant is the simulated machines, the broker, and a folder with everything
// that a gateway and a recipient need.
type plant struct {
	dir   string
	press *sim.Modbus
	mixer *sim.OPCUA
	nats  *natstest.Server
	hub   *runningHub // nil: the gateway delivers to the NATS server
	keys  *keystore.Store
}

// simulator is one of the plant's, whatever its machines speak.
type simulator interface {
	Names() []string
	YAML(machine string) string
	Served(machine, counter string) []uint32
	History(machine, point string) sim.History
	Canaries() [][]byte
	PublicCanaries() [][]byte
	Stop()
}

// simulators gives all that run.
func (p *plant) simulators() (all []simulator) {
	if p.press != nil {
		all = append(all, p.press)
	}
	if p.mixer != nil {
		all = append(all, p.mixer)
	}
	return all
}

// of gives the simulator of a machine.
func (p *plant) of(machine string) simulator {
	for _, s := range p.simulators() {
		if slices.Contains(s.Names(), machine) {
			return s
		}
	}
	panic("demo: nobody simulates " + machine)
}

// canaries gives the plaintexts that must not be seen on the way, and those that
// a scan has to find.
func (p *plant) canaries() (secret, public [][]byte) {
	for _, s := range p.simulators() {
		secret, public = append(secret, s.Canaries()...), append(public, s.PublicCanaries()...)
	}
	return secret, public
}

// startPlant starts the simulators and the broker and writes the folder, step by
// step as the README tells an engineer to. edit may change a file's text before
// it is written.
func startPlant(dir string, f flags, edit func(name, text string) string) (p *plant, err error) {
	p = &plant{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	record := remembered
	if f.serve != "" {
		record = 0 // nobody compares
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	p.press, err = sim.StartModbus(sim.ModbusOptions{Machines: f.machines, PayloadEvery: 2 * time.Second, Record: record})
	if err != nil {
		return p, err
	}
	if p.mixer, err = sim.StartOPCUA(sim.OPCUAOptions{Machines: f.mixers(), PayloadEvery: 2 * time.Second, Record: record}); err != nil {
		return p, err
	}
	if p.nats, err = natstest.New(natstest.Options{Folder: filepath.Join(dir, "nats")}); err != nil {
		return p, err
	}
	if err := p.nats.AddStream(streamName, kept, prefix+".>"); err != nil {
		return p, err
	}
	if f.uplink == overDTLS || f.uplink == overBoth {
		if p.hub, err = startHub(p); err != nil {
			return p, err
		}
	}
	if edit == nil {
		edit = func(_, text string) string { return text }
	}
	return p, p.write(f, edit)
}

func (p *plant) close() {
	for _, s := range p.simulators() {
		s.Stop()
	}
	if p.hub != nil {
		p.hub.stop()
	}
	if p.nats != nil {
		p.nats.Close()
	}
}

// quiesce lets the presses leave all requests from now on without an answer, and
// the mixers stand still, so that what was given out and what arrived can be
// compared to the sample.
func (p *plant) quiesce(ctx context.Context) error {
	for _, name := range p.press.Names() {
		p.press.Dead(name)
	}
	if err := p.mixer.Still(ctx); err != nil {
		return fmt.Errorf("the simulated mixers do not come to rest: %w", err)
	}
	return nil
}

func (p *plant) path(name ...string) string {
	return filepath.Join(append([]string{p.dir}, name...)...)
}

// write makes keys and files.
func (p *plant) write(f flags, edit func(name, text string) string) error {
	for _, d := range []string{"state", "machines", "keys"} {
		if err := os.MkdirAll(p.path(d), 0o700); err != nil {
			return err
		}
	}
	credential, _, err := keystore.MakeCredential(p.path("state"), "keystore")
	if err != nil {
		return err
	}
	if p.keys, err = keystore.Create(p.path("state"), gatewayName, credential, time.Now()); err != nil {
		return err
	}
	if err := p.enrol(); err != nil {
		return err
	}
	signing, err := p.keys.PublicSigning()
	if err != nil {
		return err
	}
	files := map[string]string{
		"gateway.yaml": fmt.Sprintf(gatewayYAML, gatewayName, p.uplinks(f.uplink)),
		"policy.yaml":  fmt.Sprintf(policyYAML, time.Now().AddDate(0, 3, 0).Format(time.DateOnly)),
		"hub-ca.pem":   string(p.nats.CA.PEM()),
	}
	recipients := ""
	for _, name := range []string{"historian", recipient} {
		id, err := envelope.NewIdentity(envelope.MLKEM768X25519, name)
		if err != nil {
			return err
		}
		public := id.Recipient().Marshal()
		sum := sha256.Sum256(public)
		files["keys/"+name+".pub"] = string(public)
		files["keys/"+name+".identity"] = string(id.Marshal())
		recipients += fmt.Sprintf("  %s: {keys: [{file: keys/%s.pub, sha256: %q}]}\n", name, name, hex.EncodeToString(sum[:]))
	}
	files["trust.yaml"] = fmt.Sprintf(trustYAML, gatewayName, signing, time.Now().Year()+1, recipients)
	for _, s := range p.simulators() {
		for _, name := range s.Names() {
			files["machines/"+name+".yaml"] = s.YAML(name)
		}
	}
	files["state/credentials/opcua-password"] = sim.OPCUAPassword
	for name, text := range files {
		if err := os.WriteFile(p.path(name), []byte(edit(name, text)), 0o600); err != nil {
			return err
		}
	}
	if err := p.client("reader"); err != nil {
		return err
	}
	return p.approve()
}

// enrol has the broker's authority certify the gateway's own key, as a plant's
// authority would.
func (p *plant) enrol() error {
	key, err := p.keys.Signer(keystore.Uplink)
	if err != nil {
		return err
	}
	chain, err := p.nats.CA.Certify(gatewayName, key.Public(), natstest.Usual)
	if err != nil {
		return err
	}
	return p.keys.Import(keystore.Uplink, chain)
}

// client writes a certificate for somebody who reads the stream.
func (p *plant) client(name string) error {
	c, err := p.nats.CA.Issue(name, natstest.Usual)
	if err != nil {
		return err
	}
	cert, key, err := natstest.PEM(c)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(p.path(name+".pem"), cert, 0o600), os.WriteFile(p.path(name+".key"), key, 0o600))
}

func (p *plant) readerTLS() (*tls.Config, error) { return p.nats.Client("recipient") }

// identity reads the recipient's identity back from its file.
func (p *plant) identity() (*envelope.Identity, error) {
	b, err := os.ReadFile(p.path("keys", recipient+".identity"))
	if err != nil {
		return nil, err
	}
	return envelope.ParseIdentity(b)
}

// uplinks are the gateway's ways upstream, as its file says them.
func (p *plant) uplinks(over string) (list string) {
	if over != overDTLS {
		list = fmt.Sprintf(natsYAML, p.nats.URL(), streamName, prefix)
	}
	if p.hub != nil {
		list += fmt.Sprintf(dtlsYAML, p.hub.address, streamName, prefix)
	}
	return list
}

// policyYAML's date is filled in: an exception may not be past its day. Only the
// presses need one: the mixers' connections are encrypted.
const policyYAML = `fieldseal: policy/v1
policy: demo
revision: 1

levels:
  - {name: public, send: clear, connection: any}
  - {name: internal, send: sealed, to: [historian, process-engineering], connection: any}
  - {name: restricted, send: sealed, to: [process-engineering], connection: encrypted, pad: true}

default: restricted

released:
  - {points: ["*/state", "*/public-counter", "*/nameplate"], why: "Andon board, no recipe content"}

raise:
  - {points: ["*/program*"], level: restricted}

passthrough: {accept: [cose], if_readable: seal}

exceptions:
  - {allow: connection-not-encrypted, points: ["press-*/*"], why: "the simulated presses speak plain Modbus on the loopback interface", until: %s}
`

const gatewayYAML = `fieldseal: gateway/v1
gateway: %s
policy: policy.yaml
trust: trust.yaml
machines: machines/*.yaml
state: state

keystore: {unlock: "credential:keystore"}

uplinks:
%s
outbox: {max_size: 64MiB, max_age: 7d, when_full: drop-oldest}
`

const natsYAML = `  - name: plant-nats
    nats:
      servers: [%q]
      stream: %s
      prefix: %s
      certificate: keystore:uplink
      trust: hub-ca.pem
`

const dtlsYAML = `  - name: radio
    dtls:
      server: %q
      stream: %s
      prefix: %s
      certificate: keystore:uplink
      trust: hub-ca.pem
`

const trustYAML = `fieldseal: trust/v1
revision: 1
gateways:
  %s: {signing_key: %q, until: %d-12-31}
recipients:
%s`

// kept makes a stream as a plant's has to be: nobody takes messages out of it.
func kept(c *jetstream.StreamConfig) { c.DenyDelete, c.DenyPurge = true, true }
