package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/fieldseal/fieldseal/bridge/durable"
)

const (
	storeName   = "approvals"
	storeKind   = "fieldseal approvals/v"
	storeHeader = storeKind + "1 " // then the SHA-256 of all that follows the line
	maxStore    = 128 << 20
	maxEarlier  = 1000 // sets of approvers that are remembered
)

var (
	// ErrNotPinned means that the state folder does not know its approvers yet.
	ErrNotPinned = errors.New("no approvers are pinned in this state folder")
	// ErrNewer means that a newer version of the program wrote what is pinned.
	ErrNewer = errors.New("a newer version of fieldseal wrote it")
	// ErrNotKept means that nothing is wrong with what was to be kept, and that it
	// cannot be written. What was kept before is still there.
	ErrNotKept = errors.New("cannot keep the approvals")
)

// Store is a file in the state folder of a gateway: who its approvers are, and
// the policy and trust file that it accepted last, with their notes. It is one
// file so that after a power cut the two belong together. Its methods may not
// be called concurrently, and only the process that has the state folder may
// call those that write.
type Store struct {
	path    string
	set     Set
	earlier [][32]byte // the digests of the sets before it, oldest first
	copies  map[Kind]kept
}

// Copy is a file with what belongs to it.
type Copy struct {
	File []byte            `json:"file"`           // policy.yaml or trust.yaml, byte for byte
	Note []byte            `json:"note"`           // the approval, signed
	Keys map[string][]byte `json:"keys,omitempty"` // of a trust file: the public keys that it names, by their SHA-256 in hexadecimal
}

func (c Copy) empty() bool { return c.File == nil && c.Note == nil && c.Keys == nil }

// kept is a copy with what its note says.
type kept struct {
	Copy
	approval *Approval
}

// onDisk is what the file holds after its first line.
type onDisk struct {
	Approvers string   `json:"approvers"`         // Set.Text
	Earlier   []string `json:"earlier,omitempty"` // the SHA-256 of those before, in hexadecimal
	Policy    *Copy    `json:"policy,omitempty"`
	Trust     *Copy    `json:"trust,omitempty"`
}

// Create pins the approvers in a state folder. It refuses where some are pinned
// already: they change by [Store.Change] only.
func Create(state string, set Set) (*Store, error) {
	if err := set.Check(); err != nil {
		return nil, fmt.Errorf("cannot pin the approvers: %w", err)
	}
	st := &Store{path: filepath.Join(state, storeName), set: set, copies: map[Kind]kept{}}
	b, err := st.encode()
	if err != nil {
		return nil, err
	}
	switch err := durable.Create(st.path, 0o600, b); {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("approvers are pinned in %s already; enough of them sign the new set to change it", st.path)
	case err != nil:
		return nil, fmt.Errorf("cannot pin the approvers: %w", err)
	}
	return st, nil
}

// Open reads what is pinned and accepted. It is an [ErrNotPinned] where nothing
// is.
func Open(state string) (*Store, error) {
	st := &Store{path: filepath.Join(state, storeName), copies: map[Kind]kept{}}
	f, err := os.Open(st.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotPinned, st.path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the approvals: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStore+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the approvals: %w", err)
	}
	switch err := st.read(b); {
	case errors.Is(err, ErrNewer):
		return nil, fmt.Errorf("%s cannot be read: %w; use that version again: nothing is damaged, and an older copy of the file would forget what was accepted since", st.path, err)
	case err != nil:
		return nil, fmt.Errorf("%s is damaged, and without it nobody knows what was approved: %w; put it back from a copy of the state folder, %s", st.path, err, Forgets)
	}
	return st, nil
}

// Forgets says what to look at after the file was put back or made anew.
const Forgets = "then look whether the revisions that `fieldseal policy show` prints are those in force last (the events policy-accepted and trust-accepted, or the approvers, tell): " +
	"older files than the copy knows would be accepted again"

