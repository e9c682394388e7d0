package files

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/relay"
)

var _ relay.Uplink = (*Uplink)(nil)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// message makes message number i of a stream, with a body of size bytes.
func message(i, size int) envelope.Message {
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "restricted"}, Kind: envelope.Data},
		Epoch:       envelope.Epoch{Start: 7, Instance: [8]byte{1, 2, 3}, Number: 1},
		Sequence:    uint64(i),
		ContentType: envelope.TypeSealed,
		Time:        1_700_000_000_000_000_000 + int64(i),
		Body:        make([]byte, size),
	}
	binary.BigEndian.PutUint64(m.ID[:], uint64(i))
	return m
}

func messages(from, to, size int) (all []envelope.Message) {
	for i := from; i <= to; i++ {
		all = append(all, message(i, size))
	}
	return all
}

func uplink(t testing.TB, cfg Config) *Uplink {
	t.Helper()
	if cfg.Gateway == "" {
		cfg.Gateway = "gw-1"
	}
	u, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// send sends all of it.
func send(t testing.TB, u *Uplink, batch []envelope.Message) {
	t.Helper()
	n, err := u.Send(t.Context(), batch)
	require.NoError(t, err)
	require.Equal(t, len(batch), n)
}

// sequences reads folders and files; key frames are left out.
func sequences(t testing.TB, paths ...string) []uint64 {
	t.Helper()
	all, err := read(t, paths...)
	require.NoError(t, err)
	return all
}

func read(t testing.TB, paths ...string) (all []uint64, err error) {
	t.Helper()
	err = Read(t.Context(), paths, func(m envelope.Message) error {
		if m.Address.Kind != envelope.KeyFrame {
			all = append(all, m.Sequence)
		}
		return nil
	})
	return all, err
}

func upTo(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i) + 1
	}
	return all
}

// names gives what is in the folder.
func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func requireFault(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	require.ErrorAs(t, err, &f)
	require.ErrorContains(t, err, words)
	require.NotEmpty(t, f.Instead)
}

func requireTransient(t testing.TB, err error, words string) {
	t.Helper()
	var f *envelope.Fault
	var r *envelope.Refused
	require.ErrorContains(t, err, words)
	require.False(t, errors.As(err, &f) || errors.As(err, &r), "%v", err)
}

// sick is the operating system with faults.
type sick struct {
	osSystem
	fault func(op, name string) error // before each operation
	room  int                         // bytes that can be written; negative: any
}

func (s *sick) check(op, name string) error {
	if s.fault == nil {
		return nil
	}
	if err := s.fault(op, filepath.Base(name)); err != nil {
		return &os.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (s *sick) Mkdir(dir string) error {
	return errors.Join(s.check("mkdir", dir), s.osSystem.Mkdir(dir))
}

func (s *sick) Create(name string) (file, error) {
	if err := s.check("create", name); err != nil {
		return nil, err
	}
	f, err := s.osSystem.Create(name)
	return &sickFile{f, s, name}, err
}

func (s *sick) Open(name string) (file, error) {
	if err := s.check("open", name); err != nil {
		return nil, err
	}
	f, err := s.osSystem.Open(name)
	if err != nil {
		return nil, err
	}
	return &sickFile{f, s, name}, nil
}

func (s *sick) Rename(from, to string) error {
	if err := s.check("rename", from); err != nil {
		return err
	}
	return s.osSystem.Rename(from, to)
}

func (s *sick) SyncDir(dir string) error {
	if err := s.check("syncdir", dir); err != nil {
		return err
	}
	return s.osSystem.SyncDir(dir)
}

type sickFile struct {
	file
	s    *sick
	name string
}

// Write writes what there is room for, as a full disk does.
func (f *sickFile) Write(b []byte) (int, error) {
	if err := f.s.check("write", f.name); err != nil {
		return 0, err
	}
	if f.s.room < 0 || len(b) <= f.s.room {
		if f.s.room >= 0 {
			f.s.room -= len(b)
		}
		return f.file.Write(b)
	}
	n, err := f.file.Write(b[:f.s.room])
	f.s.room = 0
	if err == nil {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *sickFile) Sync() error {
	if err := f.s.check("sync", f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f *sickFile) Truncate(size int64) error {
	if err := f.s.check("truncate", f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

// segments gives the names of finished segments.
func segments(t testing.TB, dir string) []string {
	return slices.DeleteFunc(names(t, dir), func(n string) bool { return filepath.Ext(n) != suffix })
}
