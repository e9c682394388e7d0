package outbox

import (
	"errors"
	"os"
	"syscall"
)

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Sync is fdatasync: time stamps are not worth a journal commit.
func (f osFile) Sync() error {
	return retryEINTR("fdatasync", f.Name(), func() error { return syscall.Fdatasync(int(f.Fd())) })
}

// Allocate uses fallocate, or writes zeros where the file system has none.
func (f osFile) Allocate(size int64) error {
	err := retryEINTR("fallocate", f.Name(), func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) })
	if !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	have, err := f.Size()
	if err != nil {
		return err
	}
	return writeZeros(f, have, size)
}

func retryEINTR(op, name string, call func() error) error {
	for {
		switch err := call(); {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EINTR):
			return &os.PathError{Op: op, Path: name, Err: err}
		}
	}
}
