package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

// rig is a relay under test, in a synctest bubble.
type rig struct {
	*Relay
	queue       *queue
	events      []string
	quarantined []uint64
	reasons     []string
	mu          sync.Mutex
	quarantine  error // what the quarantine answers
	cancel      context.CancelFunc
	err         chan error
}

func start(t *testing.T, q *queue, uplinks ...*fake) *rig {
	t.Helper()
	return startWith(t, nil, q, uplinks...)
}

func startWith(t *testing.T, quarantine error, q *queue, uplinks ...*fake) *rig {
	t.Helper()
	g := &rig{queue: q, err: make(chan error, 1), quarantine: quarantine}
	var named []Named
	for i, u := range uplinks {
		named = append(named, Named{fmt.Sprintf("uplink-%d", i+1), u})
	}
	var err error
	g.Relay, err = New(Config{
		Queue: q, Uplinks: named,
		Events: func(name, text string) { g.events = append(g.events, name+": "+text) },
		Quarantine: func(m envelope.Message, reason string) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.quarantine == nil {
				g.quarantined = append(g.quarantined, number(&m))
				g.reasons = append(g.reasons, reason)
			}
			return g.quarantine
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	g.cancel = cancel
	go func() { g.err <- g.Run(ctx) }()
	return g
}

// elapse lets d pass on the clock of the bubble, and what is due then happen.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// stop ends the relay.
func (g *rig) stop(t *testing.T) {
	t.Helper()
	g.cancel()
	require.NoError(t, <-g.err)
}

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		q, u := newQueue(data(1, 2500)...), &fake{}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, span(1, 2500), u.has())
		require.Equal(t, 4, u.count(), "256, and then 1024")
		require.EqualValues(t, 2500, q.position())
		s := g.Status()
		require.Len(t, s, 1)
		require.Equal(t, Status{Name: "uplink-1", State: Delivering, Since: began, Messages: 2500, Bytes: s[0].Bytes, LastStored: began}, s[0])
		require.NotZero(t, s[0].Bytes)
		q.add(data(2501, 2501)...)
		synctest.Wait()
		require.Equal(t, span(1, 2501), u.has())
		g.stop(t)
		require.NoError(t, g.Close())
		require.True(t, u.closed)
		require.Empty(t, g.events)
		require.ErrorContains(t, func() error { q.add(data(602, 602)...); return g.Drain(t.Context()) }(), "1 records are not delivered")
	})
}

func TestTransientErrorsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("connection refused")
		u := &fake{otherwise: result(0, down)}
		g := start(t, newQueue(data(1, 10)...), u)
		synctest.Wait()
		require.Equal(t, 1, u.count())
		require.Equal(t, Connecting, g.Status()[0].State)
		require.Equal(t, "connection refused", g.Status()[0].Error)
		elapse(firstPause * 3 / 2)
		require.Equal(t, 2, u.count())
		elapse(2 * time.Minute)
		require.Greater(t, u.count(), 8)
		require.Less(t, u.count(), 40, "at most 15 s between, at least 5 s when it lasts")

		u.set(func() {
			u.script = []func([]envelope.Message) (int, error){result(3, down), result(0, down)}
			u.otherwise = nil
		})
		elapse(longestPause * 3 / 2) // the probe comes
		elapse(firstPause * 3)       // progress begins the pauses anew: 0.2 s, then 0.4 s
		elapse(firstPause * 3)
		require.Equal(t, span(1, 10), u.has())
		require.EqualValues(t, 10, g.Status()[0].Resent)
		require.Equal(t, Delivering, g.Status()[0].State)
		require.Empty(t, g.Status()[0].Error)
		g.stop(t)
		require.Empty(t, g.events)
	})
}

func TestRefusedGoesToQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poison := func(batch []envelope.Message) (int, error) {
			for i := range batch {
				if n := number(&batch[i]); n == 4 || n == 5 || n == 10 {
					return i, &envelope.Refused{Reason: fmt.Sprintf("number %d", n)}
				}
			}
			return len(batch), nil
		}
		u := &fake{otherwise: poison}
		q := newQueue(data(1, 10)...)
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []uint64{1, 2, 3, 6, 7, 8, 9}, u.has())
		require.Equal(t, []uint64{4, 5, 10}, g.quarantined)
		require.Equal(t, "number 4", g.reasons[0])
		require.EqualValues(t, 3, g.Status()[0].Quarantined)
		require.EqualValues(t, 10, q.position())
		g.stop(t)
	})
}

func TestQuarantineMustBeDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fake{script: []func([]envelope.Message) (int, error){result(2, &envelope.Refused{Reason: "no"})}}
		q := newQueue(data(1, 5)...)
		g := startWith(t, errors.New("disk full"), q, u)
		elapse(time.Minute)
		require.EqualValues(t, 2, q.position())
		require.Equal(t, 1, u.count())
		g.mu.Lock()
		g.quarantine = nil
		g.mu.Unlock()
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []uint64{1, 2, 4, 5}, u.has())
		require.Equal(t, []uint64{3}, g.quarantined)
		g.stop(t)

		u = &fake{otherwise: result(0, &envelope.Refused{Reason: "no"})}
		g = startWith(t, errors.New("disk full"), newQueue(data(1, 5)...), u)
		elapse(time.Minute)
		g.stop(t)
	})
}

func TestFaultIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := &envelope.Fault{What: "no stream", Instead: "make one"}
		u := &fake{otherwise: result(0, fault)}
		g := start(t, newQueue(data(1, 5)...), u)
		elapse(time.Hour)
		require.Equal(t, Faulty, g.Status()[0].State)
		require.Equal(t, "no stream; make one", g.Status()[0].Error)
		require.Greater(t, u.count(), 200, "it is probed")
		u.set(func() { u.otherwise = result(0, errors.New("down")) })
		elapse(time.Minute)
		require.Equal(t, Connecting, g.Status()[0].State)
		u.set(func() { u.otherwise = result(0, fault) })
		elapse(time.Minute)
		require.Equal(t, []string{"uplink-faulty: uplink-1: no stream; make one"}, g.events)
		u.set(func() { u.otherwise = nil })
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, "uplink-delivers: uplink-1 delivers again", g.events[1])
		g.stop(t)
		require.Len(t, g.events, 2)
	})
}

func TestAnotherUplinkTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &fake{}, &fake{}
		q := newQueue(data(1, 5)...)
		g := start(t, q, first, second)
		require.NoError(t, g.Drain(t.Context()))

		first.set(func() { first.otherwise = result(0, &envelope.Fault{What: "denied"}) })
		q.add(data(6, 10)...)
		synctest.Wait()
		require.Equal(t, span(6, 10), second.has(), "at once on a fault")
		calls := first.count()
		q.add(data(11, 11)...)
		synctest.Wait()
		require.Equal(t, calls, first.count(), "no probe yet")
		elapse(probeEvery)
		q.add(data(12, 12)...)
		synctest.Wait()
		require.Equal(t, calls+1, first.count(), "a probe")
		require.Equal(t, span(6, 12), second.has())
		first.set(func() { first.otherwise = nil })
		elapse(probeEvery)
		q.add(data(13, 13)...)
		synctest.Wait()
		require.Equal(t, append(span(1, 5), 13), first.has(), "the first is preferred")

		first.set(func() { first.otherwise = result(0, errors.New("timeout")) })
		calls = first.count()
		q.add(data(14, 14)...)
		elapse(time.Minute)
		require.Equal(t, calls+patience, first.count(), "after a while on what may mend")
		require.Equal(t, span(6, 12), second.has()[:7])
		require.EqualValues(t, 14, second.has()[7])

		second.set(func() { second.otherwise = result(0, errors.New("timeout")) })
		q.add(data(15, 15)...)
		elapse(10 * time.Minute)
		first.set(func() { first.otherwise = nil })
		require.NoError(t, g.Drain(t.Context()))
		g.stop(t)
		require.NoError(t, g.Close())
		require.True(t, first.closed && second.closed)
		require.Equal(t, []string{
			"uplink-faulty: uplink-1: denied", "uplink-changed: uplink-2 delivers instead of uplink-1",
			"uplink-changed: uplink-1 delivers instead of uplink-2", "uplink-changed: uplink-2 delivers instead of uplink-1",
			"uplink-changed: uplink-1 delivers instead of uplink-2",
		}, g.events)
	})
}

