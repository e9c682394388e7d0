package modbus_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// The points of simulated machines as the tests map them.
const (
	force uint32 = iota
	state
	counter
	programName
	energy
	temperature
	pumpOn
	torqueLog
)

const period = 20 * time.Millisecond

func mapped(name, at string, typ modbus.Type) modbus.Point {
	a, err := modbus.ParseAddress(at)
	if err != nil {
		panic(err)
	}
	return modbus.Point{Name: name, At: a, Type: typ, Bit: -1, Period: period}
}

// press maps a simulated machine.
func press(unit uint8) *modbus.Machine {
	cdab, _ := modbus.ParseOrder("CDAB")
	m := &modbus.Machine{UnitID: unit, Points: []modbus.Point{
		force:       mapped("force", "40101", modbus.Float32),
		state:       mapped("state", "holding/120", modbus.Uint16),
		counter:     mapped("counter", "holding/130", modbus.Uint32),
		programName: mapped("program-name", "40201", modbus.String),
		energy:      mapped("energy", "reg/3204", modbus.Int64),
		temperature: mapped("temperature", "input/12", modbus.Int16),
		pumpOn:      mapped("pump-on", "coil/7", modbus.Bool),
		torqueLog:   mapped("torque-log", "holding/500", modbus.Bytes),
	}}
	m.Points[force].Order, m.Points[force].Unit = cdab, "kN"
	m.Points[programName].Bytes = 32
	m.Points[temperature].Scale = &modbus.Scale{Factor: 0.1}
	m.Points[torqueLog].Bytes = 240
	m.Points[torqueLog].ChangesWith = &modbus.Address{Table: modbus.Holding, Offset: 499}
	return m
}

// rig is a simulator and a source that reads it.
type rig struct {
	t      *testing.T
	sim    *sim.Modbus
	source *modbus.Source
	stop   func() // ends Run and waits for it
}

func newRig(t *testing.T, o sim.ModbusOptions) *rig {
	t.Helper()
	if o.PayloadEvery == 0 {
		o.PayloadEvery = -1
	}
	plant, err := sim.StartModbus(o)
	require.NoError(t, err)
	t.Cleanup(plant.Stop)
	return &rig{t: t, sim: plant, source: newSource(t, plant.URL())}
}

func newSource(t *testing.T, url string) *modbus.Source {
	t.Helper()
	s, err := modbus.New(modbus.Spec{URL: url, Timeout: 100 * time.Millisecond}, modbus.Options{})
	require.NoError(t, err)
	s.Hasten(10*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond)
	return s
}

func (r *rig) attach(name string, m *modbus.Machine) *sinktest.Recorder {
	r.t.Helper()
	rec := sinktest.New()
	require.NoError(r.t, r.source.Attach(point.Machine{Name: name, Spec: m}, rec))
	r.t.Cleanup(func() { clean(r.t, rec) })
	return rec
}

// clean checks what holds of every recording: the contract, and that a link that is
// up has no error.
func clean(t *testing.T, rec *sinktest.Recorder) {
	rec.Lock()
	defer rec.Unlock()
	assert.Empty(t, rec.Breaches)
	for _, l := range rec.Links {
		assert.Equal(t, l.State == point.LinkUp, l.Err == "", "%+v", l)
	}
}

// run runs the source until the test ends, and then checks that nothing but
// function codes 1 to 4 was ever asked for.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.source.Run(ctx) }()
	r.stop = func() {
		cancel()
		select {
		case err := <-done:
			assert.NoError(r.t, err)
			done <- nil
		case <-time.After(2 * time.Second):
			assert.Fail(r.t, "Run did not return within 2 s")
		}
	}
	r.t.Cleanup(func() {
		r.stop()
		for code := range r.sim.FunctionCodes() {
			assert.Contains(r.t, []byte{1, 2, 3, 4}, code)
		}
	})
}

func TestValues(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	rec := r.attach("press-1", press(1))
	r.run()
	rec.Until(t, "ten polls", func() bool { return rec.Good(counter, 0) >= 10 })
	r.stop()
	rec.Close()

	link := rec.Links[0]
	assert.Equal(t, point.LinkUp, link.State)
	assert.Equal(t, point.AnyConnection, link.Security)
	assert.Equal(t, "Modbus/TCP", link.Mechanism)
	assert.Equal(t, r.sim.Addr(), link.Peer)
	assert.Len(t, rec.Links, 1)
	assert.Equal(t, point.Meta{Unit: "kN"}, rec.Metas[force])

	var numbers []uint32
	for _, s := range rec.Of(counter, 0) {
		numbers = append(numbers, uint32(s.Value.Uint()))
	}
	served := r.sim.Served("press-1", sim.Counter)
	assert.Equal(t, served[:len(numbers)], numbers)
	assert.LessOrEqual(t, len(served)-len(numbers), 1, "the last answer may be lost to the end of Run")

	last := func(p uint32) point.Value { s := rec.Of(p, 0); return s[len(s)-1].Value }
	assert.Equal(t, "DOOR-PANEL-01-AX7731-R4", string(last(programName).Data()))
	assert.Equal(t, uint64(1), last(state).Uint())
	assert.True(t, last(pumpOn).Bool())
	assert.InDelta(t, 23.3, last(temperature).Float(), 0.2)
	assert.InDelta(t, 121_000_000, last(energy).Int(), 100)
	assert.Equal(t, float64(float32(last(force).Float())), last(force).Float())
	assert.InDelta(t, 2000, last(force).Float(), 2000)
	assert.Len(t, rec.Of(torqueLog, 0), 1, "read once, because its counter did not move")
	assert.Equal(t, [][]byte{last(torqueLog).Data()}, r.sim.Payloads("press-1"))
}

