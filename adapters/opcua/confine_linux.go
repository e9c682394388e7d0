package opcua

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// confineProcess limits memory and keeps the process from being dumped: it holds
// a key and a password. It takes away what a worker never needs: programs that
// run with more rights than it has, and files that it could write.
func confineProcess() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	// In a program with C in it, as under the race detector, Go cannot reach all
	// threads.
	if _, _, err := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); err != 0 && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{}); err != nil {
		return err
	}
	if raceDetector {
		return nil // its shadow memory is larger than any limit
	}
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: memoryLimit, Max: memoryLimit})
}
