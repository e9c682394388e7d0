package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// entries gives what the catalogues among deliveries say, by name.
func entries(out []envelope.Delivery) map[string]envelope.Entry {
	all := make(map[string]envelope.Entry)
	for _, d := range out {
		for _, e := range d.Catalogue {
			all[e.Name] = e
		}
	}
	return all
}

func TestCatalogue(t *testing.T) {
	points := []Point{
		{Name: "state", Texts: map[int64]string{0: "stopped", -1: "fault"}},
		{Name: "energy", Unit: "Wh", Counter: "resets"},
		{Name: "shown", Texts: map[int64]string{1: "on"}},
	}
	m := NewMachine("press-3", points)
	m.Decide([]policy.Decision{{Level: "restricted"}, {Level: "restricted"}, {Treatment: policy.Clear, Level: "public"}}, []bool{false, false, true})
	m.Tag(map[string]string{"asset": "PR-0003"})
	p := newPlant(t, m)
	p.take(m, point.OfInt(0))
	m.Take([]point.Sample{p.sample(2, point.OfInt(1))})
	first := p.commit()

	p.close()
	_, out := p.read()
	assert.Equal(t, map[string]envelope.Entry{
		"state":  {Name: "state", Texts: map[int64]string{0: "stopped", -1: "fault"}, Tags: map[string]string{"asset": "PR-0003"}},
		"energy": {Name: "energy", Unit: "Wh", Tags: map[string]string{"asset": "PR-0003", "counter": "resets"}},
		"shown":  {Name: "shown", Texts: map[int64]string{1: "on"}},
	}, entries(out))
	for _, m := range first {
		assert.NotContains(t, string(m.Body), "PR-0003", "tags leave sealed only: nobody released them")
	}

	t.Run("again when it changes, and in each epoch", func(t *testing.T) {
		count := func(messages []envelope.Message) (n int) {
			for _, m := range messages {
				if m.Address.Kind == envelope.Data && m.Address.Stream.Level == "restricted" {
					n++
				}
			}
			return n
		}
		p := newPlant(t, m)
		p.take(m, point.OfInt(0))
		assert.Equal(t, 2, count(p.commit()), "catalogue and samples")
		m.Describe(1, "Wh") // nothing new
		p.take(m, point.OfInt(0))
		assert.Equal(t, 1, count(p.commit()))
		m.Describe(1, "kWh")
		p.take(m, point.OfInt(0))
		assert.Equal(t, 2, count(p.commit()))
		p.set.RekeyAfter = 1
		p.take(m, point.OfInt(0))
		assert.Equal(t, 2, count(p.commit()), "an epoch may have new recipients")
		p.close()
		_, out := p.read()
		assert.Equal(t, "kWh", entries(out)["energy"].Unit)
	})
}

// TestCatalogueTooLong holds that what a device or a file says at too great a
// length costs no sample.
func TestCatalogueTooLong(t *testing.T) {
	texts := make(map[int64]string)
	for i := range int64(2000) {
		texts[i] = strings.Repeat("x", 200)
	}
	m := NewMachine("press-3", []Point{{Name: "state", Texts: texts}, {Name: "b", Texts: map[int64]string{1: strings.Repeat("x", 300), 2: "\xff", 3: "fine"}}})
	m.Decide([]policy.Decision{{Level: "restricted"}, {Level: "restricted"}}, make([]bool, 2))
	p := newPlant(t, m)
	p.take(m, point.OfInt(1))
	p.commit()
	p.close()
	_, out := p.read()
	assert.Equal(t, map[string]envelope.Entry{"b": {Name: "b", Texts: map[int64]string{3: "fine"}}}, entries(out))
	assert.Len(t, out, 2)
}

// TestLargeCatalogue holds that a machine with many points gets them into its
// catalogue, in as many frames and commits as that takes.
func TestLargeCatalogue(t *testing.T) {
	points := make([]Point, 5000)
	decisions := make([]policy.Decision, len(points))
	for i := range points {
		points[i] = Point{Name: fmt.Sprintf("point-%d", i), Texts: map[int64]string{0: strings.Repeat("a", 200)}}
		decisions[i] = policy.Decision{Level: "restricted"}
	}
	m := NewMachine("press-3", points)
	m.Decide(decisions, make([]bool, len(points)))
	p := newPlant(t, m)
	p.set.CommitBytes = 256 << 10
	for range 8 {
		p.take(m, point.OfInt(1))
		p.commit()
	}
	p.close()
	r, out := p.read()
	assert.Len(t, entries(out), len(points))
	e, ok := r.Entry(envelope.Stream{Gateway: gateway, Machine: "press-3", Level: "restricted"}, "point-4999")
	assert.True(t, ok)
	assert.Equal(t, "point-4999", e.Name)
}

