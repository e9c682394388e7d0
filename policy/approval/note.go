package approval

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// MaxNote is the greatest size of a signed note.
const MaxNote = 16 << 20

// maxSignatures is the greatest number of signatures under a note.
const maxSignatures = 100

var (
	// ErrNotApproved means that too few approvers signed.
	ErrNotApproved = errors.New("not approved")
	// ErrForged means that a signature is not that of the approver it names:
	// what was signed was changed, or somebody pretends.
	ErrForged = errors.New("a signature is false")

	errNotCanonical = errors.New("it is not written as fieldseal writes it")
)

// Missing tells how many signatures there are and who could sign. It is an
// [ErrNotApproved].
type Missing struct {
	Need    int
	Signed  []string // approvers of the set who did
	Waiting []string // those who did not
}

// Error says it in a sentence.
func (m *Missing) Error() string {
	s := fmt.Sprintf("not approved: it takes the signature of %s, ", count(m.Need, "approver"))
	if len(m.Signed) == 0 {
		s += "and none is there"
	} else {
		s += "and there is that of " + and(m.Signed)
	}
	return s + "; " + or(m.Waiting) + " can sign"
}

// Is tells that it is an ErrNotApproved.
func (m *Missing) Is(target error) bool { return target == ErrNotApproved }

// Sign adds an approver's signature to a text: [Approval.Text] or [Set.Text].
// The signatures of an earlier note for the very same text are kept, so that
// approvers sign one after the other; those for another text are dropped.
// signed may be nil.
func Sign(signed []byte, text string, s Secret) ([]byte, error) {
	if s.signer == nil {
		return nil, errors.New("cannot sign without the secret key of an approver")
	}
	if err := wellFormed(text); err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	n := &note.Note{Text: text}
	if old, sigs, err := split(signed); err == nil && old == text {
		n.UnverifiedSigs = sigs
	}
	out, err := note.Sign(n, s.signer)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	if len(out) > MaxNote {
		return nil, fmt.Errorf("cannot sign: the note would be larger than %d MiB", MaxNote>>20)
	}
	return out, nil
}

// wellFormed refuses to sign what nobody could read again.
func wellFormed(text string) error {
	if strings.HasPrefix(text, setHeader+"\n") {
		_, err := ParseSet([]byte(text))
		return err
	}
	_, err := parseText(text)
	return err
}

// openNote gives the text of a note that enough approvers of the set signed, and
// who they are. A false signature of an approver refuses the note; those of
// strangers are ignored.
func openNote(signed []byte, set Set) (text string, by []string, err error) {
	if _, _, err := split(signed); err != nil {
		return "", nil, err
	}
	known, err := set.verifiers()
	if err != nil {
		return "", nil, err
	}
	n, err := note.Open(signed, known)
	if e, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		n, err = e.Note, nil
	}
	if e, ok := errors.AsType[*note.InvalidSignatureError](err); ok {
		return "", nil, fmt.Errorf("%w: that of approver %q; what was signed was changed, or somebody else made it", ErrForged, e.Name)
	}
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the signatures: %w", err)
	}
	for _, s := range n.Sigs { // one for each key, and each name has one key
		by = append(by, s.Name)
	}
	slices.Sort(by)
	if len(by) < set.Threshold {
		waiting := slices.DeleteFunc(set.Names(), func(name string) bool { return slices.Contains(by, name) })
		return "", nil, &Missing{Need: set.Threshold, Signed: by, Waiting: waiting}
	}
	return n.Text, by, nil
}

// split takes a note apart without checking a signature. It is stricter than
// signed notes are: each signature is written in one way, and one key has one.
func split(signed []byte) (text string, sigs []note.Signature, err error) {
	bad := func(what string) (string, []note.Signature, error) {
		return "", nil, errors.New("this is no signed note: " + what)
	}
	if len(signed) > MaxNote {
		return bad(fmt.Sprintf("it is larger than %d MiB", MaxNote>>20))
	}
	s := string(signed)
	end := strings.LastIndex(s, "\n\n")
	if end < 0 || !strings.HasSuffix(s, "\n") {
		return bad("an empty line and signatures have to stand at its end")
	}
	text = s[:end+1]
	lines := strings.Split(strings.TrimSuffix(s[end+2:], "\n"), "\n")
	if len(lines) > maxSignatures {
		return bad(fmt.Sprintf("more than %d signatures", maxSignatures))
	}
	seen := make(map[string]string)
	for _, line := range lines {
		name, coded, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(coded)
		if !ok || !strings.HasPrefix(line, "— ") || !isSigner(name) || err != nil || len(raw) < 5 || base64.StdEncoding.EncodeToString(raw) != coded {
			return bad("a signature is not written as one")
		}
		who := name + "+" + string(raw[:4])
		if other, twice := seen[who]; twice && other != line {
			return bad("two different signatures with one key")
		} else if twice {
			continue
		}
		seen[who] = line
		hash := uint32(raw[0])<<24 | uint32(raw[1])<<16 | uint32(raw[2])<<8 | uint32(raw[3])
		sigs = append(sigs, note.Signature{Name: name, Hash: hash, Base64: coded})
	}
	return text, sigs, nil
}

// isSigner tells whether a name may stand in a signature. Strangers may have
// other names than approvers.
func isSigner(name string) bool {
	return name != "" && !strings.Contains(name, "+") && strings.IndexFunc(name, unicode.IsSpace) < 0
}
