package envelope

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The worked stream of docs/format.md, testdata/stream.txt: ten messages, one a
// line, as AppendMessage writes them, and the identity that opens them. Keys in
// it are random, so the bytes are read here and not made; `go test -run Worked
// -args write` makes others.
func TestWorkedStream(t *testing.T) {
	if len(os.Args) > 0 && os.Args[len(os.Args)-1] == "write" {
		writeWorked(t)
	}
	id, messages := worked(t)
	require.Len(t, messages, 10)
	var kinds []string
	for i, m := range messages {
		assert.Equal(t, uint64(i+1), m.Sequence)
		kinds = append(kinds, m.Address.Kind.String())
	}
	assert.Equal(t, "key-frame data data checkpoint passthrough data checkpoint key-frame loss-record checkpoint", strings.Join(kinds, " "))

	r := NewReader(ReaderOptions{Trust: newPlant(t).trust(), Identities: []*Identity{id}})
	out, refusals := readAll(r, messages)
	assert.Empty(t, refusals)
	require.Equal(t, []uint64{2, 3, 5, 6}, sequences(out))
	force, strokes := out[0].Samples[0], out[0].Samples[1]
	assert.Equal(t, "press-3/ram-force", out[0].Base+force.Name)
	assert.Equal(t, 182.5, force.Value.Float())
	assert.Equal(t, int64(90122), strokes.Value.Int())
	assert.True(t, out[1].Samples[0].Bad())
	assert.Equal(t, []byte{0xde, 0xad, 0xbe, 0xef}, out[2].Payload)
	assert.False(t, out[3].Sealed)
	a := r.Report()[0]
	assert.Empty(t, a.Gaps)
	require.Len(t, a.Losses, 1)
	assert.Equal(t, uint64(10), a.SignedThrough)
}

const workedFile = "testdata/stream.txt"

// worked reads the worked stream.
func worked(t testing.TB) (id *Identity, messages []Message) {
	b, err := os.ReadFile(workedFile)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "identity":
			id, err = ParseIdentity(unhex(t, value))
			require.NoError(t, err)
		case "message":
			m, err := ParseMessage(unhex(t, value))
			require.NoError(t, err)
			messages = append(messages, m)
		}
	}
	return id, messages
}

func writeWorked(t *testing.T) {
	id := identity(t, X25519)
	p := newPlant(t, id.Recipient())
	seal := func(s ...Sample) {
		for i := range s {
			s[i].Time = p.now
		}
		body, err := p.sealer.Seal(nil, p.head.Sequence+1, "press-3/", s)
		require.NoError(t, err)
		p.put(Data, "", TypeSealed, body)
	}
	p.begin(epoch(7, 1))
	seal(Sample{Name: "ram-force", Value: OfFloat(182.5)}, Sample{Name: "strokes", Value: OfUint(90122)})
	seal(Sample{Name: "oil-temp", Quality: 0x80340000})
	p.checkpoint(false)
	p.put(Passthrough, "recipe", "application/octet-stream", []byte{0xde, 0xad, 0xbe, 0xef})
	p.put(Data, "", TypeClear, AppendClear(nil, "press-3/", []Sample{{Name: "running", Time: p.now, Value: OfBool(true)}}))
	p.checkpoint(true)
	p.begin(epoch(8, 1))
	body, err := SignLoss(p.signer, Loss{Stream: p.head.Stream, Epoch: epoch(7, 1), First: 5, Last: 5, Reason: "quarantined", Time: time.Unix(0, p.now)})
	require.NoError(t, err)
	p.put(LossRecord, "", TypeSigned, body)
	p.checkpoint(false)
	var b strings.Builder
	b.WriteString("# The worked stream of docs/format.md. The gateway's Ed25519 seed is SHA-256(\"hall-2\").\n")
	fmt.Fprintf(&b, "identity %s\n", hex.EncodeToString(id.Marshal()))
	for i := range p.all {
		fmt.Fprintf(&b, "message %s\n", hex.EncodeToString(AppendMessage(nil, &p.all[i])))
	}
	require.NoError(t, os.WriteFile(workedFile, []byte(b.String()), 0o644))
}
