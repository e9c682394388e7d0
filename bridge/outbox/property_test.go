package outbox

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var errCut = errors.New("power cut")

// model is what the log must do, seen from outside.
type model struct {
	t       *rapid.T
	m       *memFS
	o       Options
	l       *Log
	r       *Reader
	id      uint64            // next
	at      map[uint64]uint64 // position → id, acknowledged
	maybe   map[uint64]bool   // ids whose append was cut off
	freed   uint64            // position freed, acknowledged
	highest uint64            // position ever seen
	dropped uint64            // highest position given up, acknowledged or not
	cut     int               // operations until the power cut; negative: none
}

func (s *model) fault(op, _ string) error {
	if s.cut < 0 || op == "read" {
		return nil
	}
	if s.cut--; s.cut < 0 {
		s.cut = 0
		return errCut
	}
	return nil
}

func (s *model) open() {
	l, err := Open(s.o)
	require.NoError(s.t, err)
	s.l, s.r = l, l.Reader()
	l.SetPreamble(func() []Record {
		return []Record{{Tag: 'k', Data: payload(s.id, rapid.IntRange(8, 2000).Draw(s.t, "preamble"))}}
	})
}

// verify compares with the log, just opened or running.
func (s *model) verify(running bool) {
	t := s.t
	require.Empty(t, s.l.Damage())
	st := s.l.Stats()
	require.LessOrEqual(t, st.UsedSize, s.o.MaxSize)
	ids, positions := readAll(t, s.l)
	require.Equal(t, uint64(len(ids)), st.Messages)
	here := map[uint64]uint64{}
	for i, p := range positions {
		if i > 0 {
			require.Greater(t, p, positions[i-1])
			require.Greater(t, ids[i], ids[i-1])
		}
		if want, ok := s.at[p]; ok {
			require.Equal(t, want, ids[i])
		} else {
			require.False(t, running)
			require.True(t, s.maybe[ids[i]], "an id that nobody appended, or twice: %d", ids[i])
		}
		here[p] = ids[i]
	}
	for p, id := range s.at {
		if _, ok := here[p]; !ok {
			require.LessOrEqual(t, p, max(s.freed, s.dropped), "id %d was acknowledged and is gone", id)
		} else if running {
			require.Greater(t, p, s.freed)
		}
	}
	for p, id := range here { // a cut append that survived counts from now on
		s.at[p] = id
		s.highest = max(s.highest, p)
	}
	s.maybe = map[uint64]bool{}
}

func (s *model) replay() {
	last, preambles := uint64(0), 0
	err := s.l.Replay(func(e Entry) error {
		require.True(s.t, e.Position > 0 || e.Context)
		if e.Position == 0 {
			preambles++
			require.Zero(s.t, last, "the preamble comes first")
		} else {
			require.Greater(s.t, e.Position, last)
			last = e.Position
		}
		return nil
	})
	require.NoError(s.t, err)
	if s.highest > 0 {
		require.Equal(s.t, s.highest, last, "up to the last entry, freed or not")
		require.GreaterOrEqual(s.t, preambles, 1)
	}
}

func (s *model) append(drop bool) {
	t := s.t
	n := rapid.IntRange(1, 5).Draw(t, "records")
	batch := recs(s.id, n, rapid.IntRange(8, 900).Draw(t, "size"))
	var err error
	if drop {
		ok, oerr := s.l.Oldest(func(e Entry) error {
			if e.Position > s.freed {
				s.dropped = max(s.dropped, e.Position)
			}
			return nil
		})
		if oerr != nil || !ok {
			return
		}
		err = s.l.DropOldest(batch)
	} else {
		_, err = s.l.Append(batch)
	}
	if err == nil {
		last := s.l.Stats().LastPosition
		for i := range n {
			p := last - uint64(n-1-i)
			require.Greater(t, p, s.highest, "a position was used again")
			s.at[p] = s.id + uint64(i)
		}
		s.highest = last
		if drop {
			s.freed = max(s.freed, s.dropped)
		}
	} else {
		if s.cut < 0 {
			require.ErrorIs(t, err, ErrFull)
		}
		for i := range n {
			s.maybe[s.id+uint64(i)] = true
		}
	}
	s.id += uint64(n)
}

func (s *model) free() {
	st := s.l.Stats()
	if st.LastPosition == 0 || st.Messages == 0 {
		return
	}
	p := rapid.Uint64Range(st.FreedPosition, st.LastPosition).Draw(s.t, "free")
	s.freed = max(s.freed, p)
	if err := s.l.Free(p); s.cut < 0 {
		require.NoError(s.t, err)
	}
}

func (s *model) read() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	es, err := s.r.Next(ctx, rapid.IntRange(1, 9).Draw(s.t, "max"), 2000)
	if err != nil {
		if s.cut < 0 {
			require.ErrorIs(s.t, err, context.Canceled)
		}
		return
	}
	for _, e := range es {
		if !e.Context {
			require.Equal(s.t, s.at[e.Position], idOf(e))
			require.Greater(s.t, e.Position, s.freed)
		}
	}
}

// crashed cuts the power somewhere within the next few steps, then opens again; sometimes the power is cut during that, too.
func (s *model) crashed(steps func()) {
	t := s.t
	s.cut = rapid.IntRange(0, 12).Draw(t, "operations until the cut")
	steps()
	for {
		s.cut = -1
		s.m.crash(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) })
		if !rapid.Bool().Draw(t, "cut while opening") {
			break
		}
		s.cut = rapid.IntRange(0, 25).Draw(t, "operations until the cut")
		if l, err := Open(s.o); err == nil {
			_ = l.Close()
		} else {
			require.ErrorIs(t, err, errCut)
		}
	}
	s.open()
	s.replayAfterCrash()
	s.verify(false)
	s.replay()
	s.freed, s.dropped = s.l.Stats().FreedPosition, 0 // what was freed since the last commit comes again
}

// replayAfterCrash learns what survived of cut appends that were freed by nobody.
func (s *model) replayAfterCrash() {
	require.NoError(s.t, s.l.Replay(func(e Entry) error {
		if e.Position > 0 {
			if _, ok := s.at[e.Position]; !ok {
				require.True(s.t, s.maybe[idOf(e)])
				s.at[e.Position] = idOf(e)
			}
			s.highest = max(s.highest, e.Position)
		}
		return nil
	}))
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &model{t: t, m: newMemFS(), id: 1, at: map[uint64]uint64{}, maybe: map[uint64]bool{}, cut: -1}
		s.m.fault = s.fault
		s.o = testOptions(s.m)
		s.o.MaxSize = int64(rapid.IntRange(4, 8).Draw(t, "segments")) * testSegment
		if rapid.Bool().Draw(t, "cut at the first boot") {
			s.cut = rapid.IntRange(0, 10).Draw(t, "operations until the cut")
			_, _ = Open(s.o)
			s.cut = -1
			s.m.crash(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) })
		}
		s.open()
		step := func() {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				s.append(false)
			case 4:
				s.append(true)
			case 5, 6:
				s.free()
			default:
				s.read()
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				s.crashed(func() {
					for range rapid.IntRange(0, 6).Draw(t, "steps before the cut") {
						step()
					}
				})
			case 1:
				require.NoError(t, s.l.Close())
				s.open()
				s.verify(true)
				s.replay()
			default:
				step()
			}
		}
		s.verify(true)
		require.Empty(t, s.m.reused, "a nonce was used twice")
	})
}
