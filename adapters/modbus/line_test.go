package modbus

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// onLine gives machines as the example's template has them.
func onLine(n int, period time.Duration) (all []*Machine) {
	for unit := 1; unit <= n; unit++ {
		m := &Machine{Name: fmt.Sprintf("hotrunner-%02d", unit), UnitID: uint8(unit)}
		for z := range uint16(8) {
			p := at("holding/200", "int16", period)
			p.Name = fmt.Sprintf("zone-%d", z+1)
			p.At.Offset += z
			m.Points = append(m.Points, p)
		}
		all = append(all, m)
	}
	return all
}

func TestCheckLine(t *testing.T) {
	spec := Spec{URL: "rtu-tcp://10.20.9.5:4001", Baud: 19200, Parity: EvenParity}
	assert.Empty(t, CheckLine(spec, onLine(39, 10*time.Second)))
	assert.Empty(t, CheckLine(spec, onLine(39, time.Second)))
	assert.Equal(t, []point.Problem{{
		Key:     "line",
		What:    "the line is asked for 161 % of its time at 19200 baud: 39 requests every 500ms take 804ms",
		Instead: "poll more slowly, raise the baud rate, or share the machines out over more lines",
	}}, CheckLine(spec, onLine(39, 500*time.Millisecond)))

	mixed := onLine(39, 2*time.Second)
	mixed[0].Points[7].Period = 10 * time.Millisecond
	spec.Baud = 0
	found := CheckLine(spec, mixed)
	require.Len(t, found, 1)
	assert.Contains(t, found[0].What, "1 requests every 10ms take 13ms, 39 requests every 2s take 803ms")

	spec.Baud = 9600
	assert.Len(t, CheckLine(spec, onLine(39, time.Second)), 1)
	all := onLine(2, time.Second)
	all[0].UnitID, all[1].UnitID = 0, 248
	found = CheckLine(spec, all)
	require.Len(t, found, 2)
	assert.Contains(t, found[0].What, "hotrunner-01: unit 0 is outside")
	assert.Equal(t, "unit_id", found[1].Key)
	assert.Empty(t, CheckLine(Spec{URL: "tcp://plc"}, onLine(40, 10*time.Millisecond)), "Modbus TCP has no line")
	assert.Empty(t, CheckLine(Spec{URL: "rtu:///dev/ttyUSB0"}, all), "said by Check")
}

func TestCheckSerial(t *testing.T) {
	line := func(baud int, parity string) *Spec {
		return &Spec{URL: "rtu-tcp://moxa:4001", Baud: baud, Parity: parity}
	}
	for _, s := range []*Spec{line(0, ""), line(300, "even"), line(115200, "none"), line(1_000_000, "odd")} {
		assert.Empty(t, s.Check())
	}
	for want, s := range map[string]*Spec{
		"baud: 100 baud is outside 300–1000000":       line(100, ""),
		"baud: -1 baud is outside":                    line(-1, ""),
		`parity: there is no parity "E"`:              line(0, "E"),
		"baud: Modbus TCP has no baud rate":           {URL: "tcp://plc", Baud: 9600},
		"parity: Modbus TCP has no parity":            {URL: "tcp://plc", Parity: "none"},
		"connect: the URL has no port":                {URL: "rtu-tcp://moxa"},
		"connect: the port is outside":                {URL: "rtu-tcp://moxa:0"},
		"connect: the URL has more than a host":       {URL: "rtu-tcp://moxa:4001/x"},
		"connect: rtu:// is understood but":           {URL: "rtu:///dev/ttyUSB0", Baud: 19200, Parity: "even"},
		"timeout: a timeout of -1ns is outside 0–1m;": {URL: "rtu-tcp://moxa:4001", Timeout: -1},
	} {
		found := s.Check()
		if assert.Len(t, found, 1, want) {
			assert.Contains(t, found[0].Key+": "+found[0].What+";", want)
		}
	}
}

func TestSerialTimings(t *testing.T) {
	for _, c := range []struct {
		spec                Spec
		char, gap, exchange time.Duration
	}{
		{Spec{}, 572916, 2005206, 29*572916 + 2*2005206}, // 19200 baud, even
		{Spec{Baud: 9600, Parity: OddParity}, 1145833, 4010415, 29*1145833 + 2*4010415},
		{Spec{Baud: 9600, Parity: NoParity}, 1041666, 3645831, 29*1041666 + 2*3645831},
		{Spec{Baud: 115200}, 95486, 1750 * time.Microsecond, 29*95486 + 2*1750*time.Microsecond},
	} {
		s := c.spec.serial()
		assert.Equal(t, c.char, s.char)
		assert.Equal(t, c.gap, s.gap)
		assert.Equal(t, c.exchange, s.exchange(Holding, 8))
	}
	s, err := New(Spec{URL: "rtu-tcp://moxa:4001"}, Options{})
	require.NoError(t, err)
	assert.Equal(t, 300*time.Millisecond, s.spec.Timeout)
}

