// Package configs reads the YAML files that operators write: gateway.yaml and
// everything it names. [Load] gives one gateway's configuration, or all that is
// wrong with it, each [Problem] with its file, line and column and with what to
// write instead.
//
// It is strict. Unknown and duplicate keys, values of another type, aliases and
// second documents are errors, and so is a key that this version understands
// but does not honour: what has no effect must not look as if it had.
//
// A problem in the gateway, policy or trust file stops a start ([Fatal]); one in
// a machine's file leaves out that machine only ([Problem.LeavesOut]), and one in a
// template the machines that use it. A line that is asked for more than it can
// do is a problem, and its machines start. Points
// that ask for more than their connection gives only stop (Problem.Stops), and
// so do those of an exception that is past its day.
package configs

import (
	"crypto/ed25519"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// Options say how to load. The zero value takes nothing as approved: no point is
// looser than the policy's default.
type Options struct {
	Now func() time.Time // tells which exceptions are past their day; time.Now if nil
	// Approvals are those of the gateway's state folder. Nothing is written there.
	Approvals *approval.Store
	// Draft takes everything as if it were signed, without a look at signatures:
	// to check what is to be signed. A gateway does not run with it.
	Draft bool
	// Own is the gateway's public signing key. A trust file that gives it another
	// one is of no use. Nil: it is not known, and not compared.
	Own ed25519.PublicKey
	// NotKept says why the state folder cannot keep anything new: what was accepted
	// goes on then. Nil: it can.
	NotKept error
	// Untrusted says why the clock cannot be trusted: every exception counts as over
	// then, whatever Now says. Empty: it can.
	Untrusted string
}

// Config is one gateway's configuration.
type Config struct {
	Gateway  string
	Location *time.Location // what dates mean where the policy does not say; UTC where gateway.yaml does not either
	State    string         // the folder of outbox, keystore and audit log
	Keystore Keystore
	Uplinks  []Uplink
	Outbox   Outbox
	Metrics  Metrics
	Policy   policy.Policy
	Trust    Trust
	Machines []Machine // those without problems, in the order of their files; their points have the levels that are approved

	PolicyFile, TrustFile string       // paths; of a copy that was accepted earlier with @ and its revision
	Approved              *Approved    // nil: nothing is, and a gateway does not run with it
	Unapproved            []Unapproved // what machines' files say and nobody signed
	Folders               []string     // that files were read from, or are looked for in; sorted

	said []approval.Machine
}

// Load reads the gateway file and everything it names. Problems come all at
// once, in the order of files and lines. The configuration is nil where one of
// them is [Fatal].
func Load(path string, o Options) (*Config, []Problem) {
	l := &loader{now: o.Now, approvals: o.Approvals, draft: o.Draft, own: o.Own, notKept: o.NotKept, untrusted: o.Untrusted, judged: map[*machineReader]*judged{}}
	if l.now == nil {
		l.now = time.Now
	}
	if o.Untrusted != "" {
		l.now = policy.EndOfDays
	}
	c := l.gateway(l.open(path))
	if c != nil {
		c.Folders = slices.Sorted(maps.Keys(l.folders))
	}
	problems := sorted(l.problems)
	if Fatal(problems) {
		return nil, problems
	}
	return c, problems
}

// LoadTrust reads a trust file and the key files that it names, whoever wrote
// it: see [OpenTrust].
func LoadTrust(path string) (*Trust, []Problem) {
	l := &loader{now: time.Now}
	t := l.trust(l.open(path))
	problems := sorted(l.problems)
	if Fatal(problems) {
		return nil, problems
	}
	return t, problems
}

// CheckSnippet checks one block of YAML, as documentation shows it, as far as
// that can be done without the other files and without a clock. The kind is the
// word in the block's header line: gateway, policy, trust, machine, machines or
// template.
func CheckSnippet(kind string, content []byte) []Problem {
	l := &loader{alone: true}
	d := &document{f: &file{path: kind + ".yaml", problems: &l.problems}, content: content}
	switch kind {
	case "gateway":
		l.gateway(d)
	case "policy":
		l.policy(d, time.UTC, nil)
	case "trust":
		l.trust(d)
	case "template":
		l.template(d, nil, nil)
	case "hub":
		l.hub(d)
	default:
		l.machine(d, nil, nil)
	}
	return sorted(l.problems)
}

// in notes a folder that files are read from.
func (l *loader) in(path string) {
	if l.folders == nil {
		l.folders = make(map[string]bool)
	}
	l.folders[filepath.Dir(path)] = true
}

// loader holds what the files of one configuration share.
type loader struct {
	now       func() time.Time
	untrusted string // why the clock cannot be trusted
	alone     bool   // one file, without the others and without a clock
	problems  []Problem
	folders   map[string]bool
	rules     []*rule // of the policy

	approvals  *approval.Store
	draft      bool              // as if all were signed
	own        ed25519.PublicKey // of the gateway; nil: unknown
	notKept    error             // why nothing new can be accepted
	keys       map[string][]byte // by digest, in place of key files; nil: read those
	judged     map[*machineReader]*judged
	unapproved []Unapproved

	lines  map[string]*line
	unlock string                 // the credential of the keystore, which is no password
	known  map[string][]*template // by name
}
