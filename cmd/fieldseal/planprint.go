package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// planWidth is the width of the terminal that the plan is written for.
const planWidth = 100

// planPrinter writes a plan for people.
type planPrinter struct {
	w   io.Writer
	err error
}

func (p *planPrinter) line(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, a...), " "))
	}
}

// print writes all of it: what is read and how it leaves, who can read what, and
// what stays visible.
func (p *plan) print(w io.Writer) error {
	out := &planPrinter{w: plainWriter{w}}
	out.line("%s, policy %s revision %d: %s, %s", p.Gateway, p.Policy, p.Revision, count(p.Total.Machines, "machine"), count(p.Total.Points, "point"))
	out.line("%d leave in clear, %d sealed, %d as the device encrypted them, %d not at all",
		p.Total.Clear, p.Total.Sealed, p.Total.Passthrough, p.Total.Withheld)
	if p.Draft {
		out.wrap("", "taken as if it were signed as it stands: what nobody signed leaves like points that nobody labelled")
	}
	if p.Clock != "" {
		out.wrap("", p.Clock)
	}
	out.machines(p.Machines)
	out.exceptions(p.Exceptions)
	out.readers(p)
	out.upstream(p)
	return out.err
}

// machines writes what is read of each. Those that differ in nothing but their
// name and place are written once.
func (p *planPrinter) machines(all []planMachine) {
	type group struct {
		body []string
		of   []*planMachine
	}
	var groups []*group
	byBody := map[string]*group{}
	for i := range all {
		m := &all[i]
		body := machineBody(m)
		key := strings.Join(body, "\n") + "\n" + m.Protocol + m.Connection
		g := byBody[key]
		if g == nil {
			g = &group{body: body}
			byBody[key] = g
			groups = append(groups, g)
		}
		g.of = append(g.of, m)
	}
	for _, g := range groups {
		p.line("")
		p.wrap("", machinesTitle(g.of))
		for _, s := range g.body {
			p.line("%s", s)
		}
	}
}

// machinesTitle says which machines, and where they are read.
func machinesTitle(of []*planMachine) string {
	var names, endpoints, devices []string
	for _, m := range of {
		names = append(names, m.Machine)
		if !slices.Contains(endpoints, m.Endpoint) {
			endpoints = append(endpoints, m.Endpoint)
		}
		if m.Device != "" && !slices.Contains(devices, m.Device) {
			devices = append(devices, m.Device)
		}
	}
	s := runs(names)
	if len(of) > 1 {
		s += fmt.Sprintf(" (%d alike)", len(of))
	}
	s += ": " + of[0].Protocol + ", " + strings.Join(first(endpoints, 3), ", ")
	if len(devices) > 0 {
		word := " unit "
		if len(devices) > 1 {
			word = " units "
		}
		s += word + runs(devices)
	}
	s += ", connection " + of[0].Connection
	if slices.ContainsFunc(of, func(m *planMachine) bool { return m.File != of[0].File }) {
		return s + ", a file each"
	}
	return s + ", " + configs.Printable(filepath.Base(of[0].File))
}

// first gives the first words, and how many more there are.
func first(words []string, n int) []string {
	if len(words) <= n+1 {
		return words
	}
	return append(slices.Clone(words[:n]), strconv.Itoa(len(words)-n)+" more")
}

// machineBody writes requests with their points, in columns.
func machineBody(m *planMachine) (lines []string) {
	notes := &footnotes{}
	rows := map[int][]string{}
	byName := map[string]int{}
	for i := range m.Points {
		pt := &m.Points[i]
		byName[pt.Point] = i
		leaves := pt.Leaves + notes.mark(pt)
		rows[i] = []string{pt.Point, shortAddress(m, pt.At), strings.TrimSpace(pt.Type + " " + pt.Order), pt.Level, leaves, shortRule(m, pt.Rule)}
	}
	widths := make([]int, 6)
	for _, row := range rows {
		for k, s := range row {
			widths[k] = max(widths[k], utf8.RuneCountInString(s))
		}
	}
	shown := map[int]bool{}
	for i := range m.Requests {
		r := &m.Requests[i]
		lines = append(lines, "  "+r.title(len(r.Points)))
		for _, name := range r.Points {
			lines = append(lines, columns(rows[byName[name]], widths)...)
			shown[byName[name]] = true
		}
	}
	for i := range m.Points { // in no request
		if !shown[i] {
			lines = append(lines, columns(rows[i], widths)...)
		}
	}
	for k, s := range notes.text {
		lines = append(lines, wrapped("    ", "["+strconv.Itoa(k+1)+"] "+s)...)
	}
	return lines
}

