package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// planUpstream is what stays visible to everybody who sees the way upstream,
// without any key.
type planUpstream struct {
	Uplinks []planUplink `json:"uplinks"`
	Streams []planStream `json:"streams"`
	Others  []planOther  `json:"others"`
}

type planUplink struct {
	Uplink  string `json:"uplink"`
	Kind    string `json:"kind"` // nats, dtls or files
	To      string `json:"to"`
	Prefix  string `json:"prefix,omitempty"` // of every subject; empty: the hub's
	Servers string `json:"servers,omitempty"`

	facts []fact // about the connection
}

// planStream is one subject with samples.
type planStream struct {
	Subject  string `json:"subject"` // {id} stands for a name that is hidden
	Machine  string `json:"machine"`
	Level    string `json:"level"`
	Leaves   string `json:"leaves"`
	Points   int    `json:"points"`
	Names    bool   `json:"names"`     // names of points are readable
	Values   bool   `json:"values"`    // and values
	EveryMS  int64  `json:"every_ms"`  // the shortest time between two messages
	Constant bool   `json:"constant"`  // some point is sent at each read, so that a message says nothing about a change
	OnChange int    `json:"on_change"` // points that are sent when they change: where none is constant, messages tell that something did
	Padded   bool   `json:"padded"`    // sizes are rounded up; else they tell how much was sent
}

// commitMS is how long a gateway gathers samples for one message.
const commitMS = 250

// planOther is a subject without samples.
type planOther struct {
	Subject string `json:"subject"`
	What    string `json:"what"`
}

func upstream(c *configs.Config, folder string, machines []planMachine) planUpstream {
	out := planUpstream{Uplinks: []planUplink{}, Streams: []planStream{}}
	prefix := ""
	for _, u := range c.Uplinks {
		to := planUplink{Uplink: u.Name, facts: uplinkFacts(&u, folder)}
		switch {
		case u.NATS != nil:
			to.Kind, to.To, to.Prefix = "nats", "stream "+u.NATS.Stream, u.NATS.Prefix
			to.Servers = strings.Join(u.NATS.Servers, ", ")
		case u.DTLS != nil:
			to.Kind, to.To, to.Prefix = "dtls", "hub", u.DTLS.Prefix
			to.Servers = strings.Join(u.DTLS.Servers, ", ")
		case u.Files != nil:
			to.Kind, to.To = "files", "folder "+configs.Printable(u.Files.Folder)
		}
		prefix = cmp.Or(prefix, to.Prefix)
		out.Uplinks = append(out.Uplinks, to)
	}
	base := cmp.Or(prefix, "{prefix}") + "." + c.Gateway + "."
	for i := range machines {
		out.streams(base, &machines[i], &c.Policy)
	}
	out.Others = []planOther{
		{base + "_keys.{machine}.{level}", "who can read a stream, by key fingerprint; when it began"},
		{base + "_checkpoints.{machine}.{level}", "signatures: rhythm and number of messages"},
		{base + "_losses.{machine}.{level}", "what was lost, and why"},
		{base + "_statement", "every few seconds: that the gateway runs, which policy, where each stream stands"},
		{base + "_events", "that something security-relevant happened; what, for its readers only"},
	}
	return out
}

// streams adds the subjects of one machine: one for each level, and one for each
// passthrough point.
func (u *planUpstream) streams(base string, m *planMachine, pol *policy.Policy) {
	first := len(u.Streams)
	for i := range m.Points {
		pt := &m.Points[i]
		if pt.Leaves == policy.Withheld.String() {
			continue
		}
		level, _ := pol.Level(pt.Level)
		subject := base + m.Machine + "." + pt.Level
		passed := pt.Leaves == policy.Passed.String()
		if passed {
			name := pt.Point
			if level.HideNames {
				name = "{id}"
			}
			subject += "." + name
		}
		k := -1
		if !passed {
			k = slices.IndexFunc(u.Streams[first:], func(s planStream) bool { return s.Subject == subject && s.Leaves == pt.Leaves })
		}
		if k < 0 {
			k = len(u.Streams) - first
			u.Streams = append(u.Streams, planStream{
				Subject: subject, Machine: m.Machine, Level: pt.Level, Leaves: pt.Leaves, EveryMS: pt.EveryMS,
				Values: pt.Leaves == policy.Clear.String(), Names: pt.Leaves == policy.Clear.String() || passed && !level.HideNames,
				Padded: level.Pad && pt.Leaves == policy.Sealed.String(),
			})
		}
		s := &u.Streams[first+k]
		s.Points++
		s.EveryMS = max(min(s.EveryMS, pt.EveryMS), commitMS)
		if pt.Report == "every read" && pt.EveryMS > 0 && !pt.onDemand(m) {
			s.Constant = true
		} else {
			s.OnChange++
		}
	}
	rank := func(level string) int {
		return slices.IndexFunc(pol.Levels, func(l policy.Level) bool { return l.Name == level })
	}
	slices.SortStableFunc(u.Streams[first:], func(a, b planStream) int { return rank(a.Level) - rank(b.Level) })
}

// onDemand tells whether a point is read only when another register moved.
func (p *planPoint) onDemand(m *planMachine) bool {
	for i := range m.Requests {
		if m.Requests[i].ChangesWith != "" && slices.Contains(m.Requests[i].Points, p.Point) {
			return true
		}
	}
	return false
}
