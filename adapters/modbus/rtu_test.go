package modbus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// hotrunner maps a machine of the simulated line, as the example's template does.
func hotrunner(unit uint8) *modbus.Machine {
	m := &modbus.Machine{Name: fmt.Sprintf("hotrunner-%02d", unit), UnitID: unit}
	for z := 1; z <= sim.Zones; z++ {
		p := mapped(fmt.Sprintf("zone-%d", z), "holding/199", modbus.Int16)
		p.At.Offset += uint16(z)
		p.Scale, p.Unit, p.Period = &modbus.Scale{Factor: 0.1}, "°C", 40*time.Millisecond
		m.Points = append(m.Points, p)
	}
	return m
}

// lineRig is a simulated serial line and a source that reads it.
type lineRig struct {
	t      *testing.T
	line   *sim.RTULine
	source *modbus.Source
	rec    map[string]*sinktest.Recorder
	stop   func()
}

func newLine(t *testing.T, o sim.RTUOptions, timeout time.Duration) *lineRig {
	t.Helper()
	l, err := sim.StartRTULine(o)
	require.NoError(t, err)
	t.Cleanup(l.Stop)
	s, err := modbus.New(modbus.Spec{URL: l.URL(), Timeout: timeout, Baud: 115200, Parity: modbus.NoParity}, modbus.Options{})
	require.NoError(t, err)
	s.Hasten(10*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond)
	return &lineRig{t: t, line: l, source: s, rec: map[string]*sinktest.Recorder{}}
}

func (r *lineRig) attach(m *modbus.Machine) *sinktest.Recorder {
	r.t.Helper()
	rec := sinktest.New()
	require.NoError(r.t, r.source.Attach(point.Machine{Name: m.Name, Spec: m}, rec))
	r.rec[m.Name] = rec
	return rec
}

func (r *lineRig) attachAll() {
	for _, unit := range r.line.Units() {
		r.attach(hotrunner(unit))
	}
}

// run runs the source until the test ends, and then checks each value that came:
// it tells which unit and zone it is of.
func (r *lineRig) run() {
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
		for code := range r.line.FunctionCodes() {
			assert.Contains(r.t, []byte{1, 2, 3, 4}, code)
		}
		for name, rec := range r.rec {
			clean(r.t, rec)
			right(r.t, rec, name)
		}
	})
}

// right checks that each good sample has the value of its own unit and zone.
func right(t *testing.T, r *sinktest.Recorder, machine string) {
	r.Lock()
	defer r.Unlock()
	var unit int
	_, err := fmt.Sscanf(machine, "hotrunner-%d", &unit)
	require.NoError(t, err)
	for _, s := range r.Samples {
		if s.Quality.IsGood() {
			zone := int(s.Point)%sim.Zones + 1
			assert.Equal(t, float64(sim.ZoneTemperature(unit, zone))/10, s.Value.Float(), "%s zone %d", machine, zone)
		}
	}
}

func TestLineOf39Machines(t *testing.T) {
	r := newLine(t, sim.RTUOptions{}, 300*time.Millisecond)
	r.attachAll()
	r.run()
	require.Len(t, r.rec, 39)
	for name, rec := range r.rec {
		rec.Until(t, "three polls of "+name, func() bool { return rec.Good(sim.Zones-1, 0) >= 3 })
		rec.Look(func() {
			link := rec.Last()
			assert.Equal(t, "Modbus/RTU over TCP", link.Mechanism)
			assert.Equal(t, point.AnyConnection, link.Security)
			assert.Equal(t, point.LinkUp, link.State)
			assert.Len(t, rec.Links, 1)
		})
	}
	assert.Zero(t, r.source.Stats().Strays)
	assert.Zero(t, r.source.Stats().Reconnects)
}

