package sim

import (
	"fmt"
	"math"
	"time"
)

// machine is the physics of one machine, whatever the protocol that reads it.
type machine struct {
	name    string
	mixer   bool // it is not a press
	index   int
	start   time.Time
	payload *payload
	counts  map[string]*counter

	most      int // values kept of each point
	histories map[string]*history
}

func newMachine(name string, index int, start time.Time, every time.Duration, most int) *machine {
	m := &machine{
		name: name, index: index, start: start,
		payload: newPayload(name, start, every),
		counts:  map[string]*counter{Counter: {}, PublicCounter: {}},
		most:    most, histories: map[string]*history{},
	}
	m.payload.history = m.record("torque-log")
	return m
}

// The points that count how often they were read.
const (
	Counter       = "counter"
	PublicCounter = "public-counter"
)

// cycle is the time of one press stroke.
const cycle = 6 * time.Second

// phase is where in its stroke the machine is, from 0 to 1. Machines differ.
func (m *machine) phase(now time.Time) float64 {
	t := now.Sub(m.start) + time.Duration(m.index)*700*time.Millisecond
	return float64(t%cycle) / float64(cycle)
}

// state is 0 stopped, 1 running, 2 setup, 9 fault.
func (m *machine) state(now time.Time) uint16 {
	switch t := now.Sub(m.start) % (10 * time.Minute); {
	case t < 9*time.Minute:
		return 1
	case t < 9*time.Minute+30*time.Second:
		return 2
	default:
		return 0
	}
}

// force is in kN: a stroke, and a ripple on it.
func (m *machine) force(now time.Time) float32 {
	if m.state(now) != 1 {
		return 0
	}
	p := m.phase(now)
	stroke := math.Max(0, math.Sin(2*math.Pi*p))
	return float32(3900*stroke*stroke + 6*math.Sin(97*2*math.Pi*p) + 12)
}

// temperature is in °C: a slow drift around a level, and a warm-up.
func (m *machine) temperature(now time.Time) float64 {
	t := now.Sub(m.start).Seconds()
	return 48 - 26*math.Exp(-t/900) + 1.5*math.Sin(t/47+float64(m.index))
}

// energy is in Wh: about 30 kW since the start.
func (m *machine) energy(now time.Time) int64 {
	return 120_000_000 + int64(m.index)*1_000_000 + int64(now.Sub(m.start).Seconds()*30_000/3600)
}

func (m *machine) pumpOn(now time.Time) bool { return m.state(now) != 0 }

// programName is secret.
func (m *machine) programName() string {
	if m.mixer {
		return fmt.Sprintf("RYE-DOUGH-%02d-KF2209-R7", m.index)
	}
	return fmt.Sprintf("DOOR-PANEL-%02d-AX7731-R4", m.index)
}

// nameplate is public.
func (m *machine) nameplate() string {
	if m.mixer {
		return fmt.Sprintf("SIMULATED MIXER %d", m.index)
	}
	return fmt.Sprintf("SIMULATED PRESS %d", m.index)
}

// counter counts its readers and remembers which counts reached one.
type counter struct {
	next   uint32
	served []uint32
}
