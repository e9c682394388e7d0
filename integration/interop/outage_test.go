//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const outage = 20 * time.Second

// TestOutage kills the broker while the gateway polls, and starts it again
// later: nothing is missing, and nothing came twice.
func TestOutage(t *testing.T) {
	p := newPlant(t, "1s", 1, 2, 3)
	p.site.start()
	p.enough(t, 3)

	p.broker.Kill()
	before := len(p.server.Truth(1))
	over := time.NewTimer(outage)
	defer over.Stop()
	select {
	case <-over.C:
	case <-p.site.p.done:
		t.Fatal("the gateway ended by itself")
	}
	during := len(p.server.Truth(1)) - before
	assert.GreaterOrEqual(t, during, int(outage/time.Second)-1, "the machines were polled all the time")
	g := p.site.status()
	kept := g.Outbox.Messages
	assert.GreaterOrEqual(t, kept, uint64(during), "what was read is on disk")
	assert.NotEqual(t, "delivering", g.Uplinks[0].State)

	p.broker.Start()
	began := time.Now()
	p.site.drained(30 * time.Second)
	drained := time.Since(began)
	p.enough(t, before+during+2)
	p.server.Stop()
	p.site.stop()

	o := p.site.open()
	complete(t, o)
	n := everyCounter(t, o, p.units)
	assert.Empty(t, p.server.Refused())
	t.Logf("%d counter values of %d units, %d of them read during %s without a broker; %d messages waited and were stored %s after its start (%d put aside by the reader as repeated)",
		n, len(p.units), during*len(p.units), outage, kept, drained.Round(100*time.Millisecond), repeated(o))
}

func repeated(o *opened) (n uint64) {
	for _, s := range o.streams {
		n += s.Duplicates
	}
	return n
}

// TestDeadDevice starts a gateway while one of its machines is not there. The
// other one flows all the time, and the one that comes later is found by the
// same process.
func TestDeadDevice(t *testing.T) {
	p := startPlant(t, 1)
	late := StartLibmodbus(t, LibmodbusOptions{Units: []byte{9}, Canary: canary()})
	late.Kill()
	s := p.newSite(t, "gateway", "250ms", p.units[0], unit{"press-9", late, 9})
	s.start()
	pid := s.pid()
	p.enough(t, 12)
	g := s.status()
	assert.Equal(t, "up", g.machine("press-1").State)
	assert.Equal(t, "down", g.machine("press-9").State)
	assert.Contains(t, g.machine("press-9").Error, "connection refused")
	assert.Greater(t, g.machine("press-1").Samples.Taken, uint64(100))

	began := time.Now()
	late.Start()
	until(t, time.Minute, "10 values of the machine that came late", func() bool { return len(late.Truth(9)) >= 10 })
	found := time.Since(began)
	assert.Equal(t, pid, s.pid(), "the gateway is another process")
	g = s.status()
	assert.Equal(t, "up", g.machine("press-9").State)
	assert.Equal(t, uint64(1), g.Start)

	// It dies in mid-run and comes back.
	late.Kill()
	until(t, time.Minute, "the dead machine in the status", func() bool {
		g := s.status()
		return g.machine("press-9").State == "down"
	})
	at, other := len(late.Truth(9)), len(p.server.Truth(1))
	late.Start()
	until(t, time.Minute, "5 more values of both machines", func() bool {
		return len(late.Truth(9)) >= at+5 && len(p.server.Truth(1)) >= other+5
	})
	assert.Equal(t, pid, s.pid(), "the gateway is another process")
	late.Stop()
	p.server.Stop()
	s.drained(20 * time.Second)
	s.stop()

	o := s.open()
	complete(t, o)
	assert.Equal(t, p.server.Truth(1), o.counters(t, "press-1"))
	// The answer that was under way when the machine was killed may not have
	// arrived.
	truth, got := late.Truth(9), o.counters(t, "press-9")
	if len(got) == len(truth)-1 {
		truth = append(truth[:at-1:at-1], truth[at:]...)
	}
	assert.Equal(t, truth, got)
	assert.Contains(t, o.stdout, `"machine":"press-9","point":"counter","level":"restricted","quality":"0x80`, "that the machine is not there is told too")
	t.Logf("%d values of the one, %d of the one that came late, 10 of them within %s of its start", len(o.counters(t, "press-1")), len(got), found.Round(100*time.Millisecond))
}

// pid is who holds the state folder.
func (s *site) pid() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "state", "lock"))
	require.NoError(s.t, err)
	return strings.TrimSpace(string(b))
}
