package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

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
	nats  *natstest.Server
	keys  *keystore.Store

	mu    sync.Mutex
	reads map[registers]uint64 // requests answered, by what they asked for
}

// registers is what one request asked a machine for.
type registers struct {
	machine      string
	function     byte
	first, count uint16
}

// startPlant starts the simulators and the broker and writes the folder, step by
// step as the README tells an engineer to. edit may change a file's text before
// it is written.
func startPlant(dir string, f flags, edit func(name, text string) string) (p *plant, err error) {
	p = &plant{dir: dir, reads: make(map[registers]uint64)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	p.press, err = sim.StartModbus(sim.ModbusOptions{Machines: f.machines, PayloadEvery: 2 * time.Second, OnRequest: p.count})
	if err != nil {
		return p, err
	}
	if p.nats, err = natstest.New(natstest.Options{Folder: filepath.Join(dir, "nats")}); err != nil {
		return p, err
	}
	if err := p.nats.AddStream(streamName, nil, prefix+".>"); err != nil {
		return p, err
	}
	if edit == nil {
		edit = func(_, text string) string { return text }
	}
	return p, p.write(edit)
}

func (p *plant) close() {
	if p.press != nil {
		p.press.Stop()
	}
	if p.nats != nil {
		p.nats.Close()
	}
}

// count remembers what the gateway asked for and was given.
func (p *plant) count(r sim.Request) {
	if r.Dead {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads[registers{r.Machine, r.Function, r.First, r.Count}]++
}

// quiesce leaves all requests from now on without an answer, so that what was
// given out and what arrived can be compared to the sample.
func (p *plant) quiesce() {
	for _, name := range p.press.Names() {
		p.press.Dead(name)
	}
}

func (p *plant) path(name ...string) string {
	return filepath.Join(append([]string{p.dir}, name...)...)
}

// write makes keys and files.
func (p *plant) write(edit func(name, text string) string) error {
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
		"gateway.yaml": fmt.Sprintf(gatewayYAML, gatewayName, p.nats.URL(), streamName, prefix),
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
	for _, name := range p.press.Names() {
		files["machines/"+name+".yaml"] = p.press.YAML(name)
	}
	for name, text := range files {
		if err := os.WriteFile(p.path(name), []byte(edit(name, text)), 0o600); err != nil {
			return err
		}
	}
	return p.client("reader")
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

// policyYAML's date is filled in: an exception may not be past its day.
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
  - {allow: connection-not-encrypted, points: ["press-*/*"], why: "the simulated machines speak plain Modbus on the loopback interface", until: %s}
`

const gatewayYAML = `fieldseal: gateway/v1
gateway: %s
policy: policy.yaml
trust: trust.yaml
machines: machines/*.yaml
state: state

keystore: {unlock: "credential:keystore"}

uplinks:
  - name: plant-nats
    nats:
      servers: [%q]
      stream: %s
      prefix: %s
      certificate: keystore:uplink
      trust: hub-ca.pem

outbox: {max_size: 64MiB, max_age: 7d, when_full: drop-oldest}
`

const trustYAML = `fieldseal: trust/v1
revision: 1
gateways:
  %s: {signing_key: %q, until: %d-12-31}
recipients:
%s`
