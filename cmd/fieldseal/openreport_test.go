package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// TestWithheldSignaturesAreNotInOrder holds that a stream whose checkpoints a
// broker keeps back, or to which somebody adds, does not pass as in order.
func TestWithheldSignaturesAreNotInOrder(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	for _, c := range []struct {
		name    string
		age     time.Duration
		inOrder bool
	}{
		{"just sent", 3 * time.Second, true},
		{"should be signed by now", 2 * time.Minute, false},
		{"from the future", -2 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			p := &printer{
				out: bufio.NewWriter(&out), stderr: &errs, refused: make(map[refusedKey]int),
				reader: envelope.NewReader(envelope.ReaderOptions{Trust: &envelope.Trust{
					Gateways: map[string]envelope.GatewayKeys{"gw-1": {{Public: public, Until: time.Now().Add(time.Hour)}}},
				}}),
			}
			at := time.Now().Add(-c.age)
			require.NoError(t, p.message(envelope.Message{
				Address:     envelope.Address{Stream: envelope.Stream{Gateway: "gw-1", Machine: "press-1", Level: "public"}, Kind: envelope.Data},
				Epoch:       envelope.Epoch{Start: 1, Number: 1},
				Sequence:    1,
				ContentType: envelope.TypeClear,
				Time:        at.UnixNano(),
				Body:        envelope.AppendClear(nil, "press-1/", []envelope.Sample{{Name: "state", Time: at.UnixNano(), Value: envelope.OfInt(1)}}),
			}))
			inOrder, err := p.finish(false)
			require.NoError(t, err)
			require.Empty(t, out.String(), "nothing is printed before it is signed")
			require.Equal(t, c.inOrder, inOrder, errs.String())
			require.Contains(t, errs.String(), "1 messages wait for the gateway's signature")
		})
	}
}