func TestHiddenNames(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Passed})
	p := newPlant(t, m)
	p.set.Levels[1].Hide = true
	p.set.NamesKey = make([]byte, 32)
	p.take(m, point.OfBytes(payloadOf(t, 1)))
	for _, a := range p.commit() {
		assert.NotContains(t, string(envelope.AppendMessage(nil, &a)), "restricted-point")
	}
	p.close()
	r, out := p.read()
	i := slices.IndexFunc(out, func(d envelope.Delivery) bool { return d.Kind == envelope.Passthrough })
	require.GreaterOrEqual(t, i, 0)
	assert.Len(t, out[i].Point, 32)
	e, ok := r.Entry(out[i].Stream, out[i].Point)
	require.True(t, ok)
	assert.Equal(t, "restricted-point", e.Name, "who may read the level learns the name")
}

func TestStatements(t *testing.T) {
	m := machine("press-3", map[string]policy.Treatment{"restricted": policy.Sealed, "public": policy.Clear})
	p := newPlant(t, m)
	digest := [32]byte{7}
	state := func() []envelope.Message {
		require.NoError(t, p.set.State(p.now, envelope.ClockSynchronised, stateInterval, digest))
		return p.accept()
	}
	state() // with no stream yet
	p.take(m, point.OfInt(1))
	m.Take([]point.Sample{p.sample(1, point.OfInt(2))})
	p.commit()
	state()
	p.take(m, point.OfInt(1))
	p.build()
	require.NoError(t, p.set.State(p.now, envelope.ClockPlausible, stateInterval, digest))
	built := p.accept()
	require.Equal(t, envelope.Statement, built[len(built)-1].Address.Kind)

	r, _ := p.read()
	g := r.Gateways()
	require.Len(t, g, 1)
	assert.EqualValues(t, 3, g[0].Statement.Sequence)
	assert.Equal(t, digest, g[0].Statement.Policy)
	assert.Equal(t, envelope.ClockPlausible, g[0].Statement.Clock)
	for _, s := range r.Report() {
		assert.NotZero(t, s.Stated, "%s: every stream is named, moved or not", s.Stream)
		assert.Empty(t, s.Withheld)
	}

	t.Run("the tail is cut off", func(t *testing.T) {
		r := envelope.NewReader(envelope.ReaderOptions{Trust: trust(), Identities: identities2()})
		for i := range p.accepted {
			if a := &p.accepted[i]; a.Address.Stream.Level != "restricted" || a.Sequence < 2 {
				_, err := r.Read(a)
				require.NoError(t, err)
			}
		}
		report := r.Report()
		at := slices.IndexFunc(report, func(s envelope.StreamReport) bool { return s.Stream.Level == "restricted" })
		assert.NotEmpty(t, report[at].Withheld)
	})

	t.Run("a restart goes on behind them", func(t *testing.T) {
		p.start(p.recover(0))
		p.take(m, point.OfInt(1))
		p.commit()
		state()
		r, _ := p.read()
		assert.EqualValues(t, 1, r.Gateways()[0].Statement.Sequence)
		assert.EqualValues(t, 2, r.Gateways()[0].Statement.Start)
	})
}

// TestManyHeads holds that each of more streams than a statement has room for is
// named, and that who moved is named first.
func TestManyHeads(t *testing.T) {
	const n = 3 * envelope.MaxHeads / 2
	machines := make([]*Machine, n)
	for i := range machines {
		machines[i] = machine(fmt.Sprintf("press-%d", i), map[string]policy.Treatment{"public": policy.Clear})
	}
	p := newPlant(t, machines...)
	for _, m := range machines {
		p.take(m, point.OfInt(1))
	}
	p.commit()
	state := func() []envelope.Message {
		require.NoError(t, p.set.State(p.now, envelope.ClockUnknown, stateInterval, [32]byte{}))
		return p.accept()
	}
	assert.Len(t, state(), 2, "all have moved")
	p.take(machines[7], point.OfInt(1))
	p.commit()
	named := make(map[string]bool)
	for i := range 2 {
		r := envelope.NewReader(envelope.ReaderOptions{Trust: trust()})
		messages := state()
		require.Len(t, messages, 1)
		_, err := r.Read(&messages[0])
		require.NoError(t, err)
		for _, s := range r.Report() {
			if s.Stated > 0 {
				named[s.Stream.Machine] = true
			}
		}
		if i == 0 {
			assert.True(t, named["press-7"])
		}
	}
	assert.Len(t, slices.Collect(maps.Keys(named)), n, "in two turns each stream is named")
}

