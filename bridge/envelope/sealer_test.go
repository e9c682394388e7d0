package envelope

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newSealer(t testing.TB, pad bool) *Sealer {
	s, err := NewSealer(EpochConfig{
		Stream: Stream{"hall-2", "press-3", "restricted"}, Epoch: epoch(1, 1), Pad: pad,
		Recipients: []Recipient{identity(t, X25519).Recipient()}, Signer: Signer{"hall-2", key("hall-2")},
	})
	require.NoError(t, err)
	_, err = s.KeyFrame(1)
	require.NoError(t, err)
	return s
}

func TestSealRoundTrip(t *testing.T) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768P256, MLKEM768X25519} {
		for _, pad := range []bool{false, true} {
			id, other := identity(t, alg), identity(t, MLKEM768X25519)
			c := EpochConfig{
				Stream: Stream{"hall-2", "press-3", "restricted"}, Epoch: epoch(1, 1), Pad: pad,
				Recipients: []Recipient{other.Recipient(), id.Recipient()}, Signer: Signer{"hall-2", key("hall-2")},
			}
			s, err := NewSealer(c)
			require.NoError(t, err)
			k, err := s.KeyFrame(1 << 40)
			require.NoError(t, err)
			r := NewReader(ReaderOptions{Identities: []*Identity{id}})
			_, err = r.Read(&Message{Address: Address{c.Stream, KeyFrame, ""}, Epoch: c.Epoch, Sequence: 1 << 40, ContentType: TypeSigned, Body: k})
			require.NoError(t, err)
			for n, samples := range [][]Sample{extremes(), nil, extremes()[:1]} {
				sequence := uint64(1<<40 + 1 + n)
				b, err := s.Seal([]byte("before"), sequence, "press-3/", samples)
				require.NoError(t, err)
				require.True(t, bytes.HasPrefix(b, []byte("before")))
				out, err := r.Read(&Message{Address: Address{c.Stream, Data, ""}, Epoch: c.Epoch, Sequence: sequence, ContentType: TypeSealed, Body: b[6:]})
				require.NoError(t, err)
				require.Len(t, out, 1)
				assert.True(t, out[0].Sealed)
				requireSame(t, samples, out[0].Samples)
			}
		}
	}
}

func TestSealerGuardsItsNonce(t *testing.T) {
	s := newSealer(t, false)
	samples := extremes()
	_, err := s.Seal(nil, 1, "m/", samples)
	assert.Error(t, err, "the key frame's number")
	_, err = s.Seal(nil, 5, "m/", samples)
	require.NoError(t, err)
	for _, n := range []uint64{0, 1, 4, 5} {
		b, err := s.Seal([]byte("x"), n, "m/", samples)
		assert.Error(t, err)
		assert.Equal(t, "x", string(b))
	}
	_, err = s.KeyFrame(6)
	assert.Error(t, err)
	same, err := s.KeyFrame(1)
	require.NoError(t, err)
	assert.Equal(t, s.keyFrame, same)
	assert.Equal(t, uint64(1), s.Frames())

	big := []Sample{{Name: "x", Value: OfBytes(make([]byte, MaxBody))}}
	_, err = s.Seal(nil, 6, "m/", big)
	assert.ErrorContains(t, err, "over the")
	_, err = s.Seal(nil, 6, "m/", samples)
	assert.NoError(t, err, "a refused frame uses up no number")

	unready, err := NewSealer(s.config)
	require.NoError(t, err)
	_, err = unready.Seal(nil, 1, "m/", samples)
	assert.Error(t, err, "before the key frame")
}

func TestSealAllocatesNothing(t *testing.T) {
	s := newSealer(t, true)
	samples := extremes()
	dst := make([]byte, 0, MaxBody)
	n := uint64(1)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		n++
		var err error
		if dst, err = s.Seal(dst[:0], n, "press-3/", samples); err != nil {
			t.Fatal(err)
		}
	}))
	m := Message{Address: Address{Stream: s.config.Stream, Kind: Data}, Body: dst}
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.Digest() }))
}

