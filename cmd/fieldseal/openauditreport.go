package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
)

// auditSummary is what an audit prints as JSON, in "audit".
type auditSummary struct {
	Policies []policyLine      `json:"policies"` // what was held against; none: the policy was not looked at
	Gateways []inForceLine     `json:"gateways"`
	Messages map[string]uint64 `json:"messages"` // by kind
	Sealed   map[string]string `json:"sealed"`   // for whom the newest epoch of each stream is
	Findings []findingLine     `json:"findings"`
	Beyond   uint64            `json:"beyond"` // findings that are not listed apart
}

type policyLine struct {
	File     string `json:"file"`
	Revision int    `json:"revision"`
	SHA256   string `json:"sha256"`
}

// inForceLine is one policy that a gateway's statements named.
type inForceLine struct {
	Gateway  string `json:"gateway"`
	SHA256   string `json:"sha256"`
	Revision int    `json:"revision,omitempty"` // absent: none of those given
	First    string `json:"first"`              // time of the first statement that names it
	Last     string `json:"last"`
}

type findingLine struct {
	Gateway  string `json:"gateway"`
	Machine  string `json:"machine,omitempty"`
	Level    string `json:"level,omitempty"`
	Point    string `json:"point,omitempty"`
	Kind     string `json:"kind"`
	What     string `json:"what"`
	Count    uint64 `json:"count"`
	Sequence string `json:"sequence,omitempty"` // of the first and the last
	First    string `json:"first,omitempty"`
	Last     string `json:"last,omitempty"`
}

func (a *audit) summary() *auditSummary {
	s := &auditSummary{
		Policies: []policyLine{}, Gateways: []inForceLine{}, Messages: a.counts, Sealed: map[string]string{}, Findings: a.lines(), Beyond: a.beyond,
	}
	for _, r := range a.rules {
		s.Policies = append(s.Policies, policyLine{r.path, r.revision, fmt.Sprintf("%x", r.file)})
	}
	for _, name := range slices.Sorted(maps.Keys(a.gateways)) {
		for _, p := range a.gateways[name].periods {
			l := inForceLine{Gateway: name, SHA256: fmt.Sprintf("%x", p.digest), First: stamp(p.first.UnixNano()), Last: stamp(p.last.UnixNano())}
			if i := a.policyOf(p.digest); i >= 0 {
				l.Revision = a.rules[i].revision
			}
			s.Gateways = append(s.Gateways, l)
		}
	}
	for stream, who := range a.passed {
		s.Sealed[stream.String()] = who
	}
	return s
}

// lines gives the findings by stream, point and kind.
func (a *audit) lines() []findingLine {
	out := []findingLine{}
	for k, f := range a.findings {
		out = append(out, lineOf(&k, f))
	}
	slices.SortFunc(out, func(a, b findingLine) int {
		return cmp.Or(cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Level, b.Level),
			cmp.Compare(a.Point, b.Point), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What))
	})
	return out
}

func lineOf(k *findingKey, f *finding) findingLine {
	l := findingLine{Gateway: k.stream.Gateway, Machine: k.stream.Machine, Level: k.stream.Level, Point: k.point, Kind: k.kind, What: k.what, Count: f.count}
	if f.first > 0 {
		l.Sequence = span(envelope.Range{First: f.first, Last: f.last})
	}
	if f.since != 0 {
		l.First, l.Last = stamp(f.since), stamp(f.till)
	}
	return l
}

// text is the finding for people.
func (f *findingLine) text() string {
	name := streamName(envelope.Stream{Gateway: f.Gateway, Machine: f.Machine, Level: f.Level})
	if f.Point != "" {
		name += ", point " + f.Point
	}
	text := "FINDING " + name + ": " + f.What
	if f.Sequence != "" {
		text += fmt.Sprintf(" (%s, number %s, %s)", counted(f.Count, "message"), f.Sequence, times(f.First, f.Last))
	} else if f.First != "" {
		text += " (" + times(f.First, f.Last) + ")"
	}
	return text
}

// notes gives the findings while reading goes on, each once.
func (a *audit) notes(r *envelope.Reader) (out []note) {
	add := func(f *findingLine, early bool) {
		out = append(out, note{key: strings.Join([]string{"finding", f.Gateway, f.Machine, f.Level, f.Point, f.Kind, f.What}, " "), bad: true, early: early, text: f.text()})
	}
	for _, f := range a.lines() {
		add(&f, false)
	}
	keyless, _ := a.keys.unexplained(r) // unless the key frame is on its way
	for k, f := range keyless {
		l := lineOf(&k, f)
		add(&l, true)
	}
	for name, c := range a.gateways {
		if n := len(c.periods); len(a.rules) > 0 && n > 0 && a.policyOf(c.periods[n-1].digest) < 0 {
			what := fmt.Sprintf("FINDING %s: another policy than what is given is in force: sha256 %x", name, c.periods[n-1].digest)
			out = append(out, note{key: what, bad: true, text: what})
		}
	}
	return out
}

