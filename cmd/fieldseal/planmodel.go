package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// plan is what a gateway does with a configuration, as data: what
// `fieldseal plan --json` prints, and what docs/check.md describes.
type plan struct {
	Gateway    string          `json:"gateway"`
	Policy     string          `json:"policy"`
	Revision   int             `json:"revision"`
	Draft      bool            `json:"draft"`           // as if everything were signed
	Clock      string          `json:"clock,omitempty"` // why exceptions are not held against what the clock says
	Total      planTotal       `json:"total"`
	Machines   []planMachine   `json:"machines"`
	Recipients []planRecipient `json:"recipients"`
	Readers    []planReader    `json:"readers"`
	Events     []string        `json:"events"` // who can read them upstream
	Exceptions []planException `json:"exceptions"`
	Upstream   planUpstream    `json:"upstream"`

	config    *configs.Config
	folder    string          // of the gateway file
	declared  []planException // all of the policy, whether in force or not
	approvers string          // the next set, where one stands beside the policy
	leftOut   bool            // of what it is made of, problems left something out
}

// planTotal counts points by how they leave.
type planTotal struct {
	Machines    int `json:"machines"`
	Points      int `json:"points"`
	Clear       int `json:"clear"`
	Sealed      int `json:"sealed"`
	Passthrough int `json:"passthrough"`
	Withheld    int `json:"withheld"`
}

type planMachine struct {
	Machine    string        `json:"machine"`
	File       string        `json:"file"`
	Protocol   string        `json:"protocol"`
	Endpoint   string        `json:"endpoint"`
	Device     string        `json:"device,omitempty"`
	Connection string        `json:"connection"` // what a connection gives that is made as the file says
	Requests   []planRequest `json:"requests"`
	Points     []planPoint   `json:"points"`

	facts []fact // about the connection
}

// planRequest is what is read at one go, every so often.
type planRequest struct {
	Read        string   `json:"read"` // "holding/100-101", "subscription"; "sent" where the machine sends by itself
	Count       int      `json:"count,omitempty"`
	Unit        string   `json:"unit,omitempty"` // of the count: registers or bits
	EveryMS     int64    `json:"every_ms"`       // for OPC UA, the sampling interval; 0: when the machine will
	PublishMS   int64    `json:"publish_ms,omitempty"`
	ChangesWith string   `json:"changes_with,omitempty"` // made only when this register moved
	Points      []string `json:"points"`

	indexes []int
}

type planPoint struct {
	Point      string         `json:"point"`
	At         string         `json:"at"`
	Type       string         `json:"type"`
	Order      string         `json:"order,omitempty"` // of its own width: CDAB is GHEFCDAB for 64 bits
	Unit       string         `json:"unit,omitempty"`
	EveryMS    int64          `json:"every_ms"`
	Report     string         `json:"report"` // every read, on change, …
	Level      string         `json:"level"`
	Leaves     string         `json:"leaves"`                // clear, sealed, passthrough or withheld
	IfReadable string         `json:"if_readable,omitempty"` // of a passthrough payload that is no ciphertext: sealed or withheld
	Probation  string         `json:"probation,omitempty"`   // of a passthrough payload whose source is not trusted yet: sealed or withheld
	Instead    []string       `json:"instead,omitempty"`     // who can read what is sealed then
	DeviceKey  string         `json:"device_key,omitempty"`  // that signs a passthrough payload
	KeyIDs     []string       `json:"key_ids,omitempty"`     // that it has to be encrypted with; none: any
	Format     string         `json:"format,omitempty"`      // of a passthrough payload
	Wrapped    bool           `json:"wrapped,omitempty"`     // a passthrough payload is sealed again
	Rule       string         `json:"rule"`
	Why        string         `json:"why,omitempty"` // of a withheld one: what would have to change
	Exception  *planException `json:"exception,omitempty"`
	Readers    []string       `json:"readers"` // "*" is everybody on the way
	Asks       string         `json:"asks"`    // what its level asks of the connection
	Padded     bool           `json:"padded"`  // its size is hidden
	Hidden     bool           `json:"hidden"`  // its name is, where it stands alone in an address
}

// planException is one that is in force.
type planException struct {
	Allow  string   `json:"allow"`
	Points []string `json:"points"` // patterns
	Where  string   `json:"where"`
	Until  string   `json:"until"` // its last day
	Why    string   `json:"why"`
	Used   int      `json:"used,omitempty"` // points that are read by it
}

// planRecipient is somebody of the trust file.
type planRecipient struct {
	Recipient string   `json:"recipient"`
	Keys      []string `json:"keys"` // fingerprints
	Only      []string `json:"only,omitempty"`
}

