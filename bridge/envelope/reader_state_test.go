package envelope

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shelf is a Store in memory.
type shelf struct {
	state []byte
	err   error
}

func (s *shelf) Load() ([]byte, error) { return s.state, s.err }

func (s *shelf) Save(b []byte) error {
	s.state = slices.Clone(b)
	return s.err
}

// long is a stream with everything in it, and statements.
func long(t testing.TB, id *Identity) (*plant, []Message) {
	p := story(t, id.Recipient())
	p.statement(nil)
	p.checkpoint(true)
	p.begin(epoch(2, 2))
	p.catalogue(Entry{Name: "point-0", Unit: "kN", Texts: map[int64]string{1: "on"}})
	p.data(2)
	p.checkpoint(false)
	p.data(1)
	p.data(1)
	p.statement(nil)
	p.checkpoint(false)
	feed := slices.Clone(p.all)
	feed = slices.Insert(feed, 12, p.extra[0])
	return p, append(feed, p.extra[1])
}

// From each place on, another reader goes on: each delivery comes once, and the
// account at the end is as if there had been one reader.
func TestResume(t *testing.T) {
	id := identity(t, X25519)
	p, feed := long(t, id)
	feed[5], feed[9] = feed[9], feed[5] // some of it early, some late
	for _, now := range []bool{false, true} {
		o := ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, Now: now, Clock: func() time.Time { return time.Unix(0, p.now) }}
		whole := NewReader(o)
		want, _ := readAll(whole, feed)
		for cut := range feed {
			s := &shelf{}
			r, err := ResumeReader(o, s)
			require.NoError(t, err)
			var out []Delivery
			for i := range feed {
				if i == cut {
					require.NoError(t, r.Save())
					at := r.Resume()
					r, err = ResumeReader(o, s)
					require.NoError(t, err)
					require.Equal(t, s.state, r.appendState(nil), "one account, one form")
					for k := int(at); k < i; k++ {
						r.Mark(uint64(k))
						d, err := r.Read(&feed[k])
						require.NoError(t, err)
						out = append(out, d...)
					}
				}
				r.Mark(uint64(i))
				d, err := r.Read(&feed[i])
				require.NoError(t, err, "message %d after a cut at %d", i, cut)
				out = append(out, d...)
			}
			require.ElementsMatch(t, sequences(want), sequences(out), "cut at %d", cut)
			a, b := whole.Report(), r.Report()
			for i := range b {
				b[i].Duplicates, b[i].Unopened = a[i].Duplicates, a[i].Unopened
			}
			require.Equal(t, a, b, "cut at %d", cut)
			require.Equal(t, whole.Gateways(), r.Gateways())
			e, ok := r.Entry(p.head.Stream, "point-0")
			require.Equal(t, ok, cut <= len(feed) && e.Unit == "kN")

			require.NoError(t, r.Save())
			r, err = ResumeReader(o, s)
			require.NoError(t, err)
			again, refusals := readAll(r, feed)
			require.Empty(t, again, "a replay after the restart")
			require.Empty(t, refusals)
		}
	}
}

func TestResumeWithOthersTrust(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	s := &shelf{}
	o := ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}}
	r, err := ResumeReader(o, s)
	require.NoError(t, err)
	readAll(r, p.all[:9])
	require.NoError(t, r.Save())

	o.Trust = &Trust{Gateways: map[string]GatewayKeys{"hall-2": {{Public: key("another").Public().(ed25519.PublicKey)}}}}
	r, err = ResumeReader(o, s)
	require.NoError(t, err)
	out, refusals := readAll(r, p.all[9:])
	assert.Empty(t, out, "the key frame in the state is no longer believed")
	require.Len(t, refusals, 2)
	assert.Equal(t, BadSignature, refusals[0].Class)

	o = ReaderOptions{Trust: p.trust()} // and without the identity
	r, err = ResumeReader(o, s)
	require.NoError(t, err)
	out, _ = readAll(r, p.all[9:])
	require.Len(t, out, 1)
	assert.True(t, out[0].Unopened)
}

func TestStoreThatFails(t *testing.T) {
	_, err := ResumeReader(ReaderOptions{}, &shelf{err: errors.New("gone")})
	assert.ErrorContains(t, err, "gone")
	_, err = ResumeReader(ReaderOptions{}, &shelf{state: []byte{0x80}})
	assert.ErrorContains(t, err, "cannot read the state")
	assert.ErrorContains(t, NewReader(ReaderOptions{}).Save(), "no store")
}

func FuzzState(f *testing.F) {
	id := identity(f, X25519)
	p, feed := long(f, id)
	o := ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, Now: true}
	for _, n := range []int{0, 1, 3, 6, 14, len(feed) - 2, len(feed)} {
		s := &shelf{}
		r, err := ResumeReader(o, s)
		require.NoError(f, err)
		readAll(r, feed[n/2:n])
		require.NoError(f, r.Save())
		f.Add(s.state)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ResumeReader(o, &shelf{state: b})
		if err != nil || b == nil {
			return
		}
		// What the trust file no longer vouches for is left out the first time.
		once := r.appendState(nil)
		again, err := ResumeReader(o, &shelf{state: once})
		require.NoError(t, err)
		require.Equal(t, once, again.appendState(nil))
		readAll(r, feed)
		r.Report()
		r.Gateways()
	})
}
