package relay

import (
	"errors"
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
			if position == 1280 {
				each = 10 * time.Millisecond
			}
		}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []int{256, 1024, 1024, 200, 56}, sizes, "one learns of it at the end")

		began := time.Now()
		q.add(data(2561, 3584)...)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, append(slices.Repeat([]int{200}, 5), 24), sizes[5:])
		require.Equal(t, 10240*time.Millisecond, time.Since(began))

		each = time.Second
		q.add(data(3585, 4000)...)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []int{200, 32, 32, 32, 32, 32, 32, 24}, sizes[11:], "and not one by one")
		g.stop(t)
	})
}

// TestBatchSentBefore: what is stored already of a Send that failed says nothing of
// how quickly messages are.
func TestBatchSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		step := func(after time.Duration, n int, err error) func([]envelope.Message) (int, error) {
			return func(batch []envelope.Message) (int, error) {
				sizes = append(sizes, len(batch))
				<-time.After(after)
				return min(n, len(batch)), err
			}
		}
		u := &fake{script: []func([]envelope.Message) (int, error){
			step(5*time.Second, 10, errors.New("no word")), step(0, 1024, nil), step(0, 1024, nil),
		}}
		g := start(t, newQueue(data(1, 400)...), u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []int{256, 246, 32}, sizes)
		g.stop(t)
	})
}
