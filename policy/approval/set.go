package approval

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// maxApprovers is the greatest number of approvers of a set.
const maxApprovers = 64

// setHeader is the first line of a set of approvers.
const setHeader = "fieldseal approvers/v1"

// Approver is somebody whose signature counts.
type Approver struct {
	Name string
	Key  string // public: NAME+HASH+KEY
}

// Set says whose signatures count, and how many of them it takes.
type Set struct {
	Revision  int // goes up with each change: an old set is never taken back
	Threshold int // 1 to the number of approvers
	Approvers []Approver
}

// NewSet gives the first set of some public keys.
func NewSet(threshold int, keys ...string) (Set, error) {
	s := Set{Revision: 1, Threshold: threshold}
	for _, k := range keys {
		name, err := ParsePublic(k)
		if err != nil {
			return Set{}, err
		}
		s.Approvers = append(s.Approvers, Approver{name, k})
	}
	slices.SortFunc(s.Approvers, func(a, b Approver) int { return strings.Compare(a.Name, b.Name) })
	return s, s.Check()
}

// Check tells what is wrong with a set.
func (s Set) Check() error {
	switch n := len(s.Approvers); {
	case n == 0:
		return errors.New("the set has no approver")
	case n > maxApprovers:
		return fmt.Errorf("the set has %d approvers; %d are the most", n, maxApprovers)
	case s.Threshold < 1 || s.Threshold > n:
		return fmt.Errorf("threshold %d is not between 1 and the number of approvers, which is %d", s.Threshold, n)
	case s.Revision < 1:
		return fmt.Errorf("revision %d of the set is not above 0", s.Revision)
	}
	names, keys := map[string]bool{}, map[string]string{}
	for _, a := range s.Approvers {
		v, raw, err := verifier(a.Key)
		other, twice := keys[raw]
		switch {
		case err != nil:
			return err
		case v.Name() != a.Name:
			return fmt.Errorf("approver %q has a key with the name %q", a.Name, v.Name())
		case names[a.Name]:
			return fmt.Errorf("approver %q is there twice; one approver has one key", a.Name)
		case twice:
			return fmt.Errorf("approvers %q and %q have the same key; it would count twice", other, a.Name)
		}
		names[a.Name], keys[raw] = true, a.Name
	}
	return nil
}

// Text gives the set as it stands in files and as it is signed.
func (s Set) Text() string {
	var w writer
	w.line(setHeader)
	w.line("revision", fmt.Sprint(s.Revision))
	w.line("threshold", fmt.Sprint(s.Threshold))
	for _, a := range sortedBy(s.Approvers, func(a Approver) string { return a.Name }) {
		w.line("approver", a.Key)
	}
	return w.String()
}

// Digest gives the SHA-256 of the text.
func (s Set) Digest() [32]byte { return sha256.Sum256([]byte(s.Text())) }

// Names gives the names of the approvers, sorted.
func (s Set) Names() []string {
	var names []string
	for _, a := range s.Approvers {
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}

// ParseSet reads what [Set.Text] gave. It is strict: whoever pins a set shall
// see all that is in it.
func ParseSet(text []byte) (Set, error) {
	if len(text) > 1<<16 {
		return Set{}, errors.New("cannot read the approvers: the file is too large")
	}
	r := newReader(string(text))
	var s Set
	r.header(setHeader)
	s.Revision = r.number("revision")
	s.Threshold = r.number("threshold")
	for r.at("approver") {
		key := r.word()
		r.end()
		name, _, _ := strings.Cut(key, "+")
		s.Approvers = append(s.Approvers, Approver{name, key})
	}
	err := r.finish()
	if err == nil {
		err = s.Check()
	}
	if err == nil && s.Text() != string(text) {
		err = errNotCanonical
	}
	if err != nil {
		return Set{}, fmt.Errorf("cannot read the approvers: %w", err)
	}
	return s, nil
}

// Change gives the set that follows this one: the text of a note that enough
// approvers of this set signed. Its revision is higher.
func (s Set) Change(signed []byte) (Set, error) {
	text, _, err := openNote(signed, s)
	if err != nil {
		return Set{}, fmt.Errorf("cannot change the approvers: %w", err)
	}
	next, err := ParseSet([]byte(text))
	if err != nil {
		return Set{}, err
	}
	if next.Revision <= s.Revision {
		return Set{}, fmt.Errorf("cannot change the approvers: %w: revision %d, and %d is in force", ErrOlder, next.Revision, s.Revision)
	}
	return next, nil
}

// verifiers gives what checks the signatures of the approvers.
func (s Set) verifiers() (note.Verifiers, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	var list []note.Verifier
	for _, a := range s.Approvers {
		v, _, err := verifier(a.Key)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}
