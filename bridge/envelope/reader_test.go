package envelope

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// story is a stream with two epochs: sealed data, clear data, a payload, a loss.
//
//	1 key frame · 2, 3 sealed · 4 checkpoint · 5 sealed · 6 passthrough · 7 clear
//	8 closing checkpoint · 9 key frame · 10 sealed · 11 loss record · 12 checkpoint
func story(t testing.TB, to ...Recipient) *plant {
	p := newPlant(t, to...)
	p.begin(epoch(1, 1))
	p.data(3)
	p.data(1)
	p.checkpoint(false)
	p.data(2)
	p.put(Passthrough, "recipe", "application/jose", []byte{0, 1, 2, 255})
	p.clear(2)
	p.checkpoint(true)
	p.begin(epoch(2, 1))
	p.data(3)
	p.lose(10, 10)
	p.checkpoint(false)
	return p
}

func TestReaderWaitsForSignature(t *testing.T) {
	id := identity(t, MLKEM768X25519)
	p := story(t, id.Recipient())
	r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}})
	for i := range p.all {
		out, err := r.Read(&p.all[i])
		require.NoError(t, err, "message %d", i+1)
		for k := range out {
			require.NoError(t, p.right(&out[k]))
			assert.Equal(t, Signed, out[k].Proof)
		}
		want := map[int][]uint64{4: {2, 3}, 8: {5, 6, 7}, 12: {10}}[i+1]
		assert.Equal(t, want, sequences(out), "at message %d", i+1)
	}
	a := r.Report()[0]
	assert.Empty(t, a.Gaps)
	assert.Equal(t, uint64(12), a.SignedThrough)
	assert.Zero(t, a.Pending)
	require.Len(t, a.Losses, 1)
	assert.Equal(t, "outbox full", a.Losses[0].Reason)
	require.Len(t, a.Epochs, 2)
	assert.True(t, a.Epochs[0].Closed)
	assert.Equal(t, []Range{{1, 8}}, a.Epochs[0].Received)
}

func TestReaderNow(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, Now: true})
	out, refusals := readAll(r, append(slices.Clone(p.all), p.all...))
	assert.Empty(t, refusals)
	assert.Equal(t, []uint64{2, 3, 5, 6, 7, 10}, sequences(out))
	for i := range out {
		require.NoError(t, p.right(&out[i]))
		assert.Equal(t, Pending, out[i].Proof)
	}
	assert.Equal(t, uint64(12), r.Report()[0].Duplicates)
}

func TestReaderWithoutTrust(t *testing.T) {
	id := identity(t, P256)
	p := story(t, id.Recipient())
	r := NewReader(ReaderOptions{Identities: []*Identity{id}})
	out, refusals := readAll(r, append(slices.Clone(p.all[:10]), p.all...))
	assert.Empty(t, refusals)
	assert.Equal(t, []uint64{2, 3, 5, 6, 7, 10}, sequences(out))
	for i := range out {
		require.NoError(t, p.right(&out[i]))
		assert.Equal(t, Unverified, out[i].Proof)
	}
	other := p.all[6]
	other.Body = AppendClear(nil, "press-3/", []Sample{{Name: "point-0", Value: OfInt(1)}})
	out, refusals = readAll(r, []Message{other})
	assert.Empty(t, out)
	require.Len(t, refusals, 1)
	assert.Equal(t, Forged, refusals[0].Class)
}

func TestReaderBackwards(t *testing.T) {
	id := identity(t, MLKEM768P256)
	p := story(t, id.Recipient())
	for _, now := range []bool{false, true} {
		r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, Now: now})
		back := slices.Clone(p.all)
		slices.Reverse(back)
		out, refusals := readAll(r, back)
		assert.Empty(t, refusals)
		got := sequences(out)
		slices.Sort(got)
		assert.Equal(t, []uint64{2, 3, 5, 6, 7, 10}, got)
		for i := range out {
			require.NoError(t, p.right(&out[i]))
		}
		assert.Empty(t, r.Report()[0].Gaps)
		assert.Zero(t, r.pending)
		assert.Zero(t, r.live)
	}
}

