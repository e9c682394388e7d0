//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

const (
	gatewayName = "gw-hall-2"
	streamName  = "PLANT"
	prefix      = "plant.augsburg"

	engineering = "process-engineering" // reads everything that is sealed
	historian   = "historian"           // reads the level internal
)

// unit is a machine behind a Libmodbus.
type unit struct {
	name   string
	server *Libmodbus
	id     byte
}

// site is a gateway's folder, the folders of the people who read its data, and
// the gateway's process.
type site struct {
	dir    string
	broker *NATS

	t       testing.TB
	reader  Pair // who opens data, as a client of the broker
	signing string
	p       *process
	logs    []*lines // of all starts
}

// siteOptions says what a site is.
type siteOptions struct {
	dir    string // new
	broker *NATS
	units  []unit
	poll   string // every point's period

	machines    map[string]string // files of other machines, by their names
	credentials map[string]string // what those name
}

// newSite makes a site as the manual tells an engineer to: with fieldseal's own
// commands, and openssl as the plant's authority.
func newSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	s := &site{dir: o.dir, broker: o.broker, t: t, reader: o.broker.Certs.Client("reader")}
	require.NoError(t, os.MkdirAll(s.path("machines"), 0o700))
	s.write("gateway.yaml", fmt.Sprintf(gatewayYAML, gatewayName, o.broker.URL, streamName, prefix))
	ca, err := os.ReadFile(o.broker.Certs.CA)
	require.NoError(t, err)
	s.write("hub-ca.pem", string(ca))

	anna := s.approver()
	said := must(t, "keys", "init", "-c", s.path("gateway.yaml"), "--approver", anna+".pub")
	gatewayLine := after(t, said, "under gateways:\n")
	s.signing = strings.TrimSpace(must(t, "keys", "export", "signing", "-c", s.path("gateway.yaml")))
	assert.Contains(t, gatewayLine, fmt.Sprintf("%q", s.signing))
	assert.Contains(t, must(t, "keys", "export", "uplink", "-c", s.path("gateway.yaml")), "BEGIN CERTIFICATE")
	request := must(t, "keys", "export", "uplink", "--request", "-c", s.path("gateway.yaml"))
	must(t, "keys", "import", "uplink", o.broker.Certs.Certify(gatewayName, []byte(request)), "-c", s.path("gateway.yaml"))

	recipients := s.person(historian) + "\n" + s.person(engineering)
	s.write("trust.yaml", fmt.Sprintf(trustYAML, gatewayLine, recipients))
	s.write("policy.yaml", fmt.Sprintf(policyYAML, time.Now().AddDate(0, 3, 0).Format(time.DateOnly)))
	for _, u := range o.units {
		s.write(filepath.Join("machines", u.name+".yaml"), fmt.Sprintf(machineYAML, u.name, u.server.Addr, u.id, o.poll))
	}
	for name, text := range o.machines {
		s.write(filepath.Join("machines", name+".yaml"), text)
	}
	for name, secret := range o.credentials {
		s.write(filepath.Join("state", "credentials", name), secret)
	}
	// Exceptions count where the clock is synchronised, or was: not every machine
	// that runs tests has a time server.
	s.write(filepath.Join("state", "clock"), fmt.Sprintf(`{"mark":%q,"policy":0}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	s.approve()
	s.write("approvers", must(t, "policy", "show", "--approvers", "-c", s.path("gateway.yaml")))
	checked := must(t, "check", "-c", s.path("gateway.yaml"))
	assert.Contains(t, checked, fmt.Sprintf("fine: %d machine", len(o.units)+len(o.machines)))
	return s
}

// approver makes the key of the one who approves, in a folder of her own.
func (s *site) approver() string {
	s.t.Helper()
	home := s.path("people", "anna")
	require.NoError(s.t, os.MkdirAll(home, 0o700))
	must(s.t, "keys", "approver", "anna", "-o", home)
	return filepath.Join(home, "anna.approver")
}

// approve has her sign policy and trust file as they stand.
func (s *site) approve() {
	s.t.Helper()
	must(s.t, "policy", "sign", "--yes", "--key", s.path("people", "anna", "anna.approver"), "-c", s.path("gateway.yaml"))
}

// signTrust has her sign another trust file, which no gateway has.
func (s *site) signTrust(name string) {
	s.t.Helper()
	trust, problems := configs.LoadTrust(s.path(name))
	require.NotNil(s.t, trust, problems)
	key, err := os.ReadFile(s.path("people", "anna", "anna.approver"))
	require.NoError(s.t, err)
	secret, err := approval.ParseSecret(string(key))
	require.NoError(s.t, err)
	signed, err := approval.Sign(nil, trust.Approval().Text(), secret)
	require.NoError(s.t, err)
	s.write(name+configs.SignatureSuffix, string(signed))
}

// after gives the line that follows a text.
func after(t testing.TB, text, mark string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, mark)
	require.True(t, found, "no %q in %q", mark, text)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// person makes somebody's identity in a folder of his own, and puts the public
// key into the gateway's folder. It gives the line for the trust file.
func (s *site) person(name string) string {
	s.t.Helper()
	home := s.path("people", name)
	require.NoError(s.t, os.MkdirAll(home, 0o700))
	said := must(s.t, "keys", "recipient", name, "-o", home)
	public, err := os.ReadFile(filepath.Join(home, name+".pub"))
	require.NoError(s.t, err)
	s.write(name+".pub", string(public))
	return after(s.t, said, "under recipients:\n")
}

func (s *site) identity(name string) string { return s.path("people", name, name+".identity") }

func (s *site) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

func (s *site) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(s.path(name), []byte(text), 0o600))
}

// start starts the gateway and waits until it polls.
func (s *site) start() {
	s.t.Helper()
	cmd := exec.Command(program(s.t), "run", "-c", s.path("gateway.yaml"))
	cmd.Env = environment()
	s.p = start(s.t, "gateway", cmd)
	s.logs = append(s.logs, s.p.log)
	s.p.line(s.t, "msg=running")
}

// kill ends the gateway as kill -9 does.
func (s *site) kill() {
	s.t.Helper()
	require.True(s.t, s.running(), "the gateway ended by itself")
	s.p.stop(syscall.SIGKILL)
	s.raceFree()
}

// stop ends the gateway in order.
func (s *site) stop() {
	s.t.Helper()
	require.True(s.t, s.running(), "the gateway ended by itself")
	began := time.Now()
	s.p.stop(syscall.SIGTERM)
	require.NoError(s.t, s.p.err, "the gateway did not end in order")
	assert.Less(s.t, time.Since(began), 8*time.Second, "a shutdown takes too long")
	s.raceFree()
}

func (s *site) raceFree() {
	s.t.Helper()
	require.NotContains(s.t, s.log(), raced)
}

func (s *site) running() bool {
	select {
	case <-s.p.done:
		return false
	default:
		return true
	}
}

// log is all that the gateway printed, since its first start.
func (s *site) log() string {
	var b strings.Builder
	for _, l := range s.logs {
		b.WriteString(strings.Join(l.last(everyLine), "\n") + "\n")
	}
	return b.String()
}

// gatewayStatus is what the tests look at of fieldseal status --json.
type gatewayStatus struct {
	Start    uint64          `json:"start"`
	Machines []machineStatus `json:"machines"`
	Streams  []streamStatus  `json:"streams"`
	Outbox   struct {
		Messages uint64 `json:"messages"`
		Lost     uint64 `json:"lost"`
	} `json:"outbox"`
	Uplinks []struct {
		State    string `json:"state"`
		Messages uint64 `json:"messages"`
		Resent   uint64 `json:"resent"`
	} `json:"uplinks"`
}

type streamStatus struct {
	Machine  string `json:"machine"`
	Level    string `json:"level"`
	Accepted uint64 `json:"accepted"`
	Signed   uint64 `json:"signed"`
}

// name is what fieldseal open calls the stream.
func (s *streamStatus) name() string { return gatewayName + "/" + s.Machine + "/" + s.Level }

type machineStatus struct {
	Name      string         `json:"name"`
	State     string         `json:"state"`
	Security  string         `json:"security"`
	Mechanism string         `json:"mechanism"`
	Error     string         `json:"error"`
	Points    map[string]int `json:"points"`
	Unread    []struct {
		Point  string `json:"point"`
		Status string `json:"status"`
	} `json:"unread"`
	Samples struct {
		Taken uint64 `json:"taken"`
		Bad   uint64 `json:"bad"`
	} `json:"samples"`
}

func (s *site) status() (g gatewayStatus) {
	s.t.Helper()
	said := must(s.t, "status", "--json", "-c", s.path("gateway.yaml"))
	require.NoError(s.t, json.Unmarshal([]byte(said), &g))
	return g
}

// accepted gives the newest number of each stream that is on disk, and the sum.
func (g *gatewayStatus) accepted() (by map[string]uint64, sum uint64) {
	by = make(map[string]uint64)
	for _, s := range g.Streams {
		by[s.name()] = s.Accepted
		sum += s.Accepted
	}
	return by, sum
}

// machine gives what is told of one machine.
func (g *gatewayStatus) machine(name string) (m machineStatus) {
	for _, m := range g.Machines {
		if m.Name == name {
			return m
		}
	}
	return m
}

// drained waits until nearly everything accepted is stored upstream.
func (s *site) drained(limit time.Duration) {
	s.t.Helper()
	until(s.t, limit, "an outbox that is nearly empty", func() bool {
		g := s.status()
		return g.Outbox.Messages < 100
	})
}

// openArgs is how somebody opens the stream.
func (s *site) openArgs(identity string, more ...string) []string {
	args := []string{"open", "--nats", s.broker.URL, "--ca", s.broker.Certs.CA, "--cert", s.reader.Cert, "--key", s.reader.Key}
	if identity != "" {
		args = append(args, "-i", identity)
	}
	if slices.Contains(more, "--trust") {
		args = append(args, "--approvers", s.path("approvers"))
	}
	return append(args, more...)
}

// open opens the whole stream, as engineering, with the trust file.
func (s *site) open() *opened {
	s.t.Helper()
	return s.openAs(s.identity(engineering), "--trust", s.path("trust.yaml"))
}

// openAs opens the whole stream up to its present end.
func (s *site) openAs(identity string, more ...string) *opened {
	s.t.Helper()
	return s.openCopy(streamName, prefix, identity, more...)
}

// openCopy is openAs for another stream of the broker.
func (s *site) openCopy(stream, prefix, identity string, more ...string) *opened {
	s.t.Helper()
	args := append([]string{"--stream", stream, "--prefix", prefix, "--end", "--stats"}, more...)
	return fieldseal(s.t, s.openArgs(identity, args...)...).parse(s.t)
}

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
%s
recipients:
%s
`

const policyYAML = `fieldseal: policy/v1
policy: plant-augsburg
revision: 1

levels:
  - {name: public, send: clear, connection: any}
  - {name: internal, send: sealed, to: [historian, process-engineering], connection: any}
  - {name: restricted, send: sealed, to: [process-engineering], connection: encrypted, pad: true, hide: [names]}

default: restricted

events: {to: [process-engineering]}

released:
  - {points: ["*/state", "*/nameplate"], why: "Andon board, no recipe content"}

passthrough: {accept: [cose], if_readable: seal}

exceptions:
  - {allow: connection-not-encrypted, points: ["press-*/*"], why: "Modbus stays on the loopback interface", until: %s}
`

// machineYAML maps the registers of libmodbus/server.c. The operator has no
// label; the order number is called public and is not released.
const machineYAML = `fieldseal: machine/v1
machine: %s
about: hydraulic press
tags: {site: augsburg, asset: PR-0007}
modbus: {connect: "tcp://%s", unit_id: %d, order: ABCD, timeout: 5s}
poll: {normal: %s}
points:
  - {name: counter, at: holding/0, type: uint32, sensitivity: restricted}
  - {name: force, at: holding/2, type: float32, order: CDAB, unit: kN, sensitivity: restricted}
  - {name: position, at: holding/4, type: int16, unit: mm, sensitivity: internal}
  - {name: state, at: holding/5, type: uint16, values: {0: stopped, 1: running, 2: setup}, sensitivity: public}
  - {name: program-name, at: holding/20, type: string, bytes: 32, sensitivity: restricted}
  - {name: nameplate, at: holding/40, type: string, bytes: 32, sensitivity: public}
  - {name: operator, at: holding/60, type: string, bytes: 32}
  - {name: order-number, at: holding/80, type: string, bytes: 32, sensitivity: public}
  - {name: oil-temperature, at: input/0, type: int16, scale: 0.1, unit: "°C", sensitivity: internal}
  - {name: uptime, at: input/2, type: uint32, unit: ms, sensitivity: internal}
  - {name: pump-on, at: coil/0, type: bool, sensitivity: internal}
  - {name: guard-open, at: discrete/0, type: bool, sensitivity: internal}
`