func TestSealedHidesPlaintext(t *testing.T) {
	s := newSealer(t, false)
	b, err := s.Seal(nil, 2, "press-3/", []Sample{{Name: "ram-force", Value: OfText([]byte("canary-canary"))}})
	require.NoError(t, err)
	for _, word := range []string{"canary", "ram-force", "press-3"} {
		assert.NotContains(t, string(b), word)
	}
}

func TestSecretsHideThemselves(t *testing.T) {
	id := identity(t, MLKEM768X25519)
	s := newSealer(t, true)
	private, _ := id.key.Bytes()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, x := range []any{id, *id, s, *s, s.config.Signer} {
			text := fmt.Sprintf(verb, x)
			assert.Less(t, len(text), 200)
			assert.NotContains(t, text, fmt.Sprintf("%x", private[:4]))
			assert.NotContains(t, text, strings.Trim(fmt.Sprint(private[:4]), "[]"))
			assert.NotContains(t, text, strings.Trim(fmt.Sprint(s.key.key[:4]), "[]"))
		}
	}
}

func TestNewSealerRefuses(t *testing.T) {
	good := newSealer(t, true).config
	for what, change := range map[string]func(*EpochConfig){
		"no recipients":   func(c *EpochConfig) { c.Recipients = nil },
		"empty recipient": func(c *EpochConfig) { c.Recipients = []Recipient{{}} },
		"too many":        func(c *EpochConfig) { c.Recipients = make([]Recipient, maxRecipients+1) },
		"other gateway":   func(c *EpochConfig) { c.Signer.Gateway = "hall-1" },
		"no key":          func(c *EpochConfig) { c.Signer.Key = nil },
		"no machine":      func(c *EpochConfig) { c.Stream.Machine = "" },
		"odd name":        func(c *EpochConfig) { c.Stream.Machine = "\xff" },
	} {
		c := good
		change(&c)
		_, err := NewSealer(c)
		assert.Error(t, err, what)
	}
}

func TestSealerIsDue(t *testing.T) {
	a, b, c := identity(t, X25519).Recipient(), identity(t, P256).Recipient(), identity(t, X25519).Recipient()
	begin := time.Unix(1_785_000_000, 0)
	for _, d := range []time.Duration{0, 15 * time.Minute, time.Second, 40 * time.Minute, 5 * time.Hour} {
		s, err := NewSealer(EpochConfig{
			Stream: Stream{"hall-2", "press-3", "restricted"}, Epoch: epoch(1, 1), Recipients: []Recipient{a, b},
			Signer: Signer{"hall-2", key("hall-2")}, Time: begin, Life: d,
		})
		require.NoError(t, err)
		end := begin.Add(map[time.Duration]time.Duration{0: time.Hour, time.Second: MinLife, 5 * time.Hour: time.Hour}[d])
		if end.Equal(begin) {
			end = begin.Add(d)
		}
		assert.Equal(t, begin, s.Since())
		assert.False(t, s.Due(begin, []Recipient{b, a}))
		assert.False(t, s.Due(end.Add(-1), []Recipient{a, b, a}))
		assert.True(t, s.Due(end, []Recipient{a, b}))
		assert.False(t, s.Due(begin.Add(-time.Second), []Recipient{a, b}))
		assert.True(t, s.Due(begin.Add(-time.Hour), []Recipient{a, b}), "the clock was set back")
		for _, others := range [][]Recipient{{a}, {a, b, c}, {a, c}, nil} {
			assert.True(t, s.Due(begin, others))
		}
		s.frames = MaxFrames - 1
		assert.False(t, s.Due(begin, []Recipient{a, b}))
		s.frames++
		assert.True(t, s.Due(begin, []Recipient{a, b}))
	}
}