// TestFrames are the examples of the Modbus Application Protocol 1.1b3, 6.3 and
// 6.1, in RTU frames.
func TestFrames(t *testing.T) {
	assert.Equal(t, []byte{0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87}, appendRequest(nil, 17, Holding, 107, 3))
	f, n, err := parseFrame([]byte{0x11, 0x03, 0x06, 0xAE, 0x41, 0x56, 0x52, 0x43, 0x40, 0x49, 0xAD, 0xFF})
	require.NoError(t, err)
	assert.Equal(t, 11, n)
	assert.Equal(t, frame{17, 3, []byte{0xAE, 0x41, 0x56, 0x52, 0x43, 0x40}}, f)
	f, n, err = parseFrame([]byte{0x0A, 0x81, 0x02, 0xB0, 0x53})
	require.NoError(t, err)
	assert.Equal(t, 5, n)
	assert.Equal(t, frame{10, 0x81, []byte{2}}, f)
	_, _, err = parseFrame([]byte{0x0A, 0x81, 0x02, 0xB0, 0x52})
	assert.ErrorIs(t, err, errChecksum)
	_, _, err = parseFrame([]byte{0x0A, 0x06, 0x02})
	assert.ErrorIs(t, err, errGarbage)
	_, _, err = parseFrame([]byte{0x0A, 0x03, 0xFC})
	assert.ErrorIs(t, err, errGarbage, "252 bytes of data are too many")
}

// FuzzFrame: whatever a line brings, a frame that is taken has its checksum, its
// length and a function of ours; and one that is not whole is waited for.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x11, 0x03, 0x06, 0xAE, 0x41, 0x56, 0x52, 0x43, 0x40, 0x49, 0xAD})
	f.Add([]byte{0x0A, 0x81, 0x02, 0xB0, 0x53})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := parseFrame(b)
		if err != nil || n == 0 {
			return
		}
		require.LessOrEqual(t, n, min(len(b), rtuLongest))
		again := []byte{got.unit, got.function}
		if got.function < 0x80 {
			again = append(again, byte(len(got.data)))
		}
		again = append(again, got.data...)
		crc := checksum(again)
		require.True(t, bytes.Equal(b[:n], append(again, byte(crc), byte(crc>>8))))
		_, early, err := parseFrame(b[:n-1])
		require.NoError(t, err)
		require.Zero(t, early)
	})
}

// TestDebts: what is owed, and by which answer it is settled.
func TestDebts(t *testing.T) {
	var strays atomic.Uint64
	l := newLine("", &Spec{Timeout: time.Second}, time.Minute, &strays)
	eight := debt{table: Holding, first: 200, count: 8}
	other := debt{table: Holding, first: 300, count: 8}
	l.owe(1, eight)
	assert.True(t, l.mixes(1, eight).IsZero(), "the same again does no harm")
	assert.False(t, l.mixes(1, other).IsZero())
	assert.True(t, l.mixes(2, other).IsZero(), "another unit's answer tells whose it is")
	assert.True(t, l.mixes(1, debt{table: Input, first: 300, count: 8}).IsZero())

	l.answered(1, eight)
	assert.Len(t, l.owed[1], 1, "it may have been the late one")
	l.answered(1, debt{table: Holding, first: 200, count: 1})
	assert.Empty(t, l.owed[1], "a unit answers in order")

	l.expiry = -1
	l.owe(1, eight)
	assert.True(t, l.mixes(1, other).IsZero(), "expired")
	assert.False(t, l.expects(1))
	assert.Equal(t, 1, l.part(1, whole(onLine(1, time.Second)[0].plan()[0].items)), "to be told apart costs nothing")
	for k := range uint16(100) {
		l.owe(1, debt{table: Holding, first: k, count: 1})
	}
	assert.Len(t, l.owed[1], mostOwed)
	l.owed = map[uint8][]debt{}

	// Bits come in whole bytes: five look like one.
	l.expiry = time.Minute
	l.owe(1, debt{table: Coil, first: 0, count: 5})
	assert.False(t, l.mixes(1, debt{table: Coil, first: 8, count: 1}).IsZero())
	assert.True(t, l.mixes(1, debt{table: Coil, first: 8, count: 9}).IsZero())

	b := whole(onLine(1, time.Second)[0].plan()[0].items)
	assert.Zero(t, l.part(1, b))
	l.owe(1, b.asDebt())
	assert.Equal(t, 1, l.part(1, b))
	l.owe(1, debt{table: Holding, first: 7, count: 1})
	assert.Equal(t, 2, l.part(1, b))
	assert.Zero(t, (*line)(nil).part(1, b))
}
