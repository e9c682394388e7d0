package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"slices"

	"github.com/stretchr/testify/require"
)

// sealWith is AES-256-GCM with an IV of any length.
func sealWith(p *plant, key, iv, plain, aad []byte) []byte {
	block, err := aes.NewCipher(key)
	require.NoError(p.t, err)
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	require.NoError(p.t, err)
	return aead.Seal(nil, iv, plain, aad)
}

// forge is what another recipient of the epoch makes of message n: he has its
// key, and not the gateway's signature.
func (p *plant) forge(n uint64, f float64) Message {
	m := p.all[n-1]
	pack := appendPack(nil, "press-3/", []Sample{{Name: "ram-force", Time: m.Time, Value: OfFloat(f)}})
	m.Body = p.sealer.frame.seal(nil, m.Sequence, appendPadding(pack, padme(len(pack)+1)-len(pack)))
	return m
}

// faultyMessages are what a broker, or another recipient, can do.
func faultyMessages() []recipe {
	payloads := func(m *maker) *plant {
		p := m.plant("escrow")
		p.begin(epoch(7, 1))
		p.put(Passthrough, "recipe", "application/octet-stream", []byte{0xde, 0xad})
		p.put(Passthrough, "program", "application/octet-stream", []byte{0xbe, 0xef})
		p.checkpoint(false)
		m.feed = p.all
		return p
	}
	// header edits one message of two payloads in a way that only the checkpoint tells.
	header := func(name, fault string, change func(*Message)) recipe {
		return recipe{name, func(m *maker) {
			m.fault = fault
			payloads(m)
			change(&m.feed[1])
			m.delivers, m.verdicts = []uint64{3}, []string{"forged", "gap"}
		}}
	}
	return []recipe{
		{"replayed-frame", func(m *maker) {
			m.fault = "a data frame comes again, later, as it was: it is put aside"
			p := m.plant("escrow")
			p.short()
			m.feed = append(slices.Clone(p.all), p.all[1])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"duplicate"}
		}},
		{"replayed-frame-other-number", func(m *maker) {
			m.fault = "a data frame comes again under another number"
			p := m.plant("escrow")
			p.short()
			again := p.all[1]
			again.Sequence = 5
			m.feed = append(slices.Clone(p.all), again)
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered"}
		}},
		{"frame-of-another-epoch", func(m *maker) {
			m.fault = "a frame of the first epoch is sent as one of the second, before the gateway's signature tells whose number it is"
			p, moved := moved(m)
			m.feed = slices.Concat(p.all[3:4], []Message{moved}, p.all)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"duplicate", "tampered"}
		}},
		{"frame-of-another-epoch-signed", func(m *maker) {
			m.fault = "a frame of the first epoch is sent as one of the second, and the gateway has signed for its number in the first"
			p, moved := moved(m)
			m.feed = append(slices.Clone(p.all), moved)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"forged"}
		}},
		{"payloads-swapped", func(m *maker) {
			m.fault = "the payloads of two points are exchanged"
			payloads(m)
			m.feed[1].Body, m.feed[2].Body = m.feed[2].Body, m.feed[1].Body
			m.delivers, m.verdicts = nil, []string{"forged", "gap"}
		}},
		{"points-swapped", func(m *maker) {
			m.fault = "the points of two payloads are exchanged"
			payloads(m)
			m.feed[1].Address.Point, m.feed[2].Address.Point = "program", "recipe"
			m.delivers, m.verdicts = nil, []string{"forged", "gap"}
		}},
		header("edited-time", "the time of a payload is changed", func(m *Message) { m.Time -= 3600e9 }),
		header("edited-content-type", "the content type of a payload is changed", func(m *Message) { m.ContentType = "text/plain" }),
		header("edited-kind", "a payload is sent as an event", func(m *Message) { m.Address.Kind = Event }),
		header("edited-payload", "one bit of a payload is flipped", func(m *Message) { m.Body = []byte{0xdf, 0xad} }),
		{"edited-time-sealed", func(m *maker) {
			m.fault = "the time of a sealed message is changed"
			p := m.plant("escrow")
			p.short()
			m.feed = p.all
			m.feed[1].Time++
			m.delivers, m.verdicts = []uint64{3}, []string{"forged", "gap"}
		}},
		{"edited-time-checkpoint", func(m *maker) {
			m.fault = "the time of a checkpoint is changed"
			p := m.plant("escrow")
			p.short()
			m.feed = p.all
			m.feed[3].Time++
			lost(m, 4, Tampered)
		}},
		{"edited-sequence-key-frame", func(m *maker) {
			m.fault = "the key frame is sent under another number"
			p := m.plant("escrow")
			p.short()
			m.feed = p.all
			m.feed[0].Sequence = 9
			lost(m, 1, Tampered)
		}},
		{"other-stream", func(m *maker) {
			m.fault = "everything is sent as another machine's: what is signed says otherwise, and the rest has no key and no signature"
			p := m.plant("escrow")
			p.short()
			m.feed = p.all
			for i := range m.feed {
				m.feed[i].Address.Stream.Machine = "press-4"
			}
			m.delivers, m.verdicts = nil, []string{"gap", "no-key-frame", "pending", "tampered"}
		}},
		{"edited-clear", func(m *maker) {
			m.fault = "a clear value is changed"
			p := m.plant()
			p.head.Stream.Level, p.head.Epoch = "public", epoch(7, 1)
			p.seals(Sample{Name: "running", Value: OfBool(true)})
			p.seals(Sample{Name: "running", Value: OfBool(true)})
			p.checkpoint(false)
			m.feed = p.all
			m.feed[0].Body = bytes.Replace(m.feed[0].Body, []byte("true"), []byte("false"), 1)
			m.delivers, m.verdicts = []uint64{2}, []string{"forged", "gap"}
		}},
		{"clear-in-another-form", func(m *maker) {
			m.fault = "clear samples are written with white space"
			p := m.plant()
			p.head.Stream.Level, p.head.Epoch = "public", epoch(7, 1)
			p.seals(Sample{Name: "running", Value: OfBool(true)})
			p.seals(Sample{Name: "running", Value: OfBool(true)})
			p.checkpoint(false)
			m.feed = p.all
			m.feed[0].Body = bytes.Replace(m.feed[0].Body, []byte(`"bt"`), []byte(` "bt"`), 1)
			m.delivers, m.verdicts = []uint64{2}, []string{"gap", "malformed"}
		}},
		{"tampered-before-key-frame", func(m *maker) {
			m.fault = "a changed frame comes before the key frame: it is found out when that comes, and listed; the genuine one behind it counts"
			p := m.plant("escrow")
			p.short()
			bad := bytesClone(p.all[1:2])[0]
			bad.Body[len(bad.Body)-1] ^= 1
			m.feed = []Message{bad, p.all[1], p.all[0], p.all[2], p.all[3]}
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered"}
		}},
		{"unreadable-pack", func(m *maker) {
			m.fault = "what another recipient sealed under number 2 is no pack: a float that is not in its shortest form"
			p := m.plant("escrow", "engineering")
			p.short()
			bad := p.all[1]
			pack := appendPack(nil, "press-3/", []Sample{{Name: "ram-force", Time: bad.Time, Value: OfFloat(0.1)}})
			i := bytes.IndexByte(pack, cborF64)
			copy(pack[i+1:], []byte{0x40, 0x66, 0xd0, 0, 0, 0, 0, 0}) // 182.5
			bad.Body = p.sealer.frame.seal(nil, 2, pack)
			m.feed = slices.Concat(p.all[:1], []Message{bad}, p.all[1:])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered"}
		}},
		{"padding-not-zero", func(m *maker) {
			m.fault = "what another recipient sealed under number 2 has padding that is not zero"
			p := m.plant("escrow", "engineering")
			p.short()
			bad := p.forge(2, 999)
			pack := appendPadding(appendPack(nil, "press-3/", []Sample{{Name: "ram-force", Time: bad.Time, Value: OfFloat(1)}}), 9)
			pack[len(pack)-1] = 1
			bad.Body = p.sealer.frame.seal(nil, 2, pack)
			m.feed = slices.Concat(p.all[:1], []Message{bad}, p.all[1:])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered"}
		}},
		{"forged-before", func(m *maker) {
			m.fault = "another recipient sends number 2 before the gateway does"
			p := m.plant("escrow", "engineering")
			p.short()
			m.feed = slices.Concat(p.all[:1], []Message{p.forge(2, 999)}, p.all[1:])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"forged"}
		}},
		{"forged-after", func(m *maker) {
			m.fault = "another recipient sends number 2 after the gateway, before the checkpoint"
			p := m.plant("escrow", "engineering")
			p.short()
			m.feed = slices.Concat(p.all[:2], []Message{p.forge(2, 999)}, p.all[2:])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"forged"}
		}},
		{"forged-after-checkpoint", func(m *maker) {
			m.fault = "another recipient sends number 2 after the checkpoint"
			p := m.plant("escrow", "engineering")
			p.short()
			m.feed = append(slices.Clone(p.all), p.forge(2, 999))
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"forged"}
		}},
		{"forged-before-now", func(m *maker) {
			m.fault = "another recipient sends number 2 first, and the receiver does not wait for signatures: it gets the forgery as pending, and then the right one as signed"
			p := m.plant("escrow", "engineering")
			p.short()
			m.now = true
			m.feed = slices.Concat(p.all[:1], []Message{p.forge(2, 999)}, p.all[1:])
			m.delivers, m.verdicts = []uint64{2, 3, 2}, []string{"forged"}
		}},
		{"forged-in-closed-epoch", func(m *maker) {
			m.fault = "a revoked recipient sends a message in the epoch that it was in, after its closing checkpoint"
			p := m.plant("engineering", "escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(true)
			late := p.forge(2, 999)
			late.Sequence = 4
			late.Body = p.sealer.frame.seal(nil, 4, p.sealer.plain)
			p.to = p.to[:1]
			p.begin(epoch(7, 2))
			p.force(2)
			p.checkpoint(false)
			m.feed = append(slices.Clone(p.all), late)
			m.delivers, m.verdicts = []uint64{2, 5}, []string{"forged"}
		}},
		{"forged-key-frame", func(m *maker) {
			m.fault = "a recipient makes a key frame of its own"
			p := m.plant("engineering", "escrow")
			p.short()
			q := newPlant(m.t, p.to...)
			q.signer.Key, q.now = key("somebody"), p.now
			q.head = p.head.Clone()
			q.head.Closed = true
			q.begin(epoch(8, 1))
			q.force(999)
			m.feed = append(slices.Clone(p.all), q.all[0])
			m.delivers, m.verdicts = []uint64{2, 3}, []string{"bad-signature"}
		}},
		{"unknown-gateway", func(m *maker) {
			m.fault = "the trust file does not list the gateway"
			p := m.plant("escrow")
			p.short()
			m.feed = p.all
			m.trust = &Trust{Gateways: map[string]GatewayKeys{"hall-1": {{Public: key("hall-1").Public().(ed25519.PublicKey)}}}}
			m.delivers, m.verdicts = nil, []string{"unknown-gateway"}
		}},
		{"key-of-another-gateway", func(m *maker) {
			m.fault = "another gateway of the trust file signs in the name of this one"
			p := m.plant("escrow")
			m.trust.Gateways["hall-1"] = GatewayKeys{{Public: key("hall-1").Public().(ed25519.PublicKey)}}
			p.signer.Key = key("hall-1")
			p.short()
			m.feed = p.all
			m.delivers, m.verdicts = nil, []string{"bad-signature", "gap", "no-key-frame", "pending"}
		}},
		{"oversize", func(m *maker) {
			m.fault = "a body of 122,881 bytes"
			p := m.plant("escrow")
			p.short()
			m.feed = slices.Clone(p.all)
			m.feed[1].Body = make([]byte, MaxBody+1)
			lost(m, 2, Oversize)
		}},
		{"unsupported-content-type", func(m *maker) {
			m.fault = "samples of a content type that this version does not know"
			p := m.plant("escrow")
			p.short()
			m.feed = slices.Clone(p.all)
			m.feed[1].ContentType = "application/senml+xml"
			lost(m, 2, Unsupported)
		}},
		{"no-sequence", func(m *maker) {
			m.fault = "a message with sequence 0"
			p := m.plant("escrow")
			p.short()
			m.feed = slices.Clone(p.all)
			m.feed[1].Sequence = 0
			lost(m, 2, Malformed)
		}},
	}
}

// moved is a stream of two epochs, and a frame of the first as if of the second.
func moved(m *maker) (*plant, Message) {
	p := m.plant("escrow")
	p.begin(epoch(7, 1))
	p.force(1)
	p.checkpoint(true)
	p.begin(epoch(7, 2))
	p.force(2)
	p.checkpoint(false)
	moved := p.all[1]
	moved.Epoch = epoch(7, 2)
	return p, moved
}
