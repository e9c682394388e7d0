package configs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fieldseal/fieldseal/policy/approval"
)

// SignatureSuffix follows the name of a file whose approval it is:
// "policy.yaml.sig".
const SignatureSuffix = ".sig"

// ApproversFile stands beside the policy where the approvers change: the next
// set, signed by enough of those before.
const ApproversFile = "approvers" + SignatureSuffix

// Approved says what a configuration was held against. What is in it has to be
// kept in the state folder before the configuration is used.
type Approved struct {
	Change        []byte // the next set of approvers, signed; nil where the pinned one stays
	Policy, Trust approval.Copy
	PolicyBy      []string // who signed; empty where they are no approvers any more
	TrustBy       []string
	Refused       []Refused
}

// Refused is a file that does not take effect; what was accepted before goes on.
type Refused struct {
	Kind    string // policy, trust, approvers
	Problem Problem
}

// Unapproved are points of a machine that leave less openly than its file says.
type Unapproved struct {
	Machine string
	Points  []string
	Why     string
}

// Table gives what is to be signed of the machines: what their files say, not
// what is approved of it. Machines with problems are not in it.
func (c *Config) Table() approval.Table {
	return approval.Resolve(c.Gateway, c.said, &c.Policy)
}

// Approval gives what is to be signed of the trust file.
func (t *Trust) Approval() *approval.Approval { return approval.OfTrust(t.signed()) }

func (t *Trust) signed() approval.TrustFile {
	f := approval.TrustFile{Revision: t.Revision, Digest: t.Digest}
	for name, g := range t.Gateways {
		key := "ed25519:" + base64.StdEncoding.EncodeToString(g.SigningKey)
		f.Gateways = append(f.Gateways, approval.Gateway{Name: name, Key: key, Until: lastDay(g.Until)})
	}
	for name, r := range t.Recipients {
		to := approval.Recipient{Name: name}
		for _, k := range r.Keys {
			to.Keys = append(to.Keys, k.digest())
		}
		for _, p := range r.Only {
			to.Only = append(to.Only, p.String())
		}
		f.Recipients = append(f.Recipients, to)
	}
	return f
}

func (k TrustKey) digest() string {
	sum := sha256.Sum256(k.Content)
	return hex.EncodeToString(sum[:])
}

// keys gives the public keys by their digests.
func (t *Trust) keys() map[string][]byte {
	keys := map[string][]byte{}
	for _, r := range t.Recipients {
		for _, k := range r.Keys {
			keys[k.digest()] = k.Content
		}
	}
	return keys
}

// OpenTrust reads a trust file that approvers signed, and gives what to keep of
// it. It is nil where they did not, or where what they signed cannot be used.
func OpenTrust(path string, approvals *approval.Store) (*Trust, approval.Copy, []Problem) {
	l := &loader{approvals: approvals}
	s := &source{kind: approval.Trust, path: path}
	d := l.open(path)
	if d == nil {
		return nil, approval.Copy{}, sorted(l.problems)
	}
	s.copy.File = d.content
	l.judge(s)
	t := l.trust(d)
	switch {
	case s.err != nil:
		l.problems = append(l.problems, s.refusal(d.f, ""))
		return nil, approval.Copy{}, sorted(l.problems)
	case Fatal(l.problems):
		return nil, approval.Copy{}, sorted(l.problems)
	}
	if err := s.approval.MatchesTrust(t.signed()); err != nil {
		d.f.refuse(split(err))
		return nil, approval.Copy{}, sorted(l.problems)
	}
	s.copy.Keys = t.keys()
	return t, s.copy, sorted(l.problems)
}

// source is a policy or trust file that may be used: the one that the gateway
// file names, or the copy that was accepted last.
type source struct {
	kind     approval.Kind
	path     string
	copy     approval.Copy
	keys     map[string][]byte  // of a copy: in place of key files
	approval *approval.Approval // nil where nothing was approved
	err      error              // why it was not
	unread   []Problem          // why it could not be read
}

