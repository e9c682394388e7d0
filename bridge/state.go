package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/bridge/durable"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
)

// ErrInUse means that another process has the state folder.
var ErrInUse = errors.New("another fieldseal process uses this state folder")

// lockState takes the state folder for this process until the file is closed or
// the process ends.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	if err := keystore.Guard(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state folder %s: %w%s; stop it, or give this one a folder of its own", dir, ErrInUse, lockedBy(string(holder)))
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+" "+processes()+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return f, nil
}

// lockedBy says which process has the lock, as far as its number means anything
// here: each container counts its own.
func lockedBy(holder string) string {
	pid, where, _ := strings.Cut(strings.TrimSpace(holder), " ")
	switch {
	case pid == "" || where == "":
		return ""
	case where != processes():
		return " (in another container, or outside of this one)"
	}
	return " (process " + pid + ")"
}

// processes names the processes that this one can see.
func processes() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "unknown"
	}
	return name
}

// nextStart raises the start counter. It is on disk before it is used: a start
// that crashes uses up its number, and no two starts have one in common. seen is
// the highest one that the outbox knows of; behind tells that the file was
// missing or lower, so that it may have been put back.
func nextStart(dir string, seen uint64) (start uint64, behind bool, err error) {
	path := filepath.Join(dir, "start")
	var n uint64
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, false, fmt.Errorf("cannot read the start counter: %w", err)
	default:
		if n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
			return 0, false, fmt.Errorf("the start counter %s holds no number; write into it one above the highest start that receivers have seen", path)
		}
	}
	behind = n < seen
	n = max(n, seen) + 1
	b = []byte(strconv.FormatUint(n, 10) + "\n")
	err = durable.Replace(path, 0o600, b)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = overwrite(path, b)
	}
	if err != nil {
		return 0, false, fmt.Errorf("cannot write the start counter: %w", err)
	}
	return n, behind, nil
}

// overwrite writes a few bytes over those of a file, for which a full disk has
// room: they are one sector, which a power cut leaves old or new.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Truncate(int64(len(b))), f.Sync(), f.Close())
}

// quarantined is what is kept of a message that no uplink can ever accept.
type quarantined struct {
	Reason    string `json:"reason"`
	Stream    string `json:"stream"`
	Kind      string `json:"kind"`
	Epoch     string `json:"epoch"`
	Sequence  uint64 `json:"sequence"`
	Message   []byte `json:"message"`   // as the outbox held it: sealed where it was sealed
	Explained bool   `json:"explained"` // its loss record is in the outbox
}

// The quarantine folder takes so many messages and bytes. When it has them,
// refused messages stay in the outbox, and so do those behind them, until
// somebody looks into it: what refuses so many is seldom the messages' fault.
const (
	maxQuarantined     = 1000
	maxQuarantineBytes = 64 << 20
)

var errQuarantineFull = errors.New("the quarantine folder is full; look why messages are refused, and retry or discard them")

// roomInQuarantine refuses one message more than the folder takes.
func roomInQuarantine(folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("cannot read the quarantine folder: %w", err)
	}
	var size int64
	for _, f := range files {
		if info, err := f.Info(); err == nil { // else it was taken out just now
			size += info.Size()
		}
	}
	if len(files) >= maxQuarantined || size >= maxQuarantineBytes {
		return errQuarantineFull
	}
	return nil
}

// putInQuarantine keeps a message that was refused for good.
func putInQuarantine(dir, name string, q quarantined) (file string, err error) {
	folder := filepath.Join(dir, "quarantine")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("cannot make the quarantine folder: %w", err)
	}
	file = filepath.Join(folder, name)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := roomInQuarantine(folder); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("cannot encode a refused message: %w", err)
	}
	if err := durable.Replace(file, 0o600, b); err != nil {
		return "", fmt.Errorf("cannot keep a refused message: %w", err)
	}
	return file, durable.SyncFolder(dir)
}

func readQuarantined(file string) (q quarantined, err error) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &q)
	}
	return q, err
}

// markExplained notes that the loss record of a refused message is in the
// outbox. A message that was taken out of quarantine meanwhile stays out.
func markExplained(file string) error {
	q, err := readQuarantined(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	q.Explained = true
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return durable.Replace(file, 0o600, b)
}

// unexplained gives the refused messages whose loss record a crash prevented.
// What cannot be read is passed over, and reported: it must not stop a start.
func unexplained(dir string, unreadable func(file string, err error)) (runs []lostRun, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "quarantine", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		q, err := readQuarantined(file)
		if err != nil {
			unreadable(file, err)
			continue
		}
		if m, err := envelope.ParseMessage(q.Message); err == nil && !q.Explained && m.Sequence > 0 {
			runs = append(runs, quarantineRun(&m, q.Reason, file))
		}
	}
	return runs, nil
}

func quarantineRun(m *envelope.Message, reason, file string) lostRun {
	return lostRun{run: addLost(nil, m)[0], reason: "quarantined: " + reason, file: file}
}
