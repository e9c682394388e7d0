package stream

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

func TestWithoutDecisionNothingLeaves(t *testing.T) {
	m := NewMachine("press-3", []Point{{Name: "force"}})
	m.Take([]point.Sample{{Value: point.OfInt(1)}, {Point: 7, Value: point.OfInt(1)}})
	assert.Empty(t, m.Drain(nil))
	assert.EqualValues(t, 2, m.Counts().Withheld)
}

func TestPassthrough(t *testing.T) {
	good, bad := payloadOf(t, 1), []byte("force 182.4 kN in plain text")
	t.Run("byte for byte", func(t *testing.T) {
		m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Passed})
		p := newPlant(t, m)
		p.take(m, point.OfBytes(good))
		good[len(good)-1]++ // it copies
		got := p.commit()
		good[len(good)-1]--
		require.Equal(t, []envelope.Kind{envelope.KeyFrame, envelope.Passthrough}, kinds(got))
		assert.Equal(t, good, got[1].Body)
		assert.Equal(t, "restricted-point", got[1].Address.Point)
		assert.Equal(t, "application/cose", got[1].ContentType)
		assert.EqualValues(t, 1, m.Counts().Passthrough)
	})
	t.Run("sealed where it is readable, and said once for each change", func(t *testing.T) {
		m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Passed})
		p := newPlant(t, m)
		events := 0
		for _, payload := range [][]byte{bad, bad, good, bad, bad} {
			p.take(m, point.OfBytes(payload))
			for _, e := range m.Events() {
				events++
				assert.Equal(t, "passthrough-not-ciphertext", e.Name)
				assert.NotContains(t, e.Text, "182")
			}
			for _, a := range p.commit() {
				assert.NotContains(t, string(a.Body), "182.4")
			}
		}
		assert.Equal(t, 2, events)
		assert.EqualValues(t, 4, m.Counts().Sealed)
		p.close()
		_, out := p.read()
		assert.Len(t, out, 5)
	})
	t.Run("held at a level that sends in clear", func(t *testing.T) {
		m := machine("press-3", map[string]policy.Treatment{"public": policy.Passed})
		p := newPlant(t, m)
		p.take(m, point.OfBytes(bad))
		assert.Empty(t, p.commit())
		assert.EqualValues(t, 1, m.Counts().Held)
		assert.Len(t, m.Events(), 1)
	})
	t.Run("held where the policy says so", func(t *testing.T) {
		m := NewMachine("press-3", []Point{{Name: "log", Passthrough: "cose"}})
		m.Decide([]policy.Decision{{Treatment: policy.Passed, Readable: policy.Withheld, Level: "restricted"}}, []bool{false})
		m.Take([]point.Sample{{Value: point.OfBytes(bad)}})
		assert.Empty(t, m.Drain(nil))
		assert.EqualValues(t, 1, m.Counts().Held)
	})
	t.Run("held where the connection falls short, and a bad quality goes", func(t *testing.T) {
		m := NewMachine("press-3", []Point{{Name: "log", Passthrough: "cose"}})
		decide := func(readable policy.Treatment) {
			m.Decide([]policy.Decision{{Treatment: policy.Passed, Readable: readable, Level: "restricted"}}, []bool{false})
		}
		decide(policy.Withheld)
		p := newPlant(t, m)
		for _, v := range []point.Value{point.OfBytes(bad), point.OfText(bad), point.OfFloat(182.4)} {
			p.take(m, v)
		}
		assert.Empty(t, p.commit())
		assert.EqualValues(t, 3, m.Counts().Held)
		events := m.Events()
		require.Len(t, events, 1)
		assert.Contains(t, events[0].Text, "held back")
		p.take(m, point.OfBytes(good))
		m.Take([]point.Sample{{Quality: point.BadDeviceFailure, Value: point.OfBytes(bad)}})
		assert.Equal(t, []envelope.Kind{envelope.KeyFrame, envelope.Data, envelope.Passthrough}, kinds(p.commit()))
		decide(policy.Sealed) // an exception
		p.take(m, point.OfBytes(bad))
		assert.Equal(t, []envelope.Kind{envelope.Data}, kinds(p.commit()))
	})
	t.Run("a bad quality has no payload", func(t *testing.T) {
		m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Passed})
		p := newPlant(t, m)
		m.Take([]point.Sample{{Quality: point.BadDeviceFailure, Value: point.OfBytes(good)}})
		assert.Equal(t, []envelope.Kind{envelope.KeyFrame, envelope.Data}, kinds(p.commit()))
		assert.Empty(t, m.Events())
		p.close()
		_, out := p.read()
		require.Len(t, out, 1)
		assert.EqualValues(t, point.BadDeviceFailure, out[0].Samples[0].Quality)
	})
}

