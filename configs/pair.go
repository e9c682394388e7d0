package configs

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// pair is a policy and a trust file that were read together.
type pair struct {
	sources  [2]*source // policy, trust
	files    []*file
	policy   *policy.Policy
	trust    *Trust
	rules    []*rule
	problems []Problem
	sound    bool // it can be used
}

// pairUp reads the policy and the trust file. Where those that the gateway file
// names cannot take effect, the copies that were accepted last go on, in the
// newest combination that is sound in itself: a policy may name a recipient that
// only one of two trust files has.
func (l *loader) pairUp(gateway node, policyFile, trustFile node, c *Config) *pair {
	a := &Approved{}
	if l.approvals != nil {
		if name, ok := policyFile.text(); ok {
			l.nextApprovers(filepath.Dir(policyFile.f.beside(name)), a)
		}
	}
	named := [2]*source{l.named(approval.Policy, policyFile), l.named(approval.Trust, trustFile)}
	asNamed := l.read(gateway, c.Gateway, c.Location, named)
	signed := named[0].err == nil && named[1].err == nil
	if l.approvals == nil || signed && asNamed.sound {
		l.adopt(asNamed)
		c.take(asNamed, a, l.approvals)
		return asNamed
	}
	last := [2]*source{l.last(named[0]), l.last(named[1])}
	var why [2]string // why a signed file is of no use
	if signed {
		why[0] = asNamed.reason()
		why[1] = why[0]
	}
	var best *pair
	for _, sources := range [][2]*source{{last[0], named[1]}, {named[0], last[1]}, {last[0], last[1]}} {
		if sources[0] == nil || sources[1] == nil || sources[0].err != nil || sources[1].err != nil {
			continue
		}
		if p := l.read(gateway, c.Gateway, c.Location, sources); p.sound {
			best = p
			break
		} else {
			for i, s := range sources {
				if s == named[i] && why[i] == "" {
					why[i] = p.reason()
				}
			}
		}
	}
	l.refused(asNamed, best, why, a)
	if best == nil { // nothing can start; what else is wrong is said all the same
		l.draft = true
		l.adopt(asNamed)
		return asNamed
	}
	l.adopt(best)
	c.take(best, a, l.approvals)
	return best
}

// read reads two files, and looks whether they belong together.
func (l *loader) read(gateway node, name string, zone *time.Location, sources [2]*source) *pair {
	p := &pair{sources: sources}
	try := &loader{now: l.now, untrusted: l.untrusted, alone: l.alone, keys: sources[1].keys, own: l.own}
	documents := [2]*document{}
	for i, s := range sources {
		f := &file{path: s.path, fatal: true, problems: &try.problems}
		p.files = append(p.files, f)
		if s.copy.File != nil {
			documents[i] = &document{f, s.copy.File}
		}
		try.problems = append(try.problems, s.unread...)
	}
	p.trust = try.trust(documents[1])
	p.policy = try.policy(documents[0], zone, p.trust)
	if p.trust != nil {
		try.enrolled(gateway.into(&try.problems), name, p.trust)
		try.ownKey(p.files[1], name, p.trust)
	}
	if whole := p.policy != nil && p.trust != nil && !Fatal(try.problems); whole {
		for i, s := range sources {
			var err error
			switch {
			case s.approval == nil:
			case s.kind == approval.Policy:
				if err = s.approval.Matches(p.policy); err == nil && s.approval.LeastTrust > p.trust.Revision {
					err = fmt.Errorf("it was signed together with revision %d of the trust file, and this is revision %d; carry both, with their notes",
						s.approval.LeastTrust, p.trust.Revision)
				}
			default:
				err = s.approval.MatchesTrust(p.trust.signed())
			}
			if err != nil {
				p.files[i].refuse(split(err))
			}
		}
		p.sound = !Fatal(try.problems)
	}
	p.problems, p.rules = try.problems, try.rules
	return p
}

// reason gives the first thing that makes a pair unsound.
func (p *pair) reason() string {
	for _, q := range p.problems {
		if q.Fatal {
			return q.String()
		}
	}
	return ""
}

// adopt takes a pair as the one that is used.
func (l *loader) adopt(p *pair) {
	l.problems = append(l.problems, p.problems...)
	l.rules = p.rules
	for _, f := range p.files { // what is found later is found here
		f.problems = &l.problems
	}
}

// refused says of each file that does not take effect why.
func (l *loader) refused(asNamed, best *pair, why [2]string, a *Approved) {
	for i, s := range asNamed.sources {
		if best != nil && best.sources[i] == s || s.path == "" && s.unread == nil {
			continue // it is used, or the gateway file does not name it
		}
		goesOn := ""
		if best != nil {
			goesOn = " (revision " + itoa(best.sources[i].approval.Revision) + " goes on)"
		}
		f := asNamed.files[i]
		p := Problem{File: f.path, Fatal: true}
		switch {
		case len(s.unread) > 0:
			p = s.unread[0]
			p.What += goesOn
		case s.err != nil:
			p = s.refusal(f, goesOn)
		case why[i] == "": // the other one of the two is to blame
			continue
		default:
			p.What = "it is signed, and cannot take effect: " + why[i] + goesOn
		}
		p.Fatal = best == nil
		l.problems = append(l.problems, p)
		a.Refused = append(a.Refused, Refused{string(s.kind), p})
		if best == nil {
			continue
		}
		for _, q := range asNamed.problems { // what else is wrong in the file
			if q.File == f.path {
				q.Fatal = false
				l.problems = append(l.problems, q)
			}
		}
	}
}

// take notes what is used, and what has to be kept of it.
func (c *Config) take(p *pair, a *Approved, approvals *approval.Store) {
	c.PolicyFile, c.TrustFile = p.sources[0].path, p.sources[1].path
	if approvals == nil || !p.sound {
		return
	}
	a.Policy, a.Trust = p.sources[0].copy, p.sources[1].copy
	a.PolicyBy, a.TrustBy = p.sources[0].approval.By, p.sources[1].approval.By
	if a.Trust.Keys == nil {
		a.Trust.Keys = p.trust.keys()
	}
	c.Approved = a
}
