package configs

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/policy"
)

// mostNames is how many names a message lists.
const mostNames = 5

// rule is a release, a raise or an exception of the policy, and where it stands.
type rule struct {
	patterns  []policy.Pattern
	places    []node // of the patterns
	release   bool
	exception *policy.Exception // nil where it is none
	until     node              // of an exception that was read
	covers    []string          // the points that need it, or did until its day was past
}

// rule reads the points of a rule, and remembers it.
func (r *policyReader) rule(m *mapping) *rule {
	n := &rule{}
	n.patterns, n.places = m.need("points", `write patterns of machine/point: ["press-3/*"]`).patterns()
	r.l.rules = append(r.l.rules, n)
	return n
}

// soon is how many days before the last one of an exception somebody is told.
const soon = 30

// ends says which points an exception that is past its day stops, and from a
// month before which ones it will. known tells whether that can be told.
func (r *rule) ends(now time.Time, known bool) {
	if !r.until.present() {
		return
	}
	over, days := !now.Before(r.exception.Until), daysLeft(r.exception.Until, now)
	if days > soon {
		return
	}
	what := "the exception " + quote(string(r.exception.Allow)) + " (" + r.exception.Where + ") "
	p := Problem{Line: r.until.y.Line, Column: r.until.y.Column, Stops: over, Note: !over}
	points, then := "the points it covers stop", " then"
	if over {
		what += "ended with " + lastDay(r.exception.Until) + ": "
		points, then = "the points it covered stop", ""
		p.Instead = "remove it, or have a later day approved"
	} else {
		what += "ends " + in(days) + ", with " + lastDay(r.exception.Until) + ": "
		p.Instead = "mend the connection until then, or have a later day approved"
	}
	switch {
	case len(r.covers) > 0:
		p.What = what + stop(r.covers) + then
	case known:
		p.What, p.Instead = what+"no point needs it", "remove it"
		p.Note, p.Stops = true, false
	default:
		p.What = what + points + then
	}
	r.until.f.add(p)
}

// doesNotCount says which points an exception does not cover because nobody can
// tell which day it is.
func (r *rule) doesNotCount(why string, known bool) {
	if !r.until.present() || known && len(r.covers) == 0 {
		return
	}
	points := "the points it covers stop"
	if len(r.covers) > 0 {
		points = stop(r.covers)
	}
	r.until.f.add(Problem{
		Line: r.until.y.Line, Column: r.until.y.Column, Stops: true,
		What:    "the exception " + quote(string(r.exception.Allow)) + " (" + r.exception.Where + ") does not count while the clock cannot be trusted, and the gateway decides so now: " + points + " (" + why + ")",
		Instead: "have the clock synchronised: then it counts again, up to " + lastDay(r.exception.Until),
	})
}

