package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fieldseal/fieldseal/bridge/clock"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// gatewayClock is what a gateway would hold exceptions against.
type gatewayClock struct {
	file     string // of the mark; empty: it was not looked at
	deciding time.Time
	why      string // that is not what the clock says, and what to do about it; else empty
	counts   bool   // exceptions may count at all
	unseen   error  // why the mark could not be looked at
}

// systemClock is for where there is no gateway.
func systemClock() gatewayClock { return gatewayClock{deciding: time.Now(), counts: true} }

// atClock is a configuration as the gateway takes it by its clock.
type atClock struct {
	loaded
	clock gatewayClock
}

// loadAtClock loads the configuration, or the draft of it, and holds it against the
// time that the gateway would, where its state folder is there.
func loadAtClock(file string, draft bool) (l atClock, err error) {
	options := configs.Options{Draft: true}
	if draft {
		l.config, l.problems = configs.Load(file, options)
	} else if l.loaded, err = load(file, nil); err != nil {
		return l, err
	}
	l.clock = systemClock()
	if l.config == nil {
		return l, nil
	}
	if l.clock = clockOf(l.config.State, l.config.Policy.Revision); l.clock.why == "" {
		return l, nil
	}
	if deciding := l.clock.deciding; l.clock.counts {
		options.Now = func() time.Time { return deciding }
	} else {
		options.Untrusted = l.clock.why
	}
	if l.pinned {
		options.Draft = false
		if options.Approvals, err = approval.Open(l.state); err != nil {
			return l, err
		}
	}
	if l.keysErr == nil && l.keys != nil {
		options.Own, l.keysErr = l.keys.SigningKey()
	}
	l.config, l.problems = configs.Load(file, options)
	return l, nil
}

// clockOf decides as a gateway with this state folder would that starts now with
// this revision of the policy. It writes nothing there.
func clockOf(state string, revision int) gatewayClock {
	if info, err := os.Stat(state); err != nil || !info.IsDir() {
		return systemClock()
	}
	c := systemClock()
	c.file = filepath.Join(state, "clock")
	mark, err := os.ReadFile(c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.unseen = err // the gateway may be able to
		return c
	}
	copied, err := os.MkdirTemp("", "fieldseal-clock-") // to accept the revision is to write
	if err != nil {
		c.unseen = err
		return c
	}
	defer func() { _ = os.RemoveAll(copied) }()
	file := filepath.Join(copied, "clock")
	if mark != nil {
		if err := os.WriteFile(file, mark, 0o600); err != nil {
			c.unseen = err
			return c
		}
	}
	of, _ := clock.Open(clock.Options{File: file}) // without a mark that can be read it trusts nothing
	if err := of.Accept(revision); err != nil {
		c.unseen = err
		return c
	}
	r := of.Read()
	c.deciding, c.counts = r.Deciding, r.Trust != clock.Untrusted
	c.why = r.Why
	return c
}

// words says why exceptions are not held against what the clock says; empty where
// they are.
func (c *gatewayClock) words() string {
	if c.unseen != nil {
		return fmt.Sprintf("whether the gateway's clock lets exceptions count is not known: %v", c.unseen)
	}
	return c.why
}

// notes says why exceptions are not held against what the clock says. Which points
// that stops is said where the exceptions are.
func (c *gatewayClock) notes() []configs.Problem {
	switch {
	case c.unseen != nil:
		return []configs.Problem{{
			File: c.file, Note: true, What: c.words(),
			Instead: "look on the gateway, as the user that runs it: fieldseal check",
		}}
	case c.why != "":
		return []configs.Problem{{File: c.file, Note: true, What: c.why}}
	}
	return nil
}
