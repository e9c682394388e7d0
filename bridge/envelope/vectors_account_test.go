package envelope

import (
	"slices"
	"time"

	"github.com/stretchr/testify/require"
)

// accountVectors are good messages that come in ways a receiver has to account
// for.
func accountVectors() []recipe {
	return []recipe{
		{"closing-after-crash", func(m *maker) {
			m.about = "The gateway crashed with an epoch open: its next start closes that one, and begins another."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(false)
			p.force(2)
			saved, err := ParseHead(p.head.Append(nil))
			require.NoError(m.t, err)
			p.head = saved
			p.checkpoint(true)
			p.begin(epoch(8, 1))
			p.force(3)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 4, 7}, []string{}
		}},
		{"epoch-change", func(m *maker) {
			m.about = "Three epochs, of two starts; the second start's first epoch is number 1 again."
			p := m.plant("engineering")
			for _, e := range []Epoch{epoch(7, 1), epoch(7, 2), epoch(9, 1)} {
				p.begin(e)
				p.force(float64(e.Start))
				p.checkpoint(true)
			}
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 5, 8}, []string{}
		}},
		{"revocation-remaining", func(m *maker) {
			m.about = "The second epoch is without escrow. The other recipient notices nothing."
			m.feed, m.delivers, m.verdicts = revocation(m, "engineering"), []uint64{2, 5}, []string{}
		}},
		{"revocation-revoked", func(m *maker) {
			m.about = "The same messages, read by escrow: the second epoch is not for it. What it cannot open is delivered unopened."
			m.feed, m.delivers, m.verdicts = revocation(m, "escrow"), []uint64{2, 5}, []string{"unopened", "wrong-recipient"}
		}},
		{"loss-record", func(m *maker) {
			m.about = "Messages 3 and 4, and later 5, are gone, and the gateway says so. They are no gap; the two records are one loss."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			for range 5 {
				p.force(1)
			}
			p.lose(3, 4)
			p.lose(5, 5)
			p.checkpoint(false)
			m.feed = slices.Concat(p.all[:2], p.all[5:])
			m.delivers, m.verdicts = []uint64{2, 6}, []string{"loss"}
		}},
		{"audit", func(m *maker) {
			m.about = "Without an identity: signatures and numbers are checked, and what is sealed comes unopened."
			p := m.plant("escrow")
			p.short()
			m.reader = ""
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{"unopened"}
		}},
		{"wrong-recipient", func(m *maker) {
			m.about = "The identity is no recipient of the epoch."
			p := m.plant("escrow")
			p.short()
			m.reader = "engineering"
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{"unopened", "wrong-recipient"}
		}},
		{"without-trust", func(m *maker) {
			m.about = "Without a trust file everything comes at once, and is unverified."
			p := m.plant("escrow")
			p.short()
			m.trust = nil
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}},
		{"pending", func(m *maker) {
			m.about = "Delivered before the signature is there: pending. The last checkpoint does not come."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			m.now = true
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3, 5}, []string{"pending"}
		}},
		{"unsigned-tail", func(m *maker) {
			m.about = "What has no checkpoint yet is not delivered."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{"pending"}
		}},
		{"key-frame-late", func(m *maker) {
			m.about = "Frames, and then a checkpoint, come before their key frame: they wait for it."
			p := m.plant("escrow")
			p.short()
			m.feed = []Message{p.all[1], p.all[2], p.all[3], p.all[0]}
			m.delivers, m.verdicts = []uint64{2, 3}, []string{}
		}},
		{"key-frame-missing", func(m *maker) {
			m.about = "The key frame does not come: the frames are there, signed, and cannot be opened."
			p := m.plant("escrow")
			p.short()
			m.feed, m.delivers, m.verdicts = p.all[1:], nil, []string{"gap", "no-key-frame"}
		}},
		{"key-frame-again", func(m *maker) {
			m.about = "The relay sends the key frame again on a new connection, byte for byte."
			p := m.plant("escrow")
			p.short()
			m.feed = []Message{p.all[0], p.all[1], p.all[0], p.all[2], p.all[3], p.all[0]}
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"duplicate"}
		}},
		{"backwards", func(m *maker) {
			m.about = "Two epochs, last message first."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(true)
			p.begin(epoch(7, 2))
			p.force(2)
			p.checkpoint(false)
			m.feed = slices.Clone(p.all)
			slices.Reverse(m.feed)
			m.delivers, m.verdicts = []uint64{5, 2}, []string{}
		}},
		{"replayed", func(m *maker) {
			m.about = "Every message comes three times; each delivery comes once."
			p := m.plant("escrow")
			p.short()
			m.feed = slices.Concat(p.all, p.all, p.all)
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"duplicate"}
		}},
		{"gap", func(m *maker) {
			m.about = "Message 3 does not come, and nobody says why."
			p := m.plant("escrow")
			p.short()
			m.feed = []Message{p.all[0], p.all[1], p.all[3]}
			m.delivers, m.verdicts = []uint64{2}, []string{"gap"}
		}},
		{"gap-of-a-checkpoint", func(m *maker) {
			m.about = "A checkpoint does not come: what it covers is never delivered; the chain behind it goes on."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			p.checkpoint(false)
			m.feed = slices.Concat(p.all[:3], p.all[4:])
			m.delivers, m.verdicts = []uint64{5}, []string{"gap", "pending"}
		}},
		{"trimmed", func(m *maker) {
			m.about = "The source keeps the newest messages only, but every key frame: the beginning of the stream is no gap."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			p.force(4)
			p.checkpoint(false)
			m.trimmed = true
			m.feed = slices.Concat(p.all[:1], p.all[5:])
			m.delivers, m.verdicts = []uint64{6}, []string{"trimmed"}
		}},
	}
}

