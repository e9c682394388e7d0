package opcua

import (
	"golang.org/x/sys/unix"
)

// confineProcess limits memory and keeps the process from being dumped: it holds
// a key and a password.
func confineProcess() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if raceDetector {
		return nil // its shadow memory is larger than any limit
	}
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: memoryLimit, Max: memoryLimit})
}
