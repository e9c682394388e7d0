package modbus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

func TestIllegalRegisterIsLeftOut(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Load: 60})
	r.sim.Exception("press-1", 1017, 1017, 2)
	m := press(1)
	base := uint32(len(m.Points))
	for i := range uint16(60) {
		p := mapped("load-"+string(rune('a'+i)), "holding/0", modbus.Uint16)
		p.At.Offset = 1000 + i
		m.Points = append(m.Points, p)
	}
	const bad = 17
	rec := r.attach("press-1", m)
	r.run()
	rec.Until(t, "the refused point", func() bool { return len(rec.Of(base+bad, 0)) > 0 })
	mark := rec.Mark()
	rec.Until(t, "five more polls of all others", func() bool {
		for i := range uint32(len(m.Points)) {
			if i != base+bad && i != torqueLog && rec.Good(i, mark) < 5 {
				return false
			}
		}
		return true
	})
	rec.Look(func() {
		assert.Equal(t, point.BadConfigurationError, rec.Of(base+bad, 0)[0].Quality)
		assert.Contains(t, rec.Metas[base+bad].Status, "exception 2")
		assert.Contains(t, rec.Metas[base+bad].Status, "holding/1017")
	})
	assert.Equal(t, uint64(1), r.source.Stats().Machines[0].Refused)

	r.sim.Mend("press-1")
	rec.Until(t, "the point after its retry", func() bool { return rec.Good(base+bad, mark) > 2 })
	rec.Look(func() {
		assert.Empty(t, rec.Metas[base+bad].Status)
		assert.Empty(t, rec.Breaches)
	})
	assert.Zero(t, r.source.Stats().Machines[0].Refused)
}

// load maps so many of the simulator's further registers.
func load(n int) *modbus.Machine {
	m := &modbus.Machine{UnitID: 1}
	for i := range n {
		p := mapped(fmt.Sprintf("load-%d", i), "holding/1000", modbus.Uint16)
		p.At.Offset += uint16(i)
		m.Points = append(m.Points, p)
	}
	return m
}

// TestBorderIsKept: registers that are only refused together are read apart,
// with no point left out.
func TestBorderIsKept(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Load: 100})
	r.sim.Border("press-1", 1033)
	rec := r.attach("press-1", load(100))
	r.run()
	rec.Until(t, "three polls", func() bool { return rec.Good(0, 0) > 3 && rec.Good(99, 0) > 3 })
	rec.Lock()
	defer rec.Unlock()
	for _, s := range rec.Samples {
		assert.True(t, s.Quality.IsGood())
	}
	assert.Zero(t, r.source.Stats().Machines[0].Refused)
}

// TestRefusedGap: max_gap reaches over registers that the device refuses.
func TestRefusedGap(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	m := &modbus.Machine{UnitID: 1, Reads: modbus.Reads{MaxGap: 8}, Points: []modbus.Point{
		mapped("program-name", "holding/200", modbus.String), mapped("nameplate", "holding/220", modbus.String),
	}}
	m.Points[0].Bytes, m.Points[1].Bytes = 32, 24
	require.Len(t, m.Requests(), 1)
	rec := r.attach("press-1", m)
	r.run()
	rec.Until(t, "three polls", func() bool { return rec.Good(0, 0) > 3 && rec.Good(1, 0) > 3 })
	assert.Equal(t, uint64(1), r.source.Stats().Machines[0].Exceptions)
}

// TestEverythingRefused: a wrong table costs a bounded number of requests in a
// cycle, and every point says what is wrong in the end.
func TestEverythingRefused(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Load: 300})
	r.sim.Exception("press-1", 1000, 1249, 2)
	rec := r.attach("press-1", load(300))
	r.run()
	rec.Until(t, "the last points", func() bool { return r.source.Stats().Machines[0].Refused == 250 && rec.Good(299, 0) > 5 })
	rec.Lock()
	defer rec.Unlock()
	for i := range uint32(250) {
		assert.Contains(t, rec.Metas[i].Status, "exception 2")
	}
}

func TestManyPoints(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Load: 2500})
	rec := r.attach("press-1", load(2500))
	r.run()
	rec.Until(t, "two polls", func() bool { return rec.Good(2499, 0) > 1 })
	rec.Lock()
	defer rec.Unlock()
	assert.Equal(t, []int{1000, 1000, 500}, rec.Takes[:3])
}

func TestOverrunsAreSkippedAndCounted(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Load: 1})
	r.sim.Delay("press-1", 70*time.Millisecond)
	rec := r.attach("press-1", load(1))
	r.run()
	rec.Until(t, "five polls", func() bool { return rec.Good(0, 0) >= 5 })
	stats := r.source.Stats().Machines[0]
	assert.GreaterOrEqual(t, stats.Overruns, uint64(2*4), "of 20 ms, with answers after 70 ms, at least every third tick is skipped")
	assert.LessOrEqual(t, stats.Requests, uint64(7))
}

