package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// course is what a gateway's statements say of its policy, in their order.
type course struct {
	before, now [32]byte // digests; zero: none yet
	periods     []period
	waiting     map[doubtKey]*doubt
}

// period is a time in which one policy was in force.
type period struct {
	digest      [32]byte
	first, last time.Time // of its statements
}

// doubtKey is what doubts are counted together by: what is wrong by each policy,
// so that nobody goes free by the verdict on another.
type doubtKey struct {
	stream          envelope.Stream
	point, verdicts string
}

// doubt is a violation by some policy, until it is known which was in force. It
// has the verdict of each.
type doubt struct {
	finding
	verdicts []verdict
	before   [32]byte
	now      [32]byte
}

func (a *audit) course(gateway string) *course {
	c := a.gateways[gateway]
	if c == nil {
		c = &course{waiting: make(map[doubtKey]*doubt)}
		a.gateways[gateway] = c
	}
	return c
}

// judge takes a verdict by each policy. Where one finds nothing wrong it may have
// been the one in force; which it was, the next statement tells.
func (a *audit) judge(s envelope.Stream, point string, at finding, by func(*rules) verdict) {
	var wrong []verdict
	for i, r := range a.rules {
		if v := by(r); v.kind != "" {
			if wrong == nil {
				wrong = make([]verdict, len(a.rules))
			}
			wrong[i] = v
		}
	}
	if wrong == nil {
		return
	}
	var all strings.Builder
	for _, v := range wrong {
		all.WriteString(v.kind + "\x00" + v.what + "\x00")
	}
	key := doubtKey{s, point, all.String()}
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
	p := period{s.Policy, s.Time, s.Time}
	if was, is := a.policyOf(c.before), a.policyOf(c.now); was >= 0 && is >= 0 && a.rules[is].revision < a.rules[was].revision {
		a.find(findingKey{envelope.Stream{Gateway: s.Gateway}, "", "older-policy", fmt.Sprintf("went back from revision %d to %d", a.rules[was].revision, a.rules[is].revision)}, p.finding())
	}
	switch n := len(c.periods); {
	case n > 0 && c.periods[n-1].digest == s.Policy:
		c.periods[n-1].last = s.Time
	case n < maxPeriods:
		c.periods = append(c.periods, p)
	default: // the newest in place of the one before, which is judged now
		if len(a.rules) > 0 {
			a.named(s.Gateway, &c.periods[n-1])
		}
		c.periods[n-1] = p
	}
}

// named finds a policy that statements name and that is not given.
func (a *audit) named(gateway string, p *period) {
	switch {
	case p.digest == [32]byte{}:
		a.find(findingKey{envelope.Stream{Gateway: gateway}, "", "other-policy", "its statements name no policy"}, p.finding())
	case a.policyOf(p.digest) < 0:
		a.find(findingKey{envelope.Stream{Gateway: gateway}, "", "other-policy", fmt.Sprintf("another policy than what is given is in force: sha256 %x", p.digest)}, p.finding())
	}
}

func (p *period) finding() *finding {
	return &finding{count: 1, since: p.first.UnixNano(), till: p.last.UnixNano()}
}

// what is wrong by the newest policy by which something is.
func (d *doubt) what() (what string) {
	for _, v := range d.verdicts {
		if v.kind != "" {
			what = v.what
		}
	}
	return what
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
			a.find(findingKey{key.stream, key.point, "other-policy", "sent while a policy was in force that is not given, and not as the one that is given says: " + d.what()}, &d.finding)
		}
	}
	clear(c.waiting)
}

// policyOf gives the policy that a statement names, by the digest of its file or
// of all that was signed; -1 for one that is not given.
func (a *audit) policyOf(digest [32]byte) int {
	return slices.IndexFunc(a.rules, func(r *rules) bool { return r.file == digest || r.signed == digest })
}