func TestReaderAudit(t *testing.T) {
	p := story(t, identity(t, X25519).Recipient())
	r := NewReader(ReaderOptions{Trust: p.trust()})
	out, refusals := readAll(r, p.all)
	assert.Empty(t, refusals)
	assert.Equal(t, []uint64{2, 3, 5, 6, 7, 10}, sequences(out))
	assert.Equal(t, uint64(4), r.Report()[0].Unopened)
	for i := range out {
		assert.Equal(t, out[i].Sealed, out[i].Unopened)
		if out[i].Unopened {
			assert.Nil(t, out[i].Samples)
		}
	}
}

func TestReaderWrongIdentityOpensNothing(t *testing.T) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768P256, MLKEM768X25519} {
		p := story(t, identity(t, alg).Recipient())
		r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{identity(t, alg)}})
		out, refusals := readAll(r, p.all)
		require.Len(t, refusals, 2)
		assert.Equal(t, WrongRecipient, refusals[0].Class)
		for i := range out {
			if out[i].Sealed {
				assert.True(t, out[i].Unopened)
				assert.Nil(t, out[i].Samples)
			}
		}
	}
}

func TestReaderOtherGatewaysKey(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	trust := p.trust()
	trust.Gateways["hall-1"] = GatewayKeys{{Public: key("hall-1").Public().(ed25519.PublicKey)}}
	p.signer.Key = key("hall-1") // a gateway that is trusted, for another name
	p.begin(epoch(1, 1))
	p.data(1)
	p.lose(5, 6)
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: trust, Identities: []*Identity{id}})
	out, refusals := readAll(r, p.all)
	assert.Empty(t, out)
	require.Len(t, refusals, 3)
	for _, x := range refusals {
		assert.Equal(t, BadSignature, x.Class)
	}
	assert.Empty(t, r.Flush())

	unknown := p.all[1]
	unknown.Address.Stream.Gateway = "hall-9"
	_, err := r.Read(&unknown)
	assert.Equal(t, UnknownGateway, refusal(err).Class)
}

func TestReaderKeyThatEnded(t *testing.T) {
	p := newPlant(t)
	trust := p.trust()
	p.begin(epoch(1, 1))
	p.checkpoint(false)
	p.data(1)
	trust.Gateways["hall-2"][0].Until = time.Unix(0, p.now-1)
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: trust})
	out, refusals := readAll(r, p.all)
	assert.Equal(t, []uint64{1}, sequences(out))
	require.Len(t, refusals, 1)
	assert.Equal(t, BadSignature, refusals[0].Class)
}

func TestReaderSwappedAddress(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	swaps := map[string]func(*Message){
		"machine":      func(m *Message) { m.Address.Stream.Machine = "press-4" },
		"level":        func(m *Message) { m.Address.Stream.Level = "public" },
		"point":        func(m *Message) { m.Address.Point += "x" },
		"epoch":        func(m *Message) { m.Epoch.Number++ },
		"instance":     func(m *Message) { m.Epoch.Instance[0]++ },
		"sequence":     func(m *Message) { m.Sequence += 100 },
		"time":         func(m *Message) { m.Time++ },
		"content type": func(m *Message) { m.ContentType += ";x" },
		"kind":         func(m *Message) { m.Address.Kind = Event },
	}
	for name, swap := range swaps {
		r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}})
		moved := bytesClone(p.all)
		for i := range moved {
			swap(&moved[i])
		}
		out, _ := readAll(r, moved)
		assert.Empty(t, out, "with another %s", name)
		// The right ones still count, and only they.
		out, _ = readAll(r, p.all)
		got := sequences(out)
		for i := range out {
			require.NoError(t, p.right(&out[i]))
		}
		if name != "epoch" && name != "instance" {
			assert.Equal(t, []uint64{2, 3, 5, 6, 7, 10}, got, "after another %s", name)
		}
	}
}