// TestLateAnswers: one machine's answers come late again and again, in each way
// there is. No value is ever another point's, and the others stay up.
func TestLateAnswers(t *testing.T) {
	for name, happen := range map[string]func(*sim.RTULine, string){
		"before the next answer": (*sim.RTULine).Late,
		"before its own next":    (*sim.RTULine).LateToSame,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLine(t, sim.RTUOptions{Units: 4, Except: []int{}}, 250*time.Millisecond) // or a busy machine alone makes bad samples
			for unit := range uint8(4) {
				m := hotrunner(unit + 1)
				m.Reads.MaxRegisters = 2 // four requests whose answers look the same
				r.attach(m)
			}
			r.run()
			slow := r.rec["hotrunner-02"]
			for n := range 5 {
				mark := slow.Mark()
				slow.Until(t, "values", func() bool { return slow.Good(7, mark) > 1 })
				mark = slow.Mark()
				for range n {
					r.line.Fine("hotrunner-02") // so that it hits the others of a poll too
				}
				happen(r.line, "hotrunner-02")
				slow.Until(t, "down", func() bool { return len(slow.Of(7, mark)) > slow.Good(7, mark) })
			}
			mark := slow.Mark()
			slow.Until(t, "values", func() bool { return slow.Good(7, mark) > 1 && slow.Last().State == point.LinkUp })
			assert.GreaterOrEqual(t, r.source.Stats().Strays, uint64(5))
			for name, rec := range r.rec {
				if rec == slow {
					continue
				}
				rec.Look(func() {
					assert.Equal(t, point.LinkUp, rec.Last().State, name)
					assert.Len(t, rec.Of(0, 0), rec.Good(0, 0), "%s has no bad sample", name)
				})
			}
		})
	}
}

// TestLateAnswerOfSingleRegisters: no request of the machine has an answer of
// another length, so only time helps: here until another machine is asked.
func TestLateAnswerOfSingleRegisters(t *testing.T) {
	r := newLine(t, sim.RTUOptions{Units: 2}, 60*time.Millisecond)
	r.attach(hotrunner(2))
	r.source.OwedFor(300 * time.Millisecond)
	m := hotrunner(1)
	m.Reads.MaxRegisters = 1
	rec := r.attach(m)
	r.run()
	for n := range 3 {
		mark := rec.Mark()
		rec.Until(t, "values", func() bool { return rec.Good(7, mark) > 1 })
		mark = rec.Mark()
		for range 2 * n {
			r.line.Fine("hotrunner-01")
		}
		r.line.Late("hotrunner-01")
		rec.Until(t, "down", func() bool { return len(rec.Of(7, mark)) > rec.Good(7, mark) })
	}
	mark := rec.Mark()
	rec.Until(t, "values", func() bool { return rec.Good(7, mark) > 1 })
}

// TestNoiseCostsNoValue: an answer that is garbled, cut off or another unit's is
// asked for again at once.
func TestNoiseCostsNoValue(t *testing.T) {
	for name, happen := range map[string]func(*sim.RTULine, string){
		"wrong checksum": (*sim.RTULine).WrongCRC,
		"half a frame":   (*sim.RTULine).HalfFrame,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLine(t, sim.RTUOptions{Units: 3}, 60*time.Millisecond)
			r.attachAll()
			r.run()
			rec := r.rec["hotrunner-02"]
			for n := range 3 {
				mark := rec.Mark()
				rec.Until(t, "values", func() bool { return rec.Good(7, mark) > 1 })
				happen(r.line, "hotrunner-02")
				rec.Until(t, "a new connection", func() bool { return r.source.Stats().Reconnects == uint64(n+1) })
			}
			mark := rec.Mark()
			rec.Until(t, "values", func() bool { return rec.Good(7, mark) > 1 })
			rec.Lock()
			defer rec.Unlock()
			assert.Len(t, rec.Of(7, 0), rec.Good(7, 0), "no bad sample")
		})
	}
}

func TestAnswerOfAnotherUnit(t *testing.T) {
	r := newLine(t, sim.RTUOptions{Units: 3}, 60*time.Millisecond)
	r.attachAll()
	r.run()
	rec := r.rec["hotrunner-02"]
	rec.Until(t, "values", func() bool { return rec.Good(7, 0) > 1 })
	mark := rec.Mark()
	r.line.OtherUnit("hotrunner-02")
	rec.Until(t, "down", func() bool { return len(rec.Of(7, mark)) > rec.Good(7, mark) })
	rec.Until(t, "up", func() bool { return rec.Last().State == point.LinkUp })
	assert.EqualValues(t, 1, r.source.Stats().Strays)
}

