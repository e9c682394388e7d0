package envelope

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a broker can do to a stream, and the exact verdict for it. The stream has
// two epochs (1–6 and 7–12) and a second stream beside it; the statement at the
// end says where both stand.
func TestBroker(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	q := newPlant(t, id.Recipient())
	q.head.Stream.Machine = "mixer-4"
	for _, e := range []Epoch{epoch(3, 1), epoch(3, 2)} {
		for _, s := range []*plant{p, q} {
			s.begin(e)
			s.data(2)
			s.put(Passthrough, "recipe", "application/jose", []byte(s.head.Stream.Machine))
			s.put(Passthrough, "program", "application/jose", []byte{9, byte(e.Number)})
			s.clear(1)
			s.checkpoint(e.Number == 1)
		}
	}
	p.statement(func(s *GatewayState) {
		s.Heads = append(s.Heads, StreamHead{"mixer-4", "restricted", q.head.Epoch, q.head.Sequence})
	})
	good := slices.Concat(p.all, q.all, p.extra)
	all := []uint64{2, 3, 4, 5, 8, 9, 10, 11}
	at := func(feed []Message, n uint64) *Message { return &feed[n-1] } // of the first stream
	without := func(n ...uint64) func([]Message) []Message {
		return func(feed []Message) []Message {
			return slices.DeleteFunc(feed, func(m Message) bool {
				return m.Address.Stream.Machine == "press-3" && slices.Contains(n, m.Sequence)
			})
		}
	}
	for what, c := range map[string]struct {
		does     func([]Message) []Message
		delivers []uint64 // of the first stream
		verdicts []string
		gaps     []Range
		withheld []Range
		forged   []uint64 // numbers
	}{
		"nothing":                    {does: func(f []Message) []Message { return f }, delivers: all},
		"drops a sealed message":     {does: without(2), delivers: all[1:], verdicts: []string{"gap"}, gaps: []Range{{2, 2}}},
		"drops a payload":            {does: without(9), delivers: []uint64{2, 3, 4, 5, 8, 10, 11}, verdicts: []string{"gap"}, gaps: []Range{{9, 9}}},
		"drops a checkpoint":         {does: without(6), delivers: all[4:], verdicts: []string{"gap", "pending"}, gaps: []Range{{6, 6}}},
		"drops a key frame":          {does: without(7), delivers: []uint64{2, 3, 4, 5, 9, 10, 11}, verdicts: []string{"gap", "no-key-frame"}, gaps: []Range{{7, 7}}},
		"duplicates everything":      {does: func(f []Message) []Message { return append(f, f...) }, delivers: all, verdicts: []string{"duplicate"}},
		"turns the order around":     {does: func(f []Message) []Message { slices.Reverse(f); return f }, delivers: []uint64{11, 10, 9, 8, 5, 4, 3, 2}},
		"cuts the tail":              {does: without(10, 11, 12), delivers: []uint64{2, 3, 4, 5}, verdicts: []string{"pending", "withheld"}, withheld: []Range{{10, 12}}},
		"cuts a whole epoch":         {does: without(7, 8, 9, 10, 11, 12), delivers: all[:4], verdicts: []string{"withheld"}, withheld: []Range{{7, 12}}},
		"cuts the beginning":         {does: without(1, 2, 3), delivers: []uint64{4, 5, 8, 9, 10, 11}, verdicts: []string{"gap"}, gaps: []Range{{1, 3}}},
		"withholds the other stream": {does: func(f []Message) []Message { return slices.Concat(f[:12], f[24:]) }, delivers: all, verdicts: []string{"withheld"}},
		"replays an epoch":           {does: func(f []Message) []Message { return slices.Concat(f, f[:6]) }, delivers: all, verdicts: []string{"duplicate"}},
		"replays an epoch as the newest": {
			does: func(f []Message) []Message {
				again := bytesClone(f[:6])
				for i := range again {
					again[i].Epoch = epoch(3, 3)
					again[i].Sequence += 12
				}
				return append(f, again...)
			},
			// Key frame and checkpoint say inside what they are; the frame, too. Payloads and clear samples say nothing and are never signed.
			delivers: all, verdicts: []string{"gap", "pending", "tampered"}, gaps: []Range{{13, 14}},
		},
		"swaps the subjects of two payloads": {
			does: func(f []Message) []Message {
				a, b := at(f, 3), at(f, 4)
				a.Address.Point, b.Address.Point = b.Address.Point, a.Address.Point
				return f
			},
			delivers: []uint64{2, 5, 8, 9, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{3, 4}}, forged: []uint64{3, 4},
		},
		"swaps the bodies of two clear messages": {
			does: func(f []Message) []Message {
				a, b := at(f, 5), at(f, 11)
				a.Body, b.Body = b.Body, a.Body
				return f
			},
			delivers: []uint64{2, 3, 4, 8, 9, 10}, verdicts: []string{"forged", "gap"}, gaps: []Range{{5, 5}, {11, 11}}, forged: []uint64{5, 11},
		},
		"swaps two streams' payloads": {
			does: func(f []Message) []Message {
				f[2].Body, f[14].Body = f[14].Body, f[2].Body
				return f
			},
			delivers: []uint64{2, 4, 5, 8, 9, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{3, 3}}, forged: []uint64{3},
		},
		"edits a time": {
			does:     func(f []Message) []Message { at(f, 8).Time += 1e9; return f },
			delivers: []uint64{2, 3, 4, 5, 9, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{8, 8}}, forged: []uint64{8},
		},
		"edits a content type": {
			does:     func(f []Message) []Message { at(f, 3).ContentType = "text/html"; return f },
			delivers: []uint64{2, 4, 5, 8, 9, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{3, 3}}, forged: []uint64{3},
		},
		"edits a number": {
			does:     func(f []Message) []Message { at(f, 3).Sequence = 4; return f },
			delivers: []uint64{2, 4, 5, 8, 9, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{3, 3}}, forged: []uint64{4},
		},
		"edits a sealed number": {
			does:     func(f []Message) []Message { at(f, 2).Sequence = 50; return f },
			delivers: []uint64{3, 4, 5, 8, 9, 10, 11}, verdicts: []string{"gap", "tampered"}, gaps: []Range{{2, 2}},
		},
		"edits an epoch": {
			does:     func(f []Message) []Message { at(f, 9).Epoch = epoch(3, 1); return f },
			delivers: []uint64{2, 3, 4, 5, 8, 10, 11}, verdicts: []string{"forged", "gap"}, gaps: []Range{{9, 9}}, forged: []uint64{9},
		},
		"edits the gateway": {
			does:     func(f []Message) []Message { at(f, 9).Address.Stream.Gateway = "hall-9"; return f },
			delivers: []uint64{2, 3, 4, 5, 8, 10, 11}, verdicts: []string{"gap", "unknown-gateway"}, gaps: []Range{{9, 9}},
		},
		"sends an old statement again": {
			does: func(f []Message) []Message { return append(f, f[24]) }, delivers: all,
		},
		"sends no statements": {does: func(f []Message) []Message { return f[:24] }, delivers: all},
	} {
		t.Run(what, func(t *testing.T) {
			r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}, Clock: func() time.Time { return time.Unix(0, p.now) }})
			out, refusals := readAll(r, c.does(bytesClone(good)))
			var mine []uint64
			for i := range out {
				if out[i].Stream == p.head.Stream {
					require.NoError(t, p.right(&out[i]))
					require.Equal(t, Signed, out[i].Proof)
					mine = append(mine, out[i].Sequence)
				}
			}
			assert.Equal(t, c.delivers, mine)
			if c.verdicts == nil {
				c.verdicts = []string{}
			}
			assert.Equal(t, c.verdicts, verdicts(r, refusals))
			var report StreamReport
			for _, s := range r.Report() {
				if s.Stream == p.head.Stream {
					report = s
				}
			}
			assert.Equal(t, c.gaps, report.Gaps)
			assert.Equal(t, c.withheld, report.Withheld)
			var forged []uint64
			for _, f := range report.Forgeries {
				forged = append(forged, f.Sequence)
			}
			slices.Sort(forged)
			assert.Equal(t, c.forged, forged)
			assert.Equal(t, what == "sends no statements", r.Gateways()[0].Silent)
		})
	}
}
