package envelope

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/veraison/go-cose"
)

// The drafts' key encryption vectors: our HPKE opens them, and those with an IV
// that is not 12 bytes are refused as a key frame.
func TestDraftVectors(t *testing.T) {
	f, err := os.Open("testdata/cose-hpke-ke.txt")
	require.NoError(t, err)
	defer f.Close()
	seen := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		part := strings.Fields(lines.Text())
		t.Run(part[0], func(t *testing.T) { draftVector(t, unhex(t, part[1]), unhex(t, part[2])) })
		seen++
	}
	assert.Equal(t, 4, seen)
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func draftVector(t *testing.T, rawKey, encrypt []byte) {
	k, err := parseKey(rawKey)
	require.NoError(t, err)
	id, err := k.identity("")
	require.NoError(t, err)

	// The COSE_Encrypt by another decoder, so that kids of any length do.
	var message struct {
		_           struct{} `cbor:",toarray"`
		Protected   []byte
		Unprotected map[int64][]byte
		Ciphertext  []byte
		Recipients  []struct {
			_           struct{} `cbor:",toarray"`
			Protected   []byte
			Unprotected map[int64][]byte
			Ciphertext  []byte
		}
	}
	var tag cbor.RawTag
	require.NoError(t, cbor.Unmarshal(encrypt, &tag))
	require.NoError(t, cbor.Unmarshal(tag.Content, &message))
	var header map[int64]int64
	require.NoError(t, cbor.Unmarshal(message.Protected, &header))
	var to map[int64]any
	require.NoError(t, cbor.Unmarshal(message.Recipients[0].Protected, &to))
	require.EqualValues(t, k.alg, to[1])
	if kid := to[4].([]byte); len(kid) == 32 {
		thumb := id.Recipient().Thumbprint()
		assert.Equal(t, thumb[:], kid, "the vector's kid is the thumbprint")
	}

	w := wrapped{protected: message.Recipients[0].Protected, ek: message.Recipients[0].Unprotected[headerEK], ciphertext: message.Recipients[0].Ciphertext}
	cek, err := id.unwrap(&w, header[1])
	require.NoError(t, err)

	iv := message.Unprotected[5]
	block, err := aes.NewCipher(cek)
	require.NoError(t, err)
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	require.NoError(t, err)
	external := "" // the post-quantum draft has some
	if k.alg.Quantum() {
		external = "The Fellowship of the Ring"
	}
	plain, err := aead.Open(nil, iv, message.Ciphertext, encStructure(nil, "Encrypt", message.Protected, []byte(external)))
	require.NoError(t, err)
	assert.NotEmpty(t, plain)

	w.ciphertext = append([]byte{1}, w.ciphertext...)
	_, err = id.unwrap(&w, header[1])
	assert.Error(t, err)

	if len(iv) != nonceSize {
		f := refitted(t, id, iv)
		_, err := parseKeyFrame(&f)
		assert.ErrorContains(t, err, "only 12 are allowed")
	}
}

// refitted is an otherwise good key frame with another IV.
func refitted(t *testing.T, id *Identity, iv []byte) sign1 {
	s := newSealer(t, true)
	body, err := s.KeyFrame(1)
	require.NoError(t, err)
	signed, err := parseSign1(body)
	require.NoError(t, err)
	f, err := parseKeyFrame(&signed)
	require.NoError(t, err)
	from := appendBytes([]byte{cborMap | 1, headerIV}, f.iv)
	to := appendBytes([]byte{cborMap | 1, headerIV}, iv)
	signed.payload = []byte(strings.Replace(string(signed.payload), string(from), string(to), 1))
	return signed
}

func TestGoCOSEVerifies(t *testing.T) {
	p := story(t, identity(t, X25519).Recipient())
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, p.signer.Key.Public())
	require.NoError(t, err)
	for _, n := range []int{1, 4, 8, 11} {
		var m cose.Sign1Message
		require.NoError(t, m.UnmarshalCBOR(p.all[n-1].Body))
		assert.NoError(t, m.Verify(nil, verifier))
		assert.Empty(t, m.Headers.Unprotected)
		kid, _ := m.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
		want := SigningKeyID(p.signer.Key.Public().(ed25519.PublicKey))
		assert.Equal(t, want[:], kid)
		assert.Contains(t, m.Headers.Protected[int64(headerTyp)], "application/vnd.fieldseal.")
	}
}

