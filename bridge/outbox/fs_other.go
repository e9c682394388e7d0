//go:build !linux

package outbox

import (
	"errors"
	"os"
	"runtime"
)

// SyncDir does nothing on Windows, which has no flush of a folder.
func (osFS) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func (f osFile) Allocate(size int64) error {
	have, err := f.Size()
	if err != nil {
		return err
	}
	return writeZeros(f, have, size)
}
