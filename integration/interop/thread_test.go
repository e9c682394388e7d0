//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plant is one Modbus server with several units, a broker and a gateway.
type plant struct {
	dir    string
	server *Libmodbus
	broker *NATS
	site   *site
	units  []unit

	secret, plate, unlabelled, unreleased string // what the units' texts are

	more []string // further secrets
}

// newPlant starts all but the gateway.
func newPlant(t *testing.T, poll string, ids ...byte) *plant {
	t.Helper()
	p := startPlant(t, ids...)
	p.site = p.newSite(t, "gateway", poll, p.units...)
	return p
}

// startPlant starts the machines and the broker.
func startPlant(t *testing.T, ids ...byte) *plant {
	t.Helper()
	p := &plant{secret: canary(), plate: canary(), unlabelled: canary(), unreleased: canary(), dir: t.TempDir()}
	p.server = StartLibmodbus(t, LibmodbusOptions{
		Units: ids, Canary: p.secret, Texts: [3]string{p.plate, p.unlabelled, p.unreleased},
	})
	p.broker = StartNATS(t, filepath.Join(p.dir, "nats"), NewCerts(t, filepath.Join(p.dir, "ca")))
	p.broker.CreateStream(streamName, prefix+".>")
	for _, id := range ids {
		p.units = append(p.units, unit{fmt.Sprintf("press-%d", id), p.server, id})
	}
	return p
}

// newSite makes the folder of a gateway that polls these units.
func (p *plant) newSite(t *testing.T, folder, poll string, units ...unit) *site {
	t.Helper()
	return newSite(t, siteOptions{dir: filepath.Join(p.dir, folder), broker: p.broker, units: units, poll: poll})
}

// enough waits until each unit gave out n counter values.
func (p *plant) enough(t *testing.T, n int) {
	t.Helper()
	until(t, time.Minute, "enough values of each counter", func() bool {
		for _, u := range p.units {
			if len(u.server.Truth(u.id)) < n {
				return false
			}
		}
		return true
	})
}

// everyCounter shows that each counter value that the machines gave out arrived
// once, and nothing else. It gives their number.
func everyCounter(t *testing.T, o *opened, units []unit) (n int) {
	t.Helper()
	for _, u := range units {
		truth, got := u.server.Truth(u.id), o.counters(t, u.name)
		require.NotEmpty(t, truth)
		slices.Sort(got)
		assert.Equal(t, truth, got, "%s: what was given out, and what arrived", u.name)
		n += len(truth)
	}
	return n
}

// complete shows that an account of the streams has nothing to explain.
func complete(t *testing.T, o *opened) {
	t.Helper()
	require.Zero(t, o.code, o.stderr)
	require.NotEmpty(t, o.streams)
	assert.Equal(t, map[string]int{"signed": len(o.samples)}, o.proofs())
	for _, s := range o.streams {
		assert.Empty(t, s.Gaps, s.Stream)
		assert.Empty(t, s.Losses, s.Stream)
		assert.Empty(t, s.Forgeries, s.Stream)
		assert.Zero(t, s.Pending, s.Stream)
		assert.Zero(t, s.Unopened, s.Stream)
	}
	once(t, o)
}

// once shows that no sample came twice at the output.
func once(t *testing.T, o *opened) {
	t.Helper()
	seen := make(map[string]bool, len(o.samples))
	for _, s := range o.samples {
		key := fmt.Sprint(s.Machine, "/", s.Point, " ", s.Level, " ", s.Sequence, " ", s.Time)
		require.False(t, seen[key], "%s came twice", key)
		seen[key] = true
	}
}

