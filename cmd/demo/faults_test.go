package main

import (
	"bytes"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// fault is something that may go wrong between the machines and the recipient.
// Each judgement begins with a fresh one.
type fault struct {
	name  string
	wrong string // what the demo has to say
	hooks func() hooks
	check func(t *testing.T, r *result)
}

// samplesOf is a fault of single samples of one point.
func samplesOf(machine, point string, change func(s *envelope.Sample)) func() hooks {
	return func() hooks {
		return hooks{deliver: func(d *envelope.Delivery) {
			for i := range d.Samples {
				if s := &d.Samples[i]; d.Stream.Machine == machine && s.Name == point && s.Value.Kind() != envelope.NoValue {
					change(s)
				}
			}
		}}
	}
}

const valuesWrong = "values are not those that the machines gave out"

// faults are injected where the judging recipient takes what he reads.
func faults() []fault {
	nextFloat := func(s *envelope.Sample) {
		s.Value = envelope.OfFloat(math.Nextafter(s.Value.Float(), math.Inf(1)))
	}
	otherLetter := func(s *envelope.Sample) {
		b := bytes.Clone(s.Value.Data())
		b[len(b)-1] ^= 1
		s.Value = envelope.OfText(b)
	}
	wrong := func(t *testing.T, r *result) {
		assert.Positive(t, r.wrongValues)
		assert.Zero(t, r.Lost)
		assert.Zero(t, r.Duplicates)
	}
	// stale gives each value of a point one sample too late. All of them were
	// given out for that very point, and in order.
	stale := func(machine, point string) func() hooks {
		return func() hooks {
			var last envelope.Value
			return samplesOf(machine, point, func(s *envelope.Sample) {
				now := s.Value
				if last.Kind() != envelope.NoValue {
					s.Value = last
				}
				last = now
			})()
		}
	}
	return []fault{
		{"a float is off by one bit", valuesWrong, samplesOf("press-1", "force", nextFloat), wrong},
		{"a scaled number is off by one bit", valuesWrong, samplesOf("press-1", "temperature", nextFloat), wrong},
		{"a float of OPC UA is off by one bit", valuesWrong, samplesOf("mixer-1", "temperature", nextFloat), wrong},
		{"a sealed text", valuesWrong, samplesOf("press-1", "program-name", otherLetter), wrong},
		{"a clear text", valuesWrong, samplesOf("mixer-1", "nameplate", otherLetter), wrong},
		{"an integer becomes a float", valuesWrong, samplesOf("press-1", "state", func(s *envelope.Sample) {
			s.Value = envelope.OfFloat(float64(s.Value.Int()))
		}), wrong},
		{"stale values", valuesWrong, stale("press-1", "force"), wrong},
		{"stale values of OPC UA", valuesWrong, stale("mixer-1", "force"), wrong},
		{"two values of one frame change places", valuesWrong, func() hooks {
			return hooks{deliver: func(d *envelope.Delivery) {
				var at []int
				for i, s := range d.Samples {
					if s.Name == "force" || s.Name == "temperature" {
						at = append(at, i)
					}
				}
				if len(at) > 1 {
					d.Samples[at[0]].Value, d.Samples[at[1]].Value = d.Samples[at[1]].Value, d.Samples[at[0]].Value
				}
			}}
		}, wrong},
		{"the last sample of a frame is dropped", "not everything sealed was opened, samples were lost, not everything is signed", func() hooks {
			var sequence uint64
			return hooks{deliver: func(d *envelope.Delivery) {
				if d.Stream.Machine != "press-1" || d.Stream.Level != "restricted" || len(d.Samples) == 0 || sequence > 0 {
					return
				}
				sequence = d.Sequence
				d.Samples = d.Samples[:len(d.Samples)-1]
			}}
		}, func(t *testing.T, r *result) { assert.EqualValues(t, 1, r.Lost); assert.Zero(t, r.wrongValues) }},
		{"a sample comes twice", "not everything sealed was opened, samples came twice, not everything is signed", func() hooks {
			var sequence uint64
			return hooks{deliver: func(d *envelope.Delivery) {
				if d.Stream.Machine == "mixer-1" && d.Stream.Level == "internal" && len(d.Samples) > 0 && sequence == 0 {
					sequence = d.Sequence
					d.Samples = append(d.Samples, d.Samples[len(d.Samples)-1])
				}
			}}
		}, func(t *testing.T, r *result) { assert.EqualValues(t, 1, r.Duplicates); assert.Zero(t, r.wrongValues) }},
		{"a payload is changed", "a payload was changed, " + valuesWrong, func() hooks {
			return hooks{deliver: func(d *envelope.Delivery) {
				if d.Kind == envelope.Passthrough && d.Stream.Machine == "mixer-1" {
					d.Payload = bytes.Clone(d.Payload)
					d.Payload[100] ^= 1
				}
			}}
		}, nil},
		{"a payload does not arrive", "samples were lost, not everything is signed", func() hooks {
			return hooks{deliver: func(d *envelope.Delivery) {
				if d.Kind == envelope.Passthrough && d.Stream.Machine == "press-1" {
					d.Kind, d.Payload = envelope.Data, nil
				}
			}}
		}, func(t *testing.T, r *result) { assert.Positive(t, r.Lost) }},
		{"checkpoints are missing", "", func() hooks {
			return hooks{message: func(m *envelope.Message) bool {
				return m.Address.Kind != envelope.Checkpoint || m.Address.Stream.Machine != "press-1"
			}}
		}, func(t *testing.T, r *result) {
			assert.Contains(t, r.wrong(), "not everything is signed")
			assert.Less(t, r.GatewaySigned, r.Samples, "the unsigned ones are seen")
			assert.Zero(t, r.wrongValues)
			assert.Equal(t, r.Sealed, r.Opened)
		}},
	}
}

// TestFaultsAreSeen runs the demo once and judges it again with each fault.
func TestFaultsAreSeen(t *testing.T) {
	judged := func(p *plant, c *configs.Config, h hooks) *result {
		t.Helper()
		r, err := judge(p, c, h)
		require.NoError(t, err)
		return r
	}
	end := func(p *plant, c *configs.Config) {
		assert.Empty(t, judged(p, c, hooks{}).wrong(), "without a fault")
		for _, f := range faults() {
			t.Run(f.name, func(t *testing.T) {
				r := judged(p, c, f.hooks())
				if f.wrong != "" {
					assert.Equal(t, f.wrong, r.wrong())
				} else {
					assert.NotEmpty(t, r.wrong())
				}
				if f.check != nil {
					f.check(t, r)
				}
			})
		}
		t.Run("a secret in the log", func(t *testing.T) {
			log, err := os.OpenFile(p.path(logFile), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			secret, _ := p.canaries()
			_, err = log.Write(secret[0])
			require.NoError(t, err)
			require.NoError(t, log.Close())
			r := judged(p, c, hooks{})
			assert.Equal(t, 1, r.onLog)
			assert.Equal(t, "plaintext of sealed points in the gateway's log", r.wrong())
		})
	}
	_, err := show(t.Context(), flags{duration: 3500 * time.Millisecond, machines: 1}, io.Discard, hooks{ended: end})
	require.NoError(t, err)
}

// TestHeld lets a machine of each protocol give its log out unencrypted: it
// arrives sealed, and nothing of it is at the broker.
func TestHeld(t *testing.T) {
	bare := []string{"press-1", "mixer-1"}
	opened := map[string]uint64{}
	var given uint64
	r, err := show(t.Context(), flags{duration: 3500 * time.Millisecond, machines: 3}, io.Discard, hooks{
		started: func(p *plant) {
			p.press.SetPlaintext(bare[0], true)
			p.mixer.SetPlaintext(bare[1], true)
		},
		ended: func(p *plant, _ *configs.Config) {
			for _, machine := range bare {
				for _, g := range p.of(machine).History(machine, "torque-log").Kept {
					assert.True(t, g.Plain)
					given++
				}
			}
			r, err := again(p, false, hooks{})
			require.NoError(t, err)
			for _, machine := range bare {
				for _, a := range r.arrivals[machine+"/torque-log"] {
					assert.False(t, a.passed)
					assert.Contains(t, string(a.value.Data()), "TORQUE-LOG SECRET OF "+machine)
					opened[machine]++
				}
			}
		},
	})
	require.NoError(t, err)
	for _, machine := range bare {
		assert.Positive(t, opened[machine], machine)
	}
	assert.Positive(t, r.Held)
	assert.Equal(t, given, r.Held)
	assert.Equal(t, opened["press-1"]+opened["mixer-1"], r.Held)
	assert.Positive(t, r.Passthrough, "of the other machines")
	assert.True(t, r.PassthroughIdentical)
	assert.Zero(t, r.PlaintextSeen)
	assert.Zero(t, r.onDisk)
	assert.Zero(t, r.onLog)
	assert.Equal(t, "a device did not encrypt its payload", r.wrong())
}
