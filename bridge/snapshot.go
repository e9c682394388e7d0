package bridge

import (
	"cmp"
	"encoding/hex"
	"slices"

	"github.com/fieldseal/fieldseal/bridge/status"
)

// Status tells what the gateway is doing now. It may be called at any time.
func (g *Gateway) Status() status.Gateway {
	g.mu.Lock()
	c, sinks, uplinks, leftOut, reload := g.config, g.sinks, g.relay, slices.Clone(g.leftOut), g.reload
	g.mu.Unlock()
	p := &c.Policy
	now := g.clock.Read()
	out := status.Gateway{
		Gateway: c.Gateway, Version: g.version, Time: now.Now.UTC(), Started: g.started.UTC(), Start: g.start,
		Clock:   clockStatus(&now),
		Policy:  status.Policy{Name: p.Name, Revision: p.Revision, SHA256: hex.EncodeToString(p.Digest[:])},
		LeftOut: leftOut, Reload: reload, Streams: g.committer.streams(), Events: g.events.written(),
	}
	approved(c, &out)
	slices.SortFunc(out.Streams, func(a, b status.Stream) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Level, b.Level))
	})
	for _, s := range sinks {
		m, withdrawn := s.status()
		out.Machines = append(out.Machines, m)
		if withdrawn != "" {
			out.LeftOut = append(out.LeftOut, status.LeftOut{Machine: m.Name, Problem: withdrawn})
		}
	}
	out.Commits = status.Commits{
		Commits: g.committer.commits.Load(), Messages: g.committer.messages.Load(), Stalled: g.committer.intake.why(),
	}
	o := g.log.Stats()
	oldest := o.Oldest
	if o.Messages > 0 {
		oldest = g.committer.ages.oldest(o.FreedPosition, o.Oldest)
	}
	out.Outbox = status.Outbox{
		Messages: o.Messages, Bytes: o.Bytes, Oldest: oldest, Size: o.UsedSize, MaxSize: o.MaxSize, Lost: g.committer.lost.Load(),
	}
	for _, u := range uplinks.Status() {
		out.Uplinks = append(out.Uplinks, status.Uplink{
			Name: u.Name, State: u.State, Error: u.Error, Since: u.Since, Messages: u.Messages, Bytes: u.Bytes,
			Resent: u.Resent, Quarantined: u.Quarantined, LastStored: u.LastStored,
		})
	}
	for _, e := range p.Exceptions {
		out.Exceptions = append(out.Exceptions, status.Exception{
			Allow: string(e.Allow), Why: e.Why, Where: e.Where, Until: e.Until.UTC(), Over: !now.Deciding.Before(e.Until),
		})
	}
	return out
}
