package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fieldseal/fieldseal/bridge/durable"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// memorySuffix follows the name of an approver's secret key: the folder of what
// was signed with it last.
const memorySuffix = ".signed"

// memory is what an approver signed last, by policy and kind. It lies beside the
// key, with the approver: whoever hands over a folder to sign decides which notes
// lie in that.
type memory struct {
	folder string
	who    string
	own    approval.Set // the approver alone
}

func (m memory) path(policy string, kind approval.Kind) string {
	return filepath.Join(m.folder, policy+"."+string(kind))
}

// last gives what the approver signed last; nil where there is nothing.
func (m memory) last(policy string, kind approval.Kind) (*approval.Approval, error) {
	path := m.path(policy, kind)
	b, err := readIf(path)
	if b == nil || err != nil {
		return nil, err
	}
	a, err := approval.ParseApproval(b, m.own)
	if err == nil && a.Kind != kind {
		err = approval.ErrOtherFile
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not what %s signed: %w; put it back from a copy, or remove it, and all is shown as if it were the first", path, m.who, err)
	}
	return a, nil
}

// keep remembers a note, before it takes effect anywhere.
func (m memory) keep(policy string, kind approval.Kind, signed []byte) error {
	if err := os.MkdirAll(m.folder, 0o700); err != nil {
		return fmt.Errorf("cannot keep what is signed beside the key: %w", err)
	}
	if err := replaceFile(m.path(policy, kind), signed, 0o600); err != nil {
		return fmt.Errorf("cannot keep what is signed beside the key: %w", err)
	}
	return nil
}

// known is what there is of a file that is to be signed: the note beside it, and
// what the approver signed last.
type known struct {
	file  string
	note  []byte             // beside the file; nil where there is none
	there *approval.Approval // what it says, whoever signed it; nil where it says nothing
	last  *approval.Approval // nil where the approver signed nothing yet
}

func (m memory) look(file, policy string, kind approval.Kind) (k known, err error) {
	k.file = file
	if k.note, err = readIf(file + configs.SignatureSuffix); err != nil {
		return k, err
	}
	if a, err := approval.ParseUnverified(k.note); err == nil && a.Kind == kind {
		k.there = a
	}
	k.last, err = m.last(policy, kind)
	return k, err
}

// signed tells whether the note beside the file says this, signed by the approver.
func (k known) signed(next *approval.Approval, own approval.Set) bool {
	a, err := approval.ParseApproval(k.note, own)
	return err == nil && a.Text() == next.Text()
}

// revision gives the last one that is known.
func (k known) revision() int {
	switch {
	case k.last != nil:
		return k.last.Revision
	case k.there != nil:
		return k.there.Revision
	default:
		return 0
	}
}

// odd says where the folder is not as the approver left it.
func (k known) odd(m memory) string {
	name := filepath.Base(k.file)
	_, err := approval.ParseApproval(k.note, m.own)
	switch {
	case k.last == nil && err == nil:
		return fmt.Sprintf("%s signed the note beside %s, and %s has nothing of it: that folder belongs to the key and moves with it", m.who, name, m.folder)
	case k.last == nil:
		return ""
	case k.note == nil:
		return fmt.Sprintf("there is no note beside %s, and %s signed revision %d: this folder may be older than what is in force", name, m.who, k.last.Revision)
	case k.there == nil:
		return fmt.Sprintf("the note beside %s cannot be read, and %s signed revision %d", name, m.who, k.last.Revision)
	case k.there.Revision < k.last.Revision:
		return fmt.Sprintf("the note beside %s is of revision %d, and %s signed revision %d: somebody may have brought back an old one", name, k.there.Revision, m.who, k.last.Revision)
	}
	return ""
}

// readIf reads a file; nil where there is none.
func readIf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, approval.MaxNote+1))
}

// replaceFile replaces a file whose content is another one.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return durable.Replace(path, mode, b)
}
