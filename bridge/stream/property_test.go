package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// nonces holds what was sealed: a number twice in one epoch with two contents
// would be one nonce twice with one key.
type nonces map[string]string

func (n nonces) add(t require.TestingT, messages []envelope.Message) {
	for i := range messages {
		m := &messages[i]
		if m.ContentType != envelope.TypeSealed {
			continue
		}
		key := fmt.Sprint(m.Address.Stream, m.Epoch, m.Sequence)
		if was, used := n[key]; used {
			require.Equal(t, was, string(m.Body), "a nonce is used twice")
		}
		n[key] = string(m.Body)
	}
}

// Whatever happens between a sink and the outbox: what was accepted arrives
// once, right, and signed, and nothing is missing that nobody explains.
func TestSetProperty(t *testing.T) {
	identities()
	rapid.Check(t, func(t *rapid.T) {
		machines := []*Machine{
			machine("press-1", map[string]policy.Treatment{"public": policy.Clear, "restricted": policy.Sealed}),
			machine("press-2", map[string]policy.Treatment{"restricted": policy.Passed}),
		}
		p := newPlant(t, machines...)
		p.config.CheckpointMessages = rapid.IntRange(1, 8).Draw(t, "checkpoint messages")
		p.config.CheckpointEvery = time.Second
		p.config.RekeyFrames = uint64(rapid.IntRange(1, 6).Draw(t, "rekey frames"))
		p.config.RekeyAfter = 5 * time.Second
		p.start(Heads{})

		used := nonces{}
		var value uint64
		taken := map[string]int{}  // value → how often, of what is pending or built
		arrive := map[string]int{} // of what was accepted
		preamble := 0              // so many messages were accepted when it was written
		accept := func() {
			used.add(t, p.set.Built())
			p.accept()
			for k, n := range taken {
				arrive[k] += n
			}
			clear(taken)
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				k := rapid.IntRange(0, 1).Draw(t, "machine")
				for range rapid.IntRange(1, 4).Draw(t, "samples") {
					value++
					i := rapid.IntRange(0, 1).Draw(t, "point")
					v := point.OfUint(1<<63 + value)
					if k == 1 && rapid.Bool().Draw(t, "encrypted") {
						v = point.OfBytes(payloadOf(t, byte(value%15)))
					}
					if k == 1 {
						i = 0
					}
					machines[k].Take([]point.Sample{p.sample(uint32(i), v)})
					taken[fmt.Sprint(machines[k].Name(), v.Uint(), v.Data())]++
				}
			},
			"commit": func(*rapid.T) {
				p.build()
				accept()
			},
			"crash before the outbox had it": func(*rapid.T) {
				p.build()
				used.add(t, p.set.Built())
				clear(taken)
				p.start(p.recover(preamble))
			},
			"crash": func(*rapid.T) {
				p.build()
				accept()
				p.start(p.recover(preamble))
			},
			"lose": func(t *rapid.T) {
				if len(p.accepted) == 0 {
					return
				}
				// Of what never was: the sequence is far beyond.
				m := &p.accepted[rapid.IntRange(0, len(p.accepted)-1).Draw(t, "of")]
				p.build()
				require.NoError(t, p.set.Lost([]Lost{{m.Address.Stream, m.Epoch, 1 << 40, 1<<40 + 1}}, "overflow", p.now))
				accept()
			},
			"clean end": func(*rapid.T) {
				p.build()
				accept()
				p.close()
				p.start(p.recover(preamble))
			},
			"segment": func(*rapid.T) { preamble = len(p.accepted) },
			"time":    func(*rapid.T) { p.now = p.now.Add(time.Second) },
		})
		p.build()
		accept()
		p.close()

		r, out := p.read()
		for _, d := range out {
			require.Equal(t, envelope.Signed, d.Proof)
			if d.Kind == envelope.Passthrough {
				arrive[fmt.Sprint(d.Stream.Machine, 0, d.Payload)]--
			}
			for _, s := range d.Samples {
				require.Equal(t, d.Stream.Level == "restricted", d.Sealed)
				arrive[fmt.Sprint(d.Stream.Machine, s.Value.Uint(), s.Value.Data())]--
			}
		}
		for k, n := range arrive {
			require.Zero(t, n, "value %s", k)
		}
		for _, s := range r.Report() {
			require.Empty(t, s.Gaps)
			require.Zero(t, s.Pending)
			require.Zero(t, s.Forged)
			require.Equal(t, s.Highest, s.SignedThrough)
		}
	})
}

