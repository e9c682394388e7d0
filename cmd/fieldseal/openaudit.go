package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// audit proves from outside, without a key, that what the policy seals left
// sealed. It looks at what the gateways signed for: what nobody signed for says
// nothing of a gateway.
type audit struct {
	rules    []*rules // of each policy given; the highest revision last
	gateways map[string]*course
	findings map[findingKey]*finding
	beyond   uint64 // findings that were not listed apart
	counts   map[string]uint64
	keys     keyAccount
	before   map[envelope.Stream]uint64 // forgeries that runs before this one counted
	passed   map[envelope.Stream]string // who may open it, in words
	looks    map[envelope.Stream]*look
	readable map[slot]bool // sealed messages that wait for their signature, and do not look encrypted
}

// look counts the sealed messages of a stream, and those of them whose ciphertext
// does not look like one: some few in a million do not, by accident.
type look struct{ all, odd uint64 }

// slot is a number of an epoch.
type slot struct {
	stream   envelope.Stream
	epoch    envelope.Epoch
	sequence uint64
}

// findingKey is what findings are counted together by.
type findingKey struct {
	stream      envelope.Stream
	point, kind string
	what        string
}

// finding is something that left otherwise than the policy says.
type finding struct {
	count       uint64
	first, last uint64 // numbers of messages
	since, till int64
}

// verdict says what is wrong by one policy; of no kind where nothing is.
type verdict struct{ kind, what string }

const (
	maxFindings = 1000
	maxPeriods  = 100
)

func newAudit(v *verified) *audit {
	a := &audit{
		gateways: make(map[string]*course), findings: make(map[findingKey]*finding), counts: make(map[string]uint64),
		keys: newKeyAccount(), before: make(map[envelope.Stream]uint64), passed: make(map[envelope.Stream]string),
		looks: make(map[envelope.Stream]*look), readable: make(map[slot]bool),
	}
	if v != nil {
		for _, p := range v.policies {
			a.rules = append(a.rules, newRules(p, v.who))
		}
	}
	return a
}

// begin takes what runs before this one knew.
func (a *audit) begin(r *envelope.Reader, was *belongs) {
	report := r.Report()
	for _, s := range report {
		a.before[s.Stream] = s.Forged
	}
	for _, g := range r.Gateways() {
		if g.Statement.Sequence > 0 {
			a.course(g.Gateway).now = g.Statement.Policy
		}
	}
	if was != nil {
		a.keys.resume(report, was.Keyed)
	}
}

// kept gives what the next run has to know of key frames.
func (a *audit) kept(report []envelope.StreamReport) map[string]string { return a.keys.kept(report) }

// message takes what the reader took, and gives no delivery: signed kinds bear
// their own signature.
func (a *audit) message(r *envelope.Reader, m *envelope.Message, taken bool) {
	switch {
	case !taken:
		a.counts["refused"]++
	case m.Address.Kind == envelope.KeyFrame:
		a.counts["key frames"]++
		a.keyFrame(m)
	case m.Address.Kind == envelope.Statement:
		a.counts["statements"]++
		a.statement(r, m)
	case m.Address.Kind == envelope.Checkpoint:
		a.counts["checkpoints"]++
	case m.Address.Kind == envelope.LossRecord:
		a.counts["loss records"]++
	case m.Address.Kind == envelope.Data && m.ContentType == envelope.TypeSealed && len(a.rules) > 0:
		if ciphertext.Judge(ciphertext.COSE, m.Body) != nil && len(a.readable) < maxKnown {
			a.readable[slot{m.Address.Stream, m.Epoch, m.Sequence}] = true
		}
	}
}

// looked counts a sealed message that the gateway signed for.
func (a *audit) looked(d *envelope.Delivery) {
	l := a.looks[d.Stream]
	if l == nil {
		l = &look{}
		a.looks[d.Stream] = l
	}
	l.all++
	at := slot{d.Stream, d.Epoch, d.Sequence}
	if a.readable[at] {
		l.odd++
		delete(a.readable, at)
	}
}

// suspicious finds streams that are sealed in form only. What others forged
// under the numbers of messages is not held against the gateway.
func (a *audit) suspicious(streams []envelope.StreamReport) {
	const few, rate = 4, 1000 // by accident less than once in 10^8 streams
	for _, s := range streams {
		if l := a.looks[s.Stream]; l != nil && l.odd >= few && l.odd > s.Forged-min(s.Forged, a.before[s.Stream]) && l.odd >= l.all/rate {
			a.find(findingKey{s.Stream, "", "not-ciphertext", fmt.Sprintf("sealed in form, and %d of %d messages do not look encrypted", l.odd, l.all)}, &finding{count: l.odd})
		}
	}
}