// named reads the file that a key of the gateway file names.
func (l *loader) named(kind approval.Kind, n node) *source {
	s := &source{kind: kind}
	d := l.follow(n.into(&s.unread))
	if d == nil {
		s.err = errors.New("it cannot be read")
		return s
	}
	s.path, s.copy.File = d.f.path, d.content
	l.judge(s)
	if l.notKept != nil && s.err == nil && s.approval != nil {
		if accepted, last, ok := l.approvals.Last(kind); ok && accepted.Digest() == s.approval.Digest() {
			s.copy = last
		} else {
			s.err = &notKept{l.notKept}
		}
	}
	return s
}

// notKept is why something that is signed cannot be accepted.
type notKept struct{ why error }

func (e *notKept) Error() string {
	why := e.why.Error()
	if _, cause, ok := strings.Cut(why, approval.ErrNotKept.Error()+": "); ok {
		why = cause
	}
	return "it is signed, and cannot be kept in the state folder, so that it does not take effect: " + why
}

// judge reads the approval of a file. What was accepted stays accepted, whoever
// its approvers were.
func (l *loader) judge(s *source) {
	if l.approvals == nil {
		return
	}
	if s.copy.Note, s.err = readNote(s.path + SignatureSuffix); s.err != nil {
		return
	}
	if s.approval, s.err = l.approvals.Check(s.kind, s.copy); s.err == nil {
		return
	}
	accepted, last, ok := l.approvals.Last(s.kind)
	if !ok || !bytes.Equal(last.File, s.copy.File) {
		return
	}
	if a, err := approval.ParseUnverified(s.copy.Note); err == nil && a.Digest() == accepted.Digest() {
		s.approval, s.copy, s.err = accepted, last, nil
	}
}

func readNote(path string) ([]byte, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is not signed: there is no " + quote(filepath.Base(path)) + " beside it")
	}
	b, err := readFile(path)
	if err != nil {
		return nil, errors.New("its signatures cannot be read from " + quote(filepath.Base(path)) + ": " + err.Error())
	}
	return b, nil
}

// last gives the copy that was accepted last, under a name of its own; nil where
// there is none.
func (l *loader) last(s *source) *source {
	if l.approvals == nil {
		return nil
	}
	a, c, ok := l.approvals.Last(s.kind)
	if !ok {
		return nil
	}
	path := s.path
	if path == "" {
		path = string(s.kind) + ".yaml"
	}
	keys := c.Keys
	if keys == nil {
		keys = map[string][]byte{}
	}
	return &source{kind: s.kind, path: path + "@" + itoa(a.Revision), copy: c, keys: keys, approval: a}
}

// refusal says why a file does not take effect, and what to do.
func (s *source) refusal(f *file, goesOn string) Problem {
	p := Problem{File: f.path, Fatal: true, What: s.err.Error() + goesOn, Instead: "have it signed: fieldseal policy sign"}
	if _, ok := errors.AsType[*notKept](s.err); ok {
		p.Instead = "make it writable, or make room there, and start again"
	}
	if errors.Is(s.err, approval.ErrOlder) || errors.Is(s.err, approval.ErrSameRevision) {
		p.What, p.Instead = split(s.err)
		p.What += goesOn
		if f.revision.present() {
			p.Line, p.Column = f.revision.y.Line, f.revision.y.Column
		}
	}
	return p
}

// nextApprovers looks whether the approvers change, and who they are then.
func (l *loader) nextApprovers(folder string, a *Approved) {
	path := filepath.Join(folder, ApproversFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	b, err := readFile(path)
	if err == nil {
		var next *approval.Store
		var changed bool
		if next, changed, err = l.approvals.With(b); err == nil && changed && l.notKept != nil {
			err = &notKept{l.notKept}
		}
		if err == nil {
			if changed {
				l.approvals, a.Change = next, b
			}
			return
		}
	}
	p := Problem{File: path, What: err.Error(), Instead: "have it signed by those who are pinned, or remove it: they stay"}
	if _, ok := errors.AsType[*notKept](err); ok {
		p.Instead = "make it writable, or make room there, and start again"
	}
	l.problems = append(l.problems, p)
	a.Refused = append(a.Refused, Refused{"approvers", p})
}
