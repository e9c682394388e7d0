package envelope

import (
	"bytes"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
)

// faultyGateways are streams whose signatures are good and whose gateway is not
// well: set back, cloned, or with a key that has ended.
func faultyGateways() []recipe {
	twoEpochs := func(m *maker) *plant {
		p := m.plant("escrow")
		p.begin(epoch(7, 1))
		p.force(1)
		p.checkpoint(true)
		p.begin(epoch(8, 1))
		p.force(2)
		p.checkpoint(false)
		m.feed = slices.Clone(p.all)
		return p
	}
	return []recipe{
		{"checkpoint-chain-broken", func(m *maker) {
			m.fault = "a signed checkpoint does not continue the one before it"
			p := m.plant("escrow")
			p.short()
			p.head.Checkpoint[0] ^= 1
			broken := p.head.Clone()
			p.head.Checkpoint[0] ^= 1
			p.force(3)
			broken.Digests = append(broken.Digests, p.all[4].Digest())
			broken.Sequence++
			body, err := SignCheckpoint(p.signer, &broken, false, time.Unix(0, p.now))
			require.NoError(m.t, err)
			bad := p.all[3]
			bad.Sequence, bad.Time, bad.Body = 6, p.now, body
			m.feed = append(p.all, bad)
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"clone", "pending"}
		}},
		{"checkpoint-twice", func(m *maker) {
			m.fault = "the gateway signed two different checkpoints under one number"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			fork := p.head.Clone()
			p.checkpoint(false)
			body, err := SignCheckpoint(p.signer, &fork, false, time.Unix(0, p.now))
			require.NoError(m.t, err)
			second := p.all[2]
			second.Time, second.Body = p.now, body
			m.feed = append(p.all, second)
			m.delivers, m.verdicts = []uint64{2}, []string{"clone"}
		}},
		{"checkpoint-of-what-did-not-come", func(m *maker) {
			m.fault = "a checkpoint lists another digest than that of the message that came"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.head.Digests[1][0] ^= 1
			body, err := SignCheckpoint(p.signer, &p.head, false, time.Unix(0, p.now))
			require.NoError(m.t, err)
			p.put(Checkpoint, "", TypeSigned, body)
			m.feed, m.delivers, m.verdicts = p.all, nil, []string{"forged", "gap"}
		}},
		{"rollback", func(m *maker) {
			m.fault = "after an old backup the gateway begins an epoch with a lower start counter"
			p := twoEpochs(m)
			old := newPlant(m.t, p.to...)
			old.head, old.now = p.head.Clone(), p.now
			old.head.Closed = true
			old.begin(epoch(7, 2))
			old.force(3)
			m.feed = append(m.feed, old.all...)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"rollback"}
		}},
		{"rollback-of-numbers", func(m *maker) {
			m.fault = "the gateway begins a new epoch with numbers that it has used"
			p := twoEpochs(m)
			old := newPlant(m.t, p.to...)
			old.head.Sequence, old.head.CheckpointSequence, old.head.Closed, old.now = 4, 4, true, p.now
			old.begin(epoch(9, 1))
			old.force(3)
			m.feed = append(m.feed, old.all...)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"rollback"}
		}},
		{"clone", func(m *maker) {
			m.fault = "two instances of the gateway run under one start counter"
			p := twoEpochs(m)
			twin := newPlant(m.t, p.to...)
			twin.head, twin.now = p.head.Clone(), p.now
			twin.head.Closed = true
			e := epoch(8, 2)
			e.Instance[3]++
			twin.begin(e)
			twin.force(3)
			m.feed = append(m.feed, twin.all...)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"clone"}
		}},
		{"second-key-frame", func(m *maker) {
			m.fault = "the gateway signed two key frames of one epoch: a clone of its memory"
			p := m.plant("escrow")
			p.short()
			twin := newPlant(m.t, p.to...)
			twin.begin(epoch(7, 1))
			m.feed = append(p.all, twin.all[0])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"clone"}
		}},
		{"ended-key", func(m *maker) {
			m.fault = "a checkpoint is signed after the end of the gateway's key"
			p := m.plant("escrow")
			p.short()
			m.trust.Gateways["hall-2"][0].Until = time.Unix(0, p.all[3].Time-1)
			m.feed = p.all
			lost(m, 4, BadSignature)
		}},
		{"loss-record-of-another-stream", func(m *maker) {
			m.fault = "a loss record is sent in another stream than it is of"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			body, err := SignLoss(p.signer, Loss{
				Stream: Stream{"hall-2", "press-4", "restricted"}, Epoch: p.head.Epoch, First: 2, Last: 9, Reason: "outbox full", Time: time.Unix(0, p.now),
			})
			require.NoError(m.t, err)
			p.put(LossRecord, "", TypeSigned, body)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2}, []string{"gap", "tampered"}
		}},
		{"loss-record-flipped", func(m *maker) {
			m.fault = "one bit of a loss record is flipped"
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.lose(2, 2)
			p.checkpoint(false)
			m.feed = bytesClone(p.all)
			m.feed[2].Body = bytes.Replace(m.feed[2].Body, []byte("full"), []byte("fulm"), 1)
			m.delivers, m.verdicts = []uint64{2}, []string{"bad-signature", "gap"}
		}},
	}
}