// daysLeft counts the days from now to the last one before an instant: 0 on that
// day.
func daysLeft(until, now time.Time) int {
	date := func(t time.Time) time.Time {
		y, m, d := t.In(until.Location()).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	return int(date(until.Add(-time.Second)).Sub(date(now)) / day)
}

func in(days int) string {
	switch days {
	case 0:
		return "today"
	case 1:
		return "in 1 day"
	default:
		return "in " + itoa(days) + " days"
	}
}

// matches notes the rules that have no effect.
func (d *decisions) matches() {
	for _, r := range d.l.rules {
		for i, p := range r.patterns {
			matched, clear := false, false
			for _, m := range d.machines {
				for _, pt := range m.said {
					if p.Match(m.m.Name, pt.Name) {
						matched = true
						clear = clear || pt.Label != "" && d.level(pt.Label).Send == policy.SendClear
					}
				}
			}
			switch {
			case !matched:
				r.places[i].note(quote(p.String())+" matches no point", "correct the pattern, or remove it")
			case r.release && !clear:
				r.places[i].note(quote(p.String())+" is released, and no point of it is labelled with a level that sends in clear: they leave sealed",
					"label them "+oneOf(d.clear())+" in the machine's file, or remove the release")
			}
		}
	}
}

// clear gives the levels that send in clear.
func (d *decisions) clear() []string {
	var names []string
	for _, l := range d.policy.Levels {
		if l.Send == policy.SendClear {
			names = append(names, quote(l.Name))
		}
	}
	if names == nil {
		return []string{"with one (the policy has none)"}
	}
	return names
}

// some lists the first names, and how many more there are.
func some(names []string) string {
	if len(names) <= mostNames {
		return and(names)
	}
	return strings.Join(names[:mostNames], ", ") + " and " + itoa(len(names)-mostNames) + " more"
}

// and lists words: "a", "a and b", "a, b and c".
func and(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// stop says that points stop.
func stop(points []string) string {
	if len(points) == 1 {
		return points[0] + " stops"
	}
	return some(points) + " stop"
}

// word is one register or bit of a device, or one node of a server.
type word struct {
	table  int
	offset int
	node   string
}

// devices compares the machines that read one unit of one address, or nodes of
// one server. A file must not be a way around the label that another one gives a
// register or node: the looser one is left out.
func (d *decisions) devices() {
	same := map[string][]*decided{}
	readers := map[string]map[word][]*decided{} // by device and node
	for i := range d.machines {
		m := &d.machines[i]
		device := m.device()
		others := same[device]
		if m.m.OPCUA != nil { // a server has nodes of many machines, as a rule
			if readers[device] == nil {
				readers[device] = map[word][]*decided{}
			}
			others = m.meets(readers[device])
		}
		for _, other := range others {
			around := d.unsigned(m, other) || d.unsigned(other, m)
			if !around {
				around = d.looser(m, other)
				around = d.looser(other, m) || around
			}
			if !around && m.m.Modbus != nil {
				m.connect.note("the machine "+quote(other.m.Name)+" reads the same unit of the same address",
					"a label there does not bind points here: give each register one sensitivity")
			}
		}
		same[device] = append(same[device], m)
	}
}

// device is what a machine reads, the same for all that read it, whatever path
// its URL has.
func (m *decided) device() string {
	s := m.m.Endpoint()
	if u, err := url.Parse(s); err == nil {
		s = u.Scheme + "://" + u.Host
	}
	return s + " " + m.m.Device()
}

// meets gives the machines that read some of the same, and notes what this one
// reads.
func (m *decided) meets(readers map[word][]*decided) (others []*decided) {
	for i := range m.points {
		for _, w := range m.words(i) {
			for _, other := range readers[w] {
				if other != m && !slices.Contains(others, other) {
					others = append(others, other)
				}
			}
			if !slices.Contains(readers[w], m) {
				readers[w] = append(readers[w], m)
			}
		}
	}
	return others
}

// unsigned refuses a machine that reads the same as another one at other levels,
// where only the other one was signed, and tells whether it did: a file that
// somebody adds must not stop one that was approved, be its labels looser or
// stricter. Of two machines of which something was signed, it is the one whose
// points are not as they were.
func (d *decisions) unsigned(m, other *decided) bool {
	mine, theirs := d.l.judged[m.machineReader].signed > 0, d.l.judged[other.machineReader].signed > 0
	i, j, count := m.clash(other, func(i, j int) bool {
		if m.best[i].Level == other.best[j].Level || m.apart(i, other, j) {
			return false
		}
		return !mine && theirs || mine == theirs && d.newcomer(m, i) != "" && d.newcomer(other, j) == ""
	})
	if count == 0 {
		return false
	}
	key, same := m.same()
	m.place(m.points[i].Name, key).wrong("point "+quote(m.points[i].Name)+andMore(count)+" reads "+same+" as "+quote(other.points[j].Name)+" in "+Printable(other.m.File)+
		", and only that one was signed so: "+cmp.Or(d.newcomer(m, i), "nothing was signed of this machine"),
		"remove this file, or raise the policy's revision and have it signed: fieldseal policy sign")
	return true
}

// clash gives the first of a machine's points that meet another machine's in
// some way, and how many do.
func (m *decided) clash(other *decided, how func(i, j int) bool) (first, with, count int) {
	theirs := map[word][]int{}
	for j := range other.points {
		for _, w := range other.words(j) {
			theirs[w] = append(theirs[w], j)
		}
	}
	for i := range m.points {
		if slices.ContainsFunc(m.words(i), func(w word) bool {
			k := slices.IndexFunc(theirs[w], func(j int) bool { return how(i, j) })
			if k >= 0 && count == 0 {
				first, with = i, theirs[w][k]
			}
			return k >= 0
		}) {
			count++
		}
	}
	return first, with, count
}

// same gives the key that says what a point reads, and what it is that two read.
func (m *decided) same() (key, same string) {
	if m.m.OPCUA != nil {
		return "node", "the same node of the same server"
	}
	return "at", "the same registers of the same machine"
}

func andMore(count int) string {
	if count < 2 {
		return ""
	}
	return " (and " + itoa(count-1) + " more)"
}

// looser refuses a machine with points of looser levels than another one gives
// to the same registers, and tells whether it did.
func (d *decisions) looser(m, other *decided) bool {
	first, with, count := m.clash(other, func(i, j int) bool {
		a, b := m.best[i].Level, other.best[j].Level
		return a != b && d.policy.Stricter(a, b) == b && !m.apart(i, other, j)
	})
	if count == 0 {
		return false
	}
	key, same := m.same()
	m.place(m.points[first].Name, key).wrong("point "+quote(m.points[first].Name)+andMore(count)+" has level "+quote(m.best[first].Level)+" here, and "+quote(other.best[with].Level)+
		" as "+quote(other.points[with].Name)+" in "+Printable(other.m.File)+", which reads "+same,
		"give it the same sensitivity in both, or read it in one")
	return true
}

// words gives the registers or bits of a point, or its node.
func (m *decided) words(i int) []word {
	if m.m.Modbus == nil {
		return []word{{node: m.m.Points[i].At}}
	}
	p := &m.m.Modbus.Points[i]
	words := make([]word, max(1, p.Type.Registers(p.Bytes)))
	for k := range words {
		words[k] = word{table: int(p.At.Table), offset: int(p.At.Offset) + k}
	}
	return words
}

// apart tells whether two points are different bits of registers.
func (m *decided) apart(i int, other *decided, j int) bool {
	if m.m.Modbus == nil {
		return false
	}
	a, b := m.m.Modbus.Points[i].Bit, other.m.Modbus.Points[j].Bit
	return a >= 0 && b >= 0 && a != b
}

// newcomer says why a point is not as somebody signed it; empty where it is.
func (d *decisions) newcomer(m *decided, i int) string {
	j := d.l.judged[m.machineReader]
	switch level := m.best[i].Level; {
	case d.l.draft, j.whys[i] != "":
		return j.whys[i]
	case j.stricter[i] != "":
		return "level " + level + " was not signed for it"
	case !j.listed[i] && level != d.policy.Default: // a raise makes it stricter
		return "nothing was signed for this point"
	default:
		return ""
	}
}
