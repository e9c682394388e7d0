package envelope

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzParseMessage(f *testing.F) {
	p := story(f, identity(f, X25519).Recipient())
	for i := range p.all {
		f.Add(AppendMessage(nil, &p.all[i]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err == nil {
			require.Equal(t, b, AppendMessage(nil, &m))
		}
	})
}

func FuzzParseHead(f *testing.F) {
	p := story(f, identity(f, X25519).Recipient())
	f.Add(p.head.Append(nil))
	p.clear(1)
	f.Add(p.head.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHead(b)
		if err == nil {
			require.Equal(t, b, h.Append(nil))
		}
	})
}

// FuzzRead feeds two messages of the fuzzer's between those of the worked
// stream. Nothing but these may ever be given as signed, and each once.
func FuzzRead(f *testing.F) {
	id, all := worked(f)
	for i := range all {
		f.Add(AppendMessage(nil, &all[i]), AppendMessage(nil, &all[len(all)-1-i]), uint8(i))
	}
	trust := newPlant(f).trust()
	f.Fuzz(func(t *testing.T, a, b []byte, at uint8) {
		feed := bytesClone(all)
		k := int(at) % len(feed)
		for _, x := range [][]byte{a, b} {
			if m, err := ParseMessage(x); err == nil {
				feed = append(feed[:k:k], append([]Message{m}, feed[k:]...)...)
			}
		}
		for _, o := range []ReaderOptions{{Trust: trust, Identities: []*Identity{id}, MaxPending: 5000}, {Identities: []*Identity{id}, Now: true}, {Trust: trust, Now: true}} {
			r := NewReader(o)
			once := map[uint64]bool{}
			for i := range feed {
				out, _ := r.Read(&feed[i])
				for _, d := range out {
					if d.Proof == Signed {
						require.False(t, once[d.Sequence], "twice")
						once[d.Sequence] = true
						require.True(t, d.Sequence <= uint64(len(all)) && d.Time == all[d.Sequence-1].Time && d.Kind == all[d.Sequence-1].Address.Kind)
					}
				}
			}
			r.Flush()
			r.Report()
		}
	})
}

func FuzzParseRecipient(f *testing.F) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768X25519} {
		id := identity(f, alg)
		f.Add(id.Recipient().Marshal())
		f.Add(id.Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecipient(b)
		if err != nil {
			return
		}
		again, err := ParseRecipient(r.Marshal())
		require.NoError(t, err)
		require.Equal(t, r.Marshal(), again.Marshal())
		require.Equal(t, r.ID(), again.ID())
	})
}

func FuzzParseIdentity(f *testing.F) {
	for _, alg := range []Algorithm{X25519, P256, MLKEM768P256} {
		id := identity(f, alg)
		f.Add(id.Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := ParseIdentity(b)
		if err != nil {
			return
		}
		again, err := ParseIdentity(id.Marshal())
		require.NoError(t, err)
		require.Equal(t, id.Marshal(), again.Marshal())
	})
}

func FuzzPack(f *testing.F) {
	f.Add(appendPack(nil, "press-3/", extremes()))
	for _, s := range extremes() {
		f.Add(appendPack(nil, "m/", []Sample{s, s}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var n names
		c := cursor{b: b}
		base, samples := n.decodePack(&c, nil)
		if c.end() != nil {
			return
		}
		require.Equal(t, b, appendPack(nil, base, samples))
	})
}

func FuzzClear(f *testing.F) {
	f.Add(AppendClear(nil, "press-3/", extremes()))
	for _, s := range extremes() {
		f.Add(AppendClear(nil, "m/", []Sample{s, s}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		base, samples, err := decodeClear(b)
		if err == nil && !bytes.Equal(b, AppendClear(nil, base, samples)) {
			t.Fatal("reads what it would not write")
		}
	})
}

// FuzzSigned reads the payloads behind a signature, as a hostile gateway would
// write them. What is read is written again as it was.
func FuzzSigned(f *testing.F) {
	p := story(f, identity(f, X25519).Recipient())
	p.statement(nil)
	for _, body := range [][]byte{p.all[0].Body, p.all[3].Body, p.all[10].Body, p.extra[0].Body} {
		s, err := parseSign1(body)
		require.NoError(f, err)
		f.Add(s.payload)
	}
	id := identity(f, X25519)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKeyFrame(&sign1{typ: typKeyFrame, payload: b}); err == nil {
			_, _ = k.open([]*Identity{id})
			require.Equal(t, k.protected, appendKeyHeader(nil, &k))
			again := appendBytes([]byte{cborTag | 24, tagEncrypt, cborArray | 4}, k.protected)
			again = appendBytes(append(again, cborMap|1, headerIV), k.iv)
			again = appendHead(appendBytes(again, k.ciphertext), cborArray, uint64(len(k.recipients)))
			for i := range k.recipients {
				again = appendWrapped(again, &k.recipients[i])
			}
			require.Equal(t, b, again)
		}
		if c, err := parseCheckpoint(&sign1{typ: typCheckpoint, payload: b}); err == nil {
			require.Equal(t, b, c.append(nil))
		}
		if l, err := parseLoss(&sign1{typ: typLoss, payload: b}); err == nil {
			require.Equal(t, b, l.append(nil))
		}
		if s, err := parseStatement(&sign1{typ: typStatement, payload: b}); err == nil {
			require.Equal(t, b, s.appendPayload(nil))
		}
		if k, err := parseEpochKey(b); err == nil {
			require.Equal(t, b, k.appendCOSE(nil))
		}
	})
}

// FuzzCOSE reads the outermost structures: signatures and data frames.
func FuzzCOSE(f *testing.F) {
	p := story(f, identity(f, X25519).Recipient())
	for i := range p.all {
		f.Add(p.all[i].Body)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSign1(b); err == nil {
			again := appendBytes([]byte{cborTag | tagSign1, cborArray | 4}, s.protected)
			again = appendBytes(appendBytes(append(again, cborMap), s.payload), s.signature)
			require.Equal(t, b, again)
		}
		if m, err := parseFrame(b); err == nil {
			k := frameKey{kid: m.kid}
			again := appendBytes([]byte{cborTag | tagEncrypt0, cborArray | 3}, k.appendFrameHeader(nil, m.sequence))
			require.Equal(t, b, appendBytes(append(again, cborMap), m.ciphertext))
		}
	})
}

func FuzzCatalogue(f *testing.F) {
	for _, entries := range [][]Entry{nil, {{Name: "a"}}, {
		{Name: "state", ID: "00112233445566778899aabbccddeeff", Unit: "kN", Texts: map[int64]string{0: "off", 24: "on", -1: "unknown"}, Tags: map[string]string{"": "x", "room": "2.17"}}, {Name: "z"},
	}} {
		b, err := AppendCatalogue(nil, "press-3/", entries)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		base, entries, err := decodeCatalogue(b)
		if err != nil {
			return
		}
		again, err := AppendCatalogue(nil, base, entries)
		require.NoError(t, err)
		require.Equal(t, b, again)
		require.LessOrEqual(t, len(b)-len(base), CatalogueBound(entries))
	})
}
