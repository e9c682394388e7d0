package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/bridge/durable"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

const (
	stateHeader = "fieldseal open state/v1 " // then the SHA-256 of all that follows the line, in hexadecimal
	stateName   = "open.state"               // in a folder
	maxState    = 256 << 20
)

// keptState is the file of --state: a line with a digest, which finds damage and
// not forgery, a line that says what the state is of, and the reader's state. It
// is an [envelope.Store], and one process has it. A nil one keeps nothing.
type keptState struct {
	path string
	lock *os.File
	ours belongs // as it is written next
	was  *belongs
	body []byte // the reader's state, as it was found
}

// belongs says what a state is of: another source, other approvers or another
// purpose have a state of their own.
type belongs struct {
	Source    sourceID `json:"source"`
	Audit     bool     `json:"audit,omitempty"`
	Approvers string   `json:"approvers,omitempty"` // the set in force; empty where nobody vouches
	Position  uint64   `json:"position,omitempty"`  // of the source, to go on from
	Told      []string `json:"told,omitempty"`      // what was told already, and is so still
	// Identities are the ids of the keys that opened. What was sealed for others
	// was passed over, and does not come again.
	Identities []string `json:"identities,omitempty"`
	// Keyed has, of an audit, the digest of the key frame of each epoch that goes
	// on; empty where it was no longer in the stream.
	Keyed map[string]string `json:"keyed"`
}

// sourceID says where messages come from.
type sourceID struct {
	Kind    string    `json:"kind"` // files, nats
	Stream  string    `json:"stream,omitempty"`
	Prefix  string    `json:"prefix,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// openState locks and reads the state, where one is asked for.
func (o *openOptions) openState(v *verified, identities []*envelope.Identity) (*keptState, error) {
	if o.state == "" {
		return nil, nil
	}
	k := &keptState{path: o.state, ours: belongs{Source: sourceID{Kind: "files"}, Audit: len(o.identities) == 0}}
	for _, id := range identities {
		k.ours.Identities = append(k.ours.Identities, id.Recipient().ID().String())
	}
	slices.Sort(k.ours.Identities)
	if len(o.servers) > 0 {
		k.ours.Source = sourceID{Kind: "nats", Stream: o.stream, Prefix: o.prefix}
	}
	if info, err := os.Stat(k.path); err == nil && info.IsDir() {
		k.path = filepath.Join(k.path, stateName)
	}
	if v != nil {
		k.ours.Approvers = v.store.Set().Text()
	}
	var err error
	if k.lock, err = os.OpenFile(k.path+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("cannot lock the state: %w", err)
	}
	err = unix.Flock(int(k.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("another fieldseal open goes on from %s now; stop it, or give this one a state of its own", k.shown())
	}
	if err == nil {
		err = k.read()
	}
	if err == nil && k.was != nil {
		err = k.fits(v)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *keptState) shown() string { return configs.Printable(k.path) }

func (k *keptState) close() {
	if k != nil {
		_ = k.lock.Close() // and so gives the lock back
	}
}

func (k *keptState) read() error {
	info, err := os.Stat(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot read the state: %w", err)
	case info.Size() > maxState:
		return k.damaged()
	}
	b, err := os.ReadFile(k.path)
	if err != nil {
		return fmt.Errorf("cannot read the state: %w", err)
	}
	head, rest, ok := bytes.Cut(b, []byte("\n"))
	line, body, whole := bytes.Cut(rest, []byte("\n"))
	if !ok || !whole || string(head) != stateLine(rest) {
		return k.damaged()
	}
	k.was = &belongs{}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(k.was); err != nil {
		return fmt.Errorf("%s was written by another version of fieldseal: %w; use that one, or another file", k.shown(), err)
	}
	k.body = body
	return nil
}

func (k *keptState) damaged() error {
	return fmt.Errorf("%s is damaged, or no state of fieldseal open; put it back from a copy, or remove it, and everything comes again from the start", k.shown())
}

func stateLine(rest []byte) string {
	sum := sha256.Sum256(rest)
	return stateHeader + hex.EncodeToString(sum[:])
}

// fits tells whether the state is of what is read now.
func (k *keptState) fits(v *verified) error {
	other := func(format string, a ...any) error {
		return fmt.Errorf("%s is the state of something else: "+format+"; name another file", append([]any{k.shown()}, a...)...)
	}
	was, now := k.was.Source, k.ours.Source
	was.Created = time.Time{}
	switch {
	case was != now && was.Kind == "nats" && now.Kind == "nats":
		return other("of stream %s, %s, and this is %s, %s", was.Stream, was.Prefix, now.Stream, now.Prefix)
	case was != now:
		return other("it was made from %s, and this is %s", was.Kind, now.Kind)
	case k.was.Audit != k.ours.Audit:
		return other("an audit and who opens go on apart")
	case (k.was.Approvers == "") != (k.ours.Approvers == ""):
		return other("it was made %s a verified trust file, and this is the contrary", map[bool]string{true: "without", false: "with"}[k.was.Approvers == ""])
	case v != nil && k.was.Approvers != k.ours.Approvers:
		set, err := approval.ParseSet([]byte(k.was.Approvers))
		if err != nil {
			return k.damaged()
		}
		if !v.store.Had(set) {
			return other("other approvers vouched for the trust file")
		}
	}
	if slices.ContainsFunc(k.ours.Identities, func(id string) bool { return !slices.Contains(k.was.Identities, id) }) {
		return other("it was made without an identity that is given now, and what is sealed for that was passed over")
	}
	return nil
}

// Load gives the reader's state.
func (k *keptState) Load() ([]byte, error) { return k.body, nil }

// Save replaces the file.
func (k *keptState) Save(state []byte) error {
	k.body = nil
	line, err := json.Marshal(k.ours)
	if err != nil {
		return err
	}
	rest := append(append(line, '\n'), state...)
	return durable.Replace(k.path, 0o600, []byte(stateLine(rest)+"\n"), rest)
}

// reader makes the reader that goes on, or one that has seen nothing.
func (k *keptState) reader(o envelope.ReaderOptions) (*envelope.Reader, error) {
	if k == nil {
		return envelope.NewReader(o), nil
	}
	r, err := envelope.ResumeReader(o, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it, and everything comes again from the start", k.shown(), err)
	}
	return r, nil
}