func (st *Store) read(b []byte) error {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	version, sum, _ := bytes.Cut(bytes.TrimPrefix(head, []byte(storeKind)), []byte(" "))
	n, err := strconv.Atoi(string(version))
	switch {
	case ok && bytes.HasPrefix(head, []byte(storeKind)) && err == nil && n > 1 && len(sum) == hex.EncodedLen(sha256.Size):
		return ErrNewer
	case !ok || len(b) > maxStore || string(head) != header(body):
		return errors.New("it is not what this version wrote")
	}
	var d onDisk
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return ErrNewer // what it holds is whole: its digest is right
	}
	if st.set, err = ParseSet([]byte(d.Approvers)); err != nil {
		return err
	}
	for _, s := range d.Earlier {
		b, ok := digest(s)
		if !ok {
			return errors.New("an earlier set of approvers has no digest")
		}
		st.earlier = append(st.earlier, [32]byte(b))
	}
	for _, kind := range []Kind{Policy, Trust} {
		c := d.Policy
		if kind == Trust {
			c = d.Trust
		}
		if c == nil {
			continue
		}
		// Its signatures were checked when it was accepted, by a set that may
		// have changed since.
		a, err := ParseUnverified(c.Note)
		if err == nil && a.Kind != kind {
			err = ErrOtherFile
		}
		if err == nil {
			err = c.belongs(a)
		}
		if err != nil {
			return fmt.Errorf("the copy of the %s: %w", kind, err)
		}
		st.copies[kind] = kept{*c, a}
	}
	return nil
}

// belongs tells whether a copy is whole: the file that was signed and the keys
// that it names.
func (c Copy) belongs(a *Approval) error {
	if err := a.Covers(c.File); err != nil {
		return err
	}
	for _, r := range a.Recipients {
		for _, k := range r.Keys {
			if sum := sha256.Sum256(c.Keys[k]); hex.EncodeToString(sum[:]) != k {
				return fmt.Errorf("the key %s of recipient %s is missing, or another one", k, r.Name)
			}
		}
	}
	return nil
}

// Set gives the approvers that are pinned.
func (st *Store) Set() Set {
	s := st.set
	s.Approvers = slices.Clone(s.Approvers)
	return s
}

// Change pins the next approvers: a note with the new set, signed by enough of
// those that are pinned. The set that is pinned is no change. What was accepted
// stays accepted, whoever signed it; new revisions need the new approvers.
func (st *Store) Change(signed []byte) (changed bool, err error) {
	next, changed, err := st.With(signed)
	if err != nil || !changed {
		return false, err
	}
	next.path = st.path
	if err := next.write(); err != nil {
		return false, err
	}
	st.set, st.earlier = next.set, next.earlier
	return true, nil
}

// Had tells whether a set was pinned here before others took its place.
func (st *Store) Had(set Set) bool { return slices.Contains(st.earlier, set.Digest()) }

// With gives the store as [Store.Change] would leave it, to look at: it writes
// nothing.
func (st *Store) With(signed []byte) (next *Store, changed bool, err error) {
	if text, _, err := split(signed); err == nil && text == st.set.Text() {
		return st, false, nil
	}
	set, err := st.set.Change(signed)
	if err != nil {
		return nil, false, err
	}
	earlier := append(slices.Clone(st.earlier), st.set.Digest())
	earlier = earlier[max(0, len(earlier)-maxEarlier):]
	return &Store{set: set, earlier: earlier, copies: st.copies}, true, nil
}

// InMemory gives a store that knows its approvers and nothing else, and that
// nobody can write: for who checks one file and remembers nothing.
func InMemory(set Set) (*Store, error) {
	if err := set.Check(); err != nil {
		return nil, err
	}
	return &Store{set: set, copies: map[Kind]kept{}}, nil
}

