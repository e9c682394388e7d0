package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// passing are the edits of a plant in which press-1 has a point that its device
// encrypts.
var passing = []string{
	"machines/press-1.yaml", "  - {name: program-name, at: 40201, type: string, bytes: 32}\n",
	"  - {name: program-name, at: 40201, type: string, bytes: 32}\n  - {name: torque-log, at: holding/500, type: bytes, bytes: 200, passthrough: cose, readable_by: [engineering], changes_with: holding/499}\n",
}

// encrypted is what a device might give: a COSE_Encrypt0.
func (s *site) encrypted() []byte {
	sealer, err := envelope.NewSealer(envelope.EpochConfig{
		Stream: envelope.Stream{Gateway: "gw-1", Machine: "m", Level: "l"}, Signer: s.signer, Pad: true,
		Recipients: []envelope.Recipient{s.people["engineering"].Recipient()},
	})
	require.NoError(s, err)
	_, err = sealer.KeyFrame(1)
	require.NoError(s, err)
	body, err := sealer.Seal(nil, 2, "m/", []envelope.Sample{{Name: "torque", Value: envelope.OfText(make([]byte, 100))}})
	require.NoError(s, err)
	return body
}

func (a *answer) audit(t testing.TB) *auditSummary {
	t.Helper()
	var s statistics
	require.NoError(t, json.Unmarshal([]byte(a.stdout), &s), a.stdout+a.stderr)
	require.NotNil(t, s.Audit)
	return s.Audit
}

