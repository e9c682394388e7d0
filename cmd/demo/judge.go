package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// result is what the demo found out. Samples are counted at the recipient, who
// reads the whole stream anew at the end, twice: once whatever comes, and once
// what is signed. Sealed, held, lost, duplicates and each value are held against
// what the machines gave out, and plaintext against the bytes that the broker
// has. Nothing is the gateway's word about itself.
type result struct {
	Samples              uint64 `json:"samples"`
	Clear                uint64 `json:"clear"`
	Sealed               uint64 `json:"sealed"` // given out by the machines for points that the policy seals
	Passthrough          uint64 `json:"passthrough"`
	Held                 uint64 `json:"held"` // payloads given out that were no ciphertext and did not arrive as they were
	Opened               uint64 `json:"opened"`
	PassthroughIdentical bool   `json:"passthrough_identical"`
	PlaintextSeen        int    `json:"plaintext_seen_upstream"`
	Lost                 uint64 `json:"lost"`
	Duplicates           uint64 `json:"duplicates"`
	GatewaySigned        uint64 `json:"gateway_signed"`

	given       uint64 // by the machines
	wrongValues uint64 // not what the machine gave out at that time
	onLog       int    // plaintext of sealed points in what the gateway logs
	logged      int64  // bytes of that
	publicSeen  int    // plaintext of released points in the same bytes
	blind       bool   // the scan does not find all of that
	onDisk      int    // plaintext of sealed points in the state folder
	messages    uint64
	bytes       uint64
	refused     []string
	changed     bool // the gateway asked a machine for more than to read
}

// again reads the stream once more from its start.
func again(p *plant, now bool, h hooks) (*reader, error) {
	r, err := newReader(p, now, h)
	if err != nil {
		return nil, err
	}
	if err := r.read(context.Background(), p, true); err != nil {
		return nil, fmt.Errorf("the recipient: %w", err)
	}
	return r, nil
}

// judge reads the stream and compares.
func judge(p *plant, config *configs.Config, h hooks) (*result, error) {
	r, err := again(p, true, h)
	if err != nil {
		return nil, err
	}
	signed, err := again(p, false, h)
	if err != nil {
		return nil, err
	}
	u, err := look(p)
	if err != nil {
		return nil, fmt.Errorf("looking at the stream: %w", err)
	}
	secret, public := p.canaries()
	out := &result{
		Clear: r.clear, Opened: r.opened, Passthrough: r.passed, GatewaySigned: signed.signed, PassthroughIdentical: true,
		PlaintextSeen: u.count(secret), publicSeen: u.count(public),
		messages: u.messages, bytes: u.bytes, refused: signed.refused, changed: p.mixer.Writes() > 0,
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
	if out.onLog, err = countInFiles(p.path(logFile), secret); err != nil {
		return nil, err
	}
	if info, err := os.Stat(p.path(logFile)); err == nil {
		out.logged = info.Size()
	}
	for i := range config.Machines {
		out.compare(p, r, &config.Machines[i], &config.Policy)
	}
	for _, s := range signed.envelope.Report() {
		for _, g := range s.Gaps {
			out.Lost += g.Last - g.First + 1
		}
		out.refused = append(out.refused, forgeries(s)...)
	}
	out.Samples = out.Clear + out.Opened + out.Passthrough
	return out, nil
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
	say(out.onLog > 0, "plaintext of sealed points in the gateway's log")
	say(out.logged == 0, "the gateway logged nothing to look through")
	say(out.blind, "the scan for plaintext does not find what is public: it is blind")
	say(out.changed, "the gateway asked a machine for more than to read")
	say(out.Lost > 0, "samples were lost")
	say(out.Duplicates > 0, "samples came twice")
	say(out.wrongValues > 0, "values are not those that the machines gave out")
	say(out.Held > 0, "a device did not encrypt its payload")
	say(out.GatewaySigned != out.Samples || out.GatewaySigned != out.given, "not everything is signed")
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
  not encrypted by the devices, so not forwarded  %6d payloads
  signed by the gateway                           %6d of %d
  given out by the machines                       %6d samples
  lost %d, duplicates %d, wrong values %d
  plaintext of sealed points at the broker: %d, in the gateway's state folder: %d, in its log: %d (released ones: %d)
`, out.messages, out.bytes, out.Clear, out.Sealed, recipient, out.Opened, out.Passthrough, out.PassthroughIdentical,
		out.Held, out.GatewaySigned, out.Samples, out.given, out.Lost, out.Duplicates, out.wrongValues,
		out.PlaintextSeen, out.onDisk, out.onLog, out.publicSeen)
}