// TestThread takes values from other people's machines through other people's
// broker to the one who may read them, with the commands a user types.
func TestThread(t *testing.T) {
	p := newPlant(t, "250ms", 1, 7, 23)
	p.site.start()
	trust := p.site.path("trust.yaml")

	// One reader follows from the start.
	follow := exec.Command(program(t), p.site.openArgs(p.site.identity(engineering),
		"--trust", trust, "--stream", streamName, "--prefix", prefix)...)
	follow.Env = append(environment(), "XDG_CONFIG_HOME="+t.TempDir()) // where it remembers the approvers
	reader := start(t, "open", follow)
	reader.line(t, `"point":"counter"`)

	p.enough(t, 30)
	g := p.site.status()
	for _, m := range g.Machines {
		assert.Equal(t, "up", m.State, m.Error)
		assert.Equal(t, map[string]int{"clear": 2, "sealed": 10}, m.Points)
	}
	shown := must(t, "status", "--json", "-c", p.site.path("gateway.yaml")) + must(t, "status", "-c", p.site.path("gateway.yaml"))
	inState, _ := filesWith(t, p.site.path("state"), p.secret)
	assert.Empty(t, inState, "a secret is on the disk of a running gateway")
	p.server.Stop()
	p.site.drained(20 * time.Second)
	p.site.stop()

	o := p.site.open()
	complete(t, o)
	counters := everyCounter(t, o, p.units)
	for _, u := range p.units {
		p.right(t, o, u)
	}
	assert.Empty(t, p.server.Refused(), "the gateway asked for more than to read")

	// Who followed has seen the same.
	until(t, 20*time.Second, "the last line at the reader who follows", func() bool {
		return len(reader.log.last(everyLine)) >= len(o.lines)
	})
	reader.stop(syscall.SIGTERM)
	require.NoError(t, reader.err)
	assert.Equal(t, strings.Join(o.lines, ""), strings.Join(reader.log.last(everyLine), "\n")+"\n")

	// The historian reads one level of two that are sealed.
	h := p.site.openAs(p.site.identity(historian), "--trust", trust)
	for _, s := range h.samples {
		assert.Contains(t, []string{"public", "internal"}, s.Level)
	}
	assert.Equal(t, values[float64](t, o, "press-7", "oil-temperature"), values[float64](t, h, "press-7", "oil-temperature"))

	t.Logf("%d samples opened, %d counter values of %d units, each once and signed", len(o.samples), counters, len(p.units))
	p.sealed(t, map[string]string{"the log": p.site.log(), "the status": shown, "the historian's output": h.stdout + h.stderr})
}

// sealed shows that nobody but the recipients saw what is sealed: neither the
// broker nor a disk, nor who read these texts. The same look finds what is
// public.
func (p *plant) sealed(t *testing.T, texts map[string]string) {
	t.Helper()
	messages := all(t, p.broker, streamName)
	state, disk := p.site.path("state"), p.broker.StreamDir
	var size int
	for _, m := range messages {
		size += len(m.raw)
	}
	var stateSize, diskSize int64
	for _, secret := range append([]string{p.secret, p.unlabelled, p.unreleased}, p.more...) {
		for _, m := range messages {
			assert.False(t, sees(m.raw, secret), "%s number %s holds a secret", m.Subject, m.Header.Get("Fieldseal-Sequence"))
		}
		var found []string
		found, diskSize = filesWith(t, disk, secret)
		assert.Empty(t, found, "a secret is on the broker's disk")
		found, stateSize = filesWith(t, state, secret)
		assert.Empty(t, found, "a secret is on the gateway's disk")
		for where, text := range texts {
			assert.False(t, sees([]byte(text), secret), "a secret is in %s", where)
		}
	}
	assert.Equal(t, []string{"nameplate", "state"}, clearPoints(t, messages), "points in clear upstream")

	// The scan is not blind.
	var public int
	for _, m := range messages {
		if sees(m.raw, p.plate) {
			public++
		}
	}
	assert.GreaterOrEqual(t, public, 10*len(p.units), "the scan does not find what is public in the stream")
	found, _ := filesWith(t, disk, p.plate)
	assert.NotEmpty(t, found, "the scan does not find what is public on the broker's disk")
	found, _ = filesWith(t, state, "fieldseal keystore")
	assert.NotEmpty(t, found, "the scan does not find the keystore's first line in the state folder")
	assert.True(t, sees([]byte(p.site.log()), "plant-augsburg"), "the scan does not find the policy's name in the log")
	t.Logf("looked through %d messages (%d bytes, %d of them with the public text), %d bytes on the broker's disk and %d in the state folder",
		len(messages), size, public, diskSize, stateSize)
}