func bytesClone(in []Message) []Message {
	out := slices.Clone(in)
	for i := range out {
		out[i].Body = bytes.Clone(out[i].Body)
	}
	return out
}

// Each bit position of each kind of signed or sealed body, flipped.
func TestReaderFlippedBits(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	options := ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}}
	for _, n := range []int{1, 2, 4, 8, 11} {
		r := NewReader(options)
		if n != 1 {
			readAll(r, p.all[:1])
		}
		body := p.all[n-1].Body
		for i := range body {
			m := p.all[n-1]
			m.Body = bytes.Clone(body)
			m.Body[i] ^= 1 << (i % 8)
			out, err := r.Read(&m)
			assert.Empty(t, out)
			assert.Error(t, err, "message %d with byte %d flipped", n, i)
		}
		if n == 1 {
			assert.Empty(t, r.streams, "refused messages leave nothing behind")
		}
	}
}

func TestReaderTwoMessagesOneNumber(t *testing.T) {
	for _, now := range []bool{false, true} {
		p := newPlant(t)
		p.begin(epoch(1, 1))
		p.data(1)
		p.data(1)
		p.checkpoint(false)
		forged := p.all[1]
		forged.Body = AppendClear(nil, "press-3/", []Sample{{Name: "point-0", Time: forged.Time, Value: OfInt(666)}})
		r := NewReader(ReaderOptions{Trust: p.trust(), Now: now})
		out, refusals := readAll(r, []Message{p.all[0], forged, p.all[1], p.all[2], p.all[3]})
		assert.Empty(t, refusals)
		last := out[len(out)-1]
		if now { // the forgery was given as pending, and then the right one as signed
			assert.Equal(t, []uint64{1, 2, 3, 2}, sequences(out))
			assert.Equal(t, Pending, out[1].Proof)
			require.NoError(t, p.right(&last))
			assert.Equal(t, Signed, last.Proof)
		} else {
			assert.Equal(t, []uint64{1, 2, 3}, sequences(out))
			require.NoError(t, p.right(&out[1]))
		}
		a := r.Report()[0]
		require.Len(t, a.Forgeries, 1)
		assert.Equal(t, uint64(2), a.Forgeries[0].Sequence)

		_, err := r.Read(&forged)
		assert.Equal(t, Forged, refusal(err).Class)
	}
}

func TestReaderAfterClosing(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	p.checkpoint(true)
	late := p.all[0]
	late.Sequence = 3
	for _, order := range [][]Message{{p.all[0], p.all[1], late}, {late, p.all[0], p.all[1]}} {
		r := NewReader(ReaderOptions{Trust: p.trust()})
		out, _ := readAll(r, order)
		assert.Equal(t, []uint64{1}, sequences(out))
		assert.Equal(t, uint64(1), r.Report()[0].Forged)
		assert.Empty(t, r.Flush())
	}
}

