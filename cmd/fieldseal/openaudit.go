package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

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
	epochs   map[envelope.Stream]envelope.Epoch // whose key frame was looked at
	passed   map[envelope.Stream]string         // who may open it, in words
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

// course is what a gateway's statements say of its policy, in their order.
type course struct {
	before, now [32]byte // digests; zero: none yet
	periods     []period
	waiting     map[findingKey]*doubt
}

// period is a time in which one policy was in force.
type period struct {
	digest      [32]byte
	first, last time.Time // of its statements
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

// doubt is a violation by some policy, until it is known which was in force. It
// has the verdict of each.
type doubt struct {
	finding
	verdicts []verdict
	before   [32]byte
	now      [32]byte
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
		epochs: make(map[envelope.Stream]envelope.Epoch), passed: make(map[envelope.Stream]string),
		looks: make(map[envelope.Stream]*look), readable: make(map[slot]bool),
	}
	if v != nil {
		for _, p := range v.policies {
			a.rules = append(a.rules, newRules(p, v.who))
		}
	}
	return a
}

func (a *audit) course(gateway string) *course {
	c := a.gateways[gateway]
	if c == nil {
		c = &course{waiting: make(map[findingKey]*doubt)}
		a.gateways[gateway] = c
	}
	return c
}

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
		if l := a.looks[s.Stream]; l != nil && l.odd >= few && l.odd > s.Forged && l.odd >= l.all/rate {
			a.find(findingKey{s.Stream, "", "not-ciphertext", fmt.Sprintf("sealed in form, and %d of %d messages do not look encrypted", l.odd, l.all)}, &finding{count: l.odd})
		}
	}
}

// delivery judges samples and payloads.
func (a *audit) delivery(d *envelope.Delivery) {
	switch {
	case d.Kind == envelope.Passthrough:
		a.counts["passthrough"]++
	case d.Sealed:
		a.counts["sealed"]++
	case len(d.Catalogue) > 0:
		a.counts["catalogues"]++
	default:
		a.counts["clear"]++
	}
	if d.Proof == envelope.Unverified || len(a.rules) == 0 {
		return
	}
	if d.Sealed {
		a.looked(d)
	}
	at := finding{1, d.Sequence, d.Sequence, d.Time, d.Time}
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
		name := d.Catalogue[i].Name
		a.judge(d.Stream, name, at, func(r *rules) verdict { return r.named(d.Stream, name) })
	}
}

// keyFrame judges whom an epoch is sealed for. A gateway sends a key frame again
// on a new connection: it is looked at once.
func (a *audit) keyFrame(m *envelope.Message) {
	s := m.Address.Stream
	if a.epochs[s] == m.Epoch || len(a.rules) == 0 {
		return
	}
	a.epochs[s] = m.Epoch
	ids, err := envelope.KeyFrameRecipients(m)
	if err != nil { // the reader read it
		return
	}
	a.passed[s] = a.rules[len(a.rules)-1].names(ids)
	a.judge(s, "", finding{1, m.Sequence, m.Sequence, m.Time, m.Time}, func(r *rules) verdict { return r.recipients(s, ids) })
}

// judge takes a verdict by each policy. Where one finds nothing wrong it may have
// been the one in force; which it was, the next statement tells.
func (a *audit) judge(s envelope.Stream, point string, at finding, by func(*rules) verdict) {
	var key findingKey
	var wrong []verdict
	for i, r := range a.rules {
		v := by(r)
		if v.kind != "" && wrong == nil {
			wrong = make([]verdict, len(a.rules))
		}
		if v.kind != "" {
			wrong[i] = v
			key = findingKey{s, point, v.kind, v.what}
		}
	}
	if wrong == nil {
		return
	}
	c := a.course(s.Gateway)
	d := c.waiting[key]
	if d == nil {
		if len(c.waiting) >= maxFindings {
			a.beyond++
			return
		}
		d = &doubt{verdicts: wrong, before: c.before, now: c.now}
		c.waiting[key] = d
	}
	d.add(&at)
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

// statement notes which policy is in force, and settles what was in doubt.
func (a *audit) statement(r *envelope.Reader, m *envelope.Message) {
	gateways := r.Gateways()
	i, found := slices.BinarySearchFunc(gateways, m.Address.Stream.Gateway, func(g envelope.GatewayReport, name string) int { return cmp.Compare(g.Gateway, name) })
	if !found || gateways[i].Statement.Sequence != m.Sequence || gateways[i].Statement.Start != m.Epoch.Start {
		return // an older one that came late
	}
	s := &gateways[i].Statement
	c := a.course(s.Gateway)
	a.settle(s.Gateway, c, s.Policy)
	c.before, c.now = c.now, s.Policy
	if n := len(c.periods); n > 0 && c.periods[n-1].digest == s.Policy {
		c.periods[n-1].last = s.Time
	} else if n < maxPeriods {
		c.periods = append(c.periods, period{s.Policy, s.Time, s.Time})
	}
}

// settle makes findings of what is in doubt, now that the next statement came, or
// none will. The policy in force was that of the statements around it.
func (a *audit) settle(gateway string, c *course, next [32]byte) {
	for key, d := range c.waiting {
		var could []int // policies
		unknown := false
		for _, digest := range [][32]byte{d.before, d.now, next} {
			switch i := a.policyOf(digest); {
			case digest == [32]byte{}:
			case i < 0:
				unknown = true
			default:
				could = append(could, i)
			}
		}
		if len(could) == 0 && !unknown { // nobody said
			for i := range a.rules {
				could = append(could, i)
			}
		}
		var worst verdict
		for _, i := range could {
			if worst = d.verdicts[i]; worst.kind == "" {
				break
			}
		}
		switch {
		case len(could) > 0 && worst.kind == "":
		case len(could) > 0 && !unknown:
			a.find(findingKey{key.stream, key.point, worst.kind, worst.what}, &d.finding)
		default:
			a.find(findingKey{key.stream, key.point, "other-policy", "sent while a policy was in force that is not given, and not as the one that is given says: " + key.what}, &d.finding)
		}
	}
	clear(c.waiting)
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

// policyOf gives the policy that a statement names, by the digest of its file or
// of all that was signed; -1 for one that is not given.
func (a *audit) policyOf(digest [32]byte) int {
	return slices.IndexFunc(a.rules, func(r *rules) bool { return r.file == digest || r.signed == digest })
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
	if len(a.rules) == 0 {
		return true
	}
	a.suspicious(report)
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		if !stated[name] {
			a.find(findingKey{envelope.Stream{Gateway: name}, "", "no-statement", "no statement says which policy is in force, nor whether the newest messages are withheld"}, &finding{count: 1})
		}
	}
	for name, c := range a.gateways {
		for i, p := range c.periods {
			at := &finding{count: 1, since: p.first.UnixNano(), till: p.last.UnixNano()}
			of := a.policyOf(p.digest)
			switch {
			case p.digest == [32]byte{}:
				a.find(findingKey{envelope.Stream{Gateway: name}, "", "other-policy", "its statements name no policy"}, at)
			case of < 0:
				a.find(findingKey{envelope.Stream{Gateway: name}, "", "other-policy", fmt.Sprintf("another policy than what is given is in force: sha256 %x", p.digest)}, at)
			case of < len(a.rules)-1 && i == len(c.periods)-1:
				a.find(findingKey{envelope.Stream{Gateway: name}, "", "older-policy", fmt.Sprintf("revision %d is in force, and %d is given", a.rules[of].revision, a.rules[len(a.rules)-1].revision)}, at)
			}
		}
	}
	return len(a.findings) == 0 && a.beyond == 0
}
