package stream

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// opaque gives a machine with one point whose payloads have no structure.
func opaque(d policy.Decision, clear bool) *Machine {
	m := NewMachine("press-3", []Point{{Name: "log", Passthrough: ciphertext.Opaque, ContentType: "application/octet-stream", Origin: "a"}})
	d.Treatment, d.Level = policy.Passed, "restricted"
	m.Decide([]policy.Decision{d}, []bool{clear})
	return m
}

func noise(n uint64) point.Value {
	b, r := make([]byte, 64), rand.New(rand.NewPCG(n, 7))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return point.OfBytes(b)
}

func (m *Machine) give(values ...point.Value) Counts {
	before := m.counts
	for i, v := range values {
		m.Take([]point.Sample{{Time: int64(i + 1), Value: v}})
	}
	return Counts{
		Sealed: m.counts.Sealed - before.Sealed, Passthrough: m.counts.Passthrough - before.Passthrough,
		Held: m.counts.Held - before.Held, Probation: m.counts.Probation - before.Probation,
	}
}

func noises(from, n uint64) (out []point.Value) {
	for i := range n {
		out = append(out, noise(from+i))
	}
	return out
}

func TestProbation(t *testing.T) {
	text := point.OfText([]byte("the recipe is 40 % of one and 60 % of the other, at 182.4 degrees for ten minutes"))
	for name, c := range map[string]struct {
		decision             policy.Decision
		clear                bool
		probation, then, bad Counts
	}{
		"sealed while on probation":                {probation: Counts{Sealed: 15, Probation: 15, Passthrough: 1}, then: Counts{Passthrough: 4}, bad: Counts{Sealed: 1}},
		"nothing may be sealed into a clear level": {clear: true, probation: Counts{Held: 15, Probation: 15, Passthrough: 1}, then: Counts{Passthrough: 4}, bad: Counts{Held: 1}},
		"a connection that shows it":               {decision: policy.Decision{Readable: policy.Withheld, Probation: policy.Withheld}, probation: Counts{Held: 15, Probation: 15, Passthrough: 1}, then: Counts{Passthrough: 4}, bad: Counts{Held: 1}},
		"hold what is readable":                    {decision: policy.Decision{Readable: policy.Withheld}, probation: Counts{Sealed: 15, Probation: 15, Passthrough: 1}, then: Counts{Passthrough: 4}, bad: Counts{Held: 1}},
		"wrap":                                     {decision: policy.Decision{Wrap: true}, probation: Counts{Sealed: 16, Probation: 15}, then: Counts{Sealed: 4}, bad: Counts{Sealed: 1}},
		"wrap and hold":                            {decision: policy.Decision{Wrap: true, Readable: policy.Withheld}, probation: Counts{Sealed: 16, Probation: 15}, then: Counts{Sealed: 4}, bad: Counts{Held: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m := opaque(c.decision, c.clear)
			assert.Equal(t, c.probation, m.give(noises(0, 16)...))
			assert.Equal(t, c.then, m.give(noises(100, 4)...))
			assert.Equal(t, c.bad, m.give(text))
			assert.NotEmpty(t, m.Events())
		})
	}
}

// TestGuardsOutliveTheProcess holds that trust and distrust go over a restart,
// and only to the same point of the same device.
func TestGuardsOutliveTheProcess(t *testing.T) {
	trusted := opaque(policy.Decision{}, false)
	trusted.give(noises(0, 20)...)
	kept := trusted.Guards()

	next := opaque(policy.Decision{}, false)
	next.Remember(kept)
	assert.Equal(t, Counts{Sealed: 3, Probation: 3, Passthrough: 2}, next.give(noises(200, 5)...), "four good ones again, not sixteen")

	other := opaque(policy.Decision{}, false)
	other.points[0].Origin = "b"
	other.Remember(kept)
	assert.Equal(t, Counts{Sealed: 5, Probation: 5}, other.give(noises(200, 5)...))

	t.Run("and a reload", func(t *testing.T) {
		m := opaque(policy.Decision{}, false)
		m.Succeed(trusted)
		assert.EqualValues(t, 20, m.Counts().Taken)
		assert.Equal(t, Counts{Passthrough: 5}, m.give(noises(300, 5)...))
		m = opaque(policy.Decision{}, false)
		m.points[0].Origin = "b"
		m.Succeed(trusted)
		assert.Equal(t, Counts{Sealed: 5, Probation: 5}, m.give(noises(400, 5)...))
	})
}

// TestNoGuardPassesNothing holds that a guard that cannot be made is one that
// says no.
func TestNoGuardPassesNothing(t *testing.T) {
	m := NewMachine("press-3", []Point{{Name: "log", Passthrough: "rot13"}})
	m.Decide([]policy.Decision{{Treatment: policy.Passed, Level: "restricted"}}, []bool{false})
	assert.Equal(t, Counts{Sealed: 20}, m.give(noises(0, 20)...))
}
