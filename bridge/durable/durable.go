// Package durable replaces small files whole: after a crash or a power cut there is
// the old one or the new one.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace writes a file with this mode in the place of the one that is there, if one
// is: beside it, under a name that nobody else has, flushed, and renamed. Several may
// do it at once: one of them comes last. On an error the old one is there, unchanged,
// or, where only the folder could not be flushed, perhaps the new one.
func Replace(path string, mode fs.FileMode, parts ...[]byte) error {
	return write(path, mode, parts, os.Rename)
}

// Create is Replace where there is no file yet; else its error is fs.ErrExist.
func Create(path string, mode fs.FileMode, parts ...[]byte) error {
	return write(path, mode, parts, whereNone)
}

func write(path string, mode fs.FileMode, parts [][]byte, place func(from, to string) error) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(filepath.Clean(dir), "."+name+".new-*") // 0600
	if err != nil {
		return err
	}
	for _, b := range parts {
		if err == nil {
			_, err = f.Write(b)
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = place(f.Name(), path)
	}
	if left := os.Remove(f.Name()); left != nil && !errors.Is(left, fs.ErrNotExist) {
		err = errors.Join(err, left)
	}
	if err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// whereNone places a file where there is none yet.
func whereNone(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) { // a file system without links
		return errors.Join(fs.ErrExist, err)
	}
	return os.Rename(from, to)
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