// Accepted tells what was accepted last.
func (st *Store) Accepted() Accepted {
	var out Accepted
	if k, ok := st.copies[Policy]; ok {
		out.PolicyRevision, out.PolicyDigest = k.approval.Revision, k.approval.Digest()
	}
	if k, ok := st.copies[Trust]; ok {
		out.TrustRevision, out.TrustDigest = k.approval.Revision, k.approval.Digest()
	}
	return out
}

// Last gives the copy that was accepted last, and what its approvers said.
func (st *Store) Last(kind Kind) (*Approval, Copy, bool) {
	k, ok := st.copies[kind]
	if !ok {
		return nil, Copy{}, false
	}
	a := *k.approval
	return &a, k.Copy, true
}

// Check reads a file with its note and tells whether [Store.Keep] would accept
// it. It writes nothing.
func (st *Store) Check(kind Kind, c Copy) (*Approval, error) {
	a, err := Verify(kind, c.File, c.Note, st.set)
	if err != nil {
		return nil, err
	}
	if _, err := Accept(st.Accepted(), a); err != nil {
		return nil, err
	}
	return a, nil
}

// Keep accepts a policy and a trust file, after both were found good and before
// they are used. When it returns they are on disk: no older ones are accepted
// again, and these are there when later ones are refused. A zero copy leaves
// what there is, and so does the copy that [Store.Last] gave. changed tells
// that one of them is new.
func (st *Store) Keep(policyFile, trustFile Copy) (changed bool, err error) {
	next := map[Kind]kept{}
	accepted, same := st.Accepted(), true
	for _, kind := range []Kind{Policy, Trust} {
		c := policyFile
		if kind == Trust {
			c = trustFile
		}
		last, ok := st.copies[kind]
		if c.empty() || ok && bytes.Equal(c.Note, last.Note) && bytes.Equal(c.File, last.File) {
			if ok {
				next[kind] = last
			}
			continue
		}
		a, err := Verify(kind, c.File, c.Note, st.set)
		if err != nil {
			return false, err
		}
		if accepted, err = Accept(accepted, a); err != nil {
			return false, err
		}
		if err := c.belongs(a); err != nil {
			return false, err
		}
		next[kind] = kept{clone(c), a}
		same = false
	}
	if same {
		return false, nil
	}
	old := st.copies
	changed = accepted != st.Accepted()
	st.copies = next
	if err := st.write(); err != nil {
		st.copies = old
		return false, err
	}
	return changed, nil
}

func clone(c Copy) Copy {
	c.File, c.Note = bytes.Clone(c.File), bytes.Clone(c.Note)
	keys := c.Keys
	c.Keys = nil
	for digest, k := range keys {
		if c.Keys == nil {
			c.Keys = map[string][]byte{}
		}
		c.Keys[digest] = bytes.Clone(k)
	}
	return c
}

// write replaces the file.
func (st *Store) write() error {
	if st.path == "" {
		return errors.New("cannot keep the approvals: this is a store to look at")
	}
	b, err := st.encode()
	if err != nil {
		return err
	}
	if err := durable.Replace(st.path, 0o600, b); err != nil {
		return fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return nil
}

func (st *Store) encode() ([]byte, error) {
	d := onDisk{Approvers: st.set.Text()}
	for _, e := range st.earlier {
		d.Earlier = append(d.Earlier, hex.EncodeToString(e[:]))
	}
	if k, ok := st.copies[Policy]; ok {
		d.Policy = &k.Copy
	}
	if k, ok := st.copies[Trust]; ok {
		d.Trust = &k.Copy
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the approvals: %w", err)
	}
	b = append([]byte(header(b)+"\n"), b...)
	if len(b) > maxStore {
		return nil, fmt.Errorf("%w: they are larger than %d MiB", ErrNotKept, maxStore>>20)
	}
	return b, nil
}

// header is the first line of the file. It finds damage, not forgery: whoever
// can write into the state folder can write this too.
func header(body []byte) string {
	sum := sha256.Sum256(body)
	return storeHeader + hex.EncodeToString(sum[:])
}
