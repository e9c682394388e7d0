package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/stream"
)

// maxEventLog is the size in bytes past which the event log becomes
// events.1.jsonl, in place of the one before.
const maxEventLog = 8 << 20

// eventLog writes what happens, security-relevant, as JSON lines into
// events.jsonl of the state folder. A line holds no value of any point.
type eventLog struct {
	path   string
	logger *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	file  *os.File
	size  int64
	count uint64
	up    []envelope.Sample // what is to go upstream; at most maxEventsUp
	held  uint64            // what had no room there
}

// Events go upstream as samples of a stream of their own, whose names no machine
// and no level can have.
const (
	eventMachine = "_gateway"
	eventLevel   = "_events"
	maxEventsUp  = 1000 // that wait for a commit
)

type eventLine struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Machine string    `json:"machine,omitempty"`
	Point   string    `json:"point,omitempty"`
	Text    string    `json:"text,omitempty"`
}

func openEventLog(dir string, logger *slog.Logger, now func() time.Time) (*eventLog, error) {
	l := &eventLog{path: filepath.Join(dir, "events.jsonl"), logger: logger, now: now}
	return l, l.open()
}

func (l *eventLog) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the event log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot open the event log: %w", err), f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// write adds an event and flushes it. A log that cannot be written is itself
// reported, and stops nothing.
func (l *eventLog) write(e stream.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.queue(e, now)
	line, err := json.Marshal(eventLine{now.UTC(), e.Name, e.Machine, e.Point, e.Text})
	if err == nil && l.size+int64(len(line)) > maxEventLog {
		err = l.rotate()
	}
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
		err = errors.Join(err, l.file.Sync())
	}
	if err != nil {
		l.logger.Error("an event could not be written", "event", e.Name, "machine", e.Machine, "error", err)
		return
	}
	l.size += int64(len(line)) + 1
	l.count++
}

// queue keeps an event until it goes upstream: a sample with the event's name,
// whose value is the rest of it as JSON. Called with mu held.
func (l *eventLog) queue(e stream.Event, now time.Time) {
	if len(l.up) >= maxEventsUp {
		l.held++
		return
	}
	of := map[string]string{"text": clip(e.Text, maxChanges), "machine": e.Machine, "point": clip(e.Point, maxChanges/4)}
	if l.held > 0 {
		of["left_out_before"] = fmt.Sprint(l.held)
		l.held = 0
	}
	maps.DeleteFunc(of, func(_, v string) bool { return v == "" })
	b, err := json.Marshal(of)
	if err == nil && len(b) <= envelope.MaxValue {
		l.up = append(l.up, envelope.Sample{Name: e.Name, Time: now.UnixNano(), Value: envelope.OfText(b)})
	}
}

// upstream takes what is to go upstream.
func (l *eventLog) upstream() []envelope.Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := l.up
	l.up = nil
	return up
}

func (l *eventLog) rotate() error {
	old := filepath.Join(filepath.Dir(l.path), "events.1.jsonl")
	err := errors.Join(l.file.Close(), os.Rename(l.path, old))
	if err != nil {
		err = fmt.Errorf("cannot begin a new event log: %w", err)
	}
	return errors.Join(err, l.open()) // or the old one goes on, for the next attempt
}

// written counts the events since the start.
func (l *eventLog) written() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (l *eventLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