// planReader says that somebody can read one level of some machines.
type planReader struct {
	Recipient string   `json:"recipient"` // "*" is everybody on the way
	Level     string   `json:"level"`
	By        string   `json:"by"` // clear, sealed, device (it encrypts for the recipient itself), instead or probation, see below
	Machines  []string `json:"machines"`
	Points    int      `json:"points"`
}

// everybody is the recipient of what leaves in clear.
const everybody = "*"

// How somebody reads what the device was to encrypt, and what is sealed instead.
const (
	byInstead   = "instead"   // while its source is on probation, and what is no ciphertext after all
	byProbation = "probation" // while its source is on probation only
)

// planner makes a plan.
type planner struct {
	config *configs.Config
	now    time.Time
	used   map[string]int // by where an exception stands
	passed map[string]approval.Entry
}

// newPlan says what a gateway does with the machines that match. The gateway file
// is in the folder.
func newPlan(c *configs.Config, folder string, draft bool, now time.Time, match func(machine string) bool) *plan {
	p := &planner{config: c, now: now, used: map[string]int{}, passed: map[string]approval.Entry{}}
	for _, e := range c.Table().Entries {
		if e.Treatment == policy.Passed {
			p.passed[e.Machine+"/"+e.Point] = e
		}
	}
	out := &plan{
		config: c, folder: folder, approvers: nextApprovers(c),
		Gateway: c.Gateway, Policy: c.Policy.Name, Revision: c.Policy.Revision, Draft: draft,
		Machines: []planMachine{}, Recipients: []planRecipient{}, Readers: []planReader{}, Exceptions: []planException{},
		Events: append([]string{}, c.Policy.Events...),
	}
	for i := range c.Machines {
		if m := &c.Machines[i]; match(m.Name) {
			out.Machines = append(out.Machines, p.machine(m))
		}
	}
	out.count()
	for name, r := range c.Trust.Recipients {
		to := planRecipient{Recipient: name, Keys: []string{}}
		for _, k := range r.Keys {
			sum := sha256.Sum256(k.Content)
			to.Keys = append(to.Keys, "sha256:"+hex.EncodeToString(sum[:]))
		}
		for _, o := range r.Only {
			to.Only = append(to.Only, o.String())
		}
		out.Recipients = append(out.Recipients, to)
	}
	slices.SortFunc(out.Recipients, func(a, b planRecipient) int { return cmp.Compare(a.Recipient, b.Recipient) })
	for i := range c.Policy.Exceptions {
		e := &c.Policy.Exceptions[i]
		x := p.exception(e)
		x.Used = p.used[e.Where]
		out.declared = append(out.declared, *x)
		if now.Before(e.Until) {
			out.Exceptions = append(out.Exceptions, *x)
		}
	}
	out.readers(&c.Policy)
	out.Upstream = upstream(c, folder, out.Machines)
	return out
}

func (p *plan) count() {
	p.Total.Machines = len(p.Machines)
	for i := range p.Machines {
		for _, pt := range p.Machines[i].Points {
			p.Total.Points++
			switch pt.Leaves {
			case policy.Clear.String():
				p.Total.Clear++
			case policy.Passed.String():
				p.Total.Passthrough++
			case policy.Withheld.String():
				p.Total.Withheld++
			default:
				p.Total.Sealed++
			}
		}
	}
}

func (p *planner) machine(m *configs.Machine) planMachine {
	out := planMachine{
		Machine: m.Name, File: m.File, Protocol: m.Protocol(), Endpoint: m.Endpoint(), Device: m.Device(), Connection: m.Security().String(),
		Requests: []planRequest{}, Points: make([]planPoint, len(m.Points)),
	}
	points := make([]policy.Point, len(m.Points))
	for i := range m.Points {
		points[i] = m.Points[i].Point
	}
	table := p.config.Policy.Compile(m.Name, points, m.Security(), p.now)
	for i := range m.Points {
		out.Points[i] = p.point(m, i, &table.Decisions[i])
	}
	out.facts = machineFacts(m)
	out.Requests = append(out.Requests, requests(m)...)
	for i := range out.Requests {
		r := &out.Requests[i]
		r.Points = []string{}
		for _, k := range r.indexes {
			r.Points = append(r.Points, m.Points[k].Name)
		}
	}
	return out
}

