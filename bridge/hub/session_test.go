package hub

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// perMessage is an upstream that takes so long for each message, and says so at the
// end of what it was given.
type perMessage time.Duration

func (each perMessage) Send(ctx context.Context, batch []envelope.Message) (int, error) {
	done := time.NewTimer(time.Duration(each) * time.Duration(len(batch)))
	defer done.Stop()
	select {
	case <-done.C:
		return len(batch), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (perMessage) Close() error { return nil }

// TestSlowStream: a gateway does not give up a hub whose stream takes its time.
func TestSlowStream(t *testing.T) {
	p := newPlant(t)
	cfg := p.config()
	cfg.Upstream = func(string) (Upstream, error) { return perMessage(80 * time.Millisecond), nil }
	h := p.hub(cfg)
	u := p.uplink("gw-1", h.Addr().String())
	failures, err := deliver(t.Context(), u, "gw-1", 1, 90, 100)
	require.NoError(t, err)
	assert.Zero(t, failures, "Sends that gave up")
	assert.EqualValues(t, 1, u.Connections())
}

func TestNextBatch(t *testing.T) {
	for _, c := range []struct {
		n    int
		took time.Duration
		want int
	}{
		{8, time.Millisecond, batch},
		{8, 400 * time.Millisecond, 20}, // a stream that is far away
		{20, 400 * time.Millisecond, 50},
		{50, 400 * time.Millisecond, 125},
		{128, time.Second, batch},
		{128, 2 * time.Second, 64},
		{1, 0, batch},
		{1, time.Hour, few},
	} {
		assert.Equal(t, c.want, nextBatch(c.n, c.took), "%d in %v", c.n, c.took)
	}
}
