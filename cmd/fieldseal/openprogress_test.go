package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// On a terminal progress is one line that makes way for others; elsewhere a line
// now and then while something is behind; with --quiet there is none.
func TestProgress(t *testing.T) {
	var b bytes.Buffer
	r := &receiver{reader: envelope.NewReader(envelope.ReaderOptions{}), broker: true, messages: 500, shown: 2000, first: 1, position: 501, left: 1500}
	began := time.Unix(1000, 0)
	p := &progress{w: &b, terminal: true, at: began}
	p.show(began.Add(500*time.Millisecond), r)
	require.Empty(t, b.String())
	p.show(began.Add(time.Second), r)
	require.Equal(t, "\r\x1b[K500 messages, 2000 samples, 500 messages/s, 25 % of the stream", b.String())
	b.Reset()
	_, err := p.Write([]byte("fieldseal: hello\n"))
	require.NoError(t, err)
	require.Equal(t, "\r\x1b[Kfieldseal: hello\n", b.String())

	b.Reset()
	p = &progress{w: &b, at: began}
	p.show(began.Add(29*time.Second), r)
	require.Empty(t, b.String())
	p.show(began.Add(30*time.Second), r)
	require.Equal(t, "fieldseal: 500 messages, 2000 samples, 17 messages/s, 25 % of the stream\n", b.String())
	b.Reset()
	p.show(began.Add(90*time.Second), r)
	require.Empty(t, b.String(), "nothing came")
	r.messages, r.left, r.live = 900, 0, true
	p.show(began.Add(90*time.Second), r)
	require.Empty(t, b.String(), "nothing is behind")
	p = &progress{w: &b, at: began, quiet: true, terminal: true}
	p.show(began.Add(time.Hour), r)
	require.Empty(t, b.String())
}
