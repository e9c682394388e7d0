package envelope

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type recipe struct {
	name  string
	build func(*maker)
}

// maker builds one vector.
type maker struct {
	t *testing.T
	vector
}

// allVectors gives what is made, the valid ones first.
func allVectors() []recipe {
	return slices.Concat(validVectors(), accountVectors(), statementVectors(), faultyBytes(), faultyMessages(), faultyGateways(), laterVectors(), faultyLater())
}

// The four recipients. Their keys are the SHA-256 of their names.
func knownIdentity(t require.TestingT, name string) *Identity {
	alg := map[string]Algorithm{"press-office": MLKEM768X25519, "historian": MLKEM768P256, "engineering": P256, "escrow": X25519}[name]
	kem, _, _, err := alg.suite()
	require.NoError(t, err)
	seed := sha256.Sum256([]byte(name))
	k, err := kem.NewPrivateKey(seed[:])
	require.NoError(t, err)
	return newIdentity(alg, name, k)
}

// plant gives a gateway that seals for the recipients named, and lets the first
// of them read.
func (m *maker) plant(to ...string) *plant {
	var r []Recipient
	for _, name := range to {
		r = append(r, knownIdentity(m.t, name).Recipient())
	}
	p := newPlant(m.t, r...)
	m.trust, m.clock = p.trust(), p.now+60e9
	if len(to) > 0 {
		m.reader = to[0]
	}
	return p
}

// seals adds a sealed or clear message of named samples.
func (p *plant) seals(samples ...Sample) *Message {
	for i := range samples {
		if samples[i].Time == 0 {
			samples[i].Time = p.now
		}
	}
	if p.sealer == nil {
		return p.put(Data, "", TypeClear, AppendClear(nil, "press-3/", samples))
	}
	body, err := p.sealer.Seal(nil, p.head.Sequence+1, "press-3/", samples)
	require.NoError(p.t, err)
	return p.put(Data, "", TypeSealed, body)
}

func (p *plant) force(f float64) *Message {
	return p.seals(Sample{Name: "ram-force", Value: OfFloat(f)})
}

func (p *plant) catalogue(entries ...Entry) *Message {
	if p.sealer == nil {
		body, err := AppendCatalogue(nil, "press-3/", entries)
		require.NoError(p.t, err)
		return p.put(Data, "", TypeCatalogue, body)
	}
	body, err := p.sealer.SealCatalogue(nil, p.head.Sequence+1, "press-3/", entries)
	require.NoError(p.t, err)
	return p.put(Data, "", TypeSealed, body)
}

// short is a stream of 4 messages: key frame, two of data, checkpoint.
func (p *plant) short() {
	p.begin(epoch(7, 1))
	p.force(182.5)
	p.force(183.25)
	p.checkpoint(false)
}

