// Package approval says what the approvers of a plant allowed: which policy and
// which trust file, and, beyond the files, which points leave otherwise than one
// that nobody labelled, read from where. It is data and pure functions, but for
// [Store], which keeps in the state folder who the approvers are and what was
// accepted last.
//
// What approvers sign is a text for people, a signed note as those of
// golang.org/x/mod/sumdb/note: [OfPolicy] and [OfTrust] write it, [Sign] signs
// it, [Store.Check] reads it again. [Approval.Judge] holds the machine files to
// it, and [Diff] tells an approver what changes.
package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/policy"
)

// Kind is a kind of file that takes effect only when it is approved.
type Kind string

// The kinds.
const (
	Policy Kind = "policy"
	Trust  Kind = "trust"
)

// header is the first line of what is signed. A signature for one kind is none
// for another.
func (k Kind) header() string { return "fieldseal " + string(k) + "/v1 approval" }

// ErrOtherFile means that what was signed is not this file.
var ErrOtherFile = errors.New("what was signed is another file")

// Approval is what one signed note says.
type Approval struct {
	Kind     Kind
	Name     string // of the policy
	Revision int
	File     [32]byte // SHA-256 of the file
	By       []string // the approvers who signed; empty of one that was not opened

	// Of a policy.
	LeastTrust int     // the revision of the trust file that it was signed with: it takes effect with no lower one
	Levels     []Level // in the policy's order: least sensitive first
	Default    string
	Events     []string // who can read events; none: they stay at the gateways
	Accept     []string // formats that pass through
	IfReadable string
	Released   []Release
	Raise      []Raise
	Exceptions []Exception
	Tables     []Table // by gateway

	// Of a trust file, by name.
	Gateways   []Gateway
	Recipients []Recipient
}

// Level is one sensitivity level.
type Level struct {
	Name       string
	Send       string // clear, sealed, withheld
	Connection string // any, authenticated, encrypted
	To         []string
	Pad        bool
	HideNames  bool
}

// Release lets points of a clear level leave in clear.
type Release struct {
	Points []string
	Why    string
}

// Raise makes points stricter.
type Raise struct {
	Points []string
	Level  string
}

// Exception is a dated permission to be less secure than a level asks.
type Exception struct {
	Allow  string
	Points []string
	Until  string // the last day, 2027-03-31
	Why    string
}

// Gateway is one that the trust file lists.
type Gateway struct {
	Name  string
	Key   string // ed25519:BASE64
	Until string // the last day of the key
}

// Recipient is one that the trust file lists.
type Recipient struct {
	Name string
	Keys []string // SHA-256 of its public keys, in hexadecimal
	Only []string // patterns of what is sealed for it; empty: no limit
}

// TrustFile is the content of a trust file, as far as it is signed.
type TrustFile struct {
	Revision   int
	Digest     [32]byte // SHA-256 of the file
	Gateways   []Gateway
	Recipients []Recipient
}

// OfPolicy gives what is to be approved of a policy, of the tables of the
// gateways that it is for, and of the trust file that it stands beside.
func OfPolicy(p *policy.Policy, trust int, tables ...Table) *Approval {
	a := &Approval{
		Kind: Policy, Name: p.Name, Revision: p.Revision, File: p.Digest, LeastTrust: trust, Default: p.Default, IfReadable: "seal",
		Events: sorted(p.Events), Accept: sorted(p.Passthrough.Accept),
		Tables: sortedBy(tables, func(t Table) string { return t.Gateway }),
	}
	if p.Passthrough.IfReadable == policy.HoldReadable {
		a.IfReadable = "hold"
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		a.Levels = append(a.Levels, Level{l.Name, send(l.Send), l.Connection.String(), sorted(l.To), l.Pad, l.HideNames})
	}
	for _, r := range p.Released {
		a.Released = append(a.Released, Release{words(r.Points), r.Why})
	}
	for _, r := range p.Raise {
		a.Raise = append(a.Raise, Raise{words(r.Points), r.Level})
	}
	for i := range p.Exceptions {
		e := &p.Exceptions[i]
		zone := p.Location
		if zone == nil {
			zone = time.UTC
		}
		// Until is the first instant past the last day.
		last := e.Until.Add(-time.Second).In(zone).Format(time.DateOnly)
		a.Exceptions = append(a.Exceptions, Exception{string(e.Allow), words(e.Points), last, e.Why})
	}
	return a
}

// AsSigned gives an approval of a policy with the least trust revision of an
// earlier one that says the same otherwise: a newer trust file alone is no
// reason to sign the policy again.
func (a *Approval) AsSigned(earlier *Approval) *Approval {
	if a.Kind != Policy || earlier == nil || earlier.Kind != Policy || earlier.LeastTrust > a.LeastTrust {
		return a
	}
	same := *a
	same.LeastTrust = earlier.LeastTrust
	if same.Text() != earlier.Text() {
		return a
	}
	return &same
}

// words writes patterns, sorted, each once.
func words(patterns []policy.Pattern) []string {
	var out []string
	for _, p := range patterns {
		out = append(out, p.String())
	}
	return sorted(out)
}