// Each line is a gateway that does something else than its policy says, and what
// the audit finds.
func TestAudit(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(s *site)
		want []findingLine // by level, point, kind; the rest is compared by containing
	}{
		{"in order", func(*site) {}, nil},
		{"sealed level in clear", func(s *site) {
			f := s.feeds["press-1/restricted"]
			f.clear(f.sample("force"))
			f.clear(f.sample("force"))
		}, []findingLine{{Level: "restricted", Point: "force", Kind: "clear", Count: 2, Sequence: "8-9"}}},
		{"not released", func(s *site) {
			f := s.feeds["press-1/public"]
			f.clear(f.sample("force"), f.sample("state"))
		}, []findingLine{{Level: "public", Point: "force", Kind: "not-released", Count: 1, Sequence: "7"}}},
		{"another machine than was signed", func(s *site) {
			f := s.feed("press-9", "public")
			f.clear(f.sample("state"))
		}, []findingLine{{Level: "public", Point: "state", Kind: "not-signed", Count: 1, Sequence: "1"}}},
		{"a level that the policy has not", func(s *site) {
			f := s.feed("press-1", "secret", "engineering")
			f.sealed(f.sample("force"))
		}, []findingLine{
			{Level: "secret", Kind: "unknown-level", Count: 2, Sequence: "1-2"},
		}},
		{"one recipient too many", func(s *site) {
			s.feeds["press-1/restricted"].checkpoint(true)
			s.feed("press-1", "restricted", "engineering", "historian")
		}, []findingLine{{Level: "restricted", Kind: "recipients", What: "for somebody else than the policy and the trust file say: historian (", Count: 1, Sequence: "9"}}},
		{"a stranger", func(s *site) {
			id, err := envelope.NewIdentity(envelope.X25519, "mallory")
			require.NoError(s, err)
			s.people["mallory"] = id
			s.feeds["press-1/restricted"].checkpoint(true)
			s.feed("press-1", "restricted", "engineering", "mallory")
		}, []findingLine{{Level: "restricted", Kind: "recipients", What: "a key that the trust file does not list", Count: 1, Sequence: "9"}}},
		{"one recipient too few", func(s *site) {
			s.feeds["press-1/internal"].checkpoint(true)
			s.feed("press-1", "internal", "engineering")
		}, []findingLine{{Level: "internal", Kind: "recipients", What: "historian (", Count: 1, Sequence: "9"}}},
		{"a payload that is none", func(s *site) {
			s.feeds["press-1/restricted"].put(envelope.Passthrough, "torque-log", "application/cose", []byte("recipe 17: 4.5 kN"))
		}, []findingLine{{Level: "restricted", Point: "torque-log", Kind: "not-ciphertext", Count: 1, Sequence: "8"}}},
		{"a payload of another point", func(s *site) {
			s.feeds["press-1/restricted"].put(envelope.Passthrough, "force", "application/cose", s.encrypted())
		}, []findingLine{{Level: "restricted", Point: "force", Kind: "not-signed", Count: 1, Sequence: "8"}}},
		{"a payload of another format", func(s *site) {
			s.feeds["press-1/restricted"].put(envelope.Passthrough, "torque-log", "application/jose", s.encrypted())
		}, []findingLine{{Level: "restricted", Point: "torque-log", Kind: "format", Count: 1, Sequence: "8"}}},
		{"a catalogue in clear", func(s *site) {
			body, err := envelope.AppendCatalogue(nil, "press-1/", []envelope.Entry{{Name: "force"}, {Name: "state"}})
			require.NoError(s, err)
			s.feeds["press-1/public"].put(envelope.Data, "", envelope.TypeCatalogue, body)
		}, []findingLine{{Level: "public", Point: "force", Kind: "not-signed", Count: 1, Sequence: "7"}}},
		{"a catalogue in clear with tags", func(s *site) {
			body, err := envelope.AppendCatalogue(nil, "press-1/", []envelope.Entry{{Name: "state", Tags: map[string]string{"force": "4.5 kN"}}})
			require.NoError(s, err)
			s.feeds["press-1/public"].put(envelope.Data, "", envelope.TypeCatalogue, body)
		}, []findingLine{{Level: "public", Point: "state", Kind: "tags", Count: 1, Sequence: "7"}}},
		{"anything as an event", func(s *site) {
			s.feeds["press-1/public"].put(envelope.Event, "", "text/plain", []byte("recipe 17: 4.5 kN"))
		}, []findingLine{{Level: "public", Kind: "event", Count: 1, Sequence: "7"}}},
		{"a key that went another way", func(s *site) {
			f := s.feeds["press-1/restricted"]
			f.checkpoint(true)
			f.unannounced("historian")
			f.sealed(f.sample("force"))
			f.sealed(f.sample("force"))
		}, []findingLine{{Level: "restricted", Kind: "no-key-frame", Count: 2, Sequence: "9-10"}}},
		{"the same key twice", func(s *site) {
			s.feeds["press-1/restricted"].checkpoint(true)
			s.feed("press-1", "restricted", "engineering", "engineering")
		}, []findingLine{{Level: "restricted", Kind: "recipients", What: "the same key twice", Count: 1, Sequence: "9"}}},
		{"sealed in form only", func(s *site) {
			f := s.feeds["press-1/restricted"]
			for range 4 { // the bytes of a COSE_Encrypt0 around what anybody can read
				body, err := f.sealer.Seal(nil, f.head.Sequence+1, f.base(), []envelope.Sample{{Name: "force", Value: envelope.OfText(make([]byte, 64))}})
				require.NoError(s, err)
				copy(body[len(body)-64:], bytes.Repeat([]byte("recipe 17: 4.5kN"), 4))
				f.put(envelope.Data, "", envelope.TypeSealed, body)
			}
		}, []findingLine{{Level: "restricted", Kind: "not-ciphertext", What: "4 of 9 messages", Count: 4}}},
		{"another policy", func(s *site) { s.policy[0]++ }, []findingLine{{Kind: "other-policy", Count: 1}}},
		{"no policy", func(s *site) { s.policy = [32]byte{} }, []findingLine{{Kind: "other-policy", Count: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			alone(t)
			s := newSite(t, passing...)
			s.usual()
			c.do(s)
			if len(c.want) == 0 {
				s.feeds["press-1/restricted"].put(envelope.Passthrough, "torque-log", "application/cose", s.encrypted())
			}
			s.checkpoints()
			a := s.open("", "--policy", s.path("policy.yaml"), "--json", s.folder())
			found := a.audit(t).Findings
			require.Len(t, found, len(c.want), a.stdout)
			for i, want := range c.want {
				got := found[i]
				assert.Equal(t, "gw-1", got.Gateway)
				assert.Contains(t, got.What, want.What)
				assert.Equal(t, []any{want.Level, want.Point, want.Kind, want.Count, want.Sequence}, []any{got.Level, got.Point, got.Kind, got.Count, got.Sequence})
			}
			assert.Equal(t, len(c.want) == 0, a.code == 0, a.stderr)
			assert.NotContains(t, a.stdout+a.stderr, "recipe 17")

			text := s.open("", "--policy", s.path("policy.yaml"), s.folder())
			assert.Equal(t, a.code, text.code)
			assert.Equal(t, len(c.want), strings.Count(text.stdout, "FINDING"), text.stdout)
		})
	}
}

