package envelope

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A stream of very many epochs: those long over are let go, and nothing is
// missing, and nothing of them is taken again.
func TestManyEpochs(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		p := newPlant(t)
		for n := range uint32(maxEpochs + 100) {
			p.begin(epoch(1, n+1))
			p.checkpoint(true)
		}
		o := ReaderOptions{}
		if trusted {
			o.Trust = p.trust()
		}
		r := NewReader(o)
		out, refusals := readAll(r, p.all)
		assert.Empty(t, refusals)
		assert.Equal(t, maxEpochs+100, len(out)) //nolint:testifylint // not the deliveries themselves, which are many
		a := r.Report()[0]
		assert.Empty(t, a.Gaps)
		assert.Zero(t, a.GivenUp)
		assert.LessOrEqual(t, len(a.Epochs), maxEpochs+1)

		again, refusals := readAll(r, p.all)
		assert.Empty(t, again)
		assert.Empty(t, refusals)
		late := p.all[0]
		late.Sequence = 9999
		_, err := r.Read(&late)
		assert.Equal(t, GivenUp, refusal(err).Class, "an old epoch that was let go")
	}
}

// A stream of which every second message is missing: each hole is told, the
// oldest of them by their number in the end.
func TestManyHoles(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	body := AppendClear(nil, "press-3/", p.samples(1))
	for p.head.Sequence < 2*maxRanges+4000 {
		p.put(Data, "", TypeClear, body)
		if len(p.head.Digests) == MaxDigests {
			p.checkpoint(false)
		}
	}
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: p.trust()})
	missing := uint64(0)
	for i := range p.all {
		if p.all[i].Address.Kind == Data && i%2 == 1 {
			missing++
			continue
		}
		_, err := r.Read(&p.all[i])
		require.NoError(t, err)
	}
	a := r.Report()[0]
	assert.NotZero(t, a.Settled)
	assert.NotZero(t, a.GivenUp)
	assert.Equal(t, missing, a.Missed+count(a.Gaps))
	assert.LessOrEqual(t, len(a.Gaps), maxRanges)
	assert.Zero(t, r.pending)
	for i := range 20 { // a message that comes after all is no delivery, and a checkpoint no clone
		out, _ := r.Read(&p.all[i])
		assert.Empty(t, out)
	}
	assert.Zero(t, r.Report()[0].Forged)
}

// Where the account is full no stream is begun, and those that are there go on.
func TestFullAccount(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	p.begin(epoch(1, 1))
	p.data(3)
	p.checkpoint(false)
	trust := p.trust()
	other := newPlant(t)
	other.signer, other.head.Stream.Gateway = Signer{"hall-1", key("hall-1")}, "hall-1"
	trust.Gateways["hall-1"] = GatewayKeys{{Public: key("hall-1").Public().(ed25519.PublicKey)}}
	r := NewReader(ReaderOptions{Trust: trust, Identities: []*Identity{id}, MaxAccount: 60_000})
	out, _ := readAll(r, p.all)
	require.Len(t, out, 1)
	refused := 0
	for n := range 200 {
		q := newPlant(t)
		q.head.Stream.Machine = fmt.Sprint("m-", n)
		q.begin(epoch(1, 1))
		q.checkpoint(false)
		_, refusals := readAll(r, q.all)
		for _, x := range refusals {
			require.Equal(t, GivenUp, x.Class)
			refused++
		}
	}
	assert.NotZero(t, refused)
	assert.Less(t, r.books, 70_000)
	for n := range uint32(20) {
		p.data(2)
		p.checkpoint(true)
		p.begin(epoch(1, n+2))
	}
	out, refusals := readAll(r, p.all[3:])
	assert.Empty(t, refusals)
	assert.Len(t, out, 20)
	for i := range out {
		require.NoError(t, p.right(&out[i]))
	}
	assert.Empty(t, r.Report()[0].Gaps)

	other.begin(epoch(1, 1))
	other.checkpoint(false)
	out, refusals = readAll(r, other.all)
	assert.Len(t, out, 1, "another gateway has its share")
	assert.Empty(t, refusals)
}

// What waits is given up from what anybody may have made, before what a recipient
// made; one number holds so many claims.
func TestGivesUpWhatAnybodyMayHaveMade(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	p.begin(epoch(1, 1))
	p.data(2)
	for _, now := range []bool{false, true} {
		r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, MaxPending: 200_000, Now: now})
		readAll(r, p.all[:2])
		for i := range 1000 {
			m := p.all[1]
			m.Address.Kind, m.ContentType, m.Body = Passthrough, "x/y", fmt.Append(make([]byte, 500), i)
			m.Sequence += uint64(i % 3)
			_, err := r.Read(&m)
			require.NoError(t, err)
		}
		assert.NotZero(t, r.GivenUp())
		q := *p
		q.head, q.all = p.head.Clone(), slices.Clone(p.all)
		q.checkpoint(false)
		out, _ := readAll(r, q.all[2:])
		if now {
			assert.Empty(t, out, "it was given before")
		} else {
			require.Equal(t, []uint64{2}, sequences(out))
			require.NoError(t, q.right(&out[0]))
		}
		assert.Empty(t, r.Report()[0].Gaps)
	}
}

