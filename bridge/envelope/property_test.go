package envelope

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// nonces are those that something was sealed under, by key and number.
type nonces map[string]string

func (n nonces) use(t *rapid.T, s *Sealer, m *Message) {
	k := fmt.Sprintf("%x %x", s.key.key, m.Sequence)
	was, used := n[k]
	require.True(t, !used || was == string(m.Body), "a nonce is used twice")
	n[k] = string(m.Body)
}

// history is what a gateway went through.
type history struct {
	*plant
	used   nonces
	forged []Message           // by another recipient, who has the keys
	lost   map[uint64][]uint64 // by the number of the loss record: what it says is gone
}

// live is one epoch: whatever a gateway does in it.
func (h *history) live(t *rapid.T) {
	for range rapid.IntRange(0, 12).Draw(t, "messages") {
		switch rapid.IntRange(0, 8).Draw(t, "what") {
		case 0:
			h.checkpoint(false)
		case 1:
			h.clear(2)
		case 2:
			h.put(Passthrough, "recipe", "application/jose", []byte{byte(len(h.all)), 9})
		case 3: // an overflow: what it says is gone was never sent
			at := h.head.Sequence
			var gone []uint64
			for n := at; n > 0 && n > at-3 && h.all[n-1].Address.Kind == Data; n-- {
				gone = append(gone, n)
			}
			if len(gone) == 0 {
				continue
			}
			h.lose(gone[len(gone)-1], gone[0])
			h.lost[h.head.Sequence] = gone
		case 4:
			if h.sealer != nil {
				m := h.all[len(h.all)-1]
				m.Address.Kind, m.Address.Point, m.ContentType = Data, "", TypeSealed
				m.Sequence += uint64(rapid.IntRange(0, 3).Draw(t, "ahead"))
				pack := appendPack(nil, "press-3/", []Sample{{Name: "point-0", Time: m.Time, Value: OfUint(666)}})
				m.Body = h.sealer.frame.seal(nil, m.Sequence, pack)
				h.forged = append(h.forged, m)
			}
		default:
			h.data(3)
			if m := &h.all[len(h.all)-1]; h.sealer != nil {
				h.used.use(t, h.sealer, m)
			}
		}
	}
}

// crash is a power cut: what is not in the outbox is gone, and the key with it.
func (h *history) crash(t *rapid.T) {
	if h.sealer != nil && rapid.Bool().Draw(t, "sealed, and not yet accepted") {
		m := Message{Sequence: h.head.Sequence + 1}
		var err error
		m.Body, err = h.sealer.Seal(nil, m.Sequence, "press-3/", h.samples(1))
		require.NoError(t, err)
		h.used.use(t, h.sealer, &m)
	}
	head, err := ParseHead(h.head.Append(nil))
	require.NoError(t, err)
	h.head, h.sealer = head, nil
}

// Over random streams, crashes, losses, drops, repeats, reorders, flips, forgeries,
// given numbers and restarts of the reader: never a wrong value, never twice,
// every gap reported, what came whole is there, and no nonce is used twice.
func TestReaderProperty(t *testing.T) {
	ids := []*Identity{identity(t, X25519), identity(t, P256)}
	rapid.Check(t, func(t *rapid.T) {
		sealed := rapid.Bool().Draw(t, "sealed")
		p := newPlant(t)
		if sealed {
			p.to = []Recipient{ids[0].Recipient(), ids[1].Recipient()}
		}
		h := &history{plant: p, used: nonces{}, lost: map[uint64][]uint64{}}
		epochs := rapid.IntRange(1, 4).Draw(t, "epochs")
		e := epoch(1, 1)
		for i := range epochs {
			p.begin(e)
			h.live(t)
			e.Number++
			if rapid.Bool().Draw(t, "crash") {
				h.crash(t)
				e = epoch(e.Start+1, 1)
			}
			if i < epochs-1 {
				p.checkpoint(true)
			}
		}
		p.checkpoint(false)

		came := make([]bool, len(p.all))
		var feed []Message
		gone := map[uint64]bool{}
		for _, numbers := range h.lost {
			for _, n := range numbers {
				gone[n] = true
			}
		}
		for i, m := range p.all {
			copies := rapid.SampledFrom([]int{0, 1, 1, 1, 1, 1, 2, 3}).Draw(t, "copies")
			if gone[m.Sequence] {
				copies = 0
			}
			came[i] = copies > 0
			for range copies {
				feed = append(feed, m)
			}
			if rapid.IntRange(0, 4).Draw(t, "hurt") == 0 {
				feed = append(feed, hurt(t, m, len(p.all)))
			}
			for _, f := range h.forged {
				if f.Sequence == m.Sequence && f.Epoch == m.Epoch {
					feed = slices.Insert(feed, rapid.IntRange(0, len(feed)).Draw(t, "forged at"), f)
				}
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
		stated := rapid.Bool().Draw(t, "statement")
		if stated {
			p.statement(nil)
			feed = slices.Insert(feed, rapid.IntRange(0, len(feed)).Draw(t, "stated at"), p.extra[0])
		}
		o := ReaderOptions{
			Trust: p.trust(), Identities: ids[rapid.IntRange(0, 1).Draw(t, "identity"):], Now: rapid.Bool().Draw(t, "now"),
		}
		r, out := readInTwo(t, o, feed, rapid.IntRange(0, len(feed)).Draw(t, "restart at"))
		maybe := map[uint64]bool{} // a loss record that came under another number is the gateway's word all the same, if it was taken
		for n, numbers := range h.lost {
			for _, k := range numbers {
				if !came[n-1] {
					delete(gone, k)
					maybe[k] = true
				}
			}
		}
		judge(t, p, r, came, gone, maybe, sealed, stated, out)
	})
}

// readInTwo reads with two readers, the second of which goes on where the first
// one was.
func readInTwo(t *rapid.T, o ReaderOptions, feed []Message, cut int) (r *Reader, out []Delivery) {
	s := &shelf{}
	r, err := ResumeReader(o, s)
	require.NoError(t, err)
	read := func(from, to int) {
		for i := from; i < to; i++ {
			r.Mark(uint64(i))
			d, _ := r.Read(&feed[i])
			out = append(out, d...)
		}
	}
	read(0, cut)
	require.NoError(t, r.Save())
	from := int(r.Resume())
	r, err = ResumeReader(o, s)
	require.NoError(t, err)
	read(from, len(feed))
	return r, out
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

func judge(t *rapid.T, p *plant, r *Reader, came []bool, gone, maybe map[uint64]bool, sealed, stated bool, out []Delivery) {
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
	for _, g := range append(report.Gaps, report.Withheld...) {
		missing.add(g.First, g.Last)
	}
	signed := signedBy(p, came)
	for i := range p.all {
		n := uint64(i + 1)
		if !signed[n] {
			if stated && !came[i] && !gone[n] && !maybe[n] && n > report.Highest {
				require.True(t, missing.has(n), "message %d of %d is withheld", n, len(p.all))
			}
			continue
		}
		if !maybe[n] {
			require.Equal(t, !came[i] && !gone[n], missing.has(n), "message %d of %d: gap or not", n, len(p.all))
		}
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