func (p *planner) point(m *configs.Machine, i int, d *policy.Decision) planPoint {
	pt := &m.Points[i]
	out := planPoint{
		Point: pt.Name, At: pt.At, Type: pt.Type, Unit: pt.Unit, Report: reported(pt.Report),
		Level: d.Level, Leaves: d.Treatment.String(), Rule: d.Rule, Why: d.Why, Readers: []string{},
	}
	switch {
	case m.Modbus != nil:
		f := &m.Modbus.Points[i]
		out.EveryMS = f.Period.Milliseconds()
		if own, ok := f.Order.For(f.Type); ok && own.String() != "AB" {
			out.Order = own.String()
		}
	case m.OPCUA != nil:
		out.EveryMS = m.OPCUA.Points[i].Period.Milliseconds()
	}
	level, _ := p.config.Policy.Level(d.Level)
	out.Asks, out.Hidden = level.Connection.String(), level.HideNames
	out.Padded = level.Pad && d.Treatment == policy.Sealed
	sealedFor := func() []string {
		var names []string
		for _, to := range level.To {
			if p.mayRead(to, m.Name) {
				names = append(names, to)
			}
		}
		return names
	}
	switch d.Treatment {
	case policy.Clear:
		out.Readers = []string{everybody}
	case policy.Sealed:
		out.Readers = append(out.Readers, sealedFor()...)
	case policy.Passed:
		out.Format, out.Wrapped, out.IfReadable = pt.Passthrough, d.Wrap, d.Readable.String()
		out.Probation = d.Probation.String()
		out.Readers = append(out.Readers, pt.ReadableBy...)
		if d.Readable == policy.Sealed || d.Probation == policy.Sealed {
			out.Instead = sealedFor()
		}
		e := p.passed[m.Name+"/"+pt.Name]
		out.DeviceKey, out.KeyIDs = e.DeviceKey, e.KeyIDs
	case policy.Withheld:
	}
	if e := p.excepted(m, pt.Name, &level); e != nil && d.Treatment != policy.Withheld {
		out.Exception = p.exception(e)
		p.used[e.Where]++
	}
	return out
}

// mayRead tells whether the trust file lets the recipient have the machine.
func (p *planner) mayRead(recipient, machine string) bool {
	only := p.config.Trust.Recipients[recipient].Only
	return len(only) == 0 || slices.ContainsFunc(only, func(o policy.Pattern) bool { return o.MatchMachine(machine) })
}

// excepted gives the exception that a point needs over the connection that the
// file asks for: of several, the one that lasts longest, as the gateway does.
func (p *planner) excepted(m *configs.Machine, name string, level *policy.Level) (found *policy.Exception) {
	if m.Security() >= level.Connection {
		return nil
	}
	want := policy.ConnectionNotAuthenticated
	if level.Connection == point.Encrypted {
		want = policy.ConnectionNotEncrypted
	}
	for i := range p.config.Policy.Exceptions {
		e := &p.config.Policy.Exceptions[i]
		if e.Allow != want || !p.now.Before(e.Until) || !slices.ContainsFunc(e.Points, func(o policy.Pattern) bool { return o.Match(m.Name, name) }) {
			continue
		}
		if found == nil || e.Until.After(found.Until) {
			found = e
		}
	}
	return found
}

func (p *planner) exception(e *policy.Exception) *planException {
	zone := p.config.Policy.Location
	if zone == nil {
		zone = time.UTC
	}
	x := &planException{
		Allow: string(e.Allow), Where: e.Where, Why: e.Why, Until: e.Until.Add(-time.Second).In(zone).Format(time.DateOnly),
	}
	for _, o := range e.Points {
		x.Points = append(x.Points, o.String())
	}
	return x
}

// readers gathers who can read what, the least sensitive level first.
func (p *plan) readers(pol *policy.Policy) {
	type key struct{ recipient, level, by string }
	found := map[key]*planReader{}
	for pt := range p.points {
		add := func(by string, readers []string) {
			for _, to := range readers {
				r := found[key{to, pt.point.Level, by}]
				if r == nil {
					r = &planReader{Recipient: to, Level: pt.point.Level, By: by}
					found[key{to, pt.point.Level, by}] = r
				}
				if r.Points++; !slices.Contains(r.Machines, pt.machine.Machine) {
					r.Machines = append(r.Machines, pt.machine.Machine)
				}
			}
		}
		by := pt.point.Leaves
		if by == policy.Passed.String() {
			by = "device"
		}
		add(by, pt.point.Readers)
		by = byInstead
		if pt.point.IfReadable != policy.Sealed.String() {
			by = byProbation
		}
		add(by, pt.point.Instead)
	}
	rank := func(level string) int {
		return slices.IndexFunc(pol.Levels, func(l policy.Level) bool { return l.Name == level })
	}
	for r := range maps.Values(found) {
		p.Readers = append(p.Readers, *r)
	}
	slices.SortFunc(p.Readers, func(a, b planReader) int {
		return cmp.Or(cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(rank(a.Level), rank(b.Level)), cmp.Compare(a.By, b.By))
	})
}