func TestValueTooLarge(t *testing.T) {
	for _, treatment := range []policy.Treatment{policy.Sealed, policy.Clear, policy.Passed} {
		t.Run(treatment.String(), func(t *testing.T) {
			l := "restricted"
			if treatment == policy.Clear {
				l = "public"
			}
			m := machine("press-3", map[string]policy.Treatment{l: treatment})
			p := newPlant(t, m)
			huge := make([]byte, 3*envelope.MaxBody) // as clear text up to six times as much
			events := 0
			for _, v := range []point.Value{point.OfText(huge), point.OfText(huge), point.OfInt(1), point.OfBytes(huge)} {
				p.take(m, v)
				for _, e := range m.Events() {
					if e.Name == "value-too-large" {
						events++
					}
				}
				p.commit()
			}
			p.close()
			_, out := p.read()
			var bad, all int
			for _, d := range out {
				for _, s := range d.Samples {
					all++
					if s.Quality == uint32(point.BadEncodingLimitsExceeded) {
						bad++
						assert.Equal(t, envelope.NoValue, s.Value.Kind())
					}
				}
			}
			assert.Equal(t, 3, all, "the second one says nothing new")
			assert.Equal(t, 2, bad)
			assert.Equal(t, 2, events, "once for each change")
			assert.EqualValues(t, 3, m.Counts().Bad)
		})
	}
}

func TestEveryKindOfValue(t *testing.T) {
	values := []point.Value{
		point.OfBool(true), point.OfInt(-1), point.OfUint(1 << 63), point.OfFloat(182.4),
		point.OfText([]byte("C 4711")), point.OfBytes([]byte{0xff, 0}), point.OfTime(1_785_000_000_000_000_001),
	}
	for _, l := range []string{"public", "restricted"} {
		treatment := policy.Sealed
		if l == "public" {
			treatment = policy.Clear
		}
		m := machine("press-3", map[string]policy.Treatment{l: treatment})
		p := newPlant(t, m)
		for _, v := range values {
			m.Take([]point.Sample{p.sample(0, v)})
		}
		p.commit()
		p.close()
		_, out := p.read()
		require.Len(t, out, 1)
		require.Len(t, out[0].Samples, len(values))
		for i, v := range values {
			got := out[0].Samples[i]
			assert.Equal(t, v.Kind().String(), got.Value.Kind().String())
			assert.Equal(t, v.Data(), got.Value.Data())
			assert.Equal(t, v.Uint(), got.Value.Uint())
			assert.Equal(t, "kN", got.Unit)
			assert.Equal(t, "press-3/", out[0].Base)
		}
	}
}

// What leaves for other readers, or leaves again, goes out once at once.
func TestDecisionThatChangesSendsAgain(t *testing.T) {
	m := NewMachine("press-3", []Point{{Name: "state", Report: Report{OnChange: true}}})
	decide := func(d policy.Decision) { m.Decide([]policy.Decision{d}, []bool{false}) }
	took := func() int {
		m.Take([]point.Sample{{Value: point.OfInt(4)}})
		return len(m.Drain(nil))
	}
	sealed := policy.Decision{Treatment: policy.Sealed, Level: "restricted"}
	decide(sealed)
	assert.Equal(t, 1, took())
	assert.Equal(t, 0, took())
	decide(sealed)
	assert.Equal(t, 0, took(), "decided anew, and the same")
	decide(policy.Decision{Treatment: policy.Sealed, Level: "internal"})
	assert.Equal(t, 1, took())
	decide(policy.Decision{Treatment: policy.Withheld, Level: "internal"})
	assert.Equal(t, 0, took())
	decide(policy.Decision{Treatment: policy.Sealed, Level: "internal"})
	assert.Equal(t, 1, took())
	m.Reconnected()
	assert.Equal(t, 1, took())
}

func TestDrainKeepsWhatItGaveUntilTheNext(t *testing.T) {
	m := sealedMachine()
	one := []byte("first")
	m.Take([]point.Sample{{Value: point.OfText(one)}})
	pending := m.Drain(nil)
	copy(one, "xxxxx")
	for range 100 {
		m.Take([]point.Sample{{Value: point.OfText([]byte("second"))}})
	}
	require.Len(t, pending[0].lane.samples, 1)
	assert.Equal(t, "first", string(pending[0].lane.samples[0].Value.Data()))
}
