package envelope

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// laterVectors are good streams whose account other implementers read
// differently from the text.
func laterVectors() []recipe {
	return []recipe{
		{"key-frame-time", func(m *maker) {
			m.about = "The time in a key frame is that of its epoch's key, and its message's is another one."
			p := m.plant("escrow")
			s, err := NewSealer(EpochConfig{Stream: p.head.Stream, Epoch: epoch(7, 1), Recipients: p.to, Signer: p.signer, Pad: true, Time: time.Unix(0, p.now-3e9)})
			require.NoError(m.t, err)
			body, err := s.KeyFrame(1)
			require.NoError(m.t, err)
			p.sealer = s
			p.putIn(epoch(7, 1), KeyFrame, "", TypeSigned, body)
			p.force(1)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2}, []string{}
		}},
		{"unknown-recipient", func(m *maker) {
			m.about = "A recipient of an algorithm that this version does not know: it is passed over, and the others are served."
			p := m.plant("escrow", "engineering")
			p.oddKeyFrame(odd{foreign: true})
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}},
		{"event", func(m *maker) {
			m.about = "An event with a point, and one without."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.put(Event, "recipe", "application/octet-stream", []byte{1})
			p.put(Event, "", "application/octet-stream", []byte{2})
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}},
		{"loss-records-in-any-order", func(m *maker) {
			m.about = "Three loss records of one reason, the last one first: one loss, with the latest time. One of another reason beside it stays its own."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			for range 8 {
				p.force(1)
			}
			p.lose(2, 3)
			p.lose(6, 7)
			p.lose(4, 5)
			body, err := SignLoss(p.signer, Loss{Stream: p.head.Stream, Epoch: p.head.Epoch, First: 8, Last: 8, Reason: "quarantined", Time: time.Unix(0, p.now)})
			require.NoError(m.t, err)
			p.put(LossRecord, "", TypeSigned, body)
			p.checkpoint(false)
			m.feed = []Message{p.all[0], p.all[12], p.all[10], p.all[9], p.all[11], p.all[8], p.all[13]}
			m.delivers, m.verdicts = []uint64{9}, []string{"loss"}
		}},
		{"loss-record-of-another-epoch", func(m *maker) {
			m.about = "A loss record names an epoch that does not fit its numbers: it explains the gap, and proves nothing of epochs."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.force(2)
			body, err := SignLoss(p.signer, Loss{Stream: p.head.Stream, Epoch: epoch(9, 1), First: 3, Last: 3, Reason: "outbox full", Time: time.Unix(0, p.now)})
			require.NoError(m.t, err)
			p.put(LossRecord, "", TypeSigned, body)
			p.checkpoint(true)
			p.begin(epoch(8, 1))
			p.force(3)
			p.checkpoint(false)
			m.feed = slices.Concat(p.all[:2], p.all[3:])
			m.delivers, m.verdicts = []uint64{2, 7}, []string{"loss"}
		}},
		{"loss-record-ahead", func(m *maker) {
			m.about = "A loss record names its own number and later ones, as of a gateway that lost its last numbers with its disk: what comes all the same counts."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.lose(3, 7)
			p.force(2)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 4}, []string{"loss"}
		}},
		{"catalogue-now", func(m *maker) {
			m.about = "A receiver that does not wait for signatures waits for those of catalogues."
			p := m.plant("escrow")
			m.now = true
			p.begin(epoch(7, 1))
			p.catalogue(Entry{Name: "ram-force", Unit: "kN"})
			p.force(1)
			p.checkpoint(false)
			p.catalogue(Entry{Name: "ram-force", Unit: "MN"})
			p.force(2)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{3, 2, 6}, []string{"pending"}
		}},
		{"trimmed-whole", func(m *maker) {
			m.about = "The source has key frames and the newest checkpoint only: all of the stream is trimmed."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			p.checkpoint(false)
			m.trimmed = true
			m.feed = []Message{p.all[0], p.all[5]}
			m.delivers, m.verdicts = nil, []string{"trimmed"}
		}},
		{"trimmed-claims", func(m *maker) {
			m.about = "What only waits does not say where the source begins, as long as something is settled: anybody may have made it."
			p := m.plant("escrow")
			p.short()
			p.force(3)
			p.force(4)
			p.checkpoint(false)
			old := p.all[1]
			old.Address.Kind, old.Address.Point = Passthrough, "recipe"
			m.trimmed = true
			m.feed = slices.Concat(p.all[:1], []Message{old}, p.all[5:])
			m.delivers, m.verdicts = []uint64{6}, []string{"pending", "trimmed"}
		}},
		{"statements-in-turn", func(m *maker) {
			m.about = "Two statements, each over some streams, the newer one first: the older one still counts for its stream."
			p := m.plant("escrow")
			p.short()
			m.feed = slices.Clone(p.all)
			p.statement(func(s *GatewayState) { s.Heads = []StreamHead{{"mixer-4", "internal", epoch(7, 1), 17}} })
			p.now += 10e9
			p.statement(nil)
			m.feed = append(m.feed, p.extra[1], p.extra[0])
			m.clock = p.now
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"withheld"}
		}},
	}
}

