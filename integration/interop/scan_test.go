//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// canary is a text that stands nowhere else.
func canary() string { return rand.Text() }

// leastLeak is how many bytes in a row of a text are a leak.
const leastLeak = 8

// traces are the byte strings of which one is in everything that holds 8
// characters of the text in a row, as they are or in hexadecimal; base64 is
// looked for with the whole text.
func traces(text string) (out [][]byte) {
	for i := range len(text) - leastLeak + 1 {
		part := []byte(text[i : i+leastLeak])
		out = append(out, part, []byte(hex.EncodeToString(part)))
	}
	for shift := range 3 {
		whole := base64.StdEncoding.EncodeToString(append(make([]byte, shift), text...))
		out = append(out, []byte(whole[4:len(whole)-4]))
	}
	return out
}

// sees tells whether the bytes hold a trace of the text.
func sees(b []byte, text string) bool {
	for _, trace := range traces(text) {
		if bytes.Contains(b, trace) {
			return true
		}
	}
	return false
}

// filesWith gives the files below dir that hold a trace of the text, and how
// many bytes all of them have.
func filesWith(t *testing.T, dir, text string) (names []string, size int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		size += int64(len(b))
		if sees(b, text) {
			names = append(names, path)
		}
		return err
	}))
	return names, size
}

// stored is a message as the broker's owner sees it.
type stored struct {
	*jetstream.RawStreamMsg
	raw []byte // subject, headers and body
}

// all gives every message of a stream.
func all(t *testing.T, n *NATS, stream string) (out []stored) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js, err := jetstream.New(n.Connect("owner"))
	require.NoError(t, err)
	s, err := js.Stream(ctx, stream)
	require.NoError(t, err)
	state := s.CachedInfo().State
	require.NotZero(t, state.Msgs, "the stream is empty")
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		require.NoError(t, err)
		raw := []byte(m.Subject + "\n")
		for k, vs := range m.Header {
			for _, v := range vs {
				raw = append(raw, k+": "+v+"\n"...)
			}
		}
		out = append(out, stored{m, append(raw, m.Data...)})
	}
	return out
}
