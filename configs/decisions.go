package configs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// decisions are those of the policy for all points, to find what neither the
// policy nor a machine's file shows alone.
type decisions struct {
	l        *loader
	policy   *policy.Policy
	trust    *Trust
	now      time.Time
	machines []decided
}

// decided is a machine whose file is without problems.
type decided struct {
	*machineReader
	said, points []policy.Point    // as its file has them, and as they are approved
	asked        []policy.Decision // for the first, over the best connection there is
	best, real   []policy.Decision // for the others, over that and over the one it has
}

// decide looks at the policy, the trust file and the machines together. sound
// tells whether the first two are without problems, whole whether all machines'
// files are: what the policy says of points that could not be read is unknown.
func (l *loader) decide(p *policy.Policy, t *Trust, readers []*machineReader, sound, whole bool) {
	if l.alone {
		return
	}
	if sound {
		d := &decisions{l: l, policy: p, trust: t, now: l.now()}
		for _, r := range readers {
			if *r.wrong == 0 {
				d.add(r)
			}
		}
		for i := range d.machines {
			m := &d.machines[i]
			d.readable(m)
			d.connection(m)
			d.wrapped(m)
			d.unreleased(m)
			d.notPassed(m)
			d.unapproved(m)
		}
		d.devices()
		if whole {
			d.matches()
		}
	}
	for _, r := range l.rules {
		if l.untrusted != "" {
			r.doesNotCount(l.untrusted, sound && whole)
			continue
		}
		r.ends(l.now(), sound && whole)
	}
}

func (d *decisions) add(r *machineReader) {
	m := decided{machineReader: r}
	for i := range r.m.Points {
		m.points = append(m.points, r.m.Points[i].Point)
		m.said = append(m.said, d.l.judged[r].said.Points[i].Policy)
	}
	m.asked = d.policy.Compile(r.m.Name, m.said, point.Encrypted, d.now).Decisions
	m.best = d.policy.Compile(r.m.Name, m.points, point.Encrypted, d.now).Decisions
	m.real = d.policy.Compile(r.m.Name, m.points, r.m.Security(), d.now).Decisions
	d.machines = append(d.machines, m)
}

func (d *decisions) level(name string) policy.Level {
	l, _ := d.policy.Level(name)
	return l
}

// byLevel gathers names of points by level, in the order of the policy.
func (d *decisions) byLevel(names map[string][]string, each func(l policy.Level, names []string)) {
	for _, l := range d.policy.Levels {
		if len(names[l.Name]) > 0 {
			each(l, names[l.Name])
		}
	}
}

// readable refuses a machine with points that would be sealed for nobody.
func (d *decisions) readable(m *decided) {
	names := map[string][]string{}
	for i, decision := range m.best {
		l := d.level(decision.Level)
		if l.Send == policy.SendSealed && !slices.ContainsFunc(l.To, func(to string) bool { return d.trust.mayRead(to, m.m.Name) }) {
			names[l.Name] = append(names[l.Name], m.points[i].Name)
		}
	}
	d.byLevel(names, func(l policy.Level, points []string) {
		m.nameNode.wrong("nobody may read level "+quote(l.Name)+" of this machine ("+some(points)+"): 'only' in the trust file keeps "+and(l.To)+" from it",
			`add "`+m.m.Name+`/*" to 'only' of one of them there`)
	})
}

func (t *Trust) mayRead(recipient, machine string) bool {
	only := t.Recipients[recipient].Only
	return len(only) == 0 || slices.ContainsFunc(only, func(p policy.Pattern) bool { return p.MatchMachine(machine) })
}

// connection finds the points whose level asks for more than the connection
// gives. Where an exception covers them, or did to its day, that is said there.
func (d *decisions) connection(m *decided) {
	stopped, unsigned := map[string][]string{}, map[string][]string{}
	whys := d.l.judged[m.machineReader].whys
	for i, decision := range m.real {
		l, ok := d.policy.Level(decision.Level)
		if !ok || m.m.Security() >= l.Connection || decision.Treatment == policy.Passed || l.Send == policy.SendWithheld || m.points[i].Withheld != "" || m.cannotWrap(i, l) {
			continue
		}
		name := m.points[i].Name
		if r := d.covers(m.m.Name, name, l); r != nil {
			r.covers = append(r.covers, m.m.Name+"/"+name)
		} else if i < len(whys) && whys[i] != "" {
			unsigned[l.Name] = append(unsigned[l.Name], name)
		} else {
			stopped[l.Name] = append(stopped[l.Name], name)
		}
	}
	// An exception for what only waits for a signature would weaken the policy for
	// nothing.
	d.byLevel(unsigned, func(l policy.Level, points []string) {
		m.connect.f.add(Problem{
			Line: m.connect.y.Line, Column: m.connect.y.Column, Stops: true,
			What: "level " + quote(l.Name) + " asks for a connection that is " + l.Connection.String() +
				", this one is " + m.m.Security().String() + ", and nobody signed that they have another level: " + stop(points),
			Instead: "raise the policy's revision and have it signed as this file says: fieldseal policy sign",
		})
	})
	d.byLevel(stopped, func(l policy.Level, points []string) {
		n, given, better := m.connect, m.m.Security(), ""
		if m.m.OPCUA != nil {
			better = "write mode: SignAndEncrypt, or "
		}
		n.f.add(Problem{
			Line: n.y.Line, Column: n.y.Column, Stops: true,
			What: "level " + quote(l.Name) + " asks for a connection that is " + l.Connection.String() +
				", this one is " + given.String() + ": " + stop(points),
			Instead: better + "have it approved for a time: add this to 'exceptions' of the policy, with the reason\n" + d.stanza(m.m.Name, l, points),
		})
	})
}

