package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestOPCUASlow: a server that gives less than was asked for is up, and the status
// says what it gives.
func TestOPCUASlow(t *testing.T) {
	t.Parallel()
	p := newMixers(t, sim.OPCUAOptions{}, func(p *mixers) {
		p.opcua.Be(sim.OPCUAMood{Publishing: 2 * time.Second, Queue: 1})
	})
	r := p.start()
	eventually(t, "the slow points", func() bool { return len(r.machine("mixer-1").Field.Slow) == 10 && r.machine("mixer-1").Error != "" })
	m := r.machine("mixer-1")
	assert.Equal(t, "up", m.State)
	assert.Contains(t, m.Error, "the server looks at public-counter, force, counter every 250ms and tells of it every 2s, and 250ms was asked for; it keeps 1 of the values in between and drops the others")
	require.Contains(t, m.Field.Slow, status.Slow{Point: "force", Sampling: 0.25, Publishing: 2, Queue: 1})
	assert.Zero(t, m.Field.Reconnects)
	r.stop()
}
