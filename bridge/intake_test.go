package bridge

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/policy"
)

// What is pending is bounded also while nobody knows yet that the disk hangs.
func TestIntakeIsBoundedWithoutAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stream.NewMachine("press-1", []stream.Point{{Name: "text"}})
		m.Decide([]policy.Decision{{Level: "restricted"}}, []bool{false})
		i, taken := newIntake(), 0
		text := bytes.Repeat([]byte{'a'}, 1000)
		ended := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // a source
			for {
				if err := i.wait(ctx); err != nil {
					ended <- err
					return
				}
				i.add(m.Take([]point.Sample{{Value: point.OfText(text)}, {Value: point.OfInt(1)}}))
				taken++
			}
		}()
		synctest.Wait()
		assert.InDelta(t, maxPending/1200, taken, maxPending/1200/10)
		before := taken
		m.Drain(nil)
		i.drained()
		synctest.Wait()
		assert.Equal(t, 2*before, taken)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestIntakeInAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIntake()
		passed := false
		wait := func() {
			passed = false
			go func() { passed = i.wait(t.Context()) == nil }()
			synctest.Wait()
		}
		assert.True(t, i.stall("no space", false))
		assert.False(t, i.stall("no space", false))
		wait()
		assert.True(t, passed, "up to the limit")
		assert.True(t, i.stall("full", true))
		wait()
		assert.False(t, passed)
		assert.True(t, i.resume())
		assert.False(t, i.resume())
		synctest.Wait()
		assert.True(t, passed)
		assert.Empty(t, i.why())
	})
}

func TestStalledText(t *testing.T) {
	assert.Contains(t, stalledText(true), "machines are not polled until it does")
	assert.Contains(t, stalledText(false), "up to 4 MiB")
}
