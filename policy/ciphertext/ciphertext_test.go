package ciphertext_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

type parts struct {
	tag         uint64
	protected   map[int]any
	unprotected map[int]any
	body        []byte
	recipients  []any
}

func good() parts {
	body := make([]byte, 80)
	_, _ = rand.Read(body)
	body[0] = 0xff // never UTF-8
	return parts{16, map[int]any{1: 3}, map[int]any{5: make([]byte, 12)}, body, nil}
}

func (p parts) encode(t testing.TB) []byte {
	t.Helper()
	prot, err := cbor.Marshal(p.protected)
	require.NoError(t, err)
	content := []any{prot, p.unprotected, p.body}
	if p.tag == 96 {
		content = append(content, p.recipients)
	}
	b, err := cbor.Marshal(cbor.Tag{Number: p.tag, Content: content})
	require.NoError(t, err)
	return b
}

func with(change func(*parts)) parts { p := good(); change(&p); return p }

func TestJudge(t *testing.T) {
	accepted := map[string]parts{
		"Encrypt0":                 good(),
		"partial IV":               with(func(p *parts) { p.unprotected = map[int]any{6: []byte{1}} }),
		"IV in the protected part": with(func(p *parts) { p.protected[5] = make([]byte, 12); p.unprotected = map[int]any{} }),
		"Encrypt":                  with(func(p *parts) { p.tag, p.recipients = 96, []any{[]any{[]byte{}, map[int]any{1: -6}, []byte{}}} }),
		"CCM":                      with(func(p *parts) { p.protected[1] = 10; p.unprotected[5] = make([]byte, 13) }),
	}
	for name, p := range accepted {
		require.NoError(t, ciphertext.Judge("cose", p.encode(t)), name)
	}
	refused := map[string]parts{
		"Encrypt without recipients": with(func(p *parts) { p.tag = 96 }),
		"no algorithm":               with(func(p *parts) { delete(p.protected, 1) }),
		"algorithm unprotected":      with(func(p *parts) { delete(p.protected, 1); p.unprotected[1] = 3 }),
		"not an AEAD":                with(func(p *parts) { p.protected[1] = -65534 }), // A128CTR
		"both IVs":                   with(func(p *parts) { p.unprotected[6] = []byte{1} }),
		"no IV":                      with(func(p *parts) { delete(p.unprotected, 5) }),
		"only a tag":                 with(func(p *parts) { p.body = p.body[:16] }),
		"readable":                   with(func(p *parts) { p.body = bytes.Repeat([]byte("torque "), 12) }),
		"other tag":                  with(func(p *parts) { p.tag = 17 }),
	}
	for name, p := range refused {
		require.Error(t, ciphertext.Judge("cose", p.encode(t)), name)
	}
	whole := good().encode(t)
	require.Error(t, ciphertext.Judge("cose", whole[:len(whole)-1]), "truncated")
	require.Error(t, ciphertext.Judge("cose", append(whole, 0)), "trailing byte")
	require.Error(t, ciphertext.Judge("cose", bytes.Repeat([]byte("program=A12 "), 20)), "plain text")
	require.Error(t, ciphertext.Judge("cose", nil), "empty")
	require.Error(t, ciphertext.Judge("jwe", whole), "a format that is not judged is never accepted")
}

func TestJudgeSigned(t *testing.T) {
	sign := func(payload []byte) []byte {
		b, err := cbor.Marshal(cbor.Tag{Number: 18, Content: []any{[]byte{0xa1, 1, 0x27}, map[int]any{}, payload, random(64)}})
		require.NoError(t, err)
		return b
	}
	require.NoError(t, ciphertext.Judge("cose", sign(good().encode(t))))
	require.Error(t, ciphertext.Judge("cose", sign([]byte("plain"))))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestJudgeRandom(t *testing.T) {
	b := make([]byte, 64)
	for range 5_000 {
		_, _ = rand.Read(b)
		require.Error(t, ciphertext.Judge("cose", b))
	}
}