// revocation is two epochs, the second one without escrow.
func revocation(m *maker, reader string) []Message {
	p := m.plant("engineering", "escrow")
	m.reader = reader
	p.begin(epoch(7, 1))
	p.force(1)
	p.checkpoint(true)
	p.to = p.to[:1]
	p.begin(epoch(7, 2))
	p.force(2)
	p.checkpoint(false)
	return p.all
}

// statementVectors are those with statements.
func statementVectors() []recipe {
	told := func(m *maker, messages int) *plant {
		p := m.plant("escrow")
		p.short()
		p.force(3)
		p.checkpoint(false)
		m.feed = append(m.feed, p.all[:messages]...)
		return p
	}
	return []recipe{
		{"statement", func(m *maker) {
			m.about = "A statement that everything came: policy digest, audit head, the stream's head. It is 5 seconds old."
			p := told(m, 6)
			m.feed = append(m.feed, *p.statement(nil))
			m.clock = p.now + 5e9
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{}
		}},
		{"statement-of-little", func(m *maker) {
			m.about = "A statement with an unsynchronised clock and without an audit log or heads. It comes without delay, so it is fresh."
			p := told(m, 6)
			m.feed = append(m.feed, *p.statement(func(s *GatewayState) {
				s.Clock, s.AuditSize, s.AuditHead, s.Heads, s.Policy = ClockUnknown, 0, [32]byte{}, nil, [32]byte{}
			}))
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{}
			m.clock = p.now + 3600e9
		}},
		{"statements-out-of-order", func(m *maker) {
			m.about = "Three statements, the newest first, one of them twice: the newest counts."
			p := told(m, 4)
			p.statement(func(s *GatewayState) { s.Heads[0].Sequence = 4 })
			p.now += 10e9
			p.statement(func(s *GatewayState) { s.Heads[0].Sequence = 4 })
			p.now += 10e9
			p.statement(nil)
			m.feed = append(m.feed, p.extra[2], p.extra[0], p.extra[1], p.extra[1])
			m.feed = append(m.feed, p.all[4:]...)
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"silent"}
		}},
		{"silent-gateway", func(m *maker) {
			m.about = "Nothing came for 31 seconds, and the gateway promised a statement every 10."
			p := told(m, 6)
			m.feed = append(m.feed, *p.statement(nil))
			m.clock = p.now + 31e9
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"silent"}
		}},
		{"withheld-tail", func(m *maker) {
			m.fault = "the broker withholds the newest messages"
			m.about = "The statement says that the stream is at 6; 5 and 6 did not come."
			p := told(m, 4)
			m.feed = append(m.feed, *p.statement(nil))
			m.clock = p.now + 5e9
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"withheld"}
		}},
		{"withheld-stream", func(m *maker) {
			m.fault = "the broker withholds one stream"
			m.about = "The statement names a second stream, of which nothing came."
			p := told(m, 6)
			m.feed = append(m.feed, *p.statement(func(s *GatewayState) {
				s.Heads = append(s.Heads, StreamHead{"mixer-4", "internal", epoch(7, 1), 17})
			}))
			m.clock = p.now + 5e9
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"withheld"}
		}},
		{"statement-bad-signature", func(m *maker) {
			m.fault = "one bit of the statement's signature is flipped"
			p := told(m, 6)
			s := p.statement(nil)
			s.Body[len(s.Body)-9] ^= 4
			m.feed = append(m.feed, *s)
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"bad-signature"}
		}},
		{"statement-moved", func(m *maker) {
			m.fault = "a statement is sent under another number than it has inside"
			p := told(m, 6)
			s := p.statement(nil)
			s.Sequence++
			m.feed = append(m.feed, *s)
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"tampered"}
		}},
		{"statement-truncated", func(m *maker) {
			m.fault = "the statement ends too soon"
			p := told(m, 6)
			s := p.statement(nil)
			s.Body = s.Body[:len(s.Body)-1]
			m.feed = append(m.feed, *s)
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"malformed"}
		}},
		{"statement-heads-unsorted", func(m *maker) {
			m.fault = "the heads in a signed statement are not in order"
			p := told(m, 6)
			state := p.state()
			state.Heads = append(state.Heads, StreamHead{"mixer-4", "internal", epoch(7, 1), 17})
			s := *p.statement(nil)
			protected, err := parseSign1(s.Body)
			require.NoError(m.t, err)
			state.Sequence = s.Sequence
			s.Body = signOdd(p, protected.protected, state.appendPayload(nil))
			m.feed = append(m.feed, s)
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"malformed"}
		}},
		{"statement-rollback", func(m *maker) {
			m.fault = "a later statement has a lower head: the gateway's state was set back"
			p := told(m, 6)
			p.statement(nil)
			p.now += 10e9
			p.statement(func(s *GatewayState) { s.Start, s.Sequence, s.Heads[0].Sequence = 8, 1, 5 })
			m.feed = append(m.feed, p.extra...)
			m.clock = p.now
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"rollback"}
		}},
		{"statement-clone", func(m *maker) {
			m.fault = "two instances of the gateway make statements under one start counter"
			p := told(m, 6)
			p.statement(nil)
			p.now += 10e9
			p.statement(func(s *GatewayState) {
				s.Instance[7]++
				s.Heads[0].Epoch.Instance = s.Instance
			})
			m.feed = append(m.feed, p.extra...)
			m.clock = p.now
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"clone"}
		}},
		{"statement-late-by-an-hour", func(m *maker) {
			m.fault = "the broker delivers everything an hour late"
			m.about = "By the statement's own time, which the gateway trusts, it is an hour old."
			p := told(m, 6)
			m.feed = append(m.feed, *p.statement(nil))
			m.clock = p.now + time.Hour.Nanoseconds()
			m.delivers, m.verdicts = []uint64{2, 3, 5}, []string{"silent"}
		}},
	}
}
