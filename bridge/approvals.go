package bridge

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// accept keeps what the configuration was held against, before anything of it is
// used. It has the state folder for itself, and looks once more: another process
// may have accepted something since the configuration was read. Where the folder
// cannot keep anything new, what was accepted before goes on.
func (g *Gateway) accept(o *Options) error {
	if g.config.Approved == nil {
		return errors.New("nobody approved the configuration: policy and trust file take effect with the signatures of their approvers only")
	}
	store, err := approval.Open(g.config.State)
	if err != nil {
		return err
	}
	keep := o.keep
	if keep == nil {
		keep = (*approval.Store).Keep
	}
	before := store.Accepted()
	err = g.accepts(g.config, store, keep)
	if errors.Is(err, approval.ErrNotKept) && o.Again != nil {
		notKept := err
		if g.config, o.Problems = o.Again(notKept); g.config == nil || g.config.Approved == nil {
			return fmt.Errorf("%w; make room in %s, or make it writable, and start again: nothing was accepted before that could go on", notKept, o.Config.State)
		}
		if store, err = approval.Open(g.config.State); err == nil {
			err = g.accepts(g.config, store, keep) // nothing is new now
		}
	}
	if err != nil {
		return err
	}
	g.acceptedNow(g.config, before, store.Accepted())
	return nil
}

// acceptedNow says what is new in what was accepted, and what was not.
func (g *Gateway) acceptedNow(c *configs.Config, before, after approval.Accepted) {
	a := c.Approved
	if err := g.clock.Accept(after.PolicyRevision); err != nil {
		g.happened("clock-mark-not-kept", err.Error())
	}
	if after.PolicyRevision != before.PolicyRevision {
		g.happened("policy-accepted", fmt.Sprintf("revision %d, signed by %s", after.PolicyRevision, strings.Join(a.PolicyBy, ", ")))
	}
	if after.TrustRevision != before.TrustRevision {
		g.happened("trust-accepted", fmt.Sprintf("revision %d, signed by %s", after.TrustRevision, strings.Join(a.TrustBy, ", ")))
	}
	for _, r := range a.Refused {
		g.logger.Error(r.Kind+" refused", "error", r.Problem.String())
		g.events.write(stream.Event{Name: r.Kind + "-refused", Text: r.Problem.String()})
	}
	for _, u := range c.Unapproved {
		names := strings.Join(u.Points, ",")
		g.logger.Warn("points leave less openly than their file says", "machine", u.Machine, "points", names, "why", u.Why)
		g.events.write(stream.Event{Name: "points-not-approved", Machine: u.Machine, Point: names, Text: u.Why})
	}
}

// accepts writes what is new.
func (g *Gateway) accepts(c *configs.Config, store *approval.Store, keep keeping) error {
	a := c.Approved
	if a.Change != nil {
		changed, err := store.Change(a.Change)
		if err != nil {
			return err
		}
		if changed {
			s := store.Set()
			g.happened("approvers-changed", fmt.Sprintf("revision %d: %d of %s", s.Revision, s.Threshold, strings.Join(s.Names(), ", ")))
		}
	}
	if _, err := keep(store, a.Policy, a.Trust); err != nil {
		return fmt.Errorf("cannot accept policy and trust file: %w", err)
	}
	return nil
}

func (g *Gateway) happened(name, text string) {
	g.logger.Info(name, "text", text)
	g.events.write(stream.Event{Name: name, Text: text})
}

// approved tells what is in force, and what was refused.
func approved(c *configs.Config, out *status.Gateway) {
	a := c.Approved
	out.Policy.ApprovedBy = a.PolicyBy
	out.Trust = status.Trust{Revision: c.Trust.Revision, ApprovedBy: a.TrustBy}
	for _, r := range a.Refused {
		out.Refused = append(out.Refused, status.Refused{File: r.Kind, Problem: r.Problem.String()})
	}
	for _, u := range c.Unapproved {
		out.Unapproved = append(out.Unapproved, status.Unapproved{Machine: u.Machine, Points: u.Points, Why: u.Why})
	}
}