func TestReaderRollbackAndClone(t *testing.T) {
	id := identity(t, X25519)
	real := story(t, id.Recipient())
	t.Run("rollback", func(t *testing.T) {
		old := newPlant(t, id.Recipient())
		old.head.Sequence, old.head.CheckpointSequence = 12, 12
		old.head.Closed = true
		old.begin(epoch(1, 2))
		r := NewReader(ReaderOptions{Trust: real.trust(), Identities: []*Identity{id}})
		readAll(r, real.all)
		_, refusals := readAll(r, old.all)
		require.Len(t, refusals, 1)
		assert.Equal(t, Rollback, refusals[0].Class)
		assert.Equal(t, Rollback, r.Report()[0].Forgeries[0].Class)
	})
	t.Run("numbers used twice", func(t *testing.T) {
		old := newPlant(t, id.Recipient())
		old.head.Sequence, old.head.CheckpointSequence = 5, 5
		old.head.Closed = true
		old.begin(epoch(3, 1))
		r := NewReader(ReaderOptions{Trust: real.trust(), Identities: []*Identity{id}})
		readAll(r, real.all)
		_, refusals := readAll(r, old.all)
		require.Len(t, refusals, 1)
		assert.Equal(t, Rollback, refusals[0].Class)
	})
	t.Run("clone", func(t *testing.T) {
		twin := newPlant(t, id.Recipient())
		twin.head.Sequence, twin.head.CheckpointSequence = 12, 12
		twin.head.Closed = true
		e := epoch(2, 2)
		e.Instance[3]++
		twin.begin(e)
		r := NewReader(ReaderOptions{Trust: real.trust(), Identities: []*Identity{id}})
		readAll(r, real.all)
		twin.data(1)
		out, refusals := readAll(r, twin.all)
		assert.Empty(t, out)
		require.Len(t, refusals, 2)
		assert.Equal(t, Clone, refusals[0].Class)
	})
	t.Run("forked checkpoints", func(t *testing.T) {
		r := NewReader(ReaderOptions{Trust: real.trust(), Identities: []*Identity{id}})
		readAll(r, real.all)
		fork := *real
		fork.head = Head{Stream: real.head.Stream, Epoch: real.head.Epoch, Sequence: 12, CheckpointSequence: 12, Checkpoint: [32]byte{1}}
		fork.all = slices.Clone(real.all)
		fork.sealer = nil
		fork.data(1)
		fork.checkpoint(false)
		_, refusals := readAll(r, fork.all[12:])
		require.Len(t, refusals, 1)
		assert.Equal(t, Clone, refusals[0].Class)
	})
}

func TestReaderLossExplainsGap(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	for range 6 {
		p.data(1)
	}
	p.lose(3, 4)
	p.lose(5, 5)
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: p.trust()})
	out, _ := readAll(r, append(slices.Clone(p.all[:2]), p.all[6:]...))
	assert.Equal(t, []uint64{1, 2, 7}, sequences(out))
	a := r.Report()[0]
	assert.Equal(t, []Range{{6, 6}}, a.Gaps)
	require.Len(t, a.Losses, 1)
	assert.Equal(t, [2]uint64{3, 5}, [2]uint64{a.Losses[0].First, a.Losses[0].Last})
}

func TestReaderGivesUpTheOldest(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	for range 99 {
		p.data(10)
	}
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: p.trust(), MaxPending: 40_000})
	out, _ := readAll(r, p.all)
	a := r.Report()[0]
	assert.NotZero(t, a.GivenUp)
	require.Len(t, a.Gaps, 1)
	assert.Equal(t, Range{1, a.GivenUp}, a.Gaps[0])
	assert.Len(t, out, 100-int(a.GivenUp))
	assert.Zero(t, r.pending)
	// Sent again, they count.
	again, _ := readAll(r, p.all)
	assert.Len(t, again, int(a.GivenUp))
	assert.Empty(t, r.Report()[0].Gaps)
}

func TestReaderFlush(t *testing.T) {
	id := identity(t, X25519)
	p := story(t, id.Recipient())
	r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}})
	readAll(r, p.all[:3])
	out := r.Flush()
	assert.Equal(t, []uint64{2, 3}, sequences(out))
	assert.Equal(t, Pending, out[0].Proof)
	assert.Empty(t, r.Flush())
	out, _ = readAll(r, p.all)
	assert.Equal(t, []uint64{5, 6, 7, 10}, sequences(out))
}

func TestReaderMadeUpNamesLeaveNothing(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	p.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: p.trust(), MaxPending: 10_000})
	readAll(r, p.all)
	for i := range 1000 {
		m := p.all[0]
		m.Address.Stream.Machine = "m" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		m.Epoch.Start = uint64(i)
		_, _ = r.Read(&m)
	}
	assert.Less(t, len(r.streams), 30)
	assert.LessOrEqual(t, r.pending, 10_000)
}
