package stream

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

func (p *plant) take(m *Machine, values ...point.Value) {
	for i, v := range values {
		m.Take([]point.Sample{p.sample(uint32(i), v)})
	}
}

func TestNumbersAreContiguous(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"public": policy.Clear, "restricted": policy.Sealed})
	p := newPlant(t, m)
	p.set.RekeyAfter = time.Second
	p.set.CheckpointEvery = time.Second
	for range 20 {
		p.take(m, point.OfInt(1), point.OfInt(2))
		p.commit()
	}
	p.close()
	next := map[string]uint64{}
	keyed := map[envelope.Epoch]bool{}
	seen := map[envelope.Kind]bool{}
	for i := range p.accepted {
		a := &p.accepted[i]
		l := a.Address.Stream.Level
		next[l]++
		assert.Equal(t, next[l], a.Sequence)
		seen[a.Address.Kind] = true
		switch {
		case a.Address.Kind == envelope.KeyFrame:
			keyed[a.Epoch] = true
		case a.Address.Kind == envelope.Data && l == "restricted":
			assert.True(t, keyed[a.Epoch], "a data frame before its key frame")
			assert.Equal(t, envelope.TypeSealed, a.ContentType)
		}
	}
	assert.Greater(t, len(keyed), 3)
	assert.Len(t, seen, 3)
	r, out := p.read()
	assert.Len(t, out, 40)
	for _, s := range r.Report() {
		assert.Empty(t, s.Gaps)
		assert.Equal(t, s.Highest, s.SignedThrough)
	}
}

func TestNothingCountsBeforeAccept(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	p.take(m, point.OfInt(1))
	p.build()
	require.Len(t, p.set.Built(), 2)
	p.set.Each(func(*envelope.Head, *envelope.Message) { t.Error("a head before anything was accepted") })
	_, err := p.set.Build(nil, p.now)
	require.ErrorIs(t, err, errNotAccepted)
	require.ErrorIs(t, p.set.Close(p.now), errNotAccepted)
	require.Len(t, p.set.Built(), 2)
	p.accept()
	p.set.Each(func(h *envelope.Head, key *envelope.Message) {
		assert.EqualValues(t, 2, h.Sequence)
		require.NotNil(t, key)
		assert.EqualValues(t, 1, key.Sequence)
	})

	p.take(m, point.OfInt(2))
	p.build()
	p.set.Each(func(h *envelope.Head, _ *envelope.Message) { assert.EqualValues(t, 2, h.Sequence) })
}

func TestPreambleHasNoKeyFrameOfAnEpochNotAccepted(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	p.take(m, point.OfInt(1))
	p.commit()
	p.set.RekeyAfter = time.Millisecond
	p.take(m, point.OfInt(2))
	p.build()
	p.set.Each(func(h *envelope.Head, key *envelope.Message) {
		assert.EqualValues(t, 1, h.Epoch.Number)
		assert.Nil(t, key, "only frames of the next epoch come behind this preamble")
	})
}

func TestCheckpointWhenDue(t *testing.T) {
	t.Run("after so many messages", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.set.CheckpointMessages, p.set.CheckpointEvery = 4, time.Hour
		var at []int
		for i := range 12 {
			p.take(m, point.OfInt(1))
			if p.commit()[0].Address.Kind == envelope.Checkpoint {
				at = append(at, i)
			}
		}
		assert.Equal(t, []int{3, 7, 11}, at, "key frame and three frames, then four each")
	})
	t.Run("after so much time, of a stream with data in every commit", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.set.CheckpointEvery = time.Second
		var at []int
		for i := range 12 {
			p.take(m, point.OfInt(1))
			if p.commit()[0].Address.Kind == envelope.Checkpoint {
				at = append(at, i)
			}
		}
		assert.Equal(t, []int{5, 10}, at)
	})
	t.Run("after so much time, of a silent stream, and then no more", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		var all []envelope.Kind
		for range 60 {
			all = append(all, kinds(p.commit())...)
		}
		assert.Equal(t, []envelope.Kind{envelope.Checkpoint}, all)
	})
}

func TestClosingCheckpointComesFirstAfterACrash(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	for range 3 {
		p.take(m, point.OfInt(1))
		p.commit()
	}
	before := p.accepted[0].Epoch
	p.start(p.recover(1))
	p.take(m, point.OfInt(2))
	got := p.commit()
	assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.KeyFrame, envelope.Data}, kinds(got))
	assert.Equal(t, before, got[0].Epoch)
	assert.EqualValues(t, 2, got[1].Epoch.Start)
	p.close()
	r, out := p.read()
	assert.Len(t, out, 4)
	require.Len(t, r.Report()[0].Epochs, 2)
	assert.True(t, r.Report()[0].Epochs[0].Closed)

	t.Run("of a stream without data too", func(t *testing.T) {
		p.start(p.recover(0))
		assert.Empty(t, p.commit(), "all was closed")
	})
}