func validVectors() []recipe {
	var out []recipe
	for name, to := range map[string]string{
		"valid-57-mlkem768-x25519": "press-office", "valid-55-mlkem768-p256": "historian", "valid-53-p256": "engineering", "valid-49-x25519": "escrow",
	} {
		out = append(out, recipe{name, func(m *maker) {
			m.about = "A whole stream for one recipient: sealed samples, a payload, clear samples, checkpoints, two epochs, a loss record."
			p := m.plant(to)
			p.begin(epoch(1, 1))
			p.force(182.5)
			p.seals(Sample{Name: "strokes", Value: OfUint(90122)}, Sample{Name: "oil-temp", Quality: 0x80340000})
			p.checkpoint(false)
			p.force(183.1)
			p.put(Passthrough, "recipe", "application/octet-stream", []byte{0xde, 0xad, 0xbe, 0xef})
			p.put(Data, "", TypeClear, AppendClear(nil, "press-3/", []Sample{{Name: "running", Time: p.now, Value: OfBool(true)}}))
			p.checkpoint(true)
			p.begin(epoch(1, 2))
			p.force(0.1)
			p.force(0.2) // gone
			p.lose(11, 11)
			p.force(-4)
			p.checkpoint(false)
			m.feed = slices.Concat(p.all[:10], p.all[11:])
			m.delivers = []uint64{2, 3, 5, 6, 7, 10, 13}
			m.verdicts = []string{"loss"}
		}})
	}
	slices.SortFunc(out, func(a, b recipe) int { return bytes.Compare([]byte(b.name), []byte(a.name)) })
	for _, reader := range []string{"press-office", "historian", "engineering", "escrow"} {
		out = append(out, recipe{"several-recipients-" + reader, func(m *maker) {
			m.about = "One epoch for four recipients, read by one of them."
			p := m.plant("press-office", "historian", "engineering", "escrow")
			m.reader = reader
			p.short()
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}})
	}
	return append(out,
		recipe{"values", func(m *maker) {
			m.about = "Every kind of value at its ends, sealed, without padding."
			p := m.plant("escrow")
			p.bare = true
			p.begin(epoch(7, 1))
			p.seals(extremes()...)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2}, []string{}
		}},
		recipe{"values-clear", func(m *maker) {
			m.about = "Every kind of value at its ends, in clear. The stream has no key frame."
			p := m.plant()
			p.head.Stream.Level = "public"
			p.head.Epoch = epoch(7, 1)
			p.seals(extremes()...)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{1}, []string{}
		}},
		recipe{"padding", func(m *maker) {
			m.about = "Frames of many sizes, padded: none, one and several samples; one whose padding needs an empty byte string before it."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			for n := range 12 {
				p.seals(Sample{Name: "text", Value: OfText(bytes.Repeat([]byte("x"), 23*n))})
			}
			for _, n := range []int{0, 1, 2, 40} {
				p.seals(p.samples(n)...)
			}
			for p.head.Sequence < 200 && !gapPadded(p) {
				p.seals(Sample{Name: "text", Value: OfText(bytes.Repeat([]byte("y"), int(p.head.Sequence)*17))})
			}
			p.checkpoint(false)
			for n := uint64(2); n < p.head.Sequence; n++ {
				m.delivers = append(m.delivers, n)
			}
			m.feed, m.verdicts = p.all, []string{}
		}},
		recipe{"no-padding", func(m *maker) {
			m.about = "A level without padding: the pack alone is the plaintext."
			p := m.plant("engineering")
			p.bare = true
			p.short()
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}},
		recipe{"catalogue", func(m *maker) {
			m.about = "A sealed catalogue behind the key frame, and a part of it replaced later."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.catalogue(
				Entry{Name: "ram-force", Unit: "kN", Tags: map[string]string{"room": "2.17", "drawing": "A-4711", "": "empty"}},
				Entry{Name: "state", Texts: map[int64]string{0: "off", 1: "läuft", 24: "fault", -1: "unknown", 1 << 40: "far"}})
			p.seals(Sample{Name: "ram-force", Value: OfFloat(182.5)}, Sample{Name: "state", Value: OfInt(1)})
			p.catalogue(Entry{Name: "ram-force", Unit: "MN"})
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3, 4}, []string{}
		}},
		recipe{"catalogue-clear", func(m *maker) {
			m.about = "The catalogue of a stream that is clear."
			p := m.plant()
			p.head.Stream.Level = "public"
			p.head.Epoch = epoch(7, 1)
			p.catalogue(Entry{Name: "running", Texts: map[int64]string{0: "no", 1: "yes"}})
			p.seals(Sample{Name: "running", Value: OfBool(true)})
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{1, 2}, []string{}
		}},
		recipe{"hidden-names", func(m *maker) {
			m.about = "A level that hides names: the payload's address carries an id, and only the sealed catalogue says whose it is."
			p := m.plant("press-office")
			p.begin(epoch(7, 1))
			id := HiddenName([]byte("sixteen bytes, secret"), p.head.Stream, "recipe")
			p.catalogue(Entry{Name: "ram-force", ID: HiddenName([]byte("sixteen bytes, secret"), p.head.Stream, "ram-force"), Unit: "kN"},
				Entry{Name: "recipe", ID: id})
			p.put(Passthrough, id, "application/octet-stream", []byte{0xde, 0xad, 0xbe, 0xef})
			p.force(182.5)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3, 4}, []string{}
		}},
		recipe{"checkpoints", func(m *maker) {
			m.about = "A chain of checkpoints, one of them over nothing, and one that comes before what it covers."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			for range 3 {
				p.force(1)
				p.force(2)
				p.checkpoint(false)
			}
			p.checkpoint(false)
			p.force(3)
			p.checkpoint(true)
			m.feed = slices.Clone(p.all)
			m.feed[4], m.feed[6] = m.feed[6], m.feed[4]
			m.delivers, m.verdicts = []uint64{2, 3, 6, 5, 8, 9, 12}, []string{}
		}},
		recipe{"fully-specified-ed25519", func(m *maker) {
			m.about = "Signed with algorithm -19 (Ed25519) in place of -8 (EdDSA): a receiver takes both."
			p := m.plant("escrow")
			p.short()
			s, err := parseSign1(p.all[3].Body)
			require.NoError(m.t, err)
			p.all[3].Body = signOdd(p, bytes.Replace(s.protected, []byte{headerAlg, 0x27}, []byte{headerAlg, 0x32}, 1), s.payload)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 3}, []string{}
		}},
		recipe{"gateway-with-two-keys", func(m *maker) {
			m.about = "The gateway's signing key is changed: the trust file has both, the old one with its end."
			p := m.plant("escrow")
			p.begin(epoch(7, 1))
			p.force(1)
			p.checkpoint(true)
			m.trust.Gateways["hall-2"][0].Until = time.Unix(0, p.now)
			p.signer.Key = key("hall-2, second key")
			m.trust.Gateways["hall-2"] = append(m.trust.Gateways["hall-2"], p.trust().Gateways["hall-2"][0])
			p.begin(epoch(8, 1))
			p.force(2)
			p.checkpoint(false)
			m.feed, m.delivers, m.verdicts = p.all, []uint64{2, 5}, []string{}
		}},
	)
}

// gapPadded tells whether the newest frame was padded by two byte strings.
func gapPadded(p *plant) bool {
	b := p.sealer.plain
	var n names
	c := cursor{b: b}
	n.decodePack(&c, nil)
	return c.wrong == "" && len(b)-c.i > 1 && b[c.i] == cborBytes
}