// TestSilentUplink holds that an uplink that answers nothing is left as soon as
// one that refuses: each attempt takes seconds.
func TestSilentUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func([]envelope.Message) (int, error) {
			<-time.After(3500 * time.Millisecond)
			return 0, errors.New("no answer")
		}
		first, second := &fake{}, &fake{}
		first.script = []func([]envelope.Message) (int, error){result(2, errors.New("reset"))}
		first.otherwise = silent
		q := newQueue(data(1, 5)...)
		began := time.Now()
		g := start(t, q, first, second)
		require.NoError(t, g.Drain(t.Context()))
		// Just before it is long enough there is one more pause, of 0.8 s and half as much
		// again at the most, and one more attempt.
		require.LessOrEqual(t, time.Since(began), longEnough+1200*time.Millisecond+3500*time.Millisecond)
		require.Equal(t, span(3, 5), second.has())
		require.Equal(t, []string{"uplink-changed: uplink-2 delivers instead of uplink-1"}, g.events, "the first had stored some")
		g.stop(t)
	})
}

// TestNoUplinkLeft holds that uplinks are not waited for as for probes while
// there is no other.
func TestNoUplinkLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := result(0, errors.New("no route"))
		first, second := &fake{otherwise: down}, &fake{otherwise: down}
		q := newQueue(data(1, 5)...)
		g := start(t, q, first, second)
		elapse(10 * time.Minute)
		first.set(func() { first.otherwise = nil })
		up := time.Now()
		require.NoError(t, g.Drain(t.Context()))
		require.LessOrEqual(t, time.Since(up), 2*longestPause)
		g.stop(t)
	})
}

func TestKeyFramesAgainOnNewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := func(i uint64, machine string) outbox.Entry { return entry(numbered(i, envelope.KeyFrame, machine)) }
		carried := contextEntry(numbered(1, envelope.KeyFrame, "mixer-4"))
		freed := contextEntry(numbered(2, envelope.Data, "mixer-4"))
		q := newQueue(append([]outbox.Entry{carried, freed, key(3, "press-3")}, data(4, 5)...)...)
		u := &fake{}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []uint64{1, 3, 4, 5}, u.has(), "what is in force first")

		q.add(data(6, 6)...)
		synctest.Wait()
		u.set(func() { u.connections++ })
		q.add(data(7, 7)...)
		synctest.Wait()
		require.Equal(t, []uint64{1, 3, 4, 5, 6, 1, 3, 7}, u.has(), "before data goes on")

		// A new epoch: the old key frame is not in force any more. In a preamble
		// it repeats what is known.
		q.add(key(8, "press-3"), entry(numbered(9, envelope.Data, "press-3")), contextEntry(numbered(3, envelope.KeyFrame, "press-3")),
			contextEntry(numbered(8, envelope.KeyFrame, "press-3")))
		q.add(data(10, 10)...)
		synctest.Wait()
		require.Equal(t, []uint64{8, 9, 10}, u.has()[8:])

		// The connection moves within a Send, and the key frames meet errors.
		u.set(func() {
			u.stored = nil
			u.script = []func([]envelope.Message) (int, error){
				func(batch []envelope.Message) (int, error) { u.connections++; return len(batch), nil },
				result(1, errors.New("lost")),
				result(0, &envelope.Fault{What: "denied"}),
				result(0, &envelope.Refused{Reason: "too large here"}),
			}
		})
		q.add(data(11, 11)...)
		synctest.Wait()
		q.add(data(12, 12)...)
		elapse(time.Minute)
		require.Equal(t, []uint64{11, 1, 12}, u.has())
		require.Equal(t, []uint64{8}, g.quarantined, "what was left after the error")
		u.set(func() { u.connections++; u.stored = nil })
		q.add(data(13, 13)...)
		synctest.Wait()
		require.Equal(t, []uint64{1, 13}, u.has(), "what was refused is not tried again")
		g.stop(t)
	})
}