// write gives the summary for people. The names in it come from messages that a
// gateway signed, and still nothing of them reaches the terminal as a command.
func (a *audit) write(w io.Writer, r *receiver, inOrder bool) error {
	var b strings.Builder
	line := func(format string, v ...any) { b.WriteString(configs.Plain(fmt.Sprintf(format, v...)) + "\n") }
	line("audit of %s", counted(r.messages, "message"))
	switch {
	case r.options.Trust == nil:
		line("  NOTHING WAS VERIFIED: there is no trust file that its approvers vouch for")
	case len(a.rules) == 0:
		line("  signatures, gaps and freshness were looked at, and no policy: give it with --policy")
	}
	for _, p := range a.rules {
		line("  policy %s, revision %d, sha256 %x", p.path, p.revision, p.file)
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(a.counts)) {
		name := kind
		if a.counts[kind] == 1 {
			name = strings.TrimSuffix(kind, "s")
		}
		kinds = append(kinds, fmt.Sprintf("%d %s", a.counts[kind], name))
	}
	if len(kinds) > 0 {
		line("  %s", strings.Join(kinds, ", "))
	}
	a.gatewayLines(line, r)
	for _, s := range r.reader.Report() {
		text := fmt.Sprintf("stream %v: 1-%d, signed through %d", s.Stream, s.Highest, s.SignedThrough)
		if who := a.passed[s.Stream]; who != "" {
			text += ", sealed for " + who
		}
		line("%s", text)
	}
	for _, f := range a.lines() {
		line("%s", f.text())
	}
	if a.beyond > 0 {
		line("FINDING: and %d more", a.beyond)
	}
	switch {
	case !inOrder:
		line("result: NOT in order: %s; what is missing, forged or refused is above on stderr", counted(uint64(len(a.findings)), "finding"))
	case r.options.Trust == nil:
		line("result: nothing was verified")
	case len(a.rules) == 0:
		line("result: in order, as far as it was looked at%s", r.until())
	default:
		line("result: in order: all that the policy seals left sealed, for those whom it names%s", r.until())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// until says up to when files tell anything: nobody is heard behind their end, and
// whole segments that were cut away there leave no trace.
func (r *receiver) until() string {
	if r.broker {
		return ""
	}
	var last time.Time
	for _, g := range r.reader.Gateways() {
		if s := &g.Statement; s.Sequence > 0 && (last.IsZero() || s.Time.Before(last)) {
			last = s.Time
		}
	}
	if last.IsZero() {
		return "; no statement says up to when"
	}
	return "; nothing is known since " + stamp(last.UnixNano())
}

func (a *audit) gatewayLines(line func(string, ...any), r *receiver) {
	now := time.Now()
	for _, g := range r.reader.Gateways() {
		s := &g.Statement
		if s.Sequence == 0 {
			line("gateway %s: it has made no statement", g.Gateway)
			continue
		}
		text := fmt.Sprintf("gateway %s: last statement %s", g.Gateway, stamp(s.Time.UnixNano()))
		if s.Clock == envelope.ClockUnknown {
			text += ", by a clock that it does not trust"
		} else {
			text += fmt.Sprintf(" (%v ago, clock %v)", now.Sub(s.Time).Round(time.Second), s.Clock)
		}
		if r.silent(&g) {
			text += ", SILENT since"
		}
		line("%s", text)
		if c := a.gateways[g.Gateway]; c != nil {
			for _, p := range c.periods {
				which := "another policy"
				if i := a.policyOf(p.digest); i >= 0 {
					which = fmt.Sprintf("policy revision %d", a.rules[i].revision)
				} else if len(a.rules) == 0 {
					which = "policy"
				}
				line("  %s in force, sha256 %x, by its statements of %s", which, p.digest, times(stamp(p.first.UnixNano()), stamp(p.last.UnixNano())))
			}
		}
	}
}

// times gives a time, or two.
func times(first, last string) string {
	if first == last {
		return first
	}
	return first + " to " + last
}

// counted gives a number of things that may be none.
func counted(n uint64, thing string) string {
	if n == 0 {
		return "no " + thing + "s"
	}
	return count(n, thing)
}
