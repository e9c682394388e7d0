package modbus

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// lastSink keeps the last of each.
type lastSink struct {
	link    point.Link
	samples []point.Sample
}

func (s *lastSink) Take(_ context.Context, samples []point.Sample) error {
	s.samples = append([]point.Sample(nil), samples...)
	return nil
}
func (s *lastSink) Link(l point.Link)           { s.link = l }
func (s *lastSink) Describe(uint32, point.Meta) {}

// TestPanicIsOneMachinesFault: an error of our own at one machine puts that
// machine down, and its text stays out of the log.
func TestPanicIsOneMachinesFault(t *testing.T) {
	plant, err := sim.StartModbus(sim.ModbusOptions{Machines: 2})
	require.NoError(t, err)
	defer plant.Stop()
	var text bytes.Buffer
	s, err := New(Spec{URL: plant.URL()}, Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	require.NoError(t, err)
	var sinks [2]lastSink
	for i := range sinks {
		m := &Machine{UnitID: uint8(i + 1), Points: []Point{at("holding/120", "uint16", time.Second)}}
		require.NoError(t, s.Attach(point.Machine{Name: string(rune('a' + i)), Spec: m}, &sinks[i]))
	}
	session := newSession(t.Context(), s)
	defer session.close()
	session.timer = time.NewTimer(time.Hour)
	session.reconcile()
	session.machines[0].decoders = nil
	for _, m := range session.machines {
		session.guard(m, m.jobs[0])
	}
	assert.Equal(t, point.LinkDown, sinks[0].link.State)
	assert.Equal(t, point.BadCommunicationError, sinks[0].samples[0].Quality)
	assert.Equal(t, point.LinkUp, sinks[1].link.State)
	assert.True(t, sinks[1].samples[0].Quality.IsGood())
	assert.Contains(t, text.String(), "modbus.(*machine).take")
	assert.NotContains(t, text.String(), "index out of range")
}

// TestSilentUnitsCostATenth: the more units are silent, the more rarely each of
// them is tried.
func TestSilentUnitsCostATenth(t *testing.T) {
	s, err := New(Spec{URL: "tcp://127.0.0.1:1"}, Options{})
	require.NoError(t, err)
	session := newSession(t.Context(), s)
	for i := range 20 {
		m := &machine{wait: s.newWait(), told: true, up: i >= 10}
		m.wait.RandomizationFactor = 0
		session.machines = append(session.machines, m)
	}
	m := session.machines[0]
	assert.Equal(t, 2500*time.Millisecond, session.probeWait(m), "five times 0.5 s")
	for range 10 {
		session.probeWait(m)
	}
	assert.Equal(t, 100*time.Second, session.probeWait(m), "ten timeouts of 1 s in 100 s")
	for _, o := range session.machines {
		o.up = o != m
	}
	assert.Equal(t, 20*time.Second, session.probeWait(m), "one silent unit: no more than the back-off")
}
