package relay

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

// The real outbox: what is in it arrives in order, over a restart, and its space
// is given back.
func TestWithOutbox(t *testing.T) {
	const each = 3000
	options := outbox.Options{Dir: t.TempDir(), Key: bytes.Repeat([]byte{7}, 32), MaxSize: 8 << 20, SegmentSize: 256 << 10}
	key := numbered(1, envelope.KeyFrame, "press-3")
	u := &fake{}
	next := uint64(1)
	for restart := range 3 {
		log, err := outbox.Open(options)
		require.NoError(t, err)
		log.SetPreamble(func() []outbox.Record {
			return []outbox.Record{{Tag: tagMessage, Data: envelope.AppendMessage(nil, &key)}}
		})
		r, err := New(Config{
			Queue: Outbox(log), Uplinks: []Named{{"fake", u}},
			Quarantine: func(envelope.Message, string) error { return errors.New("nothing is refused") },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		for range each / 100 {
			var records []outbox.Record
			for range 100 {
				m := numbered(next, envelope.Data, "press-3")
				if next == 1 {
					m = key
				}
				m.Body = bytes.Repeat([]byte{byte(next)}, 300)
				records = append(records, outbox.Record{Tag: tagMessage, Data: envelope.AppendMessage(nil, &m)})
				next++
			}
			_, err := log.Append(records)
			require.NoError(t, err)
		}
		if restart != 1 { // once it ends with something left
			require.NoError(t, r.Drain(t.Context()))
			require.Zero(t, log.Stats().Messages)
			require.LessOrEqual(t, log.Stats().Segments, 2)
		}
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, log.Close())
	}
	var order []uint64
	seen := make(map[uint64]bool)
	for _, n := range u.has() {
		if !seen[n] {
			seen[n] = true
			order = append(order, n)
		}
	}
	require.Equal(t, span(1, 3*each), order)
}
