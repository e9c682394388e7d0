package approval

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/policy"
)

// Verify reads an approval and holds it against its file: it is signed by
// enough approvers of the set, of the right kind, and for these very bytes.
func Verify(kind Kind, file, signed []byte, set Set) (*Approval, error) {
	a, err := ParseApproval(signed, set)
	if err != nil {
		return nil, err
	}
	if a.Kind != kind {
		return nil, fmt.Errorf("%w: it is an approval of a %s file, not of a %s file", ErrOtherFile, a.Kind, kind)
	}
	if err := a.Covers(file); err != nil {
		return nil, err
	}
	return a, nil
}

// ParseApproval reads a note that enough approvers of the set signed. It is an
// [ErrNotApproved] where signatures are missing, and an [ErrForged] where one
// is false. The signatures of strangers are ignored.
func ParseApproval(signed []byte, set Set) (*Approval, error) {
	text, by, err := openNote(signed, set)
	if err != nil {
		return nil, err
	}
	a, err := parseText(text)
	if err != nil {
		return nil, err
	}
	a.By = by
	return a, nil
}

// ParseUnverified reads what a note says without a look at who signed it: to
// show it, and to compare what is to be signed with what was.
func ParseUnverified(signed []byte) (*Approval, error) {
	text, _, err := split(signed)
	if err != nil {
		return nil, err
	}
	return parseText(text)
}

// parseText reads what Text gave, and nothing else: each approval has one text.
func parseText(text string) (*Approval, error) {
	r := newReader(text)
	a := &Approval{}
	switch {
	case strings.HasPrefix(text, Policy.header()+"\n"):
		a.Kind = Policy
	case strings.HasPrefix(text, Trust.header()+"\n"):
		a.Kind = Trust
	default:
		return nil, errors.New("cannot read the approval: it begins with neither " + Policy.header() + " nor " + Trust.header())
	}
	r.header(a.Kind.header())
	if a.Kind == Policy {
		r.need("policy")
		a.Name = r.name()
		r.end()
	}
	a.Revision = r.number("revision")
	r.need("sha256")
	if b, ok := digest(r.word()); ok {
		a.File = [32]byte(b)
	} else {
		r.fail("no SHA-256 in hexadecimal")
	}
	r.end()
	switch a.Kind {
	case Policy:
		a.readPolicy(r)
	case Trust:
		a.readTrust(r)
	}
	err := r.finish()
	if err == nil && a.Text() != text {
		err = errNotCanonical
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the approval: %w", err)
	}
	return a, nil
}

func (a *Approval) readPolicy(r *reader) {
	known := map[string]bool{}
	a.LeastTrust = r.number("least-trust-revision")
	for r.at("level") {
		l := Level{Name: r.name()}
		l.Send = r.choice(r.word(), "clear", "sealed", "withheld")
		l.Connection = r.choice(r.attr("connection"), "any", "authenticated", "encrypted")
		if l.Send == "sealed" {
			l.To = r.list("to", isName)
		}
		if r.has("pad") {
			l.Pad = r.choice(r.attr("pad"), "yes") == "yes"
		}
		if r.has("hide") {
			l.HideNames = r.choice(r.attr("hide"), "names") == "names"
		}
		if known[l.Name] {
			r.fail("this level is there twice")
		}
		known[l.Name] = true
		r.end()
		a.Levels = append(a.Levels, l)
	}
	r.need("default")
	a.Default = r.name()
	if r.err == nil && !known[a.Default] {
		r.fail("the default level is not one of the levels")
	}
	r.end()
	if r.at("events") {
		a.Events = r.list("to", isName)
		r.end()
	}
	a.IfReadable = "seal"
	if r.at("passthrough") {
		a.Accept = r.list("accept", isName)
		a.IfReadable = r.choice(r.attr("if-readable"), "seal", "hold")
		r.end()
	}
	for r.at("released") {
		a.Released = append(a.Released, Release{Points: r.list("points", isPattern), Why: r.attr("why")})
		r.end()
	}
	for r.at("raise") {
		raise := Raise{Points: r.list("points", isPattern), Level: r.attr("level")}
		if r.err == nil && !known[raise.Level] {
			r.fail("the policy has no such level")
		}
		r.end()
		a.Raise = append(a.Raise, raise)
	}
	for r.at("exception") {
		e := Exception{Allow: r.name(), Points: r.list("points", isPattern), Until: r.day(r.attr("until")), Why: r.attr("why")}
		r.end()
		a.Exceptions = append(a.Exceptions, e)
	}
	var gateways []string
	for r.at("gateway") {
		t := Table{Gateway: r.name()}
		gateways = append(gateways, t.Gateway)
		ascend(r, gateways)
		r.end()
		t.read(r, known)
		a.Tables = append(a.Tables, t)
	}
}

