package sim_test

import (
	"testing"
	"time"

	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// lineClient is the client of others.
func lineClient(t *testing.T, l *sim.RTULine) *modbus.ModbusClient {
	t.Helper()
	c, err := modbus.NewClient(&modbus.ClientConfiguration{
		URL: "rtuovertcp://" + l.URL()[len("rtu-tcp://"):], Speed: 115200, Timeout: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, c.Open())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func startLine(t *testing.T, o sim.RTUOptions) *sim.RTULine {
	t.Helper()
	l, err := sim.StartRTULine(o)
	require.NoError(t, err)
	t.Cleanup(l.Stop)
	return l
}

func TestRTULine(t *testing.T) {
	l := startLine(t, sim.RTUOptions{Dead: []int{3}})
	assert.Len(t, l.Names(), 39)
	c := lineClient(t, l)
	for k, unit := range l.Units() {
		if unit == 3 {
			continue
		}
		require.NoError(t, c.SetUnitId(unit))
		got, err := c.ReadRegisters(200, sim.Zones, modbus.HOLDING_REGISTER)
		require.NoError(t, err)
		for z, v := range got {
			assert.EqualValues(t, sim.ZoneTemperature(int(unit), z+1), v)
		}
		assert.Equal(t, 1, l.Asked(l.Names()[k]))
	}
	_, err := c.ReadRegister(208, modbus.HOLDING_REGISTER)
	assert.ErrorIs(t, err, modbus.ErrIllegalDataAddress)
	for _, unit := range []uint8{3, 17, 41} {
		require.NoError(t, c.SetUnitId(unit))
		_, err = c.ReadRegister(200, modbus.HOLDING_REGISTER)
		assert.ErrorIs(t, err, modbus.ErrRequestTimedOut)
	}
}

// TestLibraryMixesAnswersUp is why adapters/modbus has RTU frames of its own. If
// it fails, the library is mended.
func TestLibraryMixesAnswersUp(t *testing.T) {
	l := startLine(t, sim.RTUOptions{Units: 1})
	c := lineClient(t, l)
	l.Late("hotrunner-01")
	_, err := c.ReadRegister(200, modbus.HOLDING_REGISTER)
	require.ErrorIs(t, err, modbus.ErrRequestTimedOut)
	for zone := 2; zone <= sim.Zones; zone++ {
		v, err := c.ReadRegister(199+uint16(zone), modbus.HOLDING_REGISTER)
		require.NoError(t, err)
		assert.EqualValues(t, sim.ZoneTemperature(1, zone-1), v, "the value of the register before, without an error")
	}
}
