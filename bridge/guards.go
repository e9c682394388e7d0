package bridge

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge/durable"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
)

// guardsEvery is how often the counters of the guards on ciphertext are written;
// what changes how far a device is trusted is written within a second.
const (
	guardsEvery   = time.Minute
	guardsSoon    = time.Second
	maxRemembered = 10000 // machines
)

// guardMemory keeps what the guards on ciphertext have seen over restarts:
// counters, and no payload (guards.json of the state folder). It is the
// committer's, but for what it remembers.
type guardMemory struct {
	path   string
	logger *slog.Logger

	mu sync.Mutex
	of map[string]map[string]stream.Guarded // machine, point; also of machines that are no more

	written []byte
	trusted string // of what was written, what trust follows from
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

// save writes what the guards of the sinks have seen, where it is time to: each
// minute, and at once where a device loses or gains trust.
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
	trusted := trustOf(all)
	since := now.Sub(g.at)
	switch changed := trusted != g.trusted; {
	case last, since < 0, since >= guardsEvery:
	case changed && since >= guardsSoon:
	default:
		return
	}
	b, err := json.Marshal(g.merge(all))
	if err == nil && !bytes.Equal(b, g.written) {
		err = durable.Replace(g.path, 0o600, b)
	}
	g.at = now
	if err != nil {
		g.logger.Error("what the guards on ciphertext have seen cannot be written; after a restart devices are on probation longer", "error", err)
		return
	}
	g.written, g.trusted = b, trusted
}

// merge adds what is known now to what is remembered, of machines that are no
// more too: one that comes back is not trusted for having been away.
func (g *guardMemory) merge(all map[string]map[string]stream.Guarded) map[string]map[string]stream.Guarded {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil || len(g.of) > maxRemembered {
		g.of = make(map[string]map[string]stream.Guarded)
	}
	maps.Copy(g.of, all)
	return maps.Clone(g.of)
}

// remembered gives what is known of a machine's points.
func (g *guardMemory) remembered(machine string) map[string]stream.Guarded {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[machine]
}

// trustOf gives what changes only when a device gains or loses trust.
func trustOf(all map[string]map[string]stream.Guarded) string {
	var of strings.Builder
	for _, machine := range slices.Sorted(maps.Keys(all)) {
		points := all[machine]
		for _, name := range slices.Sorted(maps.Keys(points)) {
			state := points[name].State
			fmt.Fprintf(&of, "%s/%s %t %t\n", machine, name, state.Alarm, state.Trusted())
		}
	}
	return of.String()
}

// guards gives what the machine's guards have seen.
func (s *sink) guards() (of map[string]stream.Guarded) {
	s.guarded(func() { of = s.pending.Guards() })
	return of
}

// origin says what a guard's memory holds for: a point that is read elsewhere, or
// whose device has other keys, begins anew.
func origin(m *configs.Machine, p *configs.Point) string {
	of := sha256.New()
	for _, part := range []string{m.Endpoint(), m.Device(), pin(m), p.At, p.Passthrough, fmt.Sprintf("%x", p.Guard.KeyIDs)} {
		fmt.Fprintf(of, "%d %s ", len(part), part)
	}
	if p.Guard.DeviceKey != nil {
		key, err := x509.MarshalPKIXPublicKey(p.Guard.DeviceKey)
		fmt.Fprintf(of, "%x %v", key, err)
	}
	return hex.EncodeToString(of.Sum(nil)[:16])
}

// pin says who a machine is, beside where it is reached.
func pin(m *configs.Machine) string {
	switch {
	case m.OPCUA != nil:
		return fmt.Sprintf("%x", m.OPCUA.Endpoint.ServerSHA256)
	case m.CoAP != nil:
		return m.CoAP.Device.String()
	}
	return ""
}