// shortRule leaves out what the title says: a line of the machine's own file is
// ":22".
func shortRule(m *planMachine, rule string) string {
	rule = strings.Replace(rule, " ("+m.Machine+")", "", 1)
	if line, ok := strings.CutPrefix(rule, filepath.Base(m.File)+":"); ok {
		return ":" + line
	}
	return rule
}

func (r *planRequest) title(points int) string {
	var s string
	if r.EveryMS == 0 {
		return "sent by the machine, when it will"
	}
	if r.PublishMS > 0 {
		s = "subscription, sampled every " + milliseconds(r.EveryMS)
		if r.PublishMS != r.EveryMS {
			s += ", published every " + milliseconds(r.PublishMS)
		}
		return s
	}
	s = "every " + milliseconds(r.EveryMS) + "  " + r.Read + "  " + count(r.Count, r.Unit)
	if r.ChangesWith != "" {
		s = "when " + r.ChangesWith + " moves, looked at every " + milliseconds(r.EveryMS) + "  " + r.Read + "  " + count(r.Count, r.Unit)
	}
	if points == 0 {
		s += "  (for what changes with it)"
	}
	return s
}

// shortAddress leaves out the namespace that all nodes of a machine have.
func shortAddress(m *planMachine, at string) string {
	if m.Protocol != "opcua" || len(m.Points) == 0 {
		return at
	}
	uri, node, ok := strings.Cut(at, ";")
	if !ok {
		return at
	}
	same := 0
	for i := range m.Points {
		if strings.HasPrefix(m.Points[i].At, uri+";") {
			same++
		}
	}
	if 2*same > len(m.Points) {
		return node
	}
	return at
}

// columns writes one point. What is too long for the line goes on below it.
func columns(row []string, widths []int) []string {
	const indent, gap = "    ", "  "
	var s strings.Builder
	s.WriteString(indent)
	for k, cell := range row[:5] {
		s.WriteString(cell + strings.Repeat(" ", widths[k]-utf8.RuneCountInString(cell)) + gap)
	}
	if utf8.RuneCountInString(s.String())+utf8.RuneCountInString(row[5]) <= planWidth {
		return []string{s.String() + row[5]}
	}
	lines := []string{strings.TrimRight(s.String(), " ")}
	if utf8.RuneCountInString(lines[0]) > planWidth { // a long address: on a line of its own
		lines = []string{indent + row[0] + gap + row[1], indent + "    " + strings.Join(row[2:5], gap)}
		if utf8.RuneCountInString(lines[1]+gap+row[5]) <= planWidth {
			return []string{lines[0], lines[1] + gap + row[5]}
		}
	}
	return append(lines, wrapped(indent+"    ", row[5])...)
}

// footnotes gather what many points of a machine have in common.
type footnotes struct{ text []string }

// mark gives the numbers of what there is to say of a point.
func (f *footnotes) mark(pt *planPoint) string {
	var marks string
	add := func(s string) {
		k := slices.Index(f.text, s)
		if k < 0 {
			k = len(f.text)
			f.text = append(f.text, s)
		}
		marks += "[" + strconv.Itoa(k+1) + "]"
	}
	if e := pt.Exception; e != nil {
		add(fmt.Sprintf("by the exception %s until %s (%s)", e.Allow, e.Until, e.Where))
	}
	if pt.Leaves == policy.Passed.String() {
		s := fmt.Sprintf("%s, encrypted by the device for %s", pt.Format, people(pt.Readers))
		if pt.Wrapped {
			s += "; sealed again for the level"
		}
		switch sealed := policy.Sealed.String(); {
		case pt.IfReadable == sealed && pt.Probation == sealed:
			s += "; what is no ciphertext after all, and all of it while its source is on probation, is sealed for the level"
		case pt.Probation == sealed:
			s += "; while its source is on probation it is sealed for the level; what is no ciphertext after all is held"
		default:
			s += "; what is no ciphertext after all, and all of it while its source is on probation, is held"
		}
		add(s)
	}
	if pt.Why != "" {
		add("it stops: " + pt.Why)
	}
	if marks != "" {
		marks = " " + marks
	}
	return marks
}

func (p *planPrinter) exceptions(all []planException) {
	if len(all) == 0 {
		return
	}
	p.line("")
	p.line("exceptions in force: points that are read with less than their level asks for")
	for _, e := range all {
		p.wrap("  ", fmt.Sprintf("%s until %s (%s), %s: %s", e.Allow, e.Until, e.Where, count(e.Used, "point"), e.Why))
	}
}