// A keyless epoch carries loss records where nothing else is sent. What the
// level seals must never leave in it.
func TestLossRecords(t *testing.T) {
	lose := func(t *testing.T, p *plant, first, last uint64) []envelope.Message {
		t.Helper()
		id := envelope.Stream{Gateway: gateway, Machine: "press-3", Level: "restricted"}
		require.NoError(t, p.set.Lost([]Lost{{Stream: id, Epoch: p.accepted[0].Epoch, First: first, Last: last}}, "overflow", p.now))
		return p.accept()
	}
	t.Run("open", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		assert.Equal(t, []envelope.Kind{envelope.LossRecord}, kinds(lose(t, p, 2, 2)))
	})
	t.Run("closed by a clean end, and never opened since", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		p.close()
		p.start(p.recover(0))
		assert.Equal(t, []envelope.Kind{envelope.LossRecord}, kinds(lose(t, p, 2, 2)))
		secret := []byte("recipe 4711 secret")
		p.take(m, point.OfText(secret))
		got := p.commit()
		assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.KeyFrame, envelope.Data}, kinds(got))
		assert.Equal(t, envelope.TypeSealed, got[2].ContentType)
		for i := range p.accepted {
			assert.False(t, bytes.Contains(p.accepted[i].Body, secret), "message %d is readable", i)
		}
		p.close()
		r, out := p.read()
		assert.Len(t, out, 2)
		assert.Len(t, r.Report()[0].Losses, 1)
	})
	t.Run("in a commit that has just closed what a crash left open", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		p.start(p.recover(0))
		p.build() // a closing checkpoint, which a full outbox does not take without giving something up
		require.Equal(t, []envelope.Kind{envelope.Checkpoint}, kinds(p.set.Built()))
		got := lose(t, p, 2, 2)
		assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.LossRecord}, kinds(got))
		p.close()
		p.read()
		p.recover(0)
	})
	t.Run("together with Close", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		require.NoError(t, p.set.Close(p.now))
		got := lose(t, p, 2, 2)
		assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.LossRecord}, kinds(got))
		p.start(p.recover(0))
		p.commit()
		p.read()
	})
	t.Run("behind a level that nobody may read", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		p.config.Levels[1].Readers = nil
		p.start(p.recover(0))
		p.take(m, point.OfInt(1))
		_, err := p.set.Build(m.Drain(nil), p.now)
		require.ErrorIs(t, err, ErrNobody)
		lose(t, p, 2, 2)
		p.close()
		p.read()
	})
	t.Run("of a stream whose head was lost too", func(t *testing.T) {
		p := newPlant(t)
		id := envelope.Stream{Gateway: gateway, Machine: "press-9", Level: "restricted"}
		require.NoError(t, p.set.Lost([]Lost{{Stream: id, Epoch: envelope.Epoch{Start: 1}, First: 5, Last: 9}}, "damage", p.now))
		got := p.accept()
		assert.EqualValues(t, 10, got[0].Sequence)
		p.close()
	})
	t.Run("very many", func(t *testing.T) {
		m := sealedMachine()
		p := newPlant(t, m)
		p.take(m, point.OfInt(1))
		p.commit()
		id := envelope.Stream{Gateway: gateway, Machine: "press-3", Level: "restricted"}
		var lost []Lost
		for i := range uint64(5000) {
			lost = append(lost, Lost{Stream: id, Epoch: p.accepted[0].Epoch, First: 10 + 3*i, Last: 11 + 3*i})
		}
		require.NoError(t, p.set.Lost(lost, "overflow", p.now))
		assert.LessOrEqual(t, len(p.accept()), MaxLost)
		r, _ := p.read()
		l := r.Report()[0].Losses
		assert.EqualValues(t, 10, l[0].First)
		assert.EqualValues(t, 11+3*4999, l[len(l)-1].Last)
	})
}

func TestLevelThatSwitchesGetsANewEpoch(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	p.take(m, point.OfInt(1))
	p.commit()
	p.set.Levels[1].Send = policy.SendClear
	p.take(m, point.OfInt(7))
	_, err := p.set.Build(m.Drain(nil), p.now)
	require.ErrorIs(t, err, errDecidedSealed, "what was decided before is not sent by what came later")
	p.accept()
	m.Decide(m.Decisions(), []bool{true})
	p.take(m, point.OfInt(2))
	got := p.commit()
	assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.Data}, kinds(got))
	assert.Equal(t, envelope.TypeClear, got[1].ContentType)
	assert.EqualValues(t, 2, got[1].Epoch.Number)
	p.set.Levels[1].Send = policy.SendSealed
	m.Decide(m.Decisions(), []bool{false})
	p.take(m, point.OfInt(3))
	got = p.commit()
	assert.Equal(t, []envelope.Kind{envelope.Checkpoint, envelope.KeyFrame, envelope.Data}, kinds(got))
	assert.Equal(t, envelope.TypeSealed, got[2].ContentType)
	p.close()
	_, out := p.read()
	assert.Len(t, out, 3)
}

func TestRekey(t *testing.T) {
	m := sealedMachine()
	for name, change := range map[string]func(*Config){
		"by age":    func(c *Config) { c.RekeyAfter = time.Second },
		"by frames": func(c *Config) { c.RekeyFrames = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, m)
			change(&p.set.Config)
			epochs := map[envelope.Epoch]int{}
			for range 12 {
				p.take(m, point.OfInt(1))
				for _, a := range p.commit() {
					if a.Address.Kind == envelope.Data {
						epochs[a.Epoch]++
					}
				}
			}
			assert.Len(t, epochs, 3)
			p.close()
			p.read()
		})
	}
}