func TestReuse(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	for _, o := range []ReaderOptions{{}, {Now: true}, {Trust: p.trust()}, {Trust: p.trust(), Now: true}} {
		o.Identities, o.Reuse = []*Identity{id}, true
		r := NewReader(o)
		n := 0
		for i := range p.all {
			out, err := r.Read(&p.all[i])
			require.NoError(t, err)
			for k := range out {
				require.NoError(t, p.right(&out[k]))
				n++
			}
		}
		assert.Equal(t, 6, n)
	}
	s := newSealer(t, true)
	r := NewReader(ReaderOptions{Identities: []*Identity{id}, Reuse: true})
	want := extremes()
	c := s.config
	c.Recipients = []Recipient{id.Recipient()}
	s, err := NewSealer(c)
	require.NoError(t, err)
	body, err := s.KeyFrame(1)
	require.NoError(t, err)
	m := Message{Address: Address{c.Stream, KeyFrame, ""}, Epoch: c.Epoch, Sequence: 1, ContentType: TypeSigned, Body: body}
	for n := range uint64(5) {
		_, err := r.Read(&m)
		require.NoError(t, err)
		m.Address.Kind, m.ContentType, m.Sequence = Data, TypeSealed, n+2
		m.Body, err = s.Seal(nil, n+2, "press-3/", want[n:])
		require.NoError(t, err)
		out, err := r.Read(&m)
		require.NoError(t, err)
		require.Len(t, out, 1)
		requireSame(t, want[n:], out[0].Samples)
	}
}

func TestStatementRefuses(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	for what, change := range map[string]func(*GatewayState){
		"another gateway": func(s *GatewayState) { s.Gateway = "hall-1" },
		"no number":       func(s *GatewayState) { s.Sequence = 0 },
		"no interval":     func(s *GatewayState) { s.Interval = 0 },
		"odd interval":    func(s *GatewayState) { s.Interval = time.Millisecond + 1 },
		"long interval":   func(s *GatewayState) { s.Interval = 25 * time.Hour },
		"clock":           func(s *GatewayState) { s.Clock = 3 },
		"audit":           func(s *GatewayState) { s.AuditSize = 0 },
		"head twice":      func(s *GatewayState) { s.Heads = append(s.Heads, s.Heads...) },
		"head of nothing": func(s *GatewayState) { s.Heads[0].Sequence = 0 },
		"odd head":        func(s *GatewayState) { s.Heads[0].Machine = "\xff" },
		"too many":        func(s *GatewayState) { s.Heads = make([]StreamHead, MaxHeads+1) },
	} {
		s := p.state()
		change(&s)
		_, err := SignStatement(p.signer, s)
		assert.Error(t, err, what)
	}
	s := p.state()
	s.Heads = nil
	for i := range MaxHeads { // the longest there can be
		name := fmt.Sprintf("%0256d", i)
		s.Heads = append(s.Heads, StreamHead{name, name, Epoch{Start: 1 << 63, Number: 1 << 31}, 1 << 63})
	}
	slices.Reverse(s.Heads)
	m, err := SignStatement(p.signer, s)
	require.NoError(t, err)
	_, err = NewReader(ReaderOptions{Trust: p.trust()}).Read(&m)
	require.NoError(t, err)
	again, err := ParseMessage(AppendMessage(nil, &m))
	require.NoError(t, err)
	assert.Equal(t, m, again)
	assert.Error(t, p.head.Note(&m), "it is no message of a stream")
}

func TestCatalogue(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	p.begin(epoch(1, 1))
	hidden := HiddenName([]byte("0123456789abcdef"), p.head.Stream, "recipe")
	assert.Len(t, hidden, 32)
	assert.NotEqual(t, hidden, HiddenName([]byte("0123456789abcdeg"), p.head.Stream, "recipe"))
	assert.NotEqual(t, hidden, HiddenName([]byte("0123456789abcdef"), p.head.Stream, "recipe2"))
	p.catalogue(Entry{Name: "recipe", ID: hidden, Unit: "kN"}, Entry{Name: "a", Texts: map[int64]string{3: "three"}})
	p.put(Passthrough, hidden, "application/jose", []byte{1})
	r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}})
	readAll(r, p.all)
	_, known := r.Entry(p.head.Stream, "recipe")
	assert.False(t, known, "not signed yet")
	p.checkpoint(false)
	out, _ := readAll(r, p.all[3:])
	require.Len(t, out, 2)
	require.Len(t, out[0].Catalogue, 2)
	e, known := r.Entry(p.head.Stream, out[1].Point)
	assert.True(t, known)
	assert.Equal(t, "recipe", e.Name)
	e, _ = r.Entry(p.head.Stream, "a")
	assert.Equal(t, "three", e.Texts[3])
	_, known = r.Entry(p.head.Stream, "b")
	assert.False(t, known)

	long := string(make([]byte, MaxName+1))
	for what, e := range map[string]Entry{
		"no name": {}, "long name": {Name: long}, "long unit": {Name: "a", Unit: long}, "long text": {Name: "a", Texts: map[int64]string{1: long}},
		"long tag": {Name: "a", Tags: map[string]string{long: ""}}, "not UTF-8": {Name: "a", Unit: "\xff"},
	} {
		_, err := AppendCatalogue(nil, "m/", []Entry{e})
		assert.Error(t, err, what)
	}
	_, err := AppendCatalogue(nil, "m/", []Entry{{Name: "a"}, {Name: "a"}})
	assert.ErrorContains(t, err, "twice")
	_, err = p.sealer.SealCatalogue(nil, 1, "m/", nil)
	assert.Error(t, err, "a number that was used")
}