// A key frame that the outbox carried on while the uplink was connected was never
// sent: it goes before the data that need it.
func TestCarriedKeyFrameIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, u := newQueue(data(1, 2)...), &fake{}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		again := entry(numbered(3, envelope.KeyFrame, "press-3"))
		again.Tag = tagAgain
		q.add(contextEntry(numbered(3, envelope.KeyFrame, "press-3")), entry(numbered(4, envelope.Data, "press-3")), again)
		synctest.Wait()
		require.Equal(t, []uint64{1, 2, 3, 4, 3}, u.has())
		g.stop(t)
	})
}

func TestKeyFramesAreBounded(t *testing.T) {
	k := newKeyFrames(slog.New(slog.DiscardHandler))
	for i := range uint64(100) {
		m := numbered(i+1, envelope.KeyFrame, fmt.Sprintf("press-%d", i))
		m.Body = make([]byte, envelope.MaxBody)
		k.note(&m)
	}
	require.LessOrEqual(t, k.bytes, maxKeyFrames)
	require.Len(t, k.of, maxKeyFrames/envelope.MaxBody)
	require.Contains(t, k.of, envelope.Stream{Gateway: "gw-1", Machine: "press-99", Level: "restricted"})
}

func TestOtherRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := outbox.Entry{Record: outbox.Record{Tag: tagMessage, Data: []byte("what is this")}}
		state := outbox.Entry{Record: outbox.Record{Tag: 2, Data: []byte("a head")}}
		preamble := state
		preamble.Context = true
		badContext := bad
		badContext.Context = true
		q := newQueue(append(data(1, 2), preamble, badContext, bad, state)...)
		q.add(data(5, 6)...)
		u := &fake{}
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()))
		require.Equal(t, []uint64{1, 2, 5, 6}, u.has())
		require.Len(t, g.quarantined, 1)
		require.Contains(t, g.reasons[0], "cannot read message")
		require.EqualValues(t, 6, q.position())
		g.stop(t)
	})
}

func TestQueueErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, u := newQueue(data(1, 2)...), &fake{}
		q.nextErr = []error{errors.New("input/output error")}
		q.freeErr = errors.New("no space left")
		g := start(t, q, u)
		require.NoError(t, g.Drain(t.Context()), "both are tried again")
		g.stop(t)

		q = newQueue(data(1, 2)...)
		q.nextErr = []error{fmt.Errorf("%w: cause", outbox.ErrFailed)}
		require.ErrorIs(t, <-start(t, q, u).err, outbox.ErrFailed)
		q = newQueue(data(1, 2)...)
		q.freeErr = outbox.ErrClosed
		g = start(t, q, u)
		require.ErrorIs(t, <-g.err, outbox.ErrClosed)
	})
}

func TestEndsWhileAnUplinkIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fake{block: true}
		g := start(t, newQueue(data(1, 2)...), u)
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		require.ErrorIs(t, g.Drain(ctx), context.DeadlineExceeded)
		began := time.Now()
		g.stop(t)
		require.Zero(t, time.Since(began))
		require.Empty(t, g.events)
		require.Equal(t, Connecting, g.Status()[0].State)

		g = start(t, newQueue(data(1, 2)...), &fake{otherwise: result(0, errors.New("down"))})
		elapse(time.Minute)
		g.stop(t) // while it pauses
	})
}

func TestUplinkThatMiscounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fake{script: []func([]envelope.Message) (int, error){result(9, nil), result(-1, nil), result(1, nil)}}
		q := newQueue(data(1, 2)...)
		g := start(t, q, u)
		synctest.Wait()
		require.Zero(t, q.position())
		require.Contains(t, g.Status()[0].Error, "stored 9 of 2")
		require.NoError(t, g.Drain(t.Context()))
		g.stop(t)
	})
}

func TestNewRefuses(t *testing.T) {
	quarantine := func(envelope.Message, string) error { return nil }
	for _, cfg := range []Config{
		{Uplinks: []Named{{"a", &fake{}}}, Quarantine: quarantine},
		{Queue: newQueue(), Quarantine: quarantine},
		{Queue: newQueue(), Uplinks: []Named{{"a", &fake{}}}},
		{Queue: newQueue(), Uplinks: []Named{{"a", &fake{}}}, Quarantine: quarantine, BatchBytes: -1},
	} {
		_, err := New(cfg)
		require.Error(t, err)
	}
}
