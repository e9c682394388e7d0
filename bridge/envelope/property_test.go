package envelope

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Over random streams, drops, repeats, reorders, flips and given numbers: never
// a wrong value, never twice, every gap reported, and what came whole is there.
func TestReaderProperty(t *testing.T) {
	ids := []*Identity{identity(t, X25519), identity(t, P256)}
	rapid.Check(t, func(t *rapid.T) {
		sealed := rapid.Bool().Draw(t, "sealed")
		p := newPlant(t)
		if sealed {
			p.to = []Recipient{ids[0].Recipient(), ids[1].Recipient()}
		}
		epochs := rapid.IntRange(1, 3).Draw(t, "epochs")
		for e := range epochs {
			p.begin(epoch(uint64(1+e/2), uint32(1+e%2)))
			for range rapid.IntRange(0, 12).Draw(t, "messages") {
				switch rapid.IntRange(0, 5).Draw(t, "what") {
				case 0:
					p.checkpoint(false)
				case 1:
					p.clear(2)
				case 2:
					p.put(Passthrough, "recipe", "application/jose", []byte{byte(len(p.all)), 9})
				default:
					p.data(3)
				}
			}
			if e < epochs-1 {
				p.checkpoint(true)
			}
		}
		p.checkpoint(false)

		came := make([]bool, len(p.all))
		var feed []Message
		for i, m := range p.all {
			copies := rapid.SampledFrom([]int{0, 1, 1, 1, 1, 1, 2, 3}).Draw(t, "copies")
			came[i] = copies > 0
			for range copies {
				feed = append(feed, m)
			}
			if rapid.IntRange(0, 4).Draw(t, "hurt") == 0 {
				feed = append(feed, hurt(t, m, len(p.all)))
			}
		}
		if rapid.Bool().Draw(t, "shuffle") {
			feed = rapid.Permutation(feed).Draw(t, "order")
		} else {
			for range rapid.IntRange(0, 5).Draw(t, "swaps") {
				i, j := rapid.IntRange(0, len(feed)).Draw(t, "i"), rapid.IntRange(0, len(feed)).Draw(t, "j")
				if i < len(feed) && j < len(feed) {
					feed[i], feed[j] = feed[j], feed[i]
				}
			}
		}
		now := rapid.Bool().Draw(t, "now")
		r := NewReader(ReaderOptions{Trust: p.trust(), Identities: ids[rapid.IntRange(0, 1).Draw(t, "identity"):], Now: now})
		out, _ := readAll(r, feed)
		judge(t, p, r, came, sealed, out)
	})
}

// hurt gives a message that the gateway did not send.
func hurt(t *rapid.T, m Message, n int) Message {
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0, 1:
		m.Body = bytes.Clone(m.Body)
		m.Body[rapid.IntRange(0, len(m.Body)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case 2:
		m.Sequence = (m.Sequence+uint64(rapid.IntRange(0, n+5).Draw(t, "number")))%uint64(n+7) + 1
		if m.Address.Kind == Passthrough {
			m.Body = []byte("moved")
		}
	case 3:
		m.Epoch.Number += uint32(rapid.IntRange(1, 2).Draw(t, "epoch"))
	case 4:
		m.Time++
	}
	return m
}

func judge(t *rapid.T, p *plant, r *Reader, came []bool, sealed bool, out []Delivery) {
	once := map[uint64]bool{}
	for i := range out {
		if out[i].Proof != Signed {
			continue
		}
		require.False(t, once[out[i].Sequence], "message %d came twice", out[i].Sequence)
		once[out[i].Sequence] = true
		require.NoError(t, p.right(&out[i]))
	}
	given := map[uint64]bool{} // at all, rightly
	for i := range out {
		if p.right(&out[i]) == nil {
			require.False(t, given[out[i].Sequence], "message %d was given twice", out[i].Sequence)
			given[out[i].Sequence] = true
		}
	}
	if len(r.Report()) == 0 {
		return
	}
	report := r.Report()[0]
	var missing ranges
	for _, g := range report.Gaps {
		missing.add(g.First, g.Last)
	}
	signed := signedBy(p, came)
	for i := range p.all {
		n := uint64(i + 1)
		if !signed[n] {
			continue
		}
		require.Equal(t, !came[i], missing.has(n), "message %d of %d: gap or not", n, len(p.all))
		m := &p.all[i]
		if came[i] && (m.Address.Kind == Data || m.Address.Kind == Passthrough) && hasKey(p, came, m, sealed) {
			require.True(t, given[n], "message %d came, was signed, and was not given", n)
		}
	}
}

// signedBy gives the numbers that checkpoints which came cover.
func signedBy(p *plant, came []bool) map[uint64]bool {
	signed := map[uint64]bool{}
	for i := range p.all {
		if p.all[i].Address.Kind != Checkpoint || !came[i] {
			continue
		}
		s, err := parseSign1(p.all[i].Body)
		require.NoError(p.t, err)
		c, err := parseCheckpoint(&s)
		require.NoError(p.t, err)
		for n := c.first; n <= c.sequence; n++ {
			signed[n] = true
		}
	}
	return signed
}

func hasKey(p *plant, came []bool, m *Message, sealed bool) bool {
	if m.ContentType != TypeSealed || !sealed {
		return true
	}
	i := slices.IndexFunc(p.all, func(k Message) bool { return k.Address.Kind == KeyFrame && k.Epoch == m.Epoch })
	return came[i]
}
