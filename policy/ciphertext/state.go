package ciphertext

import (
	"slices"
	"time"
)

// State is what of a [Guard] outlives the process: counters, and fingerprints of
// the headers that it trusts. It holds no payload and no part of one.
type State struct {
	Format  string    `json:"format"`
	Judged  uint64    `json:"judged"`  // payloads, repeats apart
	Refused uint64    `json:"refused"` // of them
	Good    int       `json:"good"`    // in a row, up to 16
	Recent  uint16    `json:"recent"`  // failures among the last 16; the newest is bit 0
	Alarm   bool      `json:"alarm"`
	Since   time.Time `json:"since,omitzero"` // of the alarm
	Headers []uint64  `json:"headers,omitempty"`
}

// Trusted tells whether 16 good payloads in a row were seen, and no alarm since.
func (s *State) Trusted() bool { return s.Good >= probation && !s.Alarm }

// State gives what to persist, and what a console may show.
func (g *Guard) State() State {
	return State{
		Format: g.config.Format,
		Judged: g.judged, Refused: g.refused,
		Good: g.good, Recent: g.recent, Alarm: g.alarm, Since: g.since,
		Headers: slices.Clone(g.headers),
	}
}

// Restore takes up what an earlier process persisted. The history is gone, so a
// source whose payloads do not prove themselves has to show the last four of its
// 16 good payloads again before one passes; whatever is on probation, or in
// alarm, stays there. The state of another format is none.
func (g *Guard) Restore(s State) {
	if s.Format != g.config.Format {
		return
	}
	g.judged, g.refused, g.recent, g.since = s.Judged, s.Refused, s.Recent, s.Since
	g.good = min(max(s.Good, 0), resumed)
	g.alarm = s.Alarm
	g.headers = slices.Clone(s.Headers[max(0, len(s.Headers)-4):])
}