func TestDeadUnitDoesNotStarveTheLine(t *testing.T) {
	r := newLine(t, sim.RTUOptions{Dead: []int{5}}, 100*time.Millisecond)
	r.source.Hasten(100*time.Millisecond, time.Second, time.Minute)
	r.attachAll()
	r.run()
	dead := r.rec["hotrunner-05"]
	dead.Until(t, "down", func() bool { return dead.Last().State == point.LinkDown && len(dead.Samples) == sim.Zones })
	dead.Look(func() {
		assert.Contains(t, dead.Last().Err, "unit 5 does not answer")
		assert.Equal(t, point.BadTimeout, dead.Samples[0].Quality)
	})
	before, began := r.line.Asked("hotrunner-05"), time.Now()
	marks := map[string]int{}
	for name, rec := range r.rec {
		marks[name] = rec.Mark()
	}
	for name, rec := range r.rec {
		if rec != dead {
			rec.Until(t, "15 polls of "+name, func() bool { return rec.Good(0, marks[name]) >= 15 })
			rec.Look(func() {
				assert.Len(t, rec.Of(0, 0), rec.Good(0, 0), "%s has no bad sample", name)
			})
		}
	}
	seconds := int(time.Since(began) / time.Second)
	assert.LessOrEqual(t, r.line.Asked("hotrunner-05")-before, 5+2*seconds, "in %d s in which each of the others was asked 15 times and more", seconds)
	r.line.Mend("hotrunner-05")
	dead.Until(t, "values", func() bool { return dead.Good(7, 0) > 1 })
}

func TestAttachAndDetachOnTheLine(t *testing.T) {
	r := newLine(t, sim.RTUOptions{Units: 3}, 300*time.Millisecond)
	stays := r.attach(hotrunner(1))
	r.run()
	stays.Until(t, "values", func() bool { return stays.Good(0, 0) > 1 })
	for range 5 {
		for unit := uint8(2); unit <= 3; unit++ {
			comes := r.attach(hotrunner(unit))
			comes.Until(t, "values", func() bool { return comes.Good(7, 0) > 0 })
		}
		require.NoError(t, r.source.Detach("hotrunner-02"))
		require.NoError(t, r.source.Detach("hotrunner-03"))
		r.rec["hotrunner-02"].Close()
		r.rec["hotrunner-03"].Close()
		mark := stays.Mark()
		stays.Until(t, "values", func() bool { return stays.Good(0, mark) > 1 })
	}
	assert.Zero(t, r.source.Stats().Reconnects)
	var config *point.ConfigError
	assert.ErrorAs(t, r.source.Attach(point.Machine{Name: "all", Spec: hotrunner(0)}, sinktest.New()), &config)
}

func TestRefusedRegisterOnTheLine(t *testing.T) {
	r := newLine(t, sim.RTUOptions{Units: 2}, 300*time.Millisecond)
	r.line.Exception("hotrunner-01", 203, 203, 2)
	rec := r.attach(hotrunner(1))
	r.run()
	rec.Until(t, "the others", func() bool { return rec.Good(7, 0) > 2 && len(rec.Of(3, 0)) > 0 })
	rec.Look(func() { assert.Equal(t, point.BadConfigurationError, rec.Of(3, 0)[0].Quality) })
	assert.Zero(t, r.source.Stats().Reconnects)
	r.line.Mend("hotrunner-01")
	rec.Until(t, "the point", func() bool { return rec.Good(3, 0) > 1 })
}

// TestLineEndsDuringARequest: neither a request nor the wait after it holds Run
// up.
func TestLineEndsDuringARequest(t *testing.T) {
	asked := make(chan struct{}, 1)
	r := newLine(t, sim.RTUOptions{Units: 1, Dead: []int{1}, OnRequest: func(sim.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}}, 30*time.Second)
	r.attach(hotrunner(1))
	r.run()
	<-asked
	begin := time.Now()
	r.stop()
	<-r.source.Ended()
	assert.Less(t, time.Since(begin), time.Second)
}
