package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/outbox"
)

// upstream is where all uplinks of a test lead: it drops by id what it has.
type upstream struct {
	order []uint64
	has   map[uint64]bool
	kept  map[uint64]bool // in quarantine
}

func (u *upstream) take(m *envelope.Message) {
	if n := number(m); !u.has[n] {
		u.has[n] = true
		u.order = append(u.order, n)
	}
}

// moody is an uplink that does whatever the contract of Uplink allows.
type moody struct {
	t        *rapid.T
	to       *upstream
	refuses  map[uint64]bool
	keyOf    map[uint64]uint64 // number of a data message → number of the key frame before it
	number   uint64            // of connections
	sent     map[uint64]bool   // on this connection
	troubles int               // left
}

func (m *moody) Connections() uint64 { return m.number }
func (m *moody) Close() error        { return nil }

func (m *moody) connect() {
	m.number++
	m.sent = make(map[uint64]bool)
}

func (m *moody) Send(_ context.Context, batch []envelope.Message) (int, error) {
	m.checkKeys(batch)
	if m.number == 0 || m.draw("the connection is lost", 5) {
		m.connect()
	}
	upTo := len(batch) // how many arrive
	trouble := m.draw("trouble", 2)
	if trouble {
		upTo = rapid.IntRange(0, len(batch)).Draw(m.t, "arrive")
	}
	for i := range upTo {
		if m.refuses[number(&batch[i])] {
			return i, fmt.Errorf("uplink: %w", &envelope.Refused{Reason: "poison"})
		}
		m.to.take(&batch[i])
		m.sent[number(&batch[i])] = true
	}
	if !trouble {
		return upTo, nil
	}
	known := rapid.IntRange(0, upTo).Draw(m.t, "acknowledged") // the others' answers are lost
	if rapid.Bool().Draw(m.t, "fault") {
		return known, &envelope.Fault{What: rapid.SampledFrom([]string{"denied", "no stream"}).Draw(m.t, "what")}
	}
	return known, errors.New("timeout")
}

// draw is true one time in n, while there are troubles left.
func (m *moody) draw(what string, n int) bool {
	if m.troubles == 0 || rapid.IntRange(1, n).Draw(m.t, what) != 1 {
		return false
	}
	m.troubles--
	return true
}

// checkKeys: where data begins, the key frames of its epochs went over the
// connection before, or are in the batch before it.
func (m *moody) checkKeys(batch []envelope.Message) {
	if m.number == 0 {
		return
	}
	here := make(map[uint64]bool)
	for i := range batch {
		n := number(&batch[i])
		here[n] = true
		if key := m.keyOf[n]; key != 0 && !here[key] && !m.sent[key] && !m.refuses[key] {
			m.t.Fatalf("message %d is sent on connection %d before its key frame %d", n, m.number, key)
		}
	}
}

// Whatever the uplinks do, what arrives is the queue in order, without what was
// refused; nothing is freed before it has arrived or is in quarantine; and data
// follow their key frame on each connection. The relay is stopped and started
// again in between.
func TestAnyUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ rapid.TB }{t}, anyUplink) })
}

func anyUplink(t *rapid.T) {
	w := drawQueue(t)
	to := &upstream{has: make(map[uint64]bool), kept: make(map[uint64]bool)}
	q, end := newQueue(w.entries...), func() {}
	q.onFree = func(position uint64) {
		for i := uint64(1); i <= position; i++ {
			if !to.has[i] && !to.kept[i] {
				t.Fatalf("position %d is freed, and message %d has not arrived", position, i)
			}
		}
		if position == w.last {
			end()
		}
	}
	var uplinks []Named
	for i := range rapid.IntRange(1, 3).Draw(t, "uplinks") {
		uplinks = append(uplinks, Named{fmt.Sprint(i), &moody{
			t: t, to: to, refuses: w.refuses, keyOf: w.keyOf,
			troubles: rapid.IntRange(0, 20).Draw(t, "troubles"),
		}})
	}
	cfg := Config{
		Queue: q, Uplinks: uplinks, BatchMessages: rapid.IntRange(1, 20).Draw(t, "batch"),
		Quarantine: func(m envelope.Message, _ string) error {
			if rapid.IntRange(1, 4).Draw(t, "disk full") == 1 {
				return errors.New("disk full")
			}
			to.kept[number(&m)] = true
			return nil
		},
	}
	for q.Waiting() > 0 {
		r, err := New(cfg)
		require.NoError(t, err)
		seconds := rapid.IntRange(0, 200).Draw(t, "seconds")
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
		end = cancel
		require.NoError(t, r.Run(ctx))
		cancel()
	}
	require.Equal(t, w.want, to.order)
	require.Equal(t, w.refuses, to.kept)
}

// drawn is what a queue holds, and what should become of it.
type drawn struct {
	entries []outbox.Entry
	last    uint64
	keyOf   map[uint64]uint64 // of a data message: the key frame of its epoch
	refuses map[uint64]bool
	want    []uint64
}

func drawQueue(t *rapid.T) drawn {
	machines := []string{"press-3", "press-4", "mixer-4"}
	w := drawn{keyOf: make(map[uint64]uint64), refuses: make(map[uint64]bool)}
	w.last = rapid.Uint64Range(1, 60).Draw(t, "messages")
	key := make(map[string]uint64)
	for i := uint64(1); i <= w.last; i++ {
		machine := rapid.SampledFrom(machines).Draw(t, "machine")
		if rapid.IntRange(1, 10).Draw(t, "preamble") == 1 {
			for _, of := range machines {
				if key[of] != 0 {
					w.entries = append(w.entries, contextEntry(numbered(key[of], envelope.KeyFrame, of)))
				}
			}
		}
		kind := envelope.Data
		if key[machine] == 0 || rapid.IntRange(1, 8).Draw(t, "epoch") == 1 {
			kind, key[machine] = envelope.KeyFrame, i
		} else {
			w.keyOf[i] = key[machine]
		}
		if rapid.IntRange(1, 12).Draw(t, "poison") == 1 {
			w.refuses[i] = true
		} else {
			w.want = append(w.want, i)
		}
		w.entries = append(w.entries, entry(numbered(i, kind, machine)))
	}
	return w
}