func (t *Table) read(r *reader, levels map[string]bool) {
	for r.at("point") {
		var e Entry
		var ok bool
		if e.Machine, e.Point, ok = strings.Cut(r.word(), "/"); r.err == nil && (!ok || !isName(e.Machine) || !isName(e.Point)) {
			r.fail("no point as machine/point")
		}
		e.Treatment = treatment(r.choice(r.word(), "sealed", "clear", "passthrough", "withheld"))
		e.Level = r.attr("level")
		if r.err == nil && !levels[e.Level] {
			r.fail("the policy has no such level")
		}
		e.Endpoint, e.Unit, e.Address, e.Type = r.attr("endpoint"), r.attr("unit"), r.attr("address"), r.attr("type")
		if e.Treatment == policy.Passed {
			e.Format, e.ReadableBy = r.attr("format"), r.list("readable-by", isName)
			if r.has("device-key") {
				e.DeviceKey = r.attr("device-key")
			}
			if r.has("key-ids") {
				e.KeyIDs = r.list("key-ids", isKeyID)
			}
			if r.has("wrap") {
				e.Wrap = r.choice(r.attr("wrap"), "yes") == "yes"
			}
		}
		if n := len(t.Entries); n > 0 && compare(t.Entries[n-1], e) >= 0 {
			r.fail("this point is there twice, or not in its order")
		}
		r.end()
		t.Entries = append(t.Entries, e)
	}
}

func treatment(word string) policy.Treatment {
	for _, t := range []policy.Treatment{policy.Clear, policy.Passed, policy.Withheld} {
		if t.String() == word {
			return t
		}
	}
	return policy.Sealed
}

func (a *Approval) readTrust(r *reader) {
	var names []string
	for r.at("gateway") {
		g := Gateway{Name: r.name(), Key: r.attr("key"), Until: r.day(r.attr("until"))}
		if b, ok := strings.CutPrefix(g.Key, "ed25519:"); r.err == nil && (!ok || !isKey(b)) {
			r.fail("no key as ed25519: and base64")
		}
		names = append(names, g.Name)
		ascend(r, names)
		r.end()
		a.Gateways = append(a.Gateways, g)
	}
	names = nil
	for r.at("recipient") {
		p := Recipient{Name: r.name(), Keys: r.list("keys", isDigest)}
		if r.has("only") {
			p.Only = r.list("only", isPattern)
		}
		names = append(names, p.Name)
		ascend(r, names)
		r.end()
		a.Recipients = append(a.Recipients, p)
	}
}

// day checks a date.
func (r *reader) day(s string) string {
	if _, err := time.Parse(time.DateOnly, s); r.err == nil && err != nil {
		r.fail("no day as 2027-03-31")
	}
	return s
}

func digest(s string) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}

func isDigest(s string) bool { _, ok := digest(s); return ok }

func isKeyID(s string) bool {
	digits, ok := strings.CutPrefix(s, "0x")
	_, err := hex.DecodeString(digits)
	return ok && err == nil && digits != ""
}

func isKey(s string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32
}

func isPattern(s string) bool {
	_, err := policy.ParsePattern(s)
	return err == nil
}
