package clock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wall is a clock on the wall: it goes with time, and can be set.
type wall struct {
	ahead time.Duration
	is    bool
	err   error
	asked int
}

func (w *wall) open(t *testing.T, file string) *Clock {
	t.Helper()
	c, err := Open(Options{
		File: file, Now: func() time.Time { return time.Now().Add(w.ahead) },
		Synchronised: func() (bool, error) { w.asked++; return w.is, w.err },
	})
	require.NoError(t, err)
	return c
}

const (
	day   = 24 * time.Hour
	years = 10 * 365 * day
)

// marked gives a file with the mark that a gateway left which was synchronised
// until now.
func marked(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clock")
	c := (&wall{is: true}).open(t, file)
	require.NoError(t, c.Accept(1))
	return file
}

// pass lets time go by, which in a bubble of synctest takes none.
func pass(d time.Duration) { <-time.After(d) }

// unset is how far behind a clock is that starts in 1970.
func unset() time.Duration { return -time.Since(time.Unix(0, 0)) }

// TestMoved: where a clock may stand, at a start and while it runs, and what
// exceptions are then held against.
func TestMoved(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		ahead func() time.Duration
		is    bool
		trust Trust
		// decides is what that is ahead of the true time by; never: past all days.
		decides time.Duration
	}{
		"right, synchronised":           {func() time.Duration { return 0 }, true, Synchronised, 0},
		"right, not synchronised":       {func() time.Duration { return 0 }, false, BeyondMark, 0},
		"10 years on, synchronised":     {func() time.Duration { return years }, true, Synchronised, years},
		"10 years on, not synchronised": {func() time.Duration { return years }, false, BeyondMark, years},
		"10 years back, synchronised":   {func() time.Duration { return -years }, true, Synchronised, 0},
		"10 years back, not":            {func() time.Duration { return -years }, false, Untrusted, never},
		"not set, synchronised":         {unset, true, Synchronised, 0},
		"not set, not synchronised":     {unset, false, Untrusted, never},
	}
	for name, c := range cases {
		for _, when := range []string{"start", "run"} {
			t.Run(name+", at "+when, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					file, w := marked(t), &wall{is: true}
					move := func() { w.ahead, w.is = c.ahead(), c.is }
					if when == "start" {
						move()
					}
					clock := w.open(t, file)
					require.NoError(t, clock.Accept(1))
					if when == "run" {
						clock.Read()
						move()
					}
					if when == "run" && c.ahead() == 0 {
						pass(refresh) // only a clock that was set is noticed at once
					}
					r := clock.Read()
					assert.Equal(t, c.trust, r.Trust)
					if c.decides == never {
						assert.Equal(t, PastAllDays(), r.Deciding)
					} else {
						assert.Zero(t, time.Until(r.Deciding)-c.decides)
					}
					assert.Equal(t, r.Deciding.Equal(r.Now), r.Why == "", r.Why)

					// And when it is right again.
					w.ahead, w.is = 0, false
					pass(refresh)
					r = clock.Read()
					if c.is && c.ahead() > 0 { // what was synchronised counts, until a new policy
						assert.Equal(t, Untrusted, r.Trust)
						w.is = true
						pass(refresh)
						r = clock.Read()
						assert.InDelta(t, years, time.Until(r.Deciding), float64(2*refresh))
						assert.Contains(t, r.Why, "sign the policy again")
						require.NoError(t, clock.Accept(2))
						r = clock.Read()
						assert.Empty(t, r.Why)
						assert.Zero(t, time.Since(r.Mark))
					} else {
						assert.Equal(t, BeyondMark, r.Trust)
					}
					assert.Zero(t, time.Until(r.Deciding))
				})
			})
		}
	}
}

const never = -1

