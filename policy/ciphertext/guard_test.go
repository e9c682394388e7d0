package ciphertext_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// device encrypts as a device does: A128GCM with a counter for a nonce.
type device struct {
	r       *rand.Rand
	aead    cipher.AEAD
	kid     []byte
	counter uint64
}

func newDevice(t testing.TB) *device {
	t.Helper()
	block, err := aes.NewCipher(make([]byte, 16))
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return &device{r: seeded(t, 7), aead: aead, kid: []byte("vendor")}
}

func (d *device) cose(t testing.TB, plain []byte) []byte {
	t.Helper()
	d.counter++
	iv := make([]byte, 12)
	for i := range 8 {
		iv[11-i] = byte(d.counter >> (8 * i))
	}
	protected, err := cbor.Marshal(map[int]any{1: 1, 4: d.kid})
	require.NoError(t, err)
	b, err := cbor.Marshal(cbor.Tag{Number: 16, Content: []any{protected, map[int]any{5: iv}, d.aead.Seal(nil, iv, plain, nil)}})
	require.NoError(t, err)
	return b
}

func (d *device) record(n int) []byte { return registers(d.r, n)() }

func guard(t testing.TB, c ciphertext.Config) *ciphertext.Guard {
	t.Helper()
	g, err := ciphertext.NewGuard(c)
	require.NoError(t, err)
	return g
}

func at(minute int) time.Time { return time.Date(2026, 11, 23, 12, minute, 0, 0, time.UTC) }

func names(v ciphertext.Verdict) (all []string) {
	for _, e := range v.Events {
		all = append(all, e.Name)
	}
	return all
}

func TestGuardPassesWhatIsEncrypted(t *testing.T) {
	d, g := newDevice(t), guard(t, ciphertext.Config{Format: ciphertext.COSE})
	for i := range 300 {
		b := d.cose(t, d.record(100))
		v := g.Judge(b, at(i))
		require.Equal(t, ciphertext.Verdict{Pass: true}, v)
		v = g.Judge(b, at(i))
		require.Equal(t, ciphertext.Verdict{Pass: true, Repeat: true}, v, "read again before it changed")
	}
	require.EqualValues(t, 300, g.State().Judged)
	require.Zero(t, g.State().Refused)
}

func TestGuardCatchesTheFirst(t *testing.T) {
	plain := []byte(strings.Repeat("torque 12.7 Nm; ", 8))
	for name, bad := range map[string]func(d *device) []byte{
		"unwrapped":         func(d *device) []byte { return d.record(100) },
		"text":              func(*device) []byte { return plain },
		"wrapped registers": func(d *device) []byte { return wrapped(d.r, d.record(64)) },
		"wrapped text":      func(d *device) []byte { return wrapped(d.r, plain) },
		"in the key's name": func(d *device) []byte { d.kid = plain[:16]; return d.cose(t, d.record(100)) },
		"in the IV": func(d *device) []byte {
			b := wrapped(d.r, random(100))
			copy(b[9:], "torque 12.7 ")
			return b
		},
		"in a header of its own": func(*device) []byte {
			return with(func(p *parts) { p.unprotected[99] = plain }).encode(t)
		},
		"in the content type": func(*device) []byte {
			return with(func(p *parts) { p.unprotected[3] = string(plain) }).encode(t)
		},
		"in a recipient": func(*device) []byte {
			return with(func(p *parts) { p.tag, p.recipients = 96, []any{[]any{[]byte{}, map[int]any{1: -3}, plain}} }).encode(t)
		},
	} {
		d, g := newDevice(t), guard(t, ciphertext.Config{Format: ciphertext.COSE})
		for i := range 40 {
			v := g.Judge(d.cose(t, d.record(100)), at(i))
			require.True(t, v.Pass, v.Reason)
		}
		v := g.Judge(bad(d), at(41))
		require.False(t, v.Pass, name)
		require.NotEmpty(t, v.Reason, name)
		if name != "in the key's name" {
			require.Equal(t, []string{ciphertext.EventNotCiphertext}, names(v), name)
			d.kid = []byte("vendor")
			v = g.Judge(d.cose(t, d.record(100)), at(42))
			require.True(t, v.Pass, name+v.Reason)
		}
	}
}

