package relay

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// TestBatches: a Send takes more where they are quickly stored, so that it is not
// waited for, and fewer where they are not: nothing is freed before its end.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		each := time.Duration(0)
		var sizes []int
		u := &fake{otherwise: func(batch []envelope.Message) (int, error) {
			sizes = append(sizes, len(batch))
			<-time.After(each * time.Duration(len(batch)))
			return len(batch), nil
		}}
		q := newQueue(data(1, 2560)...)
		q.onFree = func(position uint64) {
			if position >= 1280 {
				each = 10 * time.Millisecond
			}
		}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []int{256, 1024, 1024, 256}, sizes, "one learns of it at the end")

		began := time.Now()
		q.add(data(2561, 3584)...)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, slices.Repeat([]int{256}, 4), sizes[4:])
		require.Equal(t, 10240*time.Millisecond, time.Since(began))
		g.stop(t)
	})
}