// TestNeverSynchronised: a clock that never was, as in a new gateway, is worth
// nothing, however right it may be.
func TestNeverSynchronised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wall{}
		c := w.open(t, filepath.Join(t.TempDir(), "clock"))
		require.NoError(t, c.Accept(1))
		r := c.Read()
		assert.Equal(t, Reading{Now: r.Now, Deciding: PastAllDays(), Why: r.Why}, r, "and no turn")
		assert.Contains(t, r.Why, "let NTP or PTP synchronise the clock")
		w.is = true
		pass(refresh)
		r = c.Read()
		assert.Equal(t, Synchronised, r.Trust)
		assert.EqualValues(t, 1, r.Turn)

		w.err = errors.New("no")
		pass(refresh)
		assert.Equal(t, BeyondMark, c.Read().Trust)
		w.ahead = -years
		r = c.Read()
		assert.Equal(t, Untrusted, r.Trust)
		assert.Equal(t, "no", r.Why)
	})
}

// TestTimeGoesBy: a clock that is not synchronised is not believed behind what
// went by since it was, though that is past the mark.
func TestTimeGoesBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wall{is: true}
		c := w.open(t, filepath.Join(t.TempDir(), "clock"))
		began := c.Read().Mark
		w.is = false
		pass(20 * day)
		r := c.Read()
		require.Equal(t, BeyondMark, r.Trust)
		require.Equal(t, began, r.Mark, "only synchronised time raises it")
		turn := r.Turn
		w.ahead = -slack / 2
		r = c.Read()
		assert.Equal(t, BeyondMark, r.Trust)
		assert.Zero(t, time.Since(r.Deciding), "a correction gains nothing")
		assert.Equal(t, turn, r.Turn)
		w.ahead = -15 * day
		r = c.Read()
		assert.Equal(t, Untrusted, r.Trust)
		assert.Equal(t, turn+1, r.Turn)
		assert.Contains(t, r.Why, "not synchronised and says")
	})
}

// TestTurn: who decided at a time that lay ahead has to decide again when it
// does not any more, though nobody's trust changed.
func TestTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wall{}
		c := w.open(t, marked(t))
		require.NoError(t, c.Accept(1))
		_, first := c.Deciding()
		w.ahead = years
		at, turn := c.Deciding()
		assert.Equal(t, first, turn, "it went on; who decides compares")
		assert.Equal(t, years, time.Until(at))
		w.ahead = 0
		at, turn = c.Deciding()
		assert.Equal(t, first+1, turn)
		assert.Zero(t, time.Since(at))
		pass(day)
		_, turn = c.Deciding()
		assert.Equal(t, first+1, turn)
	})
}

// TestAsked: the kernel is asked once a second; a clock that is set in between
// is noticed at once.
func TestAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wall{is: true}
		c := w.open(t, filepath.Join(t.TempDir(), "clock"))
		for range 100 {
			c.Deciding()
		}
		assert.Equal(t, 1, w.asked)
		pass(refresh)
		before := c.Read()
		assert.Equal(t, 2, w.asked)
		w.ahead, w.is = years, false // setting it does that
		r := c.Read()
		assert.Equal(t, 3, w.asked)
		assert.Equal(t, BeyondMark, r.Trust)
		assert.Equal(t, before.Mark, r.Mark, "not raised by what somebody set")
	})
}

// TestSetWhileLooking: a clock that is set between being read and being asked
// about raises no mark.
func TestSetWhileLooking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := false
		c, err := Open(Options{
			File:         filepath.Join(t.TempDir(), "clock"),
			Now:          func() time.Time { assert.False(t, asked, "asked before it was read"); return time.Now() },
			Synchronised: func() (bool, error) { asked = true; return true, nil },
		})
		require.NoError(t, err)
		assert.Equal(t, Synchronised, c.Read().Trust)
		assert.True(t, asked)
	})
}