// Any run of messages lost to damage in the newest segment: the start does not
// fail, and receivers find each gap explained, and no forgery.
func TestHeadsPropertyDamage(t *testing.T) {
	identities()
	rapid.Check(t, func(t *rapid.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.config.RekeyFrames = uint64(rapid.IntRange(2, 8).Draw(t, "rekey frames"))
		p.config.CheckpointMessages = rapid.IntRange(2, 8).Draw(t, "checkpoint messages")
		p.start(Heads{})
		for i := range rapid.IntRange(2, 40).Draw(t, "commits") {
			m.Take([]point.Sample{p.sample(0, point.OfUint(uint64(i)))})
			p.commit()
		}
		preamble := rapid.IntRange(0, len(p.accepted)-2).Draw(t, "preamble")
		first := rapid.IntRange(preamble, len(p.accepted)-2).Draw(t, "first")
		last := rapid.IntRange(first, len(p.accepted)-2).Draw(t, "last")
		if preamble == 0 && rapid.Bool().Draw(t, "preamble too") {
			first = 0
		}

		var before, heads Heads
		for i := range p.accepted[:preamble] {
			require.NoError(t, before.Message(&p.accepted[i], false))
		}
		for _, h := range before.of {
			require.NoError(t, heads.State(h.Append(nil)))
		}
		left := append(append([]envelope.Message{}, p.accepted[:first]...), p.accepted[last+1:]...)
		for i := preamble; i < len(left); i++ {
			require.NoError(t, heads.Message(&left[i], false))
		}
		require.NotEmpty(t, heads.Lost())

		p.accepted = left
		p.start(heads)
		require.NoError(t, p.set.Lost(heads.Lost(), "damage", p.now))
		p.accept()
		m.Take([]point.Sample{p.sample(0, point.OfUint(4711))})
		p.commit()
		p.close()
		r := envelope.NewReader(envelope.ReaderOptions{Trust: trust(), Identities: identities2()})
		var out []envelope.Delivery
		for i := range p.accepted {
			d, err := r.Read(&p.accepted[i])
			require.NoError(t, err)
			out = append(out, d...)
		}
		report := r.Report()[0]
		require.Empty(t, report.Gaps)
		require.Zero(t, report.Forged, "%v", report.Forgeries)
		require.NotEmpty(t, out)
		require.EqualValues(t, 4711, out[len(out)-1].Samples[0].Value.Uint())
	})
}

func TestHeadsSkip(t *testing.T) {
	for _, n := range []uint64{3, 1 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := sealedMachine()
			p := newPlant(t, m)
			for range 3 {
				p.take(m, point.OfInt(1))
				p.commit()
			}
			heads := p.recover(0)
			id := p.accepted[0].Address.Stream
			heads.Skip(id, n)
			p.start(heads)
			require.NoError(t, p.set.Lost(heads.Lost(), "damage", p.now))
			p.accept()
			p.take(m, point.OfInt(2))
			p.commit()
			p.close()
			r, out := p.read()
			report := r.Report()[0]
			require.Empty(t, report.Gaps)
			require.Zero(t, report.Forged)
			require.Len(t, report.Losses, 1)
			if n == 3 {
				require.Len(t, out, 4, "what is left is signed")
				require.EqualValues(t, 5, report.Losses[0].First)
			}
			require.Equal(t, 4+n, report.Losses[0].Last)
		})
	}
}
