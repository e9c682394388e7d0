package sim_test

import (
	"math"
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestHistory: what is recorded is what a client got, in order, and no more than
// was asked for.
func TestHistory(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1, Record: 5})
	began := time.Now()
	var forces []float64
	for range 17 {
		require.NoError(t, c.SetEncoding(modbus.BIG_ENDIAN, modbus.LOW_WORD_FIRST))
		f, err := c.ReadFloat32(100, modbus.HOLDING_REGISTER)
		require.NoError(t, err)
		forces = append(forces, float64(f))
	}
	h := plant.History("press-1", "force")
	assert.EqualValues(t, 17, h.Total)
	require.Len(t, h.Kept, 5)
	for i, g := range h.Kept {
		assert.Equal(t, forces[12+i], g.Value)
		assert.WithinRange(t, g.At, began, time.Now())
		assert.True(t, i == 0 || !g.At.Before(h.Kept[i-1].At))
	}

	require.NoError(t, c.SetEncoding(modbus.BIG_ENDIAN, modbus.HIGH_WORD_FIRST))
	raw, err := c.ReadRegister(12, modbus.INPUT_REGISTER)
	require.NoError(t, err)
	on, err := c.ReadCoil(7)
	require.NoError(t, err)
	energy, err := c.ReadUint64(3203, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	state, err := c.ReadRegister(120, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	read(t, c, 200, 32)
	read(t, c, 220, 10) // half of it is no sample
	read(t, c, 130, 4)
	for point, want := range map[string]any{
		"temperature": float64(int16(raw)) / 10, "pump-on": on, "energy": int64(energy), "state": uint64(state),
		"program-name": string(plant.Canaries()[0]), sim.Counter: uint64(1),
	} {
		h := plant.History("press-1", point)
		assert.EqualValues(t, 1, h.Total, point)
		require.Len(t, h.Kept, 1, point)
		assert.Equal(t, want, h.Kept[0].Value, point)
	}
	assert.Zero(t, plant.History("press-1", "nameplate").Total)
	assert.NotEqual(t, math.Float64bits(0), math.Float64bits(forces[0]))
	assert.Panics(t, func() { plant.History("press-1", "no such point") })
}

// TestHistoryOfPayloads: one counts where the counter before and after it is the
// same, and the machine was asked for nothing between it and the second.
func TestHistoryOfPayloads(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1, Record: 10})
	payload := func() []byte { return read(t, c, 500, sim.PayloadSize) }
	counter := func() { read(t, c, 499, 2) }
	total := func() uint64 { return plant.History("press-1", "torque-log").Total }

	payload()
	counter()
	assert.Zero(t, total(), "no counter before it")
	counter()
	plant.NextPayload("press-1")
	payload()
	counter()
	assert.Zero(t, total(), "it moved before")
	payload()
	plant.NextPayload("press-1")
	counter()
	assert.Zero(t, total(), "it moved after")
	payload()
	read(t, c, 130, 4)
	counter()
	assert.Zero(t, total(), "whoever gave up and began anew does not have it")
	got := payload()
	counter()
	counter()
	assert.EqualValues(t, 1, total())
	plant.SetPlaintext("press-1", true)
	counter()
	bare := payload()
	counter()
	h := plant.History("press-1", "torque-log")
	require.EqualValues(t, 2, h.Total)
	assert.Equal(t, got, h.Kept[0].Value)
	assert.False(t, h.Kept[0].Plain)
	assert.Equal(t, bare, h.Kept[1].Value)
	assert.True(t, h.Kept[1].Plain)
}

// TestNothingIsRecorded where it is not asked for.
func TestNothingIsRecorded(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{})
	read(t, c, 130, 4)
	assert.Panics(t, func() { plant.History("press-1", sim.Counter) })
}