func TestRecipientsOnlySomeMachines(t *testing.T) {
	only := func(s string) []policy.Pattern {
		pattern, err := policy.ParsePattern(s)
		require.NoError(t, err)
		return []policy.Pattern{pattern}
	}
	c := Config{Levels: []Level{{Name: "restricted", Readers: []Reader{
		{Key: identities()[0].Recipient()},
		{Key: identities()[1].Recipient(), Only: only("press-*/*")},
	}}, {Name: "secret", Readers: []Reader{{Key: identities()[1].Recipient(), Only: only("oven-1/*")}}}}}
	assert.Len(t, c.Readers("press-3", "restricted"), 2)
	assert.Len(t, c.Readers("oven-1", "restricted"), 1)
	assert.Empty(t, c.Readers("press-3", "secret"))
	assert.Empty(t, c.Readers("press-3", "other"))
}

func TestErrorsOfOneStreamLeaveTheOthers(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Sealed, "secret": policy.Sealed, "unknown": policy.Sealed})
	p := newPlant(t, m)
	p.set.Levels = append(p.set.Levels, Level{Name: "secret"})
	p.take(m, point.OfInt(1), point.OfInt(2), point.OfInt(3))
	left, err := p.set.Build(m.Drain(nil), p.now)
	require.ErrorIs(t, err, ErrNobody)
	require.ErrorContains(t, err, `the policy has no level "unknown"`)
	assert.False(t, left)
	assert.Equal(t, []envelope.Kind{envelope.KeyFrame, envelope.Data}, kinds(p.accept()))
}

func TestMessageIDs(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"public": policy.Clear, "restricted": policy.Sealed})
	ids := map[[16]byte]bool{}
	run := func(secret byte) {
		p := newPlant(t, m)
		p.config.IDKey[0] = secret
		p.start(Heads{})
		for range 10 {
			p.take(m, point.OfInt(1), point.OfInt(2))
			p.commit()
		}
		p.start(p.recover(3))
		p.take(m, point.OfInt(1), point.OfInt(2))
		p.commit()
		p.close()
		for _, a := range p.accepted {
			assert.False(t, ids[a.ID], "two messages have one id")
			ids[a.ID] = true
		}
	}
	run(1)
	run(2) // the same streams, epochs and numbers under another secret
}

func TestChunks(t *testing.T) {
	text := func(n int, s string) point.Value { return point.OfText([]byte(strings.Repeat(s, n))) }
	for name, c := range map[string]struct {
		level  string
		values []point.Value
	}{
		"clear, many short":          {"public", repeat(3000, point.OfFloat(-1.7976931348623157e+308))},
		"clear, control characters":  {"public", repeat(20, text(30_000, "\x01"))},
		"clear, quotes":              {"public", repeat(20, text(30_000, `"`))},
		"clear, largest":             {"public", repeat(3, text(point.MaxValueSize, "\x01"))},
		"sealed, many short":         {"restricted", repeat(9000, point.OfInt(-1<<63))},
		"sealed, largest":            {"restricted", repeat(3, point.OfBytes(make([]byte, point.MaxValueSize)))},
		"sealed, more than a commit": {"restricted", repeat(150, point.OfBytes(make([]byte, point.MaxValueSize)))},
	} {
		t.Run(name, func(t *testing.T) {
			treatment := policy.Sealed
			if c.level == "public" {
				treatment = policy.Clear
			}
			m := machine("press-3", map[string]policy.Treatment{c.level: treatment})
			p := newPlant(t, m)
			p.set.Levels[1].Pad = true
			for _, v := range c.values {
				p.take(m, v)
			}
			pending := m.Drain(nil)
			for left := true; left; {
				var err error
				left, err = p.set.Build(pending, p.now)
				require.NoError(t, err)
				size := 0
				for _, b := range p.set.Built() {
					require.LessOrEqual(t, len(b.Body), envelope.MaxBody)
					size += len(b.Body)
				}
				require.Less(t, size, 2<<20, "one commit has to fit an outbox's segment")
				p.accept()
			}
			p.close()
			_, out := p.read()
			n := 0
			for _, d := range out {
				for _, s := range d.Samples {
					require.Equal(t, c.values[n].Data(), s.Value.Data())
					n++
				}
			}
			assert.Equal(t, len(c.values), n)
		})
	}
}

// A stream of more messages than a checkpoint can sign must not make a head that
// no start can read.
func TestManyMessagesOfOneStream(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Passed})
	p := newPlant(t, m)
	payload := payloadOf(t, 1)
	for range 10_000 {
		p.take(m, point.OfBytes(payload))
	}
	p.commit()
	p.close()
	_, out := p.read()
	assert.Len(t, out, 10_000)
	p.recover(0)
}

func repeat(n int, v point.Value) (out []point.Value) {
	for range n {
		out = append(out, v)
	}
	return out
}
