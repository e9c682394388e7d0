package sim

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"
)

// Served gives the numbers that [Counter] or [PublicCounter] had while the
// server gave them out, to a read or to a subscription, in order. A consumer has
// each once, if nothing was lost on the way. What was given to the server just
// before a connection broke may not have left it.
func (p *OPCUA) Served(machine, point string) []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.machine(machine).counts[point]
	if c == nil {
		panic("sim: " + point + " is no counter")
	}
	return slices.Clone(c.served)
}

// Given tells how many values of a point left the server: each once that a
// consumer has to have. A value that a read gave, and then the subscription that
// begins with it, counts once. The point is called as in the mapping file.
func (p *OPCUA) Given(machine, point string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, n := range p.nodes {
		if of, node, _ := strings.Cut(name, "."); of == machine && pointOf(node) == point {
			return n.given
		}
	}
	panic("sim: there is no point " + point + " of " + machine)
}

// pointOf is what the mapping file calls a node: public-counter for PublicCounter.
func pointOf(node string) string {
	var point strings.Builder
	for i, r := range node {
		if unicode.IsUpper(r) && i > 0 {
			point.WriteByte('-')
		}
		point.WriteRune(unicode.ToLower(r))
	}
	return point.String()
}

// Payloads gives every different payload that was given out, in order.
func (p *OPCUA) Payloads(machine string) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.machine(machine).payload.served)
}

// Open decrypts a payload, as the device maker's own service does.
func (p *OPCUA) Open(machine string, payload []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine(machine).payload.open(payload)
}

// NextPayload lets the device make a new payload now.
func (p *OPCUA) NextPayload(machine string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.machine(machine).payload.renew()
}

// SetPlaintext lets the device give its log unencrypted, as one does that lost
// its key.
func (p *OPCUA) SetPlaintext(machine string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.machine(machine).payload
	l.plain = on
	l.renew()
}

// Canaries are secret plaintexts as they stand in nodes: none may be seen between
// the gateway and the reader.
func (p *OPCUA) Canaries() [][]byte {
	var out [][]byte
	for _, m := range p.machines {
		out = append(out, []byte(m.programName()), []byte(m.payload.secret()))
	}
	return out
}

// PublicCanaries are plaintexts of public points: a scan that does not find them
// upstream looks in the wrong place.
func (p *OPCUA) PublicCanaries() [][]byte {
	var out [][]byte
	for _, m := range p.machines {
		out = append(out, []byte(m.nameplate()))
	}
	return out
}

// Names gives the machines.
func (p *OPCUA) Names() []string {
	var out []string
	for _, m := range p.machines {
		out = append(out, m.name)
	}
	return out
}

// handleWrites refuses and counts what would change something. It is called
// before the server starts.
func (p *OPCUA) handleWrites(s *server.Server) {
	for _, kind := range []uint16{
		id.WriteRequest_Encoding_DefaultBinary, id.CallRequest_Encoding_DefaultBinary, id.HistoryUpdateRequest_Encoding_DefaultBinary,
		id.AddNodesRequest_Encoding_DefaultBinary, id.DeleteNodesRequest_Encoding_DefaultBinary,
	} {
		s.RegisterHandler(kind, func(*uasc.SecureChannel, ua.Request, uint32) (ua.Response, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.writes++
			return nil, ua.StatusBadNotWritable
		})
	}
}

// Writes is how often somebody wanted to write a value, call a method or change
// the nodes.
func (p *OPCUA) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// YAML gives the mapping file of a machine. It needs a certificate opcua-client
// and the password as a credential opcua-password.
func (p *OPCUA) YAML(machine string) string {
	p.mu.Lock()
	p.machine(machine)
	p.mu.Unlock()
	return fmt.Sprintf(opcuaMapping, machine, p.Endpoint(), p.own.Fingerprint(), OPCUAUser, OPCUANamespace)
}

const opcuaMapping = `fieldseal: machine/v1
machine: %[1]s
about: simulated batch mixer

opcua:
  endpoint: %[2]s
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:%[3]x"
  certificate: keystore:opcua-client
  user: {name: %[4]s, password: "credential:opcua-password"}
  namespace: %[5]s

poll: {fast: 250ms, normal: 1s, slow: 1m}

points:
  - {name: state, node: s=%[1]s.State, type: uint16, sensitivity: public}
  - {name: public-counter, node: s=%[1]s.PublicCounter, type: uint32, poll: fast, sensitivity: public}
  - {name: nameplate, node: s=%[1]s.Nameplate, type: string, max_bytes: 64, sensitivity: public}
  - {name: temperature, node: s=%[1]s.Temperature, type: float64, unit: "°C", sensitivity: internal}
  - {name: energy, node: s=%[1]s.Energy, type: int64, unit: Wh, sensitivity: internal}
  - {name: pump-on, node: s=%[1]s.PumpOn, type: bool, sensitivity: internal}
  - {name: force, node: s=%[1]s.Force, type: float32, unit: kN, poll: fast, sensitivity: restricted}
  - {name: counter, node: s=%[1]s.Counter, type: uint32, poll: fast, sensitivity: restricted}
  - {name: program-name, node: s=%[1]s.ProgramName, type: string, max_bytes: 64, sensitivity: restricted}
  - name: torque-log
    node: s=%[1]s.TorqueLog
    type: bytes
    max_bytes: 1024
    passthrough: cose
    readable_by: [process-engineering]
    sensitivity: restricted
`
