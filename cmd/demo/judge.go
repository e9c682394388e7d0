package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/policy"
)

// result is what the demo found out. Samples are counted at the recipient, who
// reads the whole stream anew at the end; sealed, lost and duplicates are held
// against what the machines gave out, and plaintext against the bytes that the
// broker has. Nothing is the gateway's word about itself.
type result struct {
	Samples              uint64 `json:"samples"`
	Clear                uint64 `json:"clear"`
	Sealed               uint64 `json:"sealed"` // given out by the machines for points that the policy seals
	Passthrough          uint64 `json:"passthrough"`
	Held                 uint64 `json:"held"` // payloads given out that were no ciphertext and did not arrive
	Opened               uint64 `json:"opened"`
	PassthroughIdentical bool   `json:"passthrough_identical"`
	PlaintextSeen        int    `json:"plaintext_seen_upstream"`
	Lost                 uint64 `json:"lost"`
	Duplicates           uint64 `json:"duplicates"`
	GatewaySigned        uint64 `json:"gateway_signed"`

	publicSeen int  // plaintext of released points in the same bytes
	blind      bool // the scan does not find all of that
	onDisk     int  // plaintext of sealed points in the state folder
	messages   uint64
	bytes      uint64
	refused    []string
	changed    bool // the gateway asked a machine for more than to read
}

// judge reads the stream once more from its start and compares.
func judge(p *plant, config *configs.Config) (*result, error) {
	r, err := newReader(p, false)
	if err != nil {
		return nil, err
	}
	if err := r.read(context.Background(), p, true); err != nil {
		return nil, fmt.Errorf("the recipient: %w", err)
	}
	u, err := look(p)
	if err != nil {
		return nil, fmt.Errorf("looking at the stream: %w", err)
	}
	secret, public := p.canaries()
	out := &result{
		Clear: r.clear, Opened: r.opened, GatewaySigned: r.signed, PassthroughIdentical: true,
		PlaintextSeen: u.count(secret), publicSeen: u.count(public),
		messages: u.messages, bytes: u.bytes, refused: r.refused, changed: p.mixer.Writes() > 0,
	}
	for _, text := range public {
		out.blind = out.blind || u.count([][]byte{text}) == 0
	}
	for function := range p.press.FunctionCodes() {
		out.changed = out.changed || function > 4
	}
	if out.onDisk, err = countInFiles(p.path("state"), secret); err != nil {
		return nil, err
	}
	for i := range config.Machines {
		out.compare(p, r, &config.Machines[i], &config.Policy)
	}
	for _, s := range r.envelope.Report() {
		for _, g := range s.Gaps {
			out.Lost += g.Last - g.First + 1
		}
		out.refused = append(out.refused, forgeries(s)...)
	}
	out.Samples = out.Clear + out.Opened + out.Passthrough
	return out, nil
}

// compare holds one machine's samples against what it gave out.
func (out *result) compare(p *plant, r *reader, m *configs.Machine, rules *policy.Policy) {
	for i, pt := range m.Points {
		given, counted := p.given(m, i)
		if !counted {
			continue
		}
		got := r.count(m.Name, pt)
		if pt.Passthrough == "" && !isClear(rules, m.Name, pt.Point) {
			out.Sealed += given
		}
		out.Lost += given - min(given, got)
		out.Duplicates += got - min(given, got)
	}
	machine := p.of(m.Name)
	for _, counter := range []string{sim.Counter, sim.PublicCounter} {
		seen := make(map[uint64]uint64)
		for _, s := range r.samples[m.Name+"/"+counter] {
			seen[s.Value.Uint()]++
		}
		for _, n := range machine.Served(m.Name, counter) {
			if seen[uint64(n)] == 0 {
				out.Lost++
			}
			if seen[uint64(n)] > 1 {
				out.Duplicates += seen[uint64(n)] - 1
			}
			delete(seen, uint64(n))
		}
		for range seen { // a number that the machine never gave out
			out.Lost++
		}
	}
	served := machine.Payloads(m.Name)
	for _, payload := range r.payloads[m.Name] {
		out.Passthrough++
		if !contains(served, payload) {
			out.PassthroughIdentical = false
		}
	}
}

