// Package status describes what a gateway is doing, as plain data: for
// `fieldseal status`, for metrics and for pages. It never holds a value read
// from a machine.
package status

import (
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// Gateway is everything at one instant.
type Gateway struct {
	Gateway    string       `json:"gateway"`
	Version    string       `json:"version"`
	Time       time.Time    `json:"time"`
	Started    time.Time    `json:"started"`
	Start      uint64       `json:"start"` // the start counter
	Clock      Clock        `json:"clock"`
	Policy     Policy       `json:"policy"`
	Trust      Trust        `json:"trust"`
	Refused    []Refused    `json:"refused,omitempty"`
	Unapproved []Unapproved `json:"unapproved,omitempty"`
	Machines   []Machine    `json:"machines"`
	LeftOut    []LeftOut    `json:"left_out,omitempty"`
	Streams    []Stream     `json:"streams"`
	Commits    Commits      `json:"commits"`
	Outbox     Outbox       `json:"outbox"`
	Uplinks    []Uplink     `json:"uplinks"`
	Exceptions []Exception  `json:"exceptions,omitempty"`
	Reload     Reload       `json:"reload,omitzero"` // the last one since the start
	Events     uint64       `json:"events"`          // written to the event log since the start
}

// Reload is how reading the configuration again ended. Where it was refused, what
// was in force before is.
type Reload struct {
	Time    time.Time `json:"time"`
	Refused string    `json:"refused,omitempty"`
	Changes []string  `json:"changes,omitempty"`
}

// Clock says how far the gateway trusts its own clock.
type Clock struct {
	Trusted bool      `json:"trusted"`       // exceptions count
	How     string    `json:"how"`           // synchronised, plausible, unknown
	Mark    time.Time `json:"mark,omitzero"` // the highest synchronised time seen
	Why     string    `json:"why,omitempty"` // it does not decide as it stands, and what to do
}

// Policy is the policy in force.
type Policy struct {
	Name       string   `json:"name"`
	Revision   int      `json:"revision"`
	SHA256     string   `json:"sha256"`
	ApprovedBy []string `json:"approved_by,omitempty"` // empty where they are no approvers any more
}

// Trust is the trust file in force.
type Trust struct {
	Revision   int      `json:"revision"`
	ApprovedBy []string `json:"approved_by,omitempty"`
}

// Refused is a file that does not take effect: what was accepted before goes on.
type Refused struct {
	File    string `json:"file"` // policy, trust, approvers
	Problem string `json:"problem"`
}

// Unapproved are points that leave less openly than their machine's file says.
type Unapproved struct {
	Machine string   `json:"machine"`
	Points  []string `json:"points"`
	Why     string   `json:"why"`
}

// Machine is one machine.
type Machine struct {
	Name      string         `json:"name"`
	About     string         `json:"about,omitempty"`
	Protocol  string         `json:"protocol"`
	State     string         `json:"state"`    // up or down
	Security  string         `json:"security"` // negotiated: any, authenticated, encrypted
	Mechanism string         `json:"mechanism,omitempty"`
	Peer      string         `json:"peer,omitempty"`
	Error     string         `json:"error,omitempty"`
	Since     time.Time      `json:"since,omitzero"`
	Points    map[string]int `json:"points"` // how many are clear, sealed, passthrough, withheld
	Withheld  []Withheld     `json:"withheld,omitempty"`
	Unread    []Unread       `json:"unread,omitempty"`
	Samples   Samples        `json:"samples"`
	Field     Field          `json:"field"`
	Last      time.Time      `json:"last,omitzero"` // when the last samples came
}

// Withheld is a point that does not leave, and why.
type Withheld struct {
	Point string `json:"point"`
	Rule  string `json:"rule"`
	Why   string `json:"why"`
}

// Unread is a point that the machine does not give, and why.
type Unread struct {
	Point  string `json:"point"`
	Status string `json:"status"`
}

// Field is what came, and did not come, from a machine before it was a sample:
// counted since its source was made.
type Field struct {
	Reconnects uint64 `json:"reconnects,omitempty"` // connections after the first
	Deaths     uint64 `json:"deaths,omitempty"`     // of the worker process that reads it
	Alone      bool   `json:"alone,omitempty"`      // it has a worker of its own, because one died under it
	Faults     uint64 `json:"faults,omitempty"`     // requests without a useful answer
	LeftOut    uint64 `json:"left_out,omitempty"`   // samples or polls that were too many to be taken
	Missed     uint64 `json:"missed,omitempty"`     // values or messages that the machine or the network lost
	Refused    uint64 `json:"refused,omitempty"`    // points or addresses that are not read now
	Slow       []Slow `json:"slow,omitempty"`       // points of which it gives less than was asked for
}

// Slow is a point of which a machine gives less than was asked for.
type Slow struct {
	Point      string  `json:"point"`
	Sampling   float64 `json:"sampling_seconds"`   // how often it looks
	Publishing float64 `json:"publishing_seconds"` // how often it tells
	Queue      uint32  `json:"queue,omitempty"`    // values that it keeps in between, where they are too few
}

// Samples counts what became of a machine's samples since the start.
type Samples struct {
	Taken       uint64 `json:"taken"`
	Bad         uint64 `json:"bad"`
	Unreported  uint64 `json:"unreported"`
	Clear       uint64 `json:"clear"`
	Sealed      uint64 `json:"sealed"`
	Passthrough uint64 `json:"passthrough"`
	Withheld    uint64 `json:"withheld"`
	Held        uint64 `json:"held"`
	Probation   uint64 `json:"probation"` // of those sealed or held
}

// LeftOut is a machine whose configuration is wrong.
type LeftOut struct {
	Machine string `json:"machine"`
	Problem string `json:"problem"`
}

// Stream is one stream. Accepted is the number of the newest message that the
// outbox has on disk: it and all before it survive whatever comes.
type Stream struct {
	Machine  string `json:"machine"`
	Level    string `json:"level"`
	Epoch    string `json:"epoch"`
	Accepted uint64 `json:"accepted"`
	Signed   uint64 `json:"signed"` // covered by a checkpoint up to here
}

// Commits counts the committer's work since the start.
type Commits struct {
	Commits  uint64 `json:"commits"`
	Messages uint64 `json:"messages"`
	Stalled  string `json:"stalled,omitempty"` // why nothing is accepted now
}

// Outbox is the durable queue.
type Outbox struct {
	Messages uint64    `json:"messages"` // accepted, not yet stored upstream
	Bytes    uint64    `json:"bytes"`
	Oldest   time.Time `json:"oldest,omitzero"`
	Size     int64     `json:"size"` // bytes on disk
	MaxSize  int64     `json:"max_size"`
	Lost     uint64    `json:"lost"` // messages given up by the overflow rule, by age or in quarantine, since the start
}

// Uplink is one way upstream.
type Uplink struct {
	Name        string    `json:"name"`
	State       string    `json:"state"` // connecting, delivering, faulty
	Error       string    `json:"error,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	Messages    uint64    `json:"messages"` // stored upstream since the start
	Bytes       uint64    `json:"bytes"`
	Resent      uint64    `json:"resent"`
	Quarantined uint64    `json:"quarantined"`
	LastStored  time.Time `json:"last_stored,omitzero"`
}

// Exception is a dated permission in force or run out.
type Exception struct {
	Allow string    `json:"allow"`
	Why   string    `json:"why"`
	Where string    `json:"where"`
	Until time.Time `json:"until"` // the first instant at which it no longer holds
	Over  bool      `json:"over"`  // it does not count: its end is past, or the clock is not trusted
}

// OfLink fills in what is known of a connection.
func (m *Machine) OfLink(l point.Link) {
	m.State, m.Security = l.State.String(), l.Security.String()
	m.Mechanism, m.Peer, m.Error, m.Since = l.Mechanism, l.Peer, l.Err, l.Since
}