// A level that is withheld sends nothing, not even sealed.
func TestAuditWithheld(t *testing.T) {
	alone(t)
	s := newSite(t, "policy.yaml", "  - {name: restricted, send: sealed, to: [engineering], connection: encrypted}", "  - {name: restricted, send: withheld}",
		"policy.yaml", "default: restricted", "default: internal")
	s.usual()
	a := s.open("", "--policy", s.path("policy.yaml"), "--json", s.folder())
	require.Equal(t, 1, a.code)
	found := a.audit(t).Findings
	require.Len(t, found, 1, a.stdout)
	require.Equal(t, "withheld-level", found[0].Kind)
}

// The policy changed while the stream was written: each part is held against the
// policy that its gateway named then.
func TestAuditTwoPolicies(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	for _, name := range []string{"policy.yaml", "policy.yaml.sig"} {
		s.write("first."+name, []byte(s.read(name)))
	}
	s.edit("policy.yaml", "revision: 1", "revision: 2")
	s.edit("policy.yaml", "to: [historian, engineering]", "to: [historian]")
	s.sign()
	f := s.feeds["press-1/internal"]
	f.checkpoint(true)
	f = s.feed("press-1", "internal", "historian")
	f.sealed(f.sample("temperature"))
	s.checkpoints()
	dir := s.folder()
	first, second := s.path("first.policy.yaml"), s.path("policy.yaml")

	a := s.open("", "--policy", second, "--policy", first, "--json", dir)
	require.Zero(t, a.code, a.stdout+a.stderr)
	sum := a.audit(t)
	require.Len(t, sum.Policies, 2)
	require.Len(t, sum.Gateways, 2)
	require.Equal(t, []int{1, 2}, []int{sum.Gateways[0].Revision, sum.Gateways[1].Revision})
	require.Contains(t, sum.Sealed["gw-1/press-1/internal"], "historian (")

	a = s.open("", "--policy", second, "--json", dir)
	require.Equal(t, 1, a.code)
	var kinds []string
	for _, f := range a.audit(t).Findings {
		kinds = append(kinds, f.Kind)
	}
	require.Equal(t, []string{"other-policy", "other-policy"}, kinds, "the time before, and what was sealed then: %s", a.stdout)

	// No older one than was accepted.
	a = s.open("", "--policy", first, "--json", dir)
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stderr, "first.policy.yaml is refused, and nothing was read: a newer one was accepted already")

	// Not signed, or changed since.
	require.NoError(t, os.WriteFile(second, append([]byte(s.read("policy.yaml")), '#'), 0o600))
	a = s.open("", "--policy", second, dir)
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stderr, "policy.yaml is refused, and nothing was read: what was signed is another file")
	require.NoError(t, os.Remove(s.path("policy.yaml.sig")))
	a = s.open("", "--policy", second, dir)
	require.Contains(t, a.stderr, "it is not signed")
	require.Empty(t, a.stdout)
}

// Statements may name a policy by all that was signed, too.
func TestAuditDigestOfApproval(t *testing.T) {
	alone(t)
	s := newSite(t)
	signed := s.read("policy.yaml.sig")
	text, _, ok := strings.Cut(signed, "\n\n")
	require.True(t, ok)
	s.policy = sha256.Sum256([]byte(text + "\n"))
	s.usual()
	a := s.open("", "--policy", s.path("policy.yaml"), s.folder())
	require.Zero(t, a.code, a.stdout)
}