func TestPayloadFollowsItsCounter(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	rec := r.attach("press-1", press(1))
	r.run()
	for n := 1; n <= 5; n++ {
		rec.Until(t, "payload", func() bool { return rec.Good(torqueLog, 0) == n })
		r.sim.NextPayload("press-1")
	}
	r.stop()
	for _, s := range rec.Of(torqueLog, 0) {
		assert.True(t, slices.ContainsFunc(r.sim.Payloads("press-1"), func(b []byte) bool { return string(b) == string(s.Value.Data()) }))
		_, err := r.sim.Open("press-1", s.Value.Data())
		assert.NoError(t, err)
	}
}

func TestPayloadThatMovesMeanwhileIsNotTaken(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{PayloadEvery: time.Nanosecond}) // moves at each look
	rec := r.attach("press-1", press(1))
	r.run()
	rec.Until(t, "ten polls", func() bool { return rec.Good(counter, 0) >= 10 })
	r.stop()
	assert.Empty(t, rec.Of(torqueLog, 0))
	assert.Positive(t, r.source.Stats().Machines[0].Torn)
	assert.NotEmpty(t, r.sim.Payloads("press-1"))
}

func TestAttachAndDetachWhileRunning(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{Machines: 3})
	stays := r.attach("press-1", press(1))
	r.run()
	stays.Until(t, "values", func() bool { return stays.Good(counter, 0) > 1 })
	for range 10 {
		comes := r.attach("press-2", press(2))
		comes.Until(t, "values", func() bool { return comes.Good(counter, 0) > 1 })
		require.NoError(t, r.source.Detach("press-2"))
		comes.Close()
	}
	mark := stays.Mark()
	stays.Until(t, "values", func() bool { return stays.Good(counter, mark) > 3 })
	assert.Zero(t, r.source.Stats().Reconnects)
	assert.ErrorContains(t, r.source.Detach("press-2"), "no such machine")
	r.stop()
	stays.Close()
	var numbers []uint32
	for _, s := range stays.Of(counter, 0) {
		numbers = append(numbers, uint32(s.Value.Uint()))
	}
	assert.Equal(t, r.sim.Served("press-1", sim.Counter)[:len(numbers)], numbers)
}

// stuck is a Sink that blocks like one whose outbox is full.
type stuck struct {
	*sinktest.Recorder
	entered chan struct{}
}

func (s stuck) Take(ctx context.Context, _ []point.Sample) error {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestDetachBreaksABlockedSinkOff(t *testing.T) {
	r := newRig(t, sim.ModbusOptions{})
	s := stuck{sinktest.New(), make(chan struct{}, 1)}
	require.NoError(t, r.source.Attach(point.Machine{Name: "press-1", Spec: press(1)}, s))
	r.run()
	<-s.entered
	require.NoError(t, r.source.Detach("press-1"))
	rec := r.attach("press-1", press(1))
	rec.Until(t, "values", func() bool { return rec.Good(counter, 0) > 1 })
}

func TestConfigErrors(t *testing.T) {
	var config *point.ConfigError
	_, err := modbus.New(modbus.Spec{URL: "tls://plc"}, modbus.Options{})
	assert.ErrorAs(t, err, &config)
	s, err := modbus.New(modbus.Spec{URL: "tcp://127.0.0.1:1"}, modbus.Options{})
	require.NoError(t, err)
	assert.ErrorAs(t, s.Attach(point.Machine{Name: "a", Spec: "x"}, sinktest.New()), &config)
	assert.ErrorAs(t, s.Attach(point.Machine{Name: "a", Spec: (*modbus.Machine)(nil)}, sinktest.New()), &config)
	bad := press(1)
	bad.Points[1].Period = 0
	assert.ErrorContains(t, s.Attach(point.Machine{Name: "a", Spec: bad}, sinktest.New()), "a/state: a period of 0s is too short; 10ms is the least")
	require.NoError(t, s.Attach(point.Machine{Name: "a", Spec: press(1)}, sinktest.New()))
	assert.ErrorAs(t, s.Attach(point.Machine{Name: "a", Spec: press(1)}, sinktest.New()), &config)
}

func TestRunReturnsDuringARequest(t *testing.T) {
	asked := make(chan struct{}, 10)
	r := newRig(t, sim.ModbusOptions{OnRequest: func(sim.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}})
	s, err := modbus.New(modbus.Spec{URL: r.sim.URL(), Timeout: 4 * time.Second}, modbus.Options{})
	require.NoError(t, err)
	r.source = s
	r.sim.Dead("press-1")
	rec := r.attach("press-1", press(1))
	r.run()
	<-asked
	r.stop()
	rec.Close()
	r.sim.Stop() // ends the request
	<-s.Ended()
}

// TestRunReturnsDuringADial needs an address that swallows SYNs: a listener
// whose backlog is full.
func TestRunReturnsDuringADial(t *testing.T) {
	address, fill := blackHole(t)
	s := newSource(t, "tcp://"+address)
	require.NoError(t, s.Attach(point.Machine{Name: "a", Spec: press(1)}, sinktest.New()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	require.NoError(t, <-done)
	assert.Less(t, time.Since(begin), 2*time.Second)
	fill()
	<-s.Ended()
}

// dialing tells whether a dial to the address hangs.
func dialing(address string) bool {
	c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}
