package hub

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Status is what goes on in a hub, as plain data. Counters count since it began.
type Status struct {
	Address  string          `json:"address"`
	Since    time.Time       `json:"since"`
	Sessions []SessionStatus `json:"sessions"` // by gateway, oldest first
	Trust    TrustStatus     `json:"trust"`
	NotReady string          `json:"not_ready,omitempty"` // why nothing can be stored; see Hub.Ready

	Received   uint64 `json:"received"`   // messages that arrived, whatever became of them
	Stored     uint64 `json:"stored"`     // messages that the stream acknowledged
	Refused    uint64 `json:"refused"`    // messages that can never be accepted
	Impostors  uint64 `json:"impostors"`  // hellos and messages under another gateway's name
	Faults     uint64 `json:"faults"`     // sessions ended because the stream needs configuration
	Distrusted uint64 `json:"distrusted"` // sessions ended because their certificate was revoked or expired
	Superseded uint64 `json:"superseded"` // sessions that a newer one of the same gateway replaced
	Reaped     uint64 `json:"reaped"`     // sessions that fell silent
	Full       uint64 `json:"full"`       // gateways turned away because there were too many
	Accepted   uint64 `json:"accepted"`   // gateways that got through to their hello
	Rejected   uint64 `json:"rejected"`   // handshakes that failed
	TurnedAway uint64 `json:"turned_away"`
	Evicted    uint64 `json:"evicted"`
	Dropped    uint64 `json:"dropped"` // datagrams
}

// SessionStatus is one connection of one gateway.
type SessionStatus struct {
	Gateway  string    `json:"gateway"`
	Remote   string    `json:"remote"` // when it connected
	Since    time.Time `json:"since"`
	Received uint64    `json:"received"` // messages
	Stored   uint64    `json:"stored"`
	Refused  uint64    `json:"refused"`
	Waiting  int64     `json:"waiting"` // messages that are not answered
	Bytes    uint64    `json:"bytes"`   // of frames
	Foreign  uint64    `json:"foreign"` // SCTP streams that are none of the protocol's
	Busy     string    `json:"busy,omitempty"`
	Until    time.Time `json:"until"` // when its certificate expires
}

// TrustStatus is what the hub lets in.
type TrustStatus struct {
	Authorities int       `json:"authorities"`
	Revoked     int       `json:"revoked"`
	Loaded      time.Time `json:"loaded"`
	NextUpdate  time.Time `json:"next_update,omitzero"` // of the revocation list that is due first
	Stale       bool      `json:"stale"`                // that is past
	Problem     string    `json:"problem,omitempty"`    // why the files that are there now are not in force
}

type counters struct {
	received, stored, refused, impostors, faults, distrusted, superseded, reaped, full atomic.Uint64
}

// Status says what goes on.
func (h *Hub) Status() Status {
	l, c, t := h.listener.Stats(), &h.count, h.trust.Load()
	s := Status{
		Address: h.Addr().String(), Since: h.began,
		Received: c.received.Load(), Stored: c.stored.Load(), Refused: c.refused.Load(), Impostors: c.impostors.Load(), Faults: c.faults.Load(),
		Distrusted: c.distrusted.Load(), Superseded: c.superseded.Load(), Reaped: c.reaped.Load(), Full: c.full.Load(),
		Accepted: l.Accepted, Rejected: l.Rejected, TurnedAway: l.TurnedAway, Evicted: l.Evicted, Dropped: l.Dropped,
	}
	if err := h.Ready(); err != nil {
		s.NotReady = err.Error()
	}
	h.mu.Lock()
	sessions := make([]*session, 0, len(h.sessions))
	for x := range h.sessions {
		sessions = append(sessions, x)
	}
	slices.SortFunc(sessions, func(a, b *session) int {
		if c := strings.Compare(a.gateway, b.gateway); c != 0 {
			return c
		}
		return int(a.order) - int(b.order)
	})
	s.Trust = TrustStatus{
		Authorities: len(t.authorities), Revoked: len(t.revoked), Loaded: h.loaded, NextUpdate: t.nextUpdate,
		Stale: !t.nextUpdate.IsZero() && time.Now().After(t.nextUpdate), Problem: h.problem,
	}
	h.mu.Unlock()
	for _, x := range sessions {
		s.Sessions = append(s.Sessions, x.status())
	}
	return s
}

func (s *session) status() SessionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SessionStatus{
		Gateway: s.gateway, Remote: s.peer.Remote(), Since: s.began,
		Received: s.received.Load(), Stored: s.stored.Load(), Refused: s.refused.Load(), Waiting: s.waiting.Load(),
		Bytes: s.peer.Bytes(), Foreign: s.peer.Foreign(), Busy: s.busy, Until: s.peer.Certificates()[0].NotAfter,
	}
}

// bucket bounds a rate. It holds at most what flows in within a quarter of a
// second. It is one goroutine's.
type bucket struct {
	rate  float64 // per second
	level float64
	at    time.Time
}

// take takes n out, and waits until the bucket has recovered from it.
func (b *bucket) take(ctx context.Context, n float64) error {
	now := time.Now()
	if b.at.IsZero() {
		b.at, b.level = now, b.rate/4
	}
	b.level = min(b.level+now.Sub(b.at).Seconds()*b.rate, b.rate/4) - n
	b.at = now
	if b.level >= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(-b.level / b.rate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