// Without a policy signatures and gaps are verified, and that is said.
func TestAuditAlone(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	a := s.open("", s.folder())
	require.Zero(t, a.code, a.stderr)
	require.Contains(t, a.stdout, "signatures, gaps and freshness were looked at, and no policy")
	require.Contains(t, a.stdout, "policy in force, sha256 ")
	require.NotContains(t, a.stdout, `"point"`)
	a = s.open("", "--clear", s.folder())
	require.Contains(t, a.stdout, `"point":"state","level":"public"`)
	require.NotContains(t, a.stdout, `"force"`)
	if os.Getenv("SHOW") != "" {
		f := s.feeds["press-1/restricted"]
		f.clear(f.sample("force"))
		f.checkpoint(true)
		s.feed("press-1", "restricted", "engineering", "historian")
		s.checkpoints()
		b := s.open("", "--policy", s.path("policy.yaml"), s.folder(4))
		t.Log("\n" + b.stdout + "---\n" + b.stderr)
		b = s.open("", "--policy", s.path("policy.yaml"), "--json", s.folder(4))
		t.Log("\n" + b.stdout + "---\n" + b.stderr)
		b = s.open("historian", "--format", "csv", s.folder(4))
		t.Log("\n" + b.stdout + "---\n" + b.stderr)
	}
	a = s.open("", s.folder(4))
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stdout, "result: NOT in order")
	a = openWith(t.Context(), []string{"open", s.folder()})
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stdout, "NOTHING WAS VERIFIED")
}

// Payloads whose point the address hides are judged as one of those that were
// signed; the gateway's own events are for whom the policy names.
func TestAuditHiddenNamesAndEvents(t *testing.T) {
	alone(t)
	s := newSite(t, append(passing, "policy.yaml", "to: [engineering], connection: encrypted}", "to: [engineering], connection: encrypted, hide: [names]}",
		"policy.yaml", "default: restricted\n", "default: restricted\nevents: {to: [historian]}\n")...)
	server, flags := s.broker()
	s.usual()
	f := s.feeds["press-1/restricted"]
	id := strings.Repeat("0af1", 8)
	f.put(envelope.Passthrough, id, "application/cose", s.encrypted())
	s.feed(ownMachine, ownLevel, "historian").sealed(envelope.Sample{Name: "start", Value: envelope.OfText([]byte("again"))})
	s.checkpoints()
	s.publish(server)
	args := append(flags, "--policy", s.path("policy.yaml"), "--json", "--end")
	a := s.open("", args...)
	require.Zero(t, a.code, a.stdout+a.stderr)
	require.Contains(t, s.open("historian", append(flags, "--end")...).stdout, `"machine":"_gateway","point":"start","level":"_events","value":"again"`)

	live := follow(t, s.args("", append(flags, "--policy", s.path("policy.yaml"), "--state", s.path("state"))...))
	f.put(envelope.Passthrough, id, "application/cose", []byte("4.5 kN"))
	s.feeds[ownMachine+"/"+ownLevel].checkpoint(true)
	s.feed(ownMachine, ownLevel, "historian", "engineering")
	s.checkpoints()
	s.publish(server)
	a = s.open("", args...)
	require.Equal(t, 1, a.code)
	found := a.audit(t).Findings
	require.Len(t, found, 2)
	require.Equal(t, []string{ownLevel, "recipients"}, []string{found[0].Level, found[0].Kind})
	require.Equal(t, []string{id, "not-ciphertext"}, []string{found[1].Point, found[1].Kind})

	// Who follows the stream is told at once, and keeps its place when it has told all.
	live.until("FINDING gw-1/press-1/restricted, point " + id)
	require.NoFileExists(t, s.path("state"))
	b := live.stop()
	require.Equal(t, 1, b.code)
	require.Equal(t, 2, strings.Count(b.stdout, "FINDING"), b.stdout)
	require.Equal(t, 2, strings.Count(b.stderr, "FINDING"), b.stderr)
	require.FileExists(t, s.path("state"))
	a = s.open("", append(args, "--state", s.path("state"))...)
	require.Empty(t, a.audit(t).Findings, "what was told")
	require.Zero(t, a.code)
}