// covers gives the exception that covers a point longest, or did.
func (d *decisions) covers(machine, name string, l policy.Level) *rule {
	var last *rule
	for _, r := range d.l.rules {
		e := r.exception
		if e == nil || e.Allow != allows(l) || !slices.ContainsFunc(e.Points, func(p policy.Pattern) bool { return p.Match(machine, name) }) {
			continue
		}
		if last == nil || e.Until.After(last.exception.Until) {
			last = r
		}
	}
	return last
}

// allows is what an exception for points of a level has to allow.
func allows(l policy.Level) policy.Allow {
	if l.Connection == point.Encrypted {
		return policy.ConnectionNotEncrypted
	}
	return policy.ConnectionNotAuthenticated
}

// stanza writes an exception for three months. Its reason is empty: the policy
// is refused until somebody writes one.
func (d *decisions) stanza(machine string, l policy.Level, points []string) string {
	patterns := []string{machine + "/*"}
	if len(points) <= mostNames {
		patterns = nil
		for _, p := range points {
			patterns = append(patterns, machine+"/"+p)
		}
	}
	until := d.now.In(cmp.Or(d.policy.Location, time.UTC)).AddDate(0, 3, 0)
	last := until.Format(time.DateOnly)
	if until.Year() > 9999 { // the clock is not known
		last = "DAY"
	}
	return "  - {allow: " + string(allows(l)) + `, points: ["` + strings.Join(patterns, `", "`) + `"], why: "", until: ` + last + "}"
}

// cannotWrap tells whether a point asks to be sealed at a level that has nobody
// to seal for.
func (m *decided) cannotWrap(i int, l policy.Level) bool {
	return m.points[i].Wrap && l.Send == policy.SendClear
}

// wrapped finds the points that ask for that.
func (d *decisions) wrapped(m *decided) {
	for i, decision := range m.best {
		if !m.cannotWrap(i, d.level(decision.Level)) {
			continue
		}
		name := m.points[i].Name
		n := m.place(name, "wrap")
		n.f.add(Problem{
			Line: n.y.Line, Column: n.y.Column, Stops: true,
			What:    "point " + quote(name) + " is to be sealed again, and its level " + quote(decision.Level) + " sends in clear: it stops",
			Instead: "remove 'wrap', or give it a sensitivity that seals",
		})
	}
}

// unreleased notes the points that are labelled clear and would leave so, had
// the policy released them.
func (d *decisions) unreleased(m *decided) {
	all, err := policy.ParsePattern("*/*")
	if err != nil {
		return
	}
	open := *d.policy
	open.Released = append(slices.Clip(open.Released), policy.Release{Points: []policy.Pattern{all}})
	for i, decision := range open.Compile(m.m.Name, m.said, point.Encrypted, d.now).Decisions {
		pt, level := m.said[i], m.best[i].Level
		if d.level(decision.Level).Send != policy.SendClear || d.level(m.asked[i].Level).Send == policy.SendClear {
			continue
		}
		m.place(pt.Name, "sensitivity").note(
			"point "+quote(pt.Name)+" is labelled "+quote(pt.Label)+", and the policy does not release it: it leaves as "+quote(level),
			"add "+m.m.Name+"/"+pt.Name+" to 'released' of the policy, or label it "+quote(level))
	}
}

// notPassed notes the points that the device encrypts and the policy does not
// pass through.
func (d *decisions) notPassed(m *decided) {
	for i, decision := range m.best {
		pt, l := m.points[i], d.level(decision.Level)
		how := "is sealed"
		switch decision.Treatment {
		case policy.Clear:
			how = "leaves in clear"
		case policy.Withheld:
			how = "is held back"
		}
		if others := m.outside[pt.Name]; others != nil {
			m.place(pt.Name, "readable_by").note("point "+quote(pt.Name)+" "+how+" like any other, although the device encrypts it: 'only' in the trust file keeps "+and(others)+" from this machine",
				`add "`+m.m.Name+`/*" to 'only' there, or have the device encrypt for others`)
			continue
		}
		if pt.Passthrough == "" || decision.Treatment == policy.Passed || decision.Treatment == policy.Withheld {
			continue
		}
		key, why, instead := "passthrough", "the policy does not accept "+quote(pt.Passthrough), "add it to 'accept' under 'passthrough' of the policy"
		if slices.Contains(d.policy.Passthrough.Accept, pt.Passthrough) {
			others := slices.DeleteFunc(slices.Clone(pt.ReadableBy), func(r string) bool { return slices.Contains(l.To, r) })
			key, why = "readable_by", "level "+quote(l.Name)+" is not for "+and(others)
			instead = "add them to its 'to', or have the device encrypt for " + oneOf(l.To) + " only"
		}
		m.place(pt.Name, key).note("point "+quote(pt.Name)+" "+how+" like any other, although the device encrypts it: "+why, instead)
	}
}

// place gives where a key of a point stands, or the point.
func (r *machineReader) place(name, key string) node {
	if n, ok := r.places[name][key]; ok {
		return n
	}
	if n, ok := r.places[name][""]; ok {
		return n
	}
	return r.nameNode
}