func TestGuardAlarm(t *testing.T) {
	d, g := newDevice(t), guard(t, ciphertext.Config{Format: ciphertext.COSE})
	var events []string
	for i := range 3 {
		v := g.Judge(d.cose(t, d.record(100)), at(i))
		require.True(t, v.Pass, v.Reason)
		v = g.Judge(d.record(100), at(i))
		require.False(t, v.Pass)
		events = append(events, names(v)...)
	}
	require.Equal(t, []string{
		ciphertext.EventNotCiphertext, ciphertext.EventNotCiphertext, ciphertext.EventNotCiphertext, ciphertext.EventAlarm,
	}, events)
	s := g.State()
	require.True(t, s.Alarm)
	require.Equal(t, at(2), s.Since)
	require.EqualValues(t, 3, s.Refused)
	for i := range 15 {
		v := g.Judge(d.cose(t, d.record(100)), at(i))
		require.False(t, v.Pass)
		require.Contains(t, v.Reason, "alarm")
		require.Empty(t, v.Events)
	}
	v := g.Judge(d.cose(t, d.record(100)), at(16))
	require.True(t, v.Pass, v.Reason)
	require.Equal(t, []string{ciphertext.EventTrusted}, names(v))
}

func TestGuardProbation(t *testing.T) {
	for _, c := range []struct {
		format string
		size   int
	}{{ciphertext.Opaque, 240}, {ciphertext.Opaque, 32}, {ciphertext.COSE, 20}} {
		d, g := newDevice(t), guard(t, ciphertext.Config{Format: c.format})
		next := func() []byte {
			if c.format == ciphertext.COSE {
				return d.cose(t, d.record(c.size))
			}
			return random(c.size)
		}
		for range 15 {
			v := g.Judge(next(), at(0))
			require.False(t, v.Pass)
			require.True(t, v.Probation)
			require.Empty(t, v.Events)
		}
		v := g.Judge(next(), at(0))
		require.True(t, v.Pass, v.Reason)
		require.Equal(t, []string{ciphertext.EventTrusted}, names(v))

		v = g.Judge([]byte(strings.Repeat("x", 40)), at(0))
		require.False(t, v.Pass)
		require.False(t, v.Probation)
		for range 15 {
			require.True(t, g.Judge(next(), at(0)).Probation, "one bad payload, and trust is gone")
		}
		require.True(t, g.Judge(next(), at(0)).Pass)
	}
}

func TestGuardRestart(t *testing.T) {
	restart := func(g *ciphertext.Guard) *ciphertext.Guard {
		text, err := json.Marshal(g.State())
		require.NoError(t, err)
		var s ciphertext.State
		require.NoError(t, json.Unmarshal(text, &s))
		after := guard(t, ciphertext.Config{Format: s.Format})
		after.Restore(s)
		return after
	}
	g := guard(t, ciphertext.Config{Format: ciphertext.Opaque})
	for range 10 {
		g.Judge(random(64), at(0))
	}
	g = restart(g)
	for range 5 {
		require.True(t, g.Judge(random(64), at(0)).Probation, "still on probation")
	}
	require.True(t, g.Judge(random(64), at(0)).Pass, "with the 16th")
	state := g.State()
	require.True(t, state.Trusted())

	// However often it restarts, nothing passes before four good payloads were
	// seen among each other.
	for range 20 {
		g = restart(g)
		for range 3 {
			require.False(t, g.Judge(random(64), at(0)).Pass)
		}
	}
	g = restart(g)
	for range 3 {
		require.False(t, g.Judge(random(64), at(0)).Pass)
	}
	require.True(t, g.Judge(random(64), at(0)).Pass)

	for range 3 {
		g.Judge([]byte("plain"), at(1))
		g.Judge(random(64), at(1))
	}
	g = restart(g)
	require.True(t, g.State().Alarm)
	require.Contains(t, g.Judge(random(64), at(2)).Reason, "alarm")

	other := guard(t, ciphertext.Config{Format: ciphertext.Age})
	other.Restore(g.State())
	require.False(t, other.State().Alarm, "the state of another format is none")
	g.Restore(ciphertext.State{Format: ciphertext.Opaque, Good: 1 << 40, Headers: make([]uint64, 100)})
	require.Len(t, g.State().Headers, 4)
	require.False(t, g.Judge(random(64), at(3)).Pass)
}

