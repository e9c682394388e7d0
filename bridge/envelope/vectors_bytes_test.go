package envelope

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/stretchr/testify/require"
)

// signOdd signs what no gateway of ours would: a trusted gateway with a bug.
func signOdd(p *plant, protected, payload []byte) []byte {
	signature, err := p.signer.Key.Sign(rand.Reader, toBeSigned(protected, payload), crypto.Hash(0))
	require.NoError(p.t, err)
	b := appendBytes([]byte{cborTag | tagSign1, cborArray | 4}, protected)
	b = appendBytes(append(b, cborMap), payload)
	return appendBytes(b, signature)
}

// faultyBytes are streams in which one message's body is wrong.
func faultyBytes() []recipe {
	var out []recipe
	// hurt takes the short stream and spoils the body of one message. What cannot
	// be opened for it is delivered unopened.
	hurt := func(name, fault string, n int, class Class, change func([]byte) []byte) {
		out = append(out, recipe{name, func(m *maker) {
			m.fault = fault
			p := m.plant("escrow")
			p.short()
			m.feed = bytesClone(p.all)
			m.feed[n-1].Body = change(m.feed[n-1].Body)
			lost(m, n, class)
		}})
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	for n, what := range map[int]string{1: "key-frame", 2: "data-frame", 4: "checkpoint"} {
		hurt("truncated-"+what, "the last byte is cut off", n, Malformed, cut(1))
		hurt("trailing-byte-"+what, "a byte follows the end", n, Malformed, func(b []byte) []byte { return append(b, 0) })
	}
	slices.SortFunc(out, func(a, b recipe) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	hurt("empty-body", "the body is empty", 2, Malformed, cut2)
	flip := func(name, where string, n int, class Class, at func(b []byte) int) {
		hurt("flipped-"+name, "one bit is flipped in "+where, n, class, func(b []byte) []byte {
			b[at(b)] ^= 1
			return b
		})
	}
	end := func(n int) func(b []byte) int { return func(b []byte) int { return len(b) - n } }
	flip("key-frame-tag", "the key frame's tag", 1, Malformed, func([]byte) int { return 0 })
	flip("key-frame-kid", "the key id of the signature", 1, BadSignature, func([]byte) int { return 10 })
	flip("key-frame-payload", "the key frame's ciphertext", 1, BadSignature, end(100))
	flip("key-frame-signature", "the key frame's signature", 1, BadSignature, end(1))
	flip("data-frame-alg", "the frame's algorithm", 2, Malformed, func([]byte) int { return 5 })
	flip("data-frame-kid", "the frame's key id", 2, Tampered, func([]byte) int { return 10 })
	flip("data-frame-partial-iv", "the frame's Partial IV, which is its sequence", 2, Tampered, func([]byte) int { return 18 })
	flip("data-frame-ciphertext", "the frame's ciphertext", 2, Tampered, end(20))
	flip("data-frame-tag", "the frame's authentication tag", 2, Tampered, end(1))
	flip("checkpoint-payload", "a digest in the checkpoint", 4, BadSignature, end(70))
	flip("checkpoint-signature", "the checkpoint's signature", 4, BadSignature, end(30))
	hurt("not-shortest", "the length of the ciphertext is written in one byte more than it needs", 2, Malformed, func(b []byte) []byte {
		// d0 83 50 {16} a0 58 nn …
		return slices.Concat(b[:20], []byte{0x59, 0}, b[21:])
	})
	hurt("unprotected-header", "the frame has an unprotected header", 2, Malformed, func(b []byte) []byte {
		return slices.Concat(b[:19], []byte{0xa1, 0x04, 0x40}, b[20:])
	})
	return append(out, oddKeyFrames()...)
}

func cut2([]byte) []byte { return []byte{} }

// lost fills in what the short stream gives if message n is refused.
func lost(m *maker, n int, class Class) {
	switch n {
	case 1:
		m.delivers, m.verdicts = nil, []string{string(class), "gap", "no-key-frame"}
	case 4:
		m.delivers, m.verdicts = nil, []string{string(class), "pending"}
	default:
		m.delivers, m.verdicts = []uint64{3}, []string{string(class), "gap"}
	}
	slices.Sort(m.verdicts)
}

// odd is a key frame with a fault, signed all the same: by a gateway with a bug,
// or one that somebody took over.
type odd struct {
	iv        int // bytes; 0: 12
	sign      func(protected []byte) []byte
	header    func(protected []byte) []byte
	plain     func([]byte) []byte
	second    bool // the second recipient gets another content key
	emptyList bool
	foreign   bool // a recipient of an algorithm of the future goes first
}

// oddKeyFrame is the short stream with such a key frame.
func (p *plant) oddKeyFrame(o odd) {
	p.begin(epoch(7, 1))
	s := p.sealer
	same := func(b []byte) []byte { return b }
	if o.iv == 0 {
		o.iv = nonceSize
	}
	for _, f := range []*func([]byte) []byte{&o.sign, &o.header, &o.plain} {
		if *f == nil {
			*f = same
		}
	}
	f := keyFrame{stream: s.config.Stream, epoch: s.config.Epoch, sequence: 1, time: s.since.UnixNano(), thumbprint: s.key.thumbprint()}
	protected := o.header(appendKeyHeader(nil, &f))
	cek, iv := make([]byte, keySize), make([]byte, o.iv)
	rand.Read(cek)
	rand.Read(iv)
	payload := []byte{cborTag | 24, tagEncrypt, cborArray | 4}
	payload = appendBytes(payload, protected)
	payload = appendBytes(append(payload, cborMap|1, headerIV), iv)
	payload = appendBytes(payload, sealWith(p, cek, iv, o.plain(s.key.appendCOSE(nil)), encStructure(nil, "Encrypt", protected, nil)))
	to := p.to
	if o.emptyList {
		to = nil
	}
	if o.foreign {
		payload = appendHead(payload, cborArray, uint64(len(to)+1))
		w := wrapped{ek: []byte("encapsulated"), ciphertext: []byte("content key")}
		w.protected = appendBytes([]byte{0xa2, headerAlg, 0x19, 0x03, 0xe7, headerKid}, make([]byte, 8))
		payload = appendWrapped(payload, &w)
	} else {
		payload = appendHead(payload, cborArray, uint64(len(to)))
	}
	for i := range to {
		if i > 0 && o.second {
			rand.Read(cek)
		}
		w, err := wrap(&to[i], cek)
		require.NoError(p.t, err)
		payload = appendWrapped(payload, &w)
	}
	kid, err := p.signer.ID()
	require.NoError(p.t, err)
	outer := appendInt([]byte{0xa3, headerAlg}, algEdDSA)
	outer = appendBytes(append(outer, headerKid), kid[:])
	outer = appendText(append(outer, headerTyp), typKeyFrame)
	body := signOdd(p, o.sign(outer), payload)
	aead := s.frame.aead
	s.frame, err = newFrameKey(&s.key, sha256.Sum256(payload))
	require.NoError(p.t, err)
	s.frame.aead = aead
	// The stream as if this had been its key frame.
	p.all, p.head, p.now = nil, Head{Stream: p.head.Stream}, s.since.UnixNano()
	p.putIn(epoch(7, 1), KeyFrame, "", TypeSigned, body)
	p.force(182.5)
	p.force(183.25)
	p.checkpoint(false)
}

func oddKeyFrames() []recipe {
	make := func(name, fault string, class Class, o odd) recipe {
		return recipe{name, func(m *maker) {
			m.fault = fault + ", in a key frame that a trusted gateway signed"
			p := m.plant("escrow", "engineering")
			if o.second {
				m.reader = "engineering"
			}
			p.oddKeyFrame(o)
			m.feed = p.all
			if class == Tampered {
				// The key frame itself is what the gateway signed, and nobody can open it.
				m.delivers, m.verdicts = []uint64{2, 3}, []string{"tampered", "unopened"}
				return
			}
			lost(m, 1, class)
		}}
	}
	// with adds a pair to a map of n pairs at the place of its label.
	with := func(n byte, before []byte, pair ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			i := bytes.Index(b, before)
			return slices.Concat([]byte{cborMap | (n + 1)}, b[1:i], pair, b[i:])
		}
	}
	typ := []byte{headerTyp, 0x78, byte(len(typKeyFrame))}
	return []recipe{
		make("iv-of-16-bytes", "an IV of 16 bytes", Malformed, odd{iv: 16}),
		make("iv-of-8-bytes", "an IV of 8 bytes", Malformed, odd{iv: 8}),
		make("critical-label-signature", "an unknown critical label, in the header of the signature", Malformed,
			odd{sign: with(3, []byte{headerKid, 0x48}, 2, 0x81, 0x18, 99)}),
		make("critical-label-encryption", "an unknown critical label, in the header of the encryption", Malformed,
			odd{header: with(4, []byte{headerContentType, 0x18}, 2, 0x81, 0x18, 99)}),
		make("unknown-label-signature", "an unknown label, not critical, in the header of the signature", Malformed,
			odd{sign: with(3, typ, 0x0f, 0xa0)}),
		make("another-version", "a typ of version 2", Malformed, odd{
			sign: func(b []byte) []byte { b[len(b)-1] = '2'; return b },
		}),
		make("no-recipients", "an empty list of recipients", Malformed, odd{emptyList: true}),
		make("wrong-thumbprint", "the thumbprint of another key", Tampered, odd{
			header: func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
		}),
		make("wrong-key-id-inside", "a key whose id is not its own", Tampered, odd{
			plain: func(b []byte) []byte { b[5] ^= 1; return b },
		}),
		make("two-keys-in-sequence", "two keys, one behind the other", Tampered, odd{
			plain: func(b []byte) []byte { return slices.Concat(b, b) },
		}),
		make("two-keys-in-one-map", "a key with two values", Tampered, odd{
			plain: func(b []byte) []byte {
				k := bytes.Clone(b[len(b)-35:]) // 20 58 20 {32}
				k[34] ^= 1
				return slices.Concat([]byte{cborMap | 7}, b[1:], k)
			},
		}),
		make("two-content-keys", "another content key for the second recipient", Tampered, odd{second: true}),
	}
}
