package outbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is what the log needs of a file system. Names are whole paths. It must be safe for concurrent use. Tests inject faults through it.
type FS interface {
	// MkdirAll makes dir and its missing ancestors, for the owner only, and flushes the entry of each folder it made.
	MkdirAll(dir string) error
	// ReadDir gives the base names of the files in dir.
	ReadDir(dir string) ([]string, error)
	// Open opens an existing file for reading, and for writing if write is set.
	Open(name string, write bool) (File, error)
	// Create makes an empty file for reading and writing, for the owner only, or empties an existing one.
	Create(name string) (File, error)
	// Rename gives a file another name in the same folder, replacing what had it. Durable after SyncDir.
	Rename(from, to string) error
	// Remove removes a file. Durable after SyncDir.
	Remove(name string) error
	// SyncDir flushes the names in dir.
	SyncDir(dir string) error
}

// File is an open file of an [FS].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Allocate takes size bytes of disk space for the file and makes it that long at least.
	Allocate(size int64) error
	// Truncate makes the file size bytes long.
	Truncate(size int64) error
	// Size tells the length in bytes.
	Size() (int64, error)
	// Sync flushes the data and what is needed to read it. After an error nothing is known about the data.
	Sync() error
}

// osFS is the operating system.
type osFS struct{}

type osFile struct{ *os.File }

func (osFS) MkdirAll(dir string) error {
	switch info, err := os.Stat(dir); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is not a folder", dir)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := (osFS{}).MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return osFS{}.SyncDir(parent)
}

func (osFS) ReadDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (osFS) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	return openOS(name, flag)
}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// writeZeros is what Allocate does where the system cannot allocate.
func writeZeros(f io.WriterAt, from, size int64) error {
	zeros := make([]byte, 64<<10)
	for off := from; off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
