package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// example reads a file of the configuration that is the contract.
func example(t testing.TB, name ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "configs", "examples"}, name...)...))
	require.NoError(t, err)
	return string(b)
}

// exampleLines gives the lines of the example's gateway file, with another
// address for the one that there is.
func exampleLines(t testing.TB, url string) string {
	t.Helper()
	_, lines, found := strings.Cut(example(t, "gateway.yaml"), "\nlines:")
	require.True(t, found)
	lines, _, found = strings.Cut(lines, "\n\n")
	require.True(t, found)
	const there = "rtu-tcp://10.20.9.5:4001"
	require.Equal(t, 1, strings.Count(lines, there))
	return "lines:" + strings.Replace(lines, there, url, 1) + "\n"
}

// TestHotrunners reads the machines of examples/machines/hotrunners.yaml, as it
// stands, from one serial line behind a device server.
func TestHotrunners(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := make(map[string]map[[2]uint16]int) // machine → first register and count → times
	line, err := sim.StartRTULine(sim.RTUOptions{Baud: 19200, OnRequest: func(r sim.Request) {
		mu.Lock()
		defer mu.Unlock()
		if asked[r.Machine] == nil {
			asked[r.Machine] = make(map[[2]uint16]int)
		}
		asked[r.Machine][[2]uint16{r.First, r.Count}]++
	}})
	require.NoError(t, err)
	t.Cleanup(line.Stop)
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		delete(p.files, "machines/press-1.yaml")
		p.files["machines/hotrunners.yaml"] = example(t, "machines", "hotrunners.yaml")
		p.files["templates/hotrunner.yaml"] = example(t, "templates", "hotrunner.yaml")
		p.files["gateway.yaml"] += "templates: templates/*.yaml\n" + exampleLines(t, line.URL())
	})
	r := p.start()
	r.until("two polls of every machine", func(s status.Gateway) bool {
		enough := 0
		for _, m := range s.Machines {
			if m.Samples.Taken-m.Samples.Bad >= 2*sim.Zones {
				enough++
			}
		}
		return enough == 39
	})
	var names []string
	for _, m := range r.Status().Machines {
		names = append(names, m.Name)
	}
	assert.Equal(t, line.Names(), names)
	assert.NotContains(t, names, "hotrunner-17")
	r.stop()

	got := p.read()
	got.lossless(t)
	streams := make(map[string]bool)
	for _, d := range got.deliveries {
		streams[d.Stream.Machine] = true
		assert.True(t, d.Sealed)
	}
	assert.Len(t, streams, 39)
	for k, unit := range line.Units() {
		machine := line.Names()[k]
		require.Equal(t, fmt.Sprintf("hotrunner-%02d", unit), machine)
		for zone := 1; zone <= sim.Zones; zone++ {
			good := 0
			for _, s := range got.samples[fmt.Sprintf("%s/zone-%d", machine, zone)] {
				if s.Quality == 0 {
					good++
					assert.Equal(t, envelope.Float, s.Value.Kind())
					assert.InDelta(t, float64(sim.ZoneTemperature(int(unit), zone))/10, s.Value.Float(), 1e-9, "%s zone %d", machine, zone)
				}
			}
			assert.GreaterOrEqual(t, good, 2, "%s zone %d", machine, zone)
		}
	}

	// Each machine was asked for its own registers by its own unit id, and nobody
	// for anything else.
	assert.Zero(t, line.Asked(""), "units that there are not")
	codes := line.FunctionCodes()
	assert.NotZero(t, codes[3])
	assert.Len(t, codes, 1)
	mu.Lock()
	defer mu.Unlock()
	for _, machine := range names {
		want := [][2]uint16{{200, 8}}
		if machine == "hotrunner-09" { // its first zone is elsewhere
			want = [][2]uint16{{201, 7}, {210, 1}}
		}
		require.Len(t, asked[machine], len(want), machine)
		for _, registers := range want {
			assert.GreaterOrEqual(t, asked[machine][registers], 2, machine)
		}
	}
}