// TestAccept: a newly signed policy resets the mark, once, over a crash too; and
// is no way to make a wrong clock believed.
func TestAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := marked(t)
		wrong := &wall{is: true, ahead: years} // a time server that was wrong
		c := wrong.open(t, file)
		c.Read()
		require.NoError(t, c.Save(0))

		w := &wall{}
		c = w.open(t, file)
		require.NoError(t, c.Accept(1))
		require.Equal(t, Untrusted, c.Read().Trust)
		require.NoError(t, c.Accept(2))
		r := c.Read()
		assert.Equal(t, Untrusted, r.Trust, "nobody knows which was wrong")
		assert.Zero(t, r.Mark)
		w.is = true
		pass(refresh)
		r = c.Read()
		assert.Zero(t, time.Until(r.Deciding))
		require.NoError(t, c.Save(0))

		// A clock that contradicts nothing loses nothing.
		w.is = false
		pass(day)
		require.NoError(t, c.Accept(3))
		assert.Equal(t, r.Mark, c.Read().Mark)
		assert.Equal(t, BeyondMark, c.Read().Trust)

		// Set back for the very moment, it is not believed either.
		w.ahead = -2 * day
		c = w.open(t, file)
		require.NoError(t, c.Accept(4))
		assert.Equal(t, Untrusted, c.Read().Trust)
		w.ahead = 0
		pass(refresh)
		assert.Equal(t, Untrusted, c.Read().Trust, "until it is synchronised")

		// A start without a new policy resets nothing.
		w.is = true
		c = w.open(t, file)
		require.NoError(t, c.Accept(4))
		c.Read()
		require.NoError(t, c.Save(0))
		w.is, w.ahead = false, -years
		c = w.open(t, file)
		require.NoError(t, c.Accept(4))
		assert.NotZero(t, c.Read().Mark)
	})
}

// TestSave: the mark is on disk, readable by its owner only, once an hour.
func TestSave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "clock")
		w := &wall{is: true}
		c := w.open(t, file)
		written, before := 0, ""
		for range 5 * 3600 {
			c.Read()
			require.NoError(t, c.Save(time.Hour))
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			if string(b) != before {
				written, before = written+1, string(b)
			}
			pass(time.Second)
		}
		assert.Equal(t, 5, written)
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode())
		r := c.Read()
		require.NoError(t, c.Save(0))
		w.is = false
		c = w.open(t, file)
		assert.True(t, r.Mark.Equal(c.Read().Mark))
		left, err := os.ReadDir(filepath.Dir(file))
		require.NoError(t, err)
		assert.Len(t, left, 1)
	})
}

// TestSaveNow: what is over is over after a power cut too, by the mark alone: it is
// what the clock says now, and not when the kernel was asked last.
func TestSaveNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "clock")
		w := &wall{is: true}
		c := w.open(t, file)
		c.Read()
		pass(refresh - time.Millisecond)
		decided, _ := c.Deciding()
		require.NoError(t, c.Save(0))
		w.is = false
		assert.False(t, w.open(t, file).Read().Mark.Before(decided))
	})
}

// TestNotSaved: what cannot be written waits, and is tried again.
func TestNotSaved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "absent")
		c := (&wall{is: true}).open(t, filepath.Join(dir, "clock"))
		c.Read()
		require.ErrorContains(t, c.Save(time.Hour), "cannot keep the highest synchronised time seen")
		require.NoError(t, c.Save(time.Hour), "not at once")
		require.NoError(t, os.Mkdir(dir, 0o700))
		pass(again)
		require.NoError(t, c.Save(time.Hour))
		assert.FileExists(t, filepath.Join(dir, "clock"))
	})
}

// TestDamaged: a mark that cannot be read is none.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"mark":"soon"}`, "[]"} {
		file := filepath.Join(t.TempDir(), "clock")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, err := Open(Options{File: file, Synchronised: func() (bool, error) { return false, nil }})
		require.ErrorContains(t, err, "exceptions count again once the clock is synchronised", text)
		require.ErrorContains(t, err, file)
		assert.Equal(t, Untrusted, c.Read().Trust)
	}
}

// TestKernel: this machine's kernel answers, whatever it says.
func TestKernel(t *testing.T) {
	t.Parallel()
	_, err := kernel()
	require.NoError(t, err)
	c, err := Open(Options{File: filepath.Join(t.TempDir(), "clock")})
	require.NoError(t, err)
	r := c.Read()
	assert.Equal(t, r.Trust == Untrusted, r.Why != "")
	assert.WithinDuration(t, time.Now(), r.Now, time.Minute)
}

func BenchmarkDeciding(b *testing.B) {
	c, err := Open(Options{File: filepath.Join(b.TempDir(), "clock")})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		c.Deciding()
	}
}
