// Package durable replaces small files whole: after a crash or a power cut there is
// the old one or the new one, and once a function has returned it is the new one.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// suffix is of the name under which a file is written, beside the one that it
// replaces. It is always the same one, so that what a power cut leaves is not there
// for years: the next write takes it over.
const suffix = ".new"

// Replace writes a file with this mode in the place of the one that is there, if one
// is. Several processes may do it at once: one of them comes last. On an error the
// old one is there, unchanged.
func Replace(path string, mode fs.FileMode, parts ...[]byte) error {
	return write(path, mode, parts, os.Rename)
}

// Create writes a file where there is none yet; else its error is fs.ErrExist.
func Create(path string, mode fs.FileMode, parts ...[]byte) error {
	return write(path, mode, parts, whereNone)
}

func write(path string, mode fs.FileMode, parts [][]byte, place func(from, to string) error) error {
	f, err := beside(path)
	if err != nil {
		return err
	}
	defer f.Close() // and so gives the lock back, at the very end
	err = f.Chmod(mode)
	for _, b := range parts {
		if err == nil {
			_, err = f.Write(b)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, gone(f.Name()))
	}
	return SyncFolder(filepath.Dir(path))
}

// beside opens the file to write, empty, and locks it against others who replace the
// same one.
func beside(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path+suffix, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = lock(f)
		ours := false
		if err == nil {
			ours, err = still(f)
		}
		if ours {
			err = f.Truncate(0)
		}
		if err == nil && ours {
			return f, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// still tells whether the file has its name yet. If not, whoever had the lock before
// has put it in its place, and it must not be touched.
func still(f *os.File) (bool, error) {
	ours, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(there, ours), err
}

// lock waits for the lock. A signal to the process does not end the wait.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// whereNone places a file where there is none yet.
func whereNone(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return gone(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) { // a file system without links
		return errors.Join(fs.ErrExist, err)
	}
	return os.Rename(from, to)
}

// gone removes a file that may be gone already.
func gone(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
