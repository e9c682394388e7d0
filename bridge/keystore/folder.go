package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrOwner means that a state folder, or something in it that decides what a
// gateway trusts, belongs to somebody else.
var ErrOwner = errors.New("belongs to somebody else")

// approvals is the name of the file with the approvers, in the state folder.
const approvals = "approvals"

// Guard refuses a state folder that somebody else could have written: who writes
// there says who approves, and the gateway file, which nobody signs, says where
// it is. A folder that is not there is nobody's.
func Guard(state string) error {
	credentials := filepath.Join(state, "credentials")
	paths := []string{state, filepath.Join(state, approvals), filepath.Join(state, fileName), credentials}
	files, err := os.ReadDir(credentials)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("cannot look at the credentials of the state folder: %w", err)
	}
	for _, f := range files {
		paths = append(paths, filepath.Join(credentials, f.Name()))
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) && path != state {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot look at the state folder: %w", err)
		}
		if path == state && !info.IsDir() {
			return fmt.Errorf("%s is no folder; name a folder for the state", state)
		}
		if err := owned(state, path, info); err != nil {
			return err
		}
	}
	return nil
}

func owned(state, path string, info fs.FileInfo) error {
	what := path
	if path == state {
		what = "the state folder " + path
	}
	own := os.Geteuid()
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != own {
		return fmt.Errorf("%s %w: to uid %s, and this runs as uid %d; who owns it says who approves, so run this as that user or, if it is this gateway's own, run: chown -R %d %s",
			what, ErrOwner, userName(s.Uid), own, own, state)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%s can be written by others (mode %04o), who could say who approves; run: chmod go-w %s", what, mode, path)
	}
	return nil
}

// userName gives the number of a user, and the name where it has one.
func userName(id uint32) string {
	s := strconv.FormatUint(uint64(id), 10)
	if u, err := user.LookupId(s); err == nil {
		s += " (" + u.Username + ")"
	}
	return s
}
