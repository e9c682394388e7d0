package sim_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/integration/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o sim.ModbusOptions) (*sim.Modbus, *modbus.ModbusClient) {
	t.Helper()
	plant, err := sim.StartModbus(o)
	require.NoError(t, err)
	t.Cleanup(plant.Stop)
	client, err := modbus.NewClient(&modbus.ClientConfiguration{URL: plant.URL(), Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, client.Open())
	t.Cleanup(func() { _ = client.Close() })
	return plant, client
}

func read(t *testing.T, c *modbus.ModbusClient, first, bytes uint16) []byte {
	t.Helper()
	b, err := c.ReadRawBytes(first, bytes, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	return b
}

// TestTruth: what the simulator says it gave out is what a client got.
func TestTruth(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1})
	assert.Empty(t, plant.Served("press-1", sim.Counter))
	for want := range uint32(3) {
		assert.Equal(t, want+1, binary.BigEndian.Uint32(read(t, c, 130, 4)))
	}
	_, err := c.ReadRegister(131, modbus.HOLDING_REGISTER) // half a counter counts nothing
	require.NoError(t, err)
	read(t, c, 130, 8) // both counters at once
	assert.Equal(t, []uint32{1, 2, 3, 4}, plant.Served("press-1", sim.Counter))
	assert.Equal(t, []uint32{1}, plant.Served("press-1", sim.PublicCounter))

	_, err = c.ReadRegister(90, modbus.HOLDING_REGISTER)
	assert.ErrorIs(t, err, modbus.ErrIllegalDataAddress)
	assert.ErrorIs(t, c.WriteRegister(120, 1), modbus.ErrIllegalFunction)
	assert.Equal(t, 1, plant.FunctionCodes()[6], "a write is refused, and remembered")
}

func TestPayload(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: -1})
	version := read(t, c, 499, 2)
	first := read(t, c, 500, sim.PayloadSize)
	assert.Equal(t, version, read(t, c, 499, 2))
	assert.Equal(t, []byte{0xD0, 0x83}, first[:2], "tag 16, an array of three")
	plain, err := plant.Open("press-1", first)
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(plain, plant.Canaries()[1]))
	for _, canary := range plant.Canaries() {
		assert.NotContains(t, string(first), string(canary))
		assert.GreaterOrEqual(t, len(canary), 8)
	}

	plant.NextPayload("press-1")
	assert.NotEqual(t, version, read(t, c, 499, 2))
	second := read(t, c, 500, sim.PayloadSize)
	assert.NotEqual(t, first, second)
	assert.Equal(t, [][]byte{first, second}, plant.Payloads("press-1"))

	plant.SetPlaintext("press-1", true)
	assert.True(t, bytes.HasPrefix(read(t, c, 500, sim.PayloadSize), plant.Canaries()[1]))
}

// TestPayloadOfEveryDay: whatever the version, the length stays.
func TestPayloadOfEveryDay(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{PayloadEvery: time.Nanosecond})
	for range 300 {
		_, err := plant.Open("press-1", read(t, c, 500, sim.PayloadSize))
		require.NoError(t, err)
	}
}

func TestFaults(t *testing.T) {
	plant, c := start(t, sim.ModbusOptions{Machines: 2})
	plant.Exception("press-1", 121, 125, 6)
	_, err := c.ReadRegister(121, modbus.HOLDING_REGISTER)
	assert.ErrorIs(t, err, modbus.ErrServerDeviceBusy)
	plant.Mend("press-1")
	plant.Border("press-1", 101)
	_, err = c.ReadRawBytes(100, 4, modbus.HOLDING_REGISTER)
	assert.ErrorIs(t, err, modbus.ErrIllegalDataAddress)
	read(t, c, 100, 2)
	read(t, c, 101, 2)
	plant.Dead("press-1")
	_, err = c.ReadRegister(120, modbus.HOLDING_REGISTER)
	assert.ErrorIs(t, err, modbus.ErrRequestTimedOut)
	require.NoError(t, c.SetUnitId(2))
	read(t, c, 120, 2)
	plant.HalfFrame()
	_, err = c.ReadRegister(120, modbus.HOLDING_REGISTER)
	assert.Error(t, err)
}

func TestYAML(t *testing.T) {
	plant, _ := start(t, sim.ModbusOptions{Machines: 3, Name: "mixer"})
	assert.Equal(t, []string{"mixer-1", "mixer-2", "mixer-3"}, plant.Names())
	text := plant.YAML("mixer-2")
	assert.Contains(t, text, "machine: mixer-2\n")
	assert.Contains(t, text, "unit_id: 2\n")
	assert.Contains(t, text, "connect: "+plant.URL()+"\n")
	assert.NotContains(t, text, "%!")
	assert.Equal(t, 10, strings.Count(text, "sensitivity: "))
	assert.Len(t, plant.Canaries(), 6)
	assert.Len(t, plant.PublicCanaries(), 3)
}