// readers writes who can read what.
func (p *planPrinter) readers(all *plan) {
	p.line("")
	p.line("who can read what")
	rows := [][]string{{"recipient", "level", "by", "points", "machines"}}
	add := func(name string, only []string) {
		found := false
		for _, r := range all.Readers {
			if r.Recipient != name {
				continue
			}
			shown := name
			if name == everybody {
				shown = "everybody upstream"
			}
			if found {
				shown = ""
			}
			found = true
			rows = append(rows, []string{shown, r.Level, r.words(), strconv.Itoa(r.Points), runs(r.Machines)})
		}
		switch {
		case !found && name != everybody:
			rows = append(rows, []string{name, "-", "-", "0", "nothing" + onlyWords(only)})
		case found && len(only) > 0:
			rows[len(rows)-1][4] += onlyWords(only)
		}
	}
	add(everybody, nil)
	known := []string{everybody}
	for _, r := range all.Recipients {
		add(r.Recipient, r.Only)
		known = append(known, r.Recipient)
	}
	for _, r := range all.Readers { // a device encrypts for somebody that the trust file does not list
		if !slices.Contains(known, r.Recipient) {
			add(r.Recipient, nil)
			known = append(known, r.Recipient)
		}
	}
	p.table(rows)
	if len(all.Events) > 0 {
		p.line("  events are for %s", people(all.Events))
	} else {
		p.line("  events stay on the gateway")
	}
}

// words says how somebody reads.
func (r *planReader) words() string {
	switch r.By {
	case byInstead:
		return "sealed (while on probation, or if readable)"
	case byProbation:
		return "sealed (while on probation)"
	}
	return r.By
}

func onlyWords(only []string) string {
	if len(only) == 0 {
		return ""
	}
	return " (only " + strings.Join(only, ", ") + ", whatever a level says)"
}

// upstream writes what stays visible without a key.
func (p *planPrinter) upstream(all *plan) {
	p.line("")
	p.line("what stays visible upstream, to everybody there and without a key")
	for _, u := range all.Upstream.Uplinks {
		s := u.Uplink + ": " + u.Kind + ", " + u.To
		if u.Prefix == "" && u.Kind == "dtls" {
			s += ", subjects as the hub says"
		}
		p.wrap("  ", s)
	}
	type shape struct {
		of   []string
		text string
	}
	var shapes []shape
	for _, s := range all.Upstream.Streams {
		text := s.visible()
		subject := strings.Replace(s.Subject, "."+s.Machine+".", ".\x00.", 1)
		k := slices.IndexFunc(shapes, func(o shape) bool { return o.text == subject+"\n"+text })
		if k < 0 {
			k = len(shapes)
			shapes = append(shapes, shape{text: subject + "\n" + text})
		}
		shapes[k].of = append(shapes[k].of, s.Machine)
	}
	for _, s := range shapes {
		subject, text, _ := strings.Cut(s.text, "\n")
		name := s.of[0]
		if len(s.of) > 1 {
			name = "{machine}"
			text = "machines " + runs(s.of) + ", each: " + text
		}
		p.line("  %s", strings.Replace(subject, "\x00", name, 1))
		p.wrap("      ", text)
	}
	for _, o := range all.Upstream.Others {
		p.line("  %s", o.Subject)
		p.wrap("      ", o.What)
	}
}

// visible says in words what a stream shows.
func (s *planStream) visible() string {
	var words []string
	switch {
	case s.Values:
		words = append(words, "clear: names and values of "+count(s.Points, "point"))
	case s.Leaves == policy.Passed.String() && s.Names:
		words = append(words, "the device's ciphertext, byte for byte; the point's name")
	case s.Leaves == policy.Passed.String():
		words = append(words, "the device's ciphertext, byte for byte; the point has a random id for a name")
	default:
		words = append(words, "sealed: "+count(s.Points, "point")+", without names and number")
	}
	every := milliseconds(s.EveryMS)
	if s.Constant {
		words = append(words, "a message about every "+every+", whatever happens")
	} else {
		words = append(words, "a message when something changed, at most every "+every+", and at heartbeats: its times tell when the machine does something")
	}
	switch {
	case s.Values:
	case s.Padded:
		words = append(words, "sizes rounded up (Padmé)")
	case s.Leaves != policy.Passed.String():
		words = append(words, "sizes tell how much was sent")
	}
	return strings.Join(words, "; ")
}
