package modbus_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestAnythingGoesWrong: all that can happen happens in any order. In the end all
// is well, and no value was ever another point's.
func TestAnythingGoesWrong(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			anythingGoesWrong(t, seed)
		})
	}
}

func anythingGoesWrong(t *testing.T, seed uint64) {
	r := newLine(t, sim.RTUOptions{Units: 4, Except: []int{}}, 50*time.Millisecond)
	r.source.OwedFor(time.Second)
	for unit := range uint8(4) {
		m := hotrunner(unit + 1)
		m.Reads.MaxRegisters = int(unit) + 1
		r.attach(m)
	}
	happenings := []func(*sim.RTULine, string){
		(*sim.RTULine).Fine, (*sim.RTULine).Fine, (*sim.RTULine).Late, (*sim.RTULine).WrongCRC, (*sim.RTULine).HalfFrame, (*sim.RTULine).OtherUnit,
		func(l *sim.RTULine, _ string) { l.DropConnections() },
	}
	r.run()
	random := rand.New(rand.NewPCG(1, seed))
	for range 8 {
		name := r.line.Names()[random.IntN(4)]
		for range random.IntN(5) {
			happenings[random.IntN(len(happenings))](r.line, name)
		}
		if name != "hotrunner-01" { // with single registers: only time can tell, and this one comes however late
			r.line.LateToSame(name)
		}
		rec := r.rec[name]
		mark := rec.Mark()
		rec.Until(t, "values", func() bool { return rec.Good(7, mark) > 0 })
	}
	for name, rec := range r.rec {
		mark := rec.Mark()
		rec.Until(t, "values of "+name, func() bool {
			return rec.Good(0, mark) > 1 && rec.Good(7, mark) > 1 && rec.Last().State == point.LinkUp
		})
	}
}

// TestLineAtItsSpeed measures a line as the example has it: 39 machines at 19200
// baud.
func TestLineAtItsSpeed(t *testing.T) {
	t.Parallel()
	r := newLine(t, sim.RTUOptions{Baud: 19200}, 300*time.Millisecond)
	var machines []*modbus.Machine
	for _, unit := range r.line.Units() {
		m := hotrunner(unit)
		for i := range m.Points {
			m.Points[i].Period = time.Second
		}
		machines = append(machines, m)
		r.attach(m)
	}
	require.Empty(t, modbus.CheckLine(modbus.Spec{URL: r.line.URL(), Baud: 19200}, machines))
	r.run()
	last := r.rec["hotrunner-40"]
	last.Until(t, "four polls", func() bool { return last.Good(7, 0) >= 4 })
	for _, m := range r.source.Stats().Machines {
		assert.Zero(t, m.Faults, m.Machine)
	}
	last.Lock()
	defer last.Unlock()
	all := last.Of(7, 0)
	t.Logf("the 39th machine of a cycle of 1 s was read %v after the last time", time.Duration(all[3].Time-all[2].Time).Round(time.Millisecond))
}
