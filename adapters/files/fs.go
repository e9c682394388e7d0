package files

import (
	"errors"
	"io"
	"os"
	"runtime"
)

// system is what the uplink needs of the file system. Tests inject faults
// through it.
type system interface {
	Mkdir(dir string) error
	// Names gives the names in a folder.
	Names(dir string) ([]string, error)
	// Create makes a file for the owner only. It exists not yet.
	Create(name string) (file, error)
	Open(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	Exists(name string) (bool, error)
	// SyncDir flushes the names in a folder.
	SyncDir(dir string) error
}

type file interface {
	io.Reader
	io.Writer
	io.Seeker
	io.Closer
	Truncate(size int64) error
	// Sync flushes. After an error nothing is known about what was written.
	Sync() error
}

// osSystem is the operating system.
type osSystem struct{}

func (osSystem) Mkdir(dir string) error       { return os.Mkdir(dir, 0o700) }
func (osSystem) Rename(from, to string) error { return os.Rename(from, to) }
func (osSystem) Remove(name string) error     { return os.Remove(name) }

func (osSystem) Create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osSystem) Open(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osSystem) Exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osSystem) Names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// SyncDir does nothing on Windows, which has no flush of a folder.
func (osSystem) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