// delivery judges samples and payloads.
func (a *audit) delivery(d *envelope.Delivery) {
	switch {
	case d.Kind == envelope.Event:
		a.counts["events"]++
	case d.Kind == envelope.Passthrough:
		a.counts["passthrough"]++
	case d.Sealed:
		a.counts["sealed"]++
	case len(d.Catalogue) > 0:
		a.counts["catalogues"]++
	default:
		a.counts["clear"]++
	}
	if d.Proof != envelope.Signed {
		return
	}
	at := finding{1, d.Sequence, d.Sequence, d.Time, d.Time}
	a.keys.seen(d.Stream, d.Epoch, d.Sequence)
	if d.Sealed && !a.keys.sealed(d, &at) {
		a.beyond++
	}
	if d.Kind == envelope.Event { // its own events a gateway seals, in a stream of their own
		a.find(findingKey{d.Stream, d.Point, "event", "left as an event, which no gateway sends, and as whatever it likes"}, &at)
		return
	}
	if len(a.rules) == 0 {
		return
	}
	if d.Sealed {
		a.looked(d)
	}
	switch {
	case d.Kind == envelope.Passthrough:
		a.judge(d.Stream, d.Point, at, func(r *rules) verdict { return r.payload(d) })
	case d.Sealed:
		a.judge(d.Stream, "", at, func(r *rules) verdict { return r.sealed(d.Stream) })
	case len(d.Samples) == 0 && len(d.Catalogue) == 0: // a sign of life
		a.judge(d.Stream, "", at, func(r *rules) verdict { return r.clear(d.Stream, "") })
	}
	if d.Sealed {
		return
	}
	for i := range d.Samples {
		name := d.Samples[i].Name
		a.judge(d.Stream, name, at, func(r *rules) verdict { return r.clear(d.Stream, name) })
	}
	for i := range d.Catalogue {
		e := &d.Catalogue[i]
		a.judge(d.Stream, e.Name, at, func(r *rules) verdict { return r.named(d.Stream, e) })
	}
}

func (f *finding) add(o *finding) {
	if f.count == 0 {
		*f = *o
		return
	}
	f.count += o.count
	f.first, f.last = min(f.first, o.first), max(f.last, o.last)
	f.since, f.till = min(f.since, o.since), max(f.till, o.till)
}

func (a *audit) find(key findingKey, f *finding) {
	old := a.findings[key]
	if old == nil {
		if len(a.findings) >= maxFindings {
			a.beyond++
			return
		}
		old = &finding{}
		a.findings[key] = old
	}
	old.add(f)
}

// finish settles all, looks at what the statements named, and tells whether
// nothing was found.
func (a *audit) finish(r *envelope.Reader) (inOrder bool) {
	stated := make(map[string]bool)
	for _, g := range r.Gateways() {
		stated[g.Gateway] = g.Statement.Sequence > 0
	}
	streams := make(map[string]bool)
	report := r.Report()
	for _, s := range report {
		if s.SignedThrough > 0 {
			streams[s.Stream.Gateway] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.gateways)) {
		a.settle(name, a.gateways[name], [32]byte{})
	}
	found, gone := a.keys.unexplained(r)
	for key, f := range found {
		a.find(key, f)
	}
	for _, at := range gone { // nor in the next run
		a.keys.frames[at] = ""
	}
	if len(a.rules) == 0 {
		return len(a.findings) == 0 && a.beyond == 0
	}
	a.suspicious(report)
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if !stated[name] {
			a.find(findingKey{envelope.Stream{Gateway: name}, "", "no-statement", "no statement says which policy is in force, nor whether the newest messages are withheld"}, &finding{count: 1})
		}
	}
	for name, c := range a.gateways {
		for i, p := range c.periods {
			a.named(name, &p)
			if of := a.policyOf(p.digest); of >= 0 && of < len(a.rules)-1 && i == len(c.periods)-1 {
				a.find(findingKey{envelope.Stream{Gateway: name}, "", "older-policy", fmt.Sprintf("revision %d is in force, and %d is given", a.rules[of].revision, a.rules[len(a.rules)-1].revision)}, p.finding())
			}
		}
	}
	return len(a.findings) == 0 && a.beyond == 0
}
