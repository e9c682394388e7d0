package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestReloadAmongMany holds that one machine of 200, with 10,000 points in all,
// changes while no other one loses its connection or a value.
func TestReloadAmongMany(t *testing.T) {
	const machines, points = 200, 50
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		var err error
		p.sim, err = sim.StartModbus(sim.ModbusOptions{Machines: machines, Load: points})
		require.NoError(t, err)
		t.Cleanup(p.sim.Stop)
		delete(p.files, "machines/press-1.yaml")
		for i, name := range p.sim.Names() {
			p.files["machines/"+name+".yaml"] = manyYAML(name, i+1, p.sim.URL(), points)
		}
		p.files["gateway.yaml"] = strings.Replace(p.files["gateway.yaml"], "64MiB", "256MiB", 1)
	})
	r := p.start()
	r.more(2 * points)
	missed := func() (cycles, reconnects uint64) {
		for _, m := range r.Status().Machines {
			cycles += m.Field.LeftOut
			reconnects += m.Field.Reconnects
		}
		return cycles, reconnects
	}
	before, _ := missed()
	p.edit("machines/press-77.yaml", "poll: {normal: 1s}", "poll: {normal: 500ms}")
	start := time.Now()
	require.NoError(t, p.reload(r))
	t.Logf("10,000 points in 200 files: read, checked and in force after %v", time.Since(start).Round(time.Millisecond))
	r.more(3 * points)
	cycles, reconnects := missed()
	t.Logf("cycles missed by all: %d", cycles-before) // 0, unless the whole computer is late
	assert.Zero(t, reconnects)
	r.until("delivered", func(s status.Gateway) bool { return s.Outbox.Messages < 500 })
	r.stop()
	got := p.read()
	got.lossless(t)
	for _, name := range p.sim.Names() {
		p.whole(got, name, "counter")
	}
}

func manyYAML(name string, unit int, url string, points int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "fieldseal: machine/v1\nmachine: %s\nmodbus: {connect: %q, unit_id: %d, order: ABCD, timeout: 2s}\npoll: {normal: 1s}\npoints:\n", name, url, unit)
	fmt.Fprintln(&b, "  - {name: counter, at: holding/130, type: uint32}")
	for i := range points - 1 {
		fmt.Fprintf(&b, "  - {name: load-%d, at: holding/%d, type: uint16}\n", i, 1000+i)
	}
	return b.String()
}
