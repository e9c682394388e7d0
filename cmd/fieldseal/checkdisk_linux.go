package main

import "golang.org/x/sys/unix"

// diskFree tells how many bytes this user can write into a folder. It writes
// nothing.
func diskFree(folder string) (int64, error) {
	if unix.Access(folder, unix.W_OK|unix.X_OK) != nil {
		return 0, errNotWritable
	}
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