func TestGuardNonces(t *testing.T) {
	d, g := newDevice(t), guard(t, ciphertext.Config{Format: ciphertext.COSE})
	for range 100 {
		require.True(t, g.Judge(d.cose(t, d.record(100)), at(0)).Pass)
	}
	d.counter = 50 // the device restarts, and remembers too little
	v := g.Judge(d.cose(t, d.record(90)), at(1))
	require.False(t, v.Pass)
	require.Equal(t, []string{ciphertext.EventNonce, ciphertext.EventNotCiphertext}, names(v))

	g = guard(t, ciphertext.Config{Format: ciphertext.COSE})
	count := func(n byte) ciphertext.Verdict {
		return g.Judge(with(func(p *parts) { p.unprotected = map[int]any{6: []byte{n}} }).encode(t), at(0))
	}
	for n := byte(1); n < 9; n++ {
		require.True(t, count(n).Pass)
	}
	require.True(t, count(20).Pass, "a gap is none of the guard's business")
	v = count(10)
	require.False(t, v.Pass)
	require.Contains(t, v.Reason, "backwards")
}

func TestGuardNewKey(t *testing.T) {
	d, g := newDevice(t), guard(t, ciphertext.Config{Format: ciphertext.COSE})
	next := func() ciphertext.Verdict { return g.Judge(d.cose(t, d.record(100)), at(0)) }
	require.True(t, next().Pass)
	d.kid = []byte("vendor-2")
	require.True(t, next().Probation)
	require.True(t, next().Probation)
	v := next()
	require.True(t, v.Pass)
	require.Equal(t, []string{ciphertext.EventHeader}, names(v))
	d.kid = []byte("vendor")
	require.True(t, next().Pass, "the old one is still known")

	alarm := 0
	for i := range 6 { // a value that travels as the key's name
		d.kid = []byte{'t', byte(i)}
		v := next()
		require.False(t, v.Pass)
		alarm += len(v.Events)
	}
	require.Equal(t, 1, alarm)

	g = guard(t, ciphertext.Config{Format: ciphertext.COSE, KeyIDs: [][]byte{[]byte("vendor")}})
	v = next()
	require.Contains(t, v.Reason, "not listed")
	d.kid = []byte("vendor")
	require.True(t, next().Pass)
}

func TestGuardComesBack(t *testing.T) {
	g := guard(t, ciphertext.Config{Format: ciphertext.Opaque})
	var all [][]byte
	for range 20 {
		all = append(all, random(64))
		g.Judge(all[len(all)-1], at(0))
	}
	v := g.Judge(all[15], at(0))
	require.False(t, v.Pass)
	require.Contains(t, v.Reason, "came back")
}

func TestGuardConfig(t *testing.T) {
	for _, c := range []ciphertext.Config{
		{},
		{Format: "pgp"},
		{Format: ciphertext.COSE, DeviceKey: "text"},
		{Format: ciphertext.Opaque, KeyIDs: [][]byte{{1}}},
	} {
		_, err := ciphertext.NewGuard(c)
		require.Error(t, err)
	}
	for _, format := range ciphertext.Formats() {
		guard(t, ciphertext.Config{Format: format})
		require.Contains(t, ciphertext.ContentType(format), "application/")
	}
}

// TestReasonsHoldNothing: what is said of a payload is one of few sentences,
// whatever the payload is.
func TestReasonsHoldNothing(t *testing.T) {
	r := seeded(t, 11)
	said := map[string]bool{}
	for _, format := range ciphertext.Formats() {
		g := guard(t, ciphertext.Config{Format: format})
		for _, m := range firstCorpus() {
			next := m.make(r, 64)
			for range 4 {
				v := g.Judge(next(), at(0))
				said[v.Reason] = true
				for _, e := range v.Events {
					said[e.Text] = true
				}
			}
		}
	}
	require.Less(t, len(said), 30)
	for s := range said {
		require.Less(t, len(s), 160)
	}
}