// faultyLater are the faults of that kind.
func faultyLater() []recipe {
	short := func(name, fault string, n int, class Class, change func(p *plant, m *Message)) recipe {
		return recipe{name, func(m *maker) {
			m.fault = fault
			p := m.plant("escrow", "engineering")
			p.short()
			m.feed = bytesClone(p.all)
			change(p, &m.feed[n-1])
			lost(m, n, class)
		}}
	}
	pack := func(name, fault string, change func(p *plant, at int64) []byte) recipe {
		return recipe{name, func(m *maker) {
			m.fault = fault + ", in what another recipient sealed under number 2"
			p := m.plant("escrow", "engineering")
			p.short()
			bad := p.all[1]
			bad.Body = p.sealer.frame.seal(nil, 2, change(p, bad.Time))
			m.feed = slices.Concat(p.all[:1], []Message{bad}, p.all[1:])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered"}
		}}
	}
	one := func(at int64, name string, v Value) []Sample { return []Sample{{Name: name, Time: at, Value: v}} }
	statements := func(name, fault string, class Class, change func(p *plant)) recipe {
		return recipe{name, func(m *maker) {
			m.fault = fault
			p := m.plant("escrow")
			p.short()
			change(p)
			m.feed = slices.Concat(p.all, p.extra)
			m.clock = p.now
			m.delivers, m.verdicts = []uint64{2, 3}, []string{string(class)}
		}}
	}
	return []recipe{
		notListed("key-frame-not-listed", "before the first one, which was late", false),
		notListed("key-frame-not-listed-for-others", "for others, before the first one, which was late", true),
		{"key-frame-found-forged", func(m *maker) {
			m.fault = "the gateway signed two key frames of one epoch, the other one comes first, and the checkpoint lists the first: its key goes, and the right one comes again"
			p := m.plant("escrow")
			p.short()
			twin := newPlant(m.t, p.to...)
			twin.begin(epoch(7, 1))
			m.feed = []Message{twin.all[0], p.all[0], p.all[3], p.all[0], p.all[1], p.all[2]}
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"clone", "forged"}
		}},
		short("point-of-samples", "samples have a point in their address", 2, Malformed, func(_ *plant, m *Message) { m.Address.Point = "recipe" }),
		short("point-of-a-checkpoint", "a checkpoint has a point in its address", 4, Malformed, func(_ *plant, m *Message) { m.Address.Point = "recipe" }),
		{"point-of-a-statement", func(m *maker) {
			m.fault = "a statement has a point in its address"
			p := m.plant("escrow")
			p.short()
			s := p.statement(nil)
			s.Address.Point = "recipe"
			m.feed, m.delivers, m.verdicts = append(p.all, *s), []uint64{2, 3}, []string{"malformed"}
		}},
		pack("base-of-another-machine", "the base name of another machine", func(_ *plant, at int64) []byte {
			return appendPack(nil, "press-4/", one(at, "ram-force", OfFloat(1)))
		}),
		pack("base-of-another-machine-catalogue", "a catalogue of another machine", func(*plant, int64) []byte {
			b, err := AppendCatalogue(nil, "press-4/", []Entry{{Name: "ram-force", Unit: "kN"}})
			if err != nil {
				return nil
			}
			return b
		}),
		{"base-of-another-machine-clear", func(m *maker) {
			m.fault = "the base name of another machine, in clear"
			p := m.plant()
			p.head.Stream.Level, p.head.Epoch = "public", epoch(7, 1)
			p.put(Data, "", TypeClear, AppendClear(nil, "press-4/", p.samples(1)))
			p.force(1)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2}, []string{"gap", "malformed"}
		}},
		pack("name-too-long", "a name of 257 bytes", func(_ *plant, at int64) []byte {
			b := appendPack(nil, "press-3/", one(at, strings.Repeat("n", MaxName), OfBool(true)))
			return bytes.Replace(b, []byte{0x79, 1, 0, 'n'}, []byte{0x79, 1, 1, 'n', 'n'}, 1)
		}),
		pack("text-too-long", "a text of 65,537 bytes", func(_ *plant, at int64) []byte {
			return appendPack(nil, "press-3/", one(at, "text", OfText(make([]byte, MaxValue+1))))
		}),
		pack("padding-too-long", "padding of one byte more than Padmé gives", func(_ *plant, at int64) []byte {
			b := appendPack(nil, "press-3/", one(at, "ram-force", OfText(make([]byte, 100))))
			return appendPadding(b, padme(len(b)+1)-len(b)+1)
		}),
		{"claim-in-closed-epoch", func(m *maker) {
			m.fault = "somebody sends number 9 of an epoch that its checkpoint then closes at 3: it is put away, and does not count as the highest"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(true)
			late := p.all[1]
			late.Address.Kind, late.Address.Point, late.Sequence = Passthrough, "recipe", 9
			m.feed = []Message{p.all[0], p.all[1], late, p.all[2]}
			m.delivers, m.verdicts = []uint64{2}, []string{"forged"}
		}},
		{"rollback-after-its-frames", func(m *maker) {
			m.fault = "the frames of an epoch with a lower start counter come before its key frame: all of it is refused"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(true)
			old := newPlant(m.t, p.to...)
			old.head, old.now = p.head.Clone(), p.now
			old.begin(epoch(6, 1))
			old.force(3)
			m.feed = append(p.all, old.all[1], old.all[0])
			m.delivers, m.verdicts = []uint64{2}, []string{"rollback"}
		}},
		{"key-of-another-instance", func(m *maker) {
			m.fault = "a second instance of the gateway begins an epoch of another stream"
			p := m.plant("escrow")
			p.short()
			twin := newPlant(m.t, p.to...)
			twin.head.Stream.Machine = "press-4"
			e := epoch(7, 1)
			e.Instance[3]++
			twin.begin(e)
			m.feed = append(p.all, twin.all[0])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"clone"}
		}},
		statements("statement-of-another-instance", "a statement has another instance than the epochs of its start", Clone, func(p *plant) {
			p.statement(func(s *GatewayState) { s.Instance[7]++; s.Heads = nil })
		}),
		statements("statement-of-two-instances", "a statement has another instance than the head of its start in it", Clone, func(p *plant) {
			p.statement(func(s *GatewayState) {
				s.Start, s.Instance = 9, [8]byte{9}
				s.Heads[0].Epoch = epoch(9, 1)
			})
		}),
		statements("statement-epoch-back", "a later statement names an older epoch of a stream, with a higher number", Rollback, func(p *plant) {
			p.statement(func(s *GatewayState) { s.Heads[0].Epoch.Number = 2; s.Heads[0].Sequence = 4 })
			p.now += 10e9
			p.statement(func(s *GatewayState) { s.Heads[0].Sequence = 5 })
		}),
		statements("statement-twice", "two statements under one number, with different contents", Clone, func(p *plant) {
			p.statement(nil)
			p.stated--
			p.now += 1e9
			p.statement(nil)
		}),
		{"ended-key-of-another", func(m *maker) {
			m.fault = "the key frame is signed by a second key of the gateway that had ended"
			p := m.plant("escrow")
			second := key("hall-2, second key")
			m.trust.Gateways["hall-2"] = append(m.trust.Gateways["hall-2"], GatewayKey{Public: second.Public().(ed25519.PublicKey), Until: time.Unix(0, p.now-1)})
			first := p.signer.Key
			p.signer.Key = second
			p.begin(epoch(7, 1))
			p.signer.Key = first
			p.force(1)
			p.force(2)
			p.checkpoint(false)
			m.feed = p.all
			lost(m, 1, BadSignature)
		}},
	}
}

// notListed is a second key frame that comes after the checkpoint that lists the
// first one, and before that.
func notListed(name, when string, others bool) recipe {
	return recipe{name, func(m *maker) {
		m.fault = "the gateway signed two key frames of one epoch, and the one that the checkpoint does not list comes " + when + ": it leaves no key"
		p := m.plant("escrow")
		p.short()
		to := p.to
		if others {
			to = []Recipient{knownIdentity(m.t, "engineering").Recipient()}
		}
		twin := newPlant(m.t, to...)
		twin.begin(epoch(7, 1))
		m.feed = []Message{p.all[3], twin.all[0], p.all[1], p.all[0], p.all[2]}
		m.delivers, m.verdicts = []uint64{2, 3}, []string{"forged"}
	}}
}