// TestRevokedRecipient holds that who is taken out of a level cannot open the
// next epoch, and that the others notice nothing.
func TestRevokedRecipient(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	stays, goes := identities()[0], identities()[1]
	p.set.Levels[1].Readers = []Reader{{Key: stays.Recipient()}, {Key: goes.Recipient()}}
	p.take(m, point.OfInt(1))
	p.commit()
	p.set.Levels[1].Readers = []Reader{{Key: stays.Recipient()}}
	p.take(m, point.OfInt(2))
	p.commit()
	p.close()
	read := func(id *envelope.Identity) (values []int64, unopened uint64) {
		r := envelope.NewReader(envelope.ReaderOptions{Trust: trust(), Identities: []*envelope.Identity{id}})
		for i := range p.accepted {
			out, _ := r.Read(&p.accepted[i]) // a key frame for others is refused
			for _, d := range out {
				for _, s := range d.Samples {
					values = append(values, s.Value.Int())
				}
			}
		}
		assert.Empty(t, r.Report()[0].Gaps)
		return values, r.Report()[0].Unopened
	}
	values, unopened := read(stays)
	assert.Equal(t, []int64{1, 2}, values)
	assert.Zero(t, unopened)
	values, unopened = read(goes)
	assert.Equal(t, []int64{1}, values)
	assert.NotZero(t, unopened)
}

// TestHiddenNamesOfManyPoints holds that a catalogue is cut with the ids in it:
// one that does not fit a message would cost samples.
func TestHiddenNamesOfManyPoints(t *testing.T) {
	for _, pad := range []bool{false, true} {
		points := make([]Point, 8000)
		decisions := make([]policy.Decision, len(points))
		for i := range points {
			points[i] = Point{Name: fmt.Sprintf("p%d", i), Passthrough: "cose", ContentType: "application/cose"}
			decisions[i] = policy.Decision{Level: "restricted"}
		}
		m := NewMachine("press-3", points)
		m.Decide(decisions, make([]bool, len(points)))
		p := newPlant(t, m)
		p.set.NamesKey = make([]byte, 32)
		p.set.Levels[1].Hide, p.set.Levels[1].Pad = true, pad
		p.take(m, point.OfInt(1))
		p.commit()
		p.close()
		_, out := p.read()
		e := entries(out)
		require.Len(t, e, len(points))
		assert.NotEmpty(t, e["p7999"].ID)
	}
}

// TestNamesThatAreHiddenLater holds that ids come with the catalogue that says
// whose they are.
func TestNamesThatAreHiddenLater(t *testing.T) {
	m := NewMachine("press-3", []Point{{Name: "force"}, {Name: "recipe", Passthrough: "cose", ContentType: "application/cose"}})
	m.Decide([]policy.Decision{{Level: "restricted"}, {Level: "restricted"}}, []bool{false, false})
	p := newPlant(t, m)
	p.set.NamesKey = make([]byte, 32)
	p.take(m, point.OfInt(0))
	p.commit()
	p.set.Levels[1].Hide = true
	p.take(m, point.OfInt(1))
	p.commit()
	p.close()
	_, out := p.read()
	assert.NotEmpty(t, entries(out)["recipe"].ID)
}

// TestCatalogueThatIsLost holds that what gave messages up says again what they
// may have said.
func TestCatalogueThatIsLost(t *testing.T) {
	m := NewMachine("press-3", []Point{{Name: "state", Texts: map[int64]string{0: "stopped"}}})
	m.Decide([]policy.Decision{{Level: "restricted"}}, []bool{false})
	p := newPlant(t, m)
	p.take(m, point.OfInt(0))
	first := p.commit()
	require.NoError(t, p.set.Lost([]Lost{{Stream: first[1].Address.Stream, Epoch: first[1].Epoch, First: 2, Last: 2}}, "overflow", p.now))
	p.accept()
	p.take(m, point.OfInt(0))
	kept := len(p.accepted)
	p.commit()
	p.accepted = append([]envelope.Message{p.accepted[0]}, p.accepted[3:]...)
	assert.Greater(t, len(p.accepted), kept-2)
	r := envelope.NewReader(envelope.ReaderOptions{Trust: trust(), Identities: identities2()})
	p.close()
	for i := range p.accepted {
		_, _ = r.Read(&p.accepted[i])
	}
	e, ok := r.Entry(first[1].Address.Stream, "state")
	require.True(t, ok)
	assert.Equal(t, "stopped", e.Texts[0])
}

// TestStatementsOfAnotherName holds that a gateway that was renamed speaks of its
// own streams only, and not of those that its outbox still knows.
func TestStatementsOfAnotherName(t *testing.T) {
	m := sealedMachine()
	p := newPlant(t, m)
	p.take(m, point.OfInt(0))
	p.commit()
	p.close()
	heads := p.recover(0)
	p.config.Gateway, p.config.Signer.Gateway = "other", "other"
	p.start(heads)
	require.NoError(t, p.set.State(p.now, envelope.ClockSynchronised, stateInterval, [32]byte{}))
}
