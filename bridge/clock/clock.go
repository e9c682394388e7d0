package clock

import (
	"fmt"
	"sync"
	"time"
)

// Trust says how far a clock is to be trusted. The zero value trusts nothing.
type Trust uint8

// The grades.
const (
	Untrusted    Trust = iota // it may say anything: exceptions do not count
	BeyondMark                // not synchronised, and past the highest synchronised time seen
	Synchronised              // as the kernel says
)

const (
	// refresh is how long the kernel's word holds. A clock that is set within it
	// is noticed by the other one, which nobody can set.
	refresh = time.Second
	// slack is how far behind what it must be at least a clock is still believed
	// not to have been set: corrections, a clock chip that runs slow. Nobody gains
	// by it: decisions are never made for an earlier time than that.
	slack = time.Hour
)

// PastAllDays is a time at which no exception holds any more.
func PastAllDays() time.Time { return time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC) }

// Options say what a clock is made of.
type Options struct {
	File string           // where the mark is kept
	Now  func() time.Time // nil: time.Now
	// Synchronised tells whether the time that Now gave just before was
	// synchronised. Nil: the kernel is asked.
	Synchronised func() (bool, error)
}

// Reading is what the clock says at one instant.
type Reading struct {
	Now   time.Time
	Trust Trust
	Mark  time.Time // the highest synchronised time seen; zero: none yet
	// Deciding is the time that exceptions are held against: never before the
	// mark, and past all days while the clock is not trusted.
	Deciding time.Time
	// Turn is another one whenever what was decided at the last Deciding may not
	// hold any more, though that did not go past the end of an exception.
	Turn uint64
	Why  string // Deciding is not Now, and what to do about it; else empty
}

// Clock is the gateway's clock. It may be used by several goroutines.
type Clock struct {
	file         string
	now          func() time.Time
	synchronised func() (bool, error)

	mu      sync.Mutex // guards all below
	mark    time.Time
	base    time.Time // it was that, or later, at baseAt
	baseAt  time.Time // on the clock that nobody can set
	saved   time.Time // the mark that is on disk
	tried   time.Time // to save it
	policy  int       // the revision that the mark goes with
	asked   time.Time // the kernel, on the clock that nobody can set
	then    time.Time // what the clock said at that
	is      bool      // synchronised
	problem error     // of asking
	last    Reading
}

// Open gives a clock with the mark of the file. It works with an error too: a
// mark that cannot be read is none, and nothing is trusted until the clock is
// synchronised.
func Open(o Options) (*Clock, error) {
	c := &Clock{file: o.File, now: o.Now, synchronised: o.Synchronised}
	if c.now == nil {
		c.now = time.Now
	}
	if c.synchronised == nil {
		c.synchronised = kernel
	}
	kept, err := load(c.file)
	c.saved, c.policy = kept.Mark, kept.Policy
	c.setMark(kept.Mark)
	return c, err
}

// Deciding gives the time that exceptions are held against, and the turn of it:
// see [Reading]. It is cheap: the kernel is asked once a second.
func (c *Clock) Deciding() (at time.Time, turn uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.read()
	return r.Deciding, r.Turn
}

// Read looks at the clock.
func (c *Clock) Read() Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.read()
	r.Why = c.why(&r)
	return r
}

// read is called with mu held. It leaves out why.
func (c *Clock) read() Reading {
	steady := time.Now()
	now := c.now().Round(0) // its own time alone: what it was set to
	if c.asked.IsZero() || steady.Sub(c.asked) >= refresh || (now.Sub(c.then)-steady.Sub(c.asked)).Abs() > refresh {
		// Asked after the time was read: setting a clock makes it unsynchronised,
		// so that what was set before cannot pass for synchronised.
		c.is, c.problem = c.synchronised()
		c.is = c.is && c.problem == nil
		c.asked, c.then = steady, now
		if c.is && now.After(c.mark) {
			c.mark = now
		}
		if c.is && now.After(c.floor(steady)) {
			c.base, c.baseAt = now, steady
		}
	}
	r := Reading{Now: now, Mark: c.mark, Deciding: now, Turn: c.last.Turn}
	floor := c.floor(steady)
	switch {
	case c.is:
		r.Trust = Synchronised
	case !c.mark.IsZero() && !now.Add(slack).Before(floor):
		r.Trust = BeyondMark
	}
	if now.Before(floor) {
		r.Deciding = floor
	}
	if r.Trust == Untrusted {
		r.Deciding = PastAllDays()
	}
	if r.Trust != c.last.Trust || r.Deciding.Before(c.last.Deciding) {
		r.Turn++
	}
	c.last = r
	return r
}

// floor is what it must be at least: what it was when it was synchronised, and
// what went by since on the clock that nobody can set.
func (c *Clock) floor(steady time.Time) time.Time {
	if c.base.IsZero() {
		return time.Time{}
	}
	return c.base.Add(steady.Sub(c.baseAt))
}

func (c *Clock) setMark(t time.Time) { c.mark, c.base, c.baseAt = t, t, time.Now() }

func (c *Clock) why(r *Reading) string {
	const sync = "let NTP or PTP synchronise the clock (timedatectl or chronyc tracking show whether it is); until then no exception counts, and then what they cover goes on by itself"
	mark, now := r.Mark.UTC().Format(time.RFC3339), r.Now.UTC().Format(time.RFC3339)
	switch {
	case r.Trust == Untrusted && c.problem != nil:
		return c.problem.Error()
	case r.Trust == Untrusted && r.Mark.IsZero():
		return "the clock is not synchronised, and never was as far as this state folder knows: " + sync
	case r.Trust == Untrusted:
		return fmt.Sprintf("the clock is not synchronised and says %s, though it was %s already: %s", now, mark, sync)
	case r.Deciding.Sub(r.Now) > slack:
		return fmt.Sprintf("the clock says %s, though it has been %s already: what ended by then stays so; if the clock was wrong then, sign the policy again with the next revision", now, mark)
	}
	return ""
}

// Accept says which revision of the policy is in force. A new one resets the
// mark: approvers have looked at what the dates in it mean. Where the clock is
// synchronised the mark becomes its time. Where it is not and contradicts the
// mark, nobody knows which of them is wrong: there is no mark until the clock is
// synchronised again. Where it does not contradict the mark, that stays.
func (c *Clock) Accept(revision int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision == c.policy {
		return nil
	}
	switch r := c.read(); r.Trust {
	case Synchronised:
		c.setMark(r.Now)
	case Untrusted:
		c.setMark(time.Time{})
	}
	c.policy = revision
	return c.save()
}
