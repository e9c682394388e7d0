//go:build interop

package interop

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	kills         = 10
	perRound      = 200 // messages that are accepted before each kill
	longer        = 4   // so many times more in rounds 3 and 8, past the first checkpoints
	withoutBroker = 3   // rounds 4, 5 and 6
)

// TestKill kills the gateway again and again while it polls, for some rounds
// without a broker. What it had called accepted is upstream in the end, signed.
func TestKill(t *testing.T) {
	p := newPlant(t, "100ms", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	truth := make(map[string]uint64) // stream → the newest number that was called accepted
	var last, starts, waiting uint64
	var sums []uint64
	for round := 1; round <= kills; round++ {
		switch round {
		case 4:
			p.broker.Kill()
		case 4 + withoutBroker:
			p.broker.Start()
		case 9: // it is killed before it has read anything
			p.site.start()
			p.site.kill()
			starts++
		}
		p.site.start()
		starts++
		want := last + perRound
		if round == 3 || round == 8 {
			want = last + longer*perRound
		}
		var g gatewayStatus
		var accepted map[string]uint64
		until(t, time.Minute, "more messages accepted", func() bool {
			var sum uint64
			g = p.site.status()
			accepted, sum = g.accepted()
			if sum < want {
				return false
			}
			last = sum
			return true
		})
		// Another moment between two commits in each round.
		moment := time.NewTimer(time.Duration(round) * 27 * time.Millisecond)
		select {
		case <-moment.C:
		case <-p.site.p.done:
		}
		p.site.kill()
		assert.Equal(t, starts, g.Start)
		if round == 3 || round == 8 {
			assert.True(t, slices.ContainsFunc(g.Streams, func(s streamStatus) bool { return s.Signed > truth[s.name()]+2 }),
				"no checkpoint since the start: the kill comes too early")
		}
		for stream, n := range truth {
			assert.GreaterOrEqual(t, accepted[stream], n, "%s went back", stream)
		}
		maps.Copy(truth, accepted)
		sums = append(sums, last)
		if round >= 4 && round < 4+withoutBroker {
			assert.Greater(t, g.Outbox.Messages, waiting+perRound/2, "the outbox grows while there is no broker")
			waiting = g.Outbox.Messages
		}
		assert.Zero(t, g.Outbox.Lost)
	}
	require.GreaterOrEqual(t, waiting, uint64(withoutBroker*perRound))
	require.Len(t, truth, 3*len(p.units)+1, "of each machine's levels, and of events")

	p.site.start()
	p.enough(t, len(p.server.Truth(1))+5)
	p.server.Stop()
	p.site.drained(time.Minute)
	p.site.stop()

	o := p.site.open()
	complete(t, o)
	received, epochs := allAccepted(t, o, truth)
	arrived, gone := noneTwice(t, o, p.units)
	// At 100 ms and a commit each 250 ms at most 3 or 4 values of a unit are
	// pending, more on a slow machine.
	assert.Less(t, gone, kills*len(p.units)*10, "values lost between the read and the outbox")
	assert.Empty(t, p.server.Refused())
	t.Logf("%d kills after %v accepted messages; %d messages of %d streams in %d epochs received, %d samples, every one signed; %d waited in the outbox without a broker; %d counter values arrived once, %d were read and not yet accepted at a kill; %d repeats put aside",
		kills, sums, received, len(o.streams), epochs, len(o.samples), waiting, arrived, gone, repeated(o))
}

// allAccepted shows that of each stream all numbers up to the one that was
// called accepted are there, in one epoch each, and signed.
func allAccepted(t *testing.T, o *opened, truth map[string]uint64) (received, epochs int) {
	t.Helper()
	missing := maps.Clone(truth)
	for _, s := range o.streams {
		here := make(map[uint64]string) // number → epoch
		for _, e := range s.Epochs {
			assert.True(t, e.Closed, "%s: epoch %s is not closed", s.Stream, e.Epoch)
			for _, r := range e.Received {
				first, last := span(t, r)
				for n := first; n <= last; n++ {
					assert.Empty(t, here[n], "%s: number %d is in two epochs", s.Stream, n)
					here[n] = e.Epoch
				}
			}
		}
		for n := uint64(1); n <= truth[s.Stream]; n++ {
			require.NotEmpty(t, here[n], "%s: number %d was called accepted, up to %d, and is not there", s.Stream, n, truth[s.Stream])
		}
		assert.GreaterOrEqual(t, s.SignedThrough, truth[s.Stream], "%s: not everything accepted is signed", s.Stream)
		delete(missing, s.Stream)
		received += len(here)
		epochs += len(s.Epochs)
	}
	assert.Empty(t, missing, "streams that are not there at all")
	return received, epochs
}

// noneTwice shows that no counter value came twice. A value that was read and
// not yet accepted when the gateway was killed is gone.
func noneTwice(t *testing.T, o *opened, units []unit) (arrived, gone int) {
	t.Helper()
	for _, u := range units {
		given, got := u.server.Truth(u.id), o.counters(t, u.name)
		slices.Sort(got)
		assert.Equal(t, slices.Compact(slices.Clone(got)), got, "%s: a value came twice", u.name)
		for _, n := range got {
			assert.Contains(t, given, n, "%s: a value that was never given out", u.name)
		}
		arrived += len(got)
		gone += len(given) - len(got)
		assert.Equal(t, given[len(given)-1], got[len(got)-1], "%s: the last value before a clean end", u.name)
	}
	return arrived, gone
}

// span reads a range as --stats writes it: 4 or 4-9.
func span(t *testing.T, s string) (first, last uint64) {
	t.Helper()
	n, _ := fmt.Sscanf(s, "%d-%d", &first, &last)
	require.GreaterOrEqual(t, n, 1, "range %q", s)
	if n == 1 {
		last = first
	}
	return first, last
}