// clearPoints gives the names of all points in clear messages.
func clearPoints(t *testing.T, messages []stored) (names []string) {
	t.Helper()
	for _, m := range messages {
		if m.Header.Get("Content-Type") != "application/senml+json" {
			continue
		}
		var pack []struct {
			Base string `json:"bn"`
			Name string `json:"n"`
		}
		require.NoError(t, json.Unmarshal(m.Data, &pack))
		require.NotEmpty(t, pack)
		for _, r := range pack {
			if !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// right compares what was read of a unit with what libmodbus/server.c gives.
func (p *plant) right(t *testing.T, o *opened, u unit) {
	t.Helper()
	for point, want := range map[string]string{
		"program-name": p.secret, "nameplate": p.plate, "operator": p.unlabelled, "order-number": p.unreleased,
	} {
		got := values[string](t, o, u.name, point)
		require.NotEmpty(t, got, point)
		slices.Sort(got)
		assert.Equal(t, []string{want}, slices.Compact(got), point)
	}
	numbers := make(map[string]map[time.Time]float64) // by point
	pump := make(map[string]int)
	for _, v := range o.samples {
		if v.Machine != u.name || v.Value == nil {
			continue
		}
		assert.Equal(t, v.Level != "public", v.Sealed, v.Point)
		if v.Point == "pump-on" {
			pump[string(v.Value)]++
		}
		var n float64
		if json.Unmarshal(v.Value, &n) == nil {
			at, err := time.Parse(time.RFC3339Nano, v.Time)
			require.NoError(t, err)
			if numbers[v.Point] == nil {
				numbers[v.Point] = make(map[time.Time]float64)
			}
			numbers[v.Point][at] = n
		}
	}
	assert.Greater(t, pump["true"], 5, "the pump changes every second")
	assert.Greater(t, pump["false"], 5, "the pump changes every second")
	assert.Len(t, pump, 2)

	// Uptime tells when the values of the same poll were made; half a second is
	// for a busy machine.
	compared := 0
	for at, ms := range numbers["uptime"] {
		// near gives a point's value of that poll, and the uptime then.
		near := func(point string) (n, then float64) {
			best := time.Second
			for when, v := range numbers[point] {
				if d := when.Sub(at); d.Abs() < best {
					best, n, then = d.Abs(), v, ms+float64(d)/1e6
				}
			}
			assert.Less(t, best, time.Second, "%s/%s: no value at %s", u.name, point, at)
			return n, then
		}
		saw := func(ms float64) float64 { return math.Mod(math.Floor(ms/10), 601) - 300 }
		force, then := near("force")
		assert.InDelta(t, 180+20*math.Sin(2*math.Pi*then/7000), force, 9, "force at %v ms", then)
		position, then := near("position")
		circle(t, saw(then), position, 601, 50, "position")
		temperature, then := near("oil-temperature")
		circle(t, -0.1*saw(then), temperature, 60.1, 5, "oil temperature")
		state, then := near("state")
		circle(t, math.Mod(then/1000-0.5, 4), state, 4, 1, "state")
		compared++
	}
	assert.GreaterOrEqual(t, compared, 30)
}

// circle is InDelta for a value that begins again after its span.
func circle(t *testing.T, want, got, span, delta float64, what string) {
	t.Helper()
	d := math.Abs(want - got)
	assert.LessOrEqual(t, math.Min(d, span-d), delta+1e-9, "%s: %v and not %v", what, got, want)
}