func TestOtherExceptionsAreTriedAgain(t *testing.T) {
	for code, quality := range map[byte]point.Quality{
		1: point.BadNotSupported, 3: point.BadOutOfRange, 4: point.BadDeviceFailure, 5: point.BadNoCommunication,
		6: point.BadNoCommunication, 8: point.BadDeviceFailure, 32: point.BadDeviceFailure,
		10: point.BadNoCommunication, 11: point.BadNoCommunication,
	} {
		r := newRig(t, sim.ModbusOptions{})
		r.sim.Exception("press-1", 120, 120, code)
		rec := r.attach("press-1", press(1))
		r.run()
		rec.Until(t, "the exception", func() bool { return len(rec.Of(state, 0)) > 0 })
		rec.Look(func() { assert.Equal(t, quality, rec.Of(state, 0)[0].Quality, "%d", code) })
		if code < 10 {
			rec.Until(t, "the others", func() bool { return rec.Good(counter, 0) > 3 && rec.Good(pumpOn, 0) > 3 })
		}
		r.sim.Mend("press-1")
		rec.Until(t, "the point", func() bool { return rec.Good(state, 0) > 0 })
		assert.Zero(t, r.source.Stats().Reconnects, "an exception is no reason to reconnect: %d", code)
		r.stop()
	}
}

func TestHalfFrame(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	rec := r.attach("press-1", press(1))
	r.run()
	rec.Until(t, "a poll", func() bool { return rec.Good(counter, 0) > 1 && rec.Good(torqueLog, 0) == 1 })
	before := rec.Mark()
	r.sim.HalfFrame()
	rec.Until(t, "a second connection", func() bool { return len(rec.Links) > 1 && rec.Last().State == point.LinkUp })
	mark := rec.Mark()
	rec.Until(t, "more", func() bool { return rec.Good(counter, mark) > 3 && rec.Good(torqueLog, before) == 1 })
	assert.Equal(t, uint64(1), r.source.Stats().Reconnects)
}

func TestServerRestart(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	rec := r.attach("press-1", press(1))
	r.run()
	rec.Until(t, "a poll", func() bool { return rec.Good(counter, 0) > 1 })
	r.sim.Stop()
	rec.Until(t, "down", func() bool { return rec.Last().State == point.LinkDown })
	mark := rec.Mark()
	rec.Until(t, "the bad samples", func() bool { return len(rec.Samples) >= 8 && rec.Samples[len(rec.Samples)-1].Quality.IsBad() })
	var n int
	rec.Look(func() {
		n = len(rec.Samples)
		for i := range uint32(8) {
			last := rec.Of(i, 0)
			assert.Equal(t, point.BadNotConnected, last[len(last)-1].Quality)
		}
		assert.Contains(t, rec.Last().Err, "connection refused")
	})

	require.NoError(t, r.sim.Start())
	rec.Until(t, "up", func() bool {
		return rec.Last().State == point.LinkUp && rec.Good(torqueLog, n) > 0 && rec.Good(counter, n) > 2
	})
	rec.Lock()
	defer rec.Unlock()
	assert.LessOrEqual(t, mark, n)
	bad := 0
	for _, s := range rec.Samples {
		if s.Quality.IsBad() {
			bad++
		}
	}
	assert.Equal(t, 8, bad, "one bad sample for each point on the change")
}

func TestDeviceAbsentAtStart(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	r.sim.Stop()
	rec := r.attach("press-1", press(1))
	r.run()
	rec.Until(t, "down", func() bool { return rec.Last().State == point.LinkDown && len(rec.Samples) == 8 })
	late := r.attach("late", press(1))
	late.Until(t, "down", func() bool { return late.Last().State == point.LinkDown && len(late.Samples) == 8 })
	require.NoError(t, r.sim.Start())
	rec.Until(t, "values", func() bool { return rec.Good(counter, 0) > 2 })
	late.Until(t, "values", func() bool { return late.Good(counter, 0) > 2 })
}

func TestDeadUnitLeavesTheOthersAlone(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Machines: 2})
	r.source.Hasten(200*time.Millisecond, time.Second, time.Minute)
	r.sim.Dead("press-1")
	dead, live := r.attach("press-1", press(1)), r.attach("press-2", press(2))
	r.run()
	dead.Until(t, "down", func() bool { return dead.Last().State == point.LinkDown && len(dead.Samples) == 8 })
	dead.Look(func() {
		assert.Equal(t, point.BadTimeout, dead.Samples[0].Quality)
		assert.Contains(t, dead.Last().Err, "unit 1 does not answer")
	})
	live.Until(t, "values", func() bool { return live.Good(counter, 0) > 20 })
	live.Look(func() {
		for _, l := range live.Links {
			assert.Equal(t, point.LinkUp, l.State)
		}
		for _, s := range live.Samples {
			assert.True(t, s.Quality.IsGood())
		}
		assert.Len(t, live.Of(torqueLog, 0), 1, "a connection given up for another unit's sake is no reason to read anew")
	})
	r.sim.Mend("press-1")
	dead.Until(t, "values", func() bool { return dead.Good(counter, 0) > 2 })
}