// Every structure is in the deterministic encoding of another encoder too.
func TestDeterministicEncoding(t *testing.T) {
	encoder, err := cbor.CoreDetEncOptions().EncMode()
	require.NoError(t, err)
	p := story(t, identity(t, MLKEM768X25519).Recipient())
	for i := range p.all {
		m := &p.all[i]
		all := [][]byte{AppendMessage(nil, m)}
		if m.ContentType != TypeClear && m.Address.Kind != Passthrough {
			all = append(all, m.Body)
		}
		if s, err := parseSign1(m.Body); err == nil {
			all = append(all, s.protected, s.payload)
		}
		for _, b := range all {
			var any any
			require.NoError(t, cbor.Unmarshal(b, &any))
			again, err := encoder.Marshal(any)
			require.NoError(t, err)
			assert.Equal(t, b, again, "message %d", i+1)
		}
	}
}

func TestSigningThumbprint(t *testing.T) {
	k := key("x").Public().(ed25519.PublicKey)
	b, err := cbor.Marshal(map[int]any{1: 1, -1: 6, -2: []byte(k)})
	require.NoError(t, err)
	assert.Len(t, b, 40)
	thumb := SigningThumbprint(k)
	assert.Equal(t, hex.EncodeToString(thumb[:8]), SigningKeyID(k).String())
	_, err = Signer{Gateway: "x"}.ID()
	assert.Error(t, err)
}

func TestHead(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	p.begin(epoch(1, 1))
	p.data(1)
	p.checkpoint(false)
	p.data(1)
	saved, err := ParseHead(p.head.Append(nil))
	require.NoError(t, err)
	assert.Equal(t, p.head, saved)

	// Crash: a new start closes the epoch left open, and goes on with a new one.
	next := &plant{t: t, signer: p.signer, head: saved, to: p.to, now: p.now, all: p.all}
	next.checkpoint(true)
	assert.True(t, next.head.Closed)
	_, err = SignCheckpoint(p.signer, &next.head, true, time.Now())
	assert.Error(t, err)
	late := next.all[3]
	late.Sequence = 6
	assert.Error(t, next.head.Note(&late), "a message after the closing checkpoint")
	next.begin(epoch(2, 1))
	next.data(2)
	next.checkpoint(false)
	r := NewReader(ReaderOptions{Trust: p.trust(), Identities: []*Identity{id}})
	out, refusals := readAll(r, next.all)
	assert.Empty(t, refusals)
	assert.Equal(t, []uint64{2, 4, 7}, sequences(out))

	for what, change := range map[string]func(*Message){
		"hole":        func(m *Message) { m.Sequence++ },
		"stream":      func(m *Message) { m.Address.Stream.Machine = "x" },
		"other epoch": func(m *Message) { m.Epoch.Number++ },
	} {
		m := next.all[1]
		m.Sequence, m.Epoch = next.head.Sequence+1, next.head.Epoch
		change(&m)
		before := next.head.Clone()
		assert.Error(t, next.head.Note(&m), what)
		assert.Equal(t, before, next.head)
	}
	m := next.all[7]
	m.Sequence++
	assert.Error(t, next.head.Note(&m), "a checkpoint that does not continue")
	_, err = SignCheckpoint(Signer{"hall-1", key("hall-1")}, &p.head, false, time.Now())
	assert.Error(t, err)
	_, err = SignLoss(p.signer, Loss{Stream: p.head.Stream, First: 3, Last: 2})
	assert.Error(t, err)
}

func TestHeadHoldsSoMany(t *testing.T) {
	p := newPlant(t)
	p.begin(epoch(1, 1))
	for p.head.Sequence < MaxDigests {
		p.clear(1)
	}
	m := p.all[1]
	m.Sequence = MaxDigests + 1
	require.Error(t, p.head.Note(&m))
	p.checkpoint(false)
	assert.LessOrEqual(t, len(p.all[MaxDigests].Body), MaxBody)
	out, _ := readAll(NewReader(ReaderOptions{Trust: p.trust()}), p.all)
	assert.Len(t, out, MaxDigests)
}

func TestMessageRoundTrip(t *testing.T) {
	p := story(t, identity(t, X25519).Recipient())
	digests := map[[16]byte]bool{}
	for _, m := range p.all {
		m.ID = [16]byte{1, 2}
		got, err := ParseMessage(AppendMessage(nil, &m))
		require.NoError(t, err)
		assert.Equal(t, m, got)
		assert.False(t, digests[m.Digest()])
		digests[m.Digest()] = true
		_, err = ParseMessage(append(AppendMessage(nil, &m), 0))
		assert.Error(t, err)
	}
	// What stands in one field must not pass for the end of another.
	a := Message{Address: Address{Stream: Stream{"g", "ab", "c"}}}
	b := Message{Address: Address{Stream: Stream{"g", "a", "bc"}}}
	assert.NotEqual(t, a.Digest(), b.Digest())
}