// given tells how many values of a point the machine gave out. That of a payload
// behind Modbus is not counted: one that changed while it was read is not taken.
func (p *plant) given(m *configs.Machine, point int) (n uint64, counted bool) {
	pt := m.Points[point]
	if m.OPCUA != nil {
		return p.mixer.Given(m.Name, pt.Name), true
	}
	if pt.Passthrough != "" {
		return 0, false
	}
	return p.answered(m.Name, &m.Modbus.Points[point]), true
}

// answered counts how often the machine gave out all registers of a point.
func (p *plant) answered(machine string, pt *modbus.Point) (n uint64) {
	function := map[modbus.Table]byte{modbus.Holding: 3, modbus.Input: 4, modbus.Coil: 1, modbus.Discrete: 2}[pt.At.Table]
	size := uint16(1)
	if pt.At.Table == modbus.Holding || pt.At.Table == modbus.Input {
		size = uint16(pt.Type.Registers(pt.Bytes))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, times := range p.reads {
		if r.machine == machine && r.function == function && r.first <= pt.At.Offset && pt.At.Offset+size <= r.first+r.count {
			n += times
		}
	}
	return n
}

// isClear tells what the policy file says of a point, read without the
// gateway's help: a label and a release.
func isClear(rules *policy.Policy, machine string, pt policy.Point) bool {
	if l, ok := rules.Level(pt.Label); !ok || l.Send != policy.SendClear {
		return false
	}
	for _, release := range rules.Released {
		for _, pattern := range release.Points {
			if pattern.Match(machine, pt.Name) {
				return true
			}
		}
	}
	return false
}

func contains(all [][]byte, one []byte) bool {
	for _, b := range all {
		if bytes.Equal(b, one) {
			return true
		}
	}
	return false
}

func countInFiles(dir string, texts [][]byte) (n int, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, t := range texts {
			n += bytes.Count(b, t)
		}
		return err
	})
	return n, err
}

func forgeries(s envelope.StreamReport) (out []string) {
	for _, f := range s.Forgeries {
		out = append(out, fmt.Sprintf("%s %d: %s: %s", s.Stream, f.Sequence, f.Class, f.Reason))
	}
	return out
}

// wrong says what is not as it should be; empty where all is well.
func (out *result) wrong() string {
	var bad []string
	say := func(is bool, what string) {
		if is {
			bad = append(bad, what)
		}
	}
	say(out.Sealed == 0 || out.Clear == 0 || out.Passthrough == 0, "a way of sending was not used")
	say(out.Opened != out.Sealed, "not everything sealed was opened")
	say(!out.PassthroughIdentical, "a payload was changed")
	say(out.PlaintextSeen > 0, "plaintext of sealed points upstream")
	say(out.onDisk > 0, "plaintext of sealed points in the state folder")
	say(out.blind, "the scan for plaintext does not find what is public: it is blind")
	say(out.changed, "the gateway asked a machine for more than to read")
	say(out.Lost > 0, "samples were lost")
	say(out.Duplicates > 0, "samples came twice")
	say(out.GatewaySigned != out.Samples, "not everything is signed")
	say(len(out.refused) > 0, "messages were refused: "+strings.Join(out.refused, "; "))
	return strings.Join(bad, ", ")
}

func (out *result) print(w io.Writer) {
	fmt.Fprintf(w, `
The broker has %d messages, %d bytes.
  in clear, because the policy releases them      %6d samples
  sealed by the gateway                           %6d samples
    opened by %s        %12d
  encrypted by the devices, forwarded untouched   %6d payloads (identical: %v)
  signed by the gateway                           %6d of %d
  lost %d, duplicates %d
  plaintext of sealed points at the broker: %d, in the gateway's state folder: %d (released ones: %d)
`, out.messages, out.bytes, out.Clear, out.Sealed, recipient, out.Opened, out.Passthrough, out.PassthroughIdentical,
		out.GatewaySigned, out.Samples, out.Lost, out.Duplicates, out.PlaintextSeen, out.onDisk, out.publicSeen)
}
