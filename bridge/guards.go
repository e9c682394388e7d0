package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
)

// guardsEvery is how often the counters of the guards on ciphertext are written;
// what changes how far a device is trusted is written within a second.
const guardsEvery = time.Minute

// guardMemory keeps what the guards on ciphertext have seen over restarts:
// counters, and no payload (guards.json of the state folder). It is the
// committer's, but for what it remembers.
type guardMemory struct {
	path   string
	logger *slog.Logger

	mu sync.Mutex
	of map[string]map[string]stream.Guarded // machine, point; also of machines that are no more

	written []byte
	trusted []byte // of what was written, what trust follows from
	at      time.Time
}

// openGuards reads what an earlier process wrote. What cannot be read is none:
// then every device is on probation again.
func openGuards(dir string, logger *slog.Logger) (*guardMemory, error) {
	g := &guardMemory{path: filepath.Join(dir, "guards.json"), logger: logger}
	b, err := os.ReadFile(g.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return g, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read what the guards on ciphertext have seen: %w", err)
	}
	if err := json.Unmarshal(b, &g.of); err != nil {
		logger.Error("what the guards on ciphertext have seen cannot be read; devices are on probation again", "file", g.path, "error", err)
		g.of = nil
	}
	return g, nil
}

// save writes what the guards of the sinks have seen, where it is time to.
func (g *guardMemory) save(sinks []*sink, now time.Time, last bool) {
	all := make(map[string]map[string]stream.Guarded)
	for _, s := range sinks {
		if of := s.guards(); len(of) > 0 {
			all[s.machine] = of
		}
	}
	if len(all) == 0 {
		return
	}
	g.mu.Lock()
	if g.of == nil {
		g.of = make(map[string]map[string]stream.Guarded)
	}
	maps.Copy(g.of, all)
	g.mu.Unlock()
	b, err := json.Marshal(all)
	if err != nil {
		g.logger.Error("what the guards on ciphertext have seen cannot be written", "error", err)
		return
	}
	trusted := trustOf(all)
	since := now.Sub(g.at)
	due := last || since < 0 || since >= guardsEvery || !bytes.Equal(trusted, g.trusted)
	if !due || bytes.Equal(b, g.written) {
		return
	}
	if err := writeDurably(g.path, b); err != nil {
		g.logger.Error("what the guards on ciphertext have seen cannot be written; after a restart devices are on probation longer", "error", err)
	}
	g.written, g.trusted, g.at = b, trusted, now
}

// remembered gives what is known of a machine's points.
func (g *guardMemory) remembered(machine string) map[string]stream.Guarded {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[machine]
}

// trustOf gives what changes only when a device gains or loses trust.
func trustOf(all map[string]map[string]stream.Guarded) []byte {
	type trust struct {
		Alarm, Trusted bool
		Headers        []uint64
	}
	of := make(map[string]trust)
	for machine, points := range all {
		for name, g := range points {
			of[machine+"/"+name] = trust{g.State.Alarm, g.State.Trusted(), g.State.Headers}
		}
	}
	b, _ := json.Marshal(of) // nothing in it can fail
	return b
}

// guards gives what the machine's guards have seen.
func (s *sink) guards() (of map[string]stream.Guarded) {
	s.guarded(func() { of = s.pending.Guards() })
	return of
}

// origin says what a guard's memory holds for: a point that is read elsewhere, or
// whose device has other keys, begins anew.
func origin(m *configs.Machine, p *configs.Point) string {
	key := ""
	if p.Guard.DeviceKey != nil {
		key = fmt.Sprintf("%x", p.Guard.DeviceKey)
	}
	return fmt.Sprintf("%s|%s|%s|%s|%x|%s", m.Endpoint(), m.Device(), p.At, p.Passthrough, p.Guard.KeyIDs, key)
}