// OfTrust gives what is to be approved of a trust file.
func OfTrust(t TrustFile) *Approval {
	a := &Approval{
		Kind: Trust, Revision: t.Revision, File: t.Digest,
		Gateways: sortedBy(t.Gateways, func(g Gateway) string { return g.Name }),
	}
	for _, r := range sortedBy(t.Recipients, func(r Recipient) string { return r.Name }) {
		a.Recipients = append(a.Recipients, Recipient{r.Name, sorted(r.Keys), sorted(r.Only)})
	}
	return a
}

func send(s policy.Send) string {
	switch s {
	case policy.SendClear:
		return "clear"
	case policy.SendWithheld:
		return "withheld"
	default:
		return "sealed"
	}
}

func sorted(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return slices.Compact(words)
}

// Text gives what is signed. Equal approvals have equal texts.
func (a *Approval) Text() string {
	var w writer
	w.line(a.Kind.header())
	if a.Kind == Policy {
		w.line("policy", plain(a.Name))
	}
	w.line("revision", strconv.Itoa(a.Revision))
	w.line("sha256", hex.EncodeToString(a.File[:]))
	switch a.Kind {
	case Policy:
		a.writePolicy(&w)
	case Trust:
		a.writeTrust(&w)
	}
	return w.String()
}

func (a *Approval) writePolicy(w *writer) {
	w.line("least-trust-revision", strconv.Itoa(a.LeastTrust))
	for _, l := range a.Levels {
		words := []string{"level", plain(l.Name), l.Send, attr("connection", l.Connection)}
		if l.Send == "sealed" {
			words = append(words, list("to", l.To))
		}
		if l.Pad {
			words = append(words, "pad=yes")
		}
		if l.HideNames {
			words = append(words, "hide=names")
		}
		w.line(words...)
	}
	w.line("default", plain(a.Default))
	if len(a.Events) > 0 {
		w.line("events", list("to", a.Events))
	}
	if len(a.Accept) > 0 {
		w.line("passthrough", list("accept", a.Accept), attr("if-readable", a.IfReadable))
	}
	for _, r := range a.Released {
		w.line("released", list("points", r.Points), "why="+strconv.Quote(r.Why))
	}
	for _, r := range a.Raise {
		w.line("raise", list("points", r.Points), attr("level", r.Level))
	}
	for _, e := range a.Exceptions {
		w.line("exception", plain(e.Allow), list("points", e.Points), attr("until", e.Until), "why="+strconv.Quote(e.Why))
	}
	for i := range a.Tables {
		a.Tables[i].write(w)
	}
}

func (a *Approval) writeTrust(w *writer) {
	for _, g := range a.Gateways {
		w.line("gateway", plain(g.Name), attr("key", g.Key), attr("until", g.Until))
	}
	for _, r := range a.Recipients {
		words := []string{"recipient", plain(r.Name), list("keys", r.Keys)}
		if len(r.Only) > 0 {
			words = append(words, list("only", r.Only))
		}
		w.line(words...)
	}
}

// Digest gives the SHA-256 of the text: the file and all else that was signed.
func (a *Approval) Digest() [32]byte { return sha256.Sum256([]byte(a.Text())) }

// Table gives what was signed for a gateway.
func (a *Approval) Table(gateway string) (Table, bool) {
	i := slices.IndexFunc(a.Tables, func(t Table) bool { return t.Gateway == gateway })
	if i < 0 {
		return Table{Gateway: gateway}, false
	}
	return a.Tables[i], true
}

// Covers tells whether a file is the one that was signed.
func (a *Approval) Covers(file []byte) error {
	if sha256.Sum256(file) != a.File {
		return fmt.Errorf("%w: %s differs from what %s signed as revision %d", ErrOtherFile, a.Kind, a.signers(), a.Revision)
	}
	return nil
}

// Matches tells whether a policy reads as it did where it was signed.
func (a *Approval) Matches(p *policy.Policy) error {
	if a.Kind != Policy || a.File != p.Digest {
		return fmt.Errorf("%w: the policy differs from what %s signed", ErrOtherFile, a.signers())
	}
	return a.sameAs(OfPolicy(p, a.LeastTrust, a.Tables...))
}

// MatchesTrust tells the same of a trust file.
func (a *Approval) MatchesTrust(t TrustFile) error {
	if a.Kind != Trust || a.File != t.Digest {
		return fmt.Errorf("%w: the trust file differs from what %s signed", ErrOtherFile, a.signers())
	}
	return a.sameAs(OfTrust(t))
}

func (a *Approval) sameAs(read *Approval) error {
	signed, now := strings.Split(a.Text(), "\n"), strings.Split(read.Text(), "\n")
	for i := range min(len(signed), len(now)) {
		if signed[i] != now[i] {
			return fmt.Errorf("the %s reads %q, and %q was signed; have it signed with this version", a.Kind, now[i], signed[i])
		}
	}
	if len(signed) != len(now) {
		return fmt.Errorf("the %s does not read as it was signed; have it signed with this version", a.Kind)
	}
	return nil
}

func (a *Approval) signers() string {
	if len(a.By) == 0 {
		return "the approvers"
	}
	return and(a.By)
}
