package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// payload compares what a device is asked for that encrypts a point itself, and
// what becomes of payloads that it did not encrypt so.
func (d *planDiffer) payload(b, a *planPoint, name []string) {
	say := func(looser bool, format string, words ...any) {
		d.add(planChange{Kind: changePayload, Looser: looser, What: fmt.Sprintf(format, words...), Points: name})
	}
	if a.Format != b.Format { // all that is asked of an opaque one is that it looks like noise
		say(a.Format == ciphertext.Opaque, "the device will encrypt it as %s (was %s)", a.Format, b.Format)
	}
	switch {
	case a.DeviceKey == b.DeviceKey:
	case a.DeviceKey == "":
		say(true, "the device's signature will not be looked at any more (was that of %s)", b.DeviceKey)
	case b.DeviceKey == "":
		say(false, "the device will have to sign it with %s", a.DeviceKey)
	default:
		say(true, "another device will have to sign it, with %s (was %s)", a.DeviceKey, b.DeviceKey)
	}
	switch more := without(a.KeyIDs, b.KeyIDs); {
	case slices.Equal(a.KeyIDs, b.KeyIDs):
	case len(a.KeyIDs) == 0:
		say(true, "the device may encrypt it with any key (was %s)", list(b.KeyIDs))
	case len(b.KeyIDs) == 0:
		say(false, "the device will have to encrypt it with %s (was any key)", list(a.KeyIDs))
	default:
		say(len(more) > 0, "the device will have to encrypt it with %s (was %s)", list(a.KeyIDs), list(b.KeyIDs))
	}
	for _, c := range []struct{ what, is, was string }{
		{"what is no ciphertext after all", a.IfReadable, b.IfReadable},
		{"what comes while its source is on probation", a.Probation, b.Probation},
	} {
		switch {
		case c.is == c.was:
		case c.is == policy.Withheld.String():
			say(false, "%s will be held (was sealed, for %s)", c.what, people(b.Instead))
		default:
			say(true, "%s will be sealed for %s (was held)", c.what, people(a.Instead))
		}
	}
	if len(a.Instead) == 0 || len(b.Instead) == 0 {
		return
	}
	if more := without(a.Instead, b.Instead); len(more) > 0 {
		d.add(planChange{
			Kind: changeReadable, Looser: true, Who: more, Points: name,
			What: "what is sealed in place of the device's ciphertext will be readable by " + people(more) + " (was for " + people(b.Instead) + ")",
		})
	}
	if less := without(b.Instead, a.Instead); len(less) > 0 {
		d.add(planChange{
			Kind: changeStricter, Who: less, Points: name,
			What: "what is sealed in place of the device's ciphertext will not be readable by " + people(less) + " any more",
		})
	}
}

// machines compares where machines are read, and how that is secured.
func (d *planDiffer) machines(before, next *plan) {
	for i := range next.Machines {
		a := &next.Machines[i]
		k := slices.IndexFunc(before.Machines, func(m planMachine) bool { return m.Machine == a.Machine })
		if k < 0 {
			continue
		}
		b := &before.Machines[k]
		if less := grade(a.Connection) < grade(b.Connection); a.Connection != b.Connection {
			d.add(planChange{Kind: changeProtection, Looser: less, What: fmt.Sprintf("%s will be read over a connection that is %s (was %s)", a.Machine, a.Connection, b.Connection)})
		}
		if a.Endpoint != b.Endpoint || a.Device != b.Device {
			d.add(planChange{Kind: changePlace, Looser: true, What: fmt.Sprintf("%s will be read at %s (was %s)", a.Machine, a.where(), b.where())})
		}
		d.facts(changePlace, a.Machine, b.facts, a.facts)
	}
}

func (m *planMachine) where() string {
	if m.Device == "" {
		return m.Endpoint
	}
	return m.Endpoint + " unit " + m.Device
}

// facts compares what is said of a connection.
func (d *planDiffer) facts(kind, of string, before, next []fact) {
	value := func(facts []fact, name string) string {
		for _, f := range facts {
			if f.name == name && f.value != "" {
				return f.value
			}
		}
		return "none"
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(next, before) {
		is, was := value(next, f.name), value(before, f.name)
		if is != was && !seen[f.name] {
			d.add(planChange{Kind: kind, Looser: f.lets, What: fmt.Sprintf("%s: %s will be %s (was %s)", of, f.name, is, was)})
		}
		seen[f.name] = true
	}
}

// recipients compares the trust files: whoever has a new key reads what is for
// the name from now on.
func (d *planDiffer) recipients(before, next *plan) {
	for _, a := range next.Recipients {
		reads := 0
		for _, r := range next.Readers {
			if r.Recipient == a.Recipient {
				reads += r.Points
			}
		}
		k := slices.IndexFunc(before.Recipients, func(b planRecipient) bool { return b.Recipient == a.Recipient })
		if k < 0 {
			d.add(planChange{Kind: changeKey, Looser: reads > 0, What: fmt.Sprintf("new recipient %s, who reads %s", a.Recipient, count(reads, "point")), Who: []string{a.Recipient}})
			continue
		}
		for _, key := range without(a.Keys, before.Recipients[k].Keys) {
			d.add(planChange{
				Kind: changeKey, Looser: true, Who: []string{a.Recipient},
				What: fmt.Sprintf("recipient %s has the new key %s: whoever holds it reads %s", a.Recipient, key, count(reads, "point")),
			})
		}
		for _, key := range without(before.Recipients[k].Keys, a.Keys) {
			d.add(planChange{Kind: changeStricter, What: fmt.Sprintf("recipient %s has the key %s no longer", a.Recipient, key), Who: []string{a.Recipient}})
		}
		if b := before.Recipients[k]; !slices.Equal(a.Only, b.Only) {
			more := len(b.Only) > 0 && (len(a.Only) == 0 || len(without(a.Only, b.Only)) > 0)
			kind := changeStricter
			if more {
				kind = changeReadable
			}
			d.add(planChange{
				Kind: kind, Looser: more, Who: []string{a.Recipient},
				What: fmt.Sprintf("recipient %s may be given what matches %s (was %s)", a.Recipient, cmp.Or(strings.Join(a.Only, ", "), "anything"), cmp.Or(strings.Join(b.Only, ", "), "anything")),
			})
		}
	}
	for _, b := range before.Recipients {
		if !slices.ContainsFunc(next.Recipients, func(a planRecipient) bool { return a.Recipient == b.Recipient }) {
			d.add(planChange{Kind: changeStricter, What: "no recipient " + b.Recipient + " any more", Who: []string{b.Recipient}})
		}
	}
}

// exceptions compares those of the policies, whoever needs them.
func (d *planDiffer) exceptions(before, next *plan) {
	same := func(a, b planException) bool { return a.Allow == b.Allow && slices.Equal(a.Points, b.Points) }
	for _, a := range next.declared {
		k := slices.IndexFunc(before.declared, func(b planException) bool { return same(a, b) })
		name := "exception " + a.Allow + " for " + strings.Join(a.Points, ", ")
		switch {
		case k < 0:
			d.add(planChange{Kind: changeException, Looser: true, What: fmt.Sprintf("new %s until %s (%s): %s need it", name, a.Until, a.Why, count(a.Used, "point"))})
		case a.Until > before.declared[k].Until:
			d.add(planChange{Kind: changeException, Looser: true, What: fmt.Sprintf("%s lasts until %s (was %s)", name, a.Until, before.declared[k].Until)})
		case a.Until < before.declared[k].Until:
			d.add(planChange{Kind: changeStricter, What: fmt.Sprintf("%s ends with %s already (was %s)", name, a.Until, before.declared[k].Until)})
		case a.Why != before.declared[k].Why:
			d.add(planChange{Kind: changeOther, What: fmt.Sprintf("%s is there because %q (was %q)", name, a.Why, before.declared[k].Why)})
		}
	}
	for _, b := range before.declared {
		if !slices.ContainsFunc(next.declared, func(a planException) bool { return same(a, b) }) {
			d.add(planChange{Kind: changeStricter, What: "the exception " + b.Allow + " for " + strings.Join(b.Points, ", ") + " is gone"})
		}
	}
}

// rules compares the rules of the policies, and whose signatures count: also what
// changes no point now opens a way for the next one.
func (d *planDiffer) rules(before, next *plan) {
	say := func(kind string, changes []approval.Change) {
		for _, c := range changes {
			d.add(planChange{Kind: kind, Looser: c.Looser, What: c.Text})
		}
	}
	rules := func(p *plan) *approval.Approval {
		a := approval.OfPolicy(&p.config.Policy, 0)
		a.Exceptions, a.Revision, a.File = nil, 0, [32]byte{} // exceptions have words of their own
		return a
	}
	say(changeRule, approval.Diff(rules(before), rules(next)))
	gateways := func(p *plan) *approval.Approval {
		a := p.config.Trust.Approval()
		a.Recipients, a.Revision, a.File = nil, 0, [32]byte{}
		return a
	}
	say(changeGateway, approval.Diff(gateways(before), gateways(next)))
	if is, was := fmt.Sprint(next.config.Policy.Location), fmt.Sprint(before.config.Policy.Location); is != was {
		d.add(planChange{Kind: changeRule, What: "days end in the time zone " + is + " (was " + was + ")"})
	}
	if next.approvers == before.approvers {
		return
	}
	is, err := approval.ParseSet([]byte(next.approvers))
	if err != nil {
		d.add(planChange{Kind: changeRule, What: "no other approvers are named beside the policy any more, in " + configs.ApproversFile})
		return
	}
	d.add(planChange{Kind: changeRule, Looser: true, What: fmt.Sprintf("%s names who approves from then on: %d of %s", configs.ApproversFile, is.Threshold, strings.Join(is.Names(), ", "))})
}

// uplinks compares where messages go: another place sees what stays visible.
func (d *planDiffer) uplinks(before, next *plan) {
	for _, a := range next.Upstream.Uplinks {
		k := slices.IndexFunc(before.Upstream.Uplinks, func(b planUplink) bool { return b.Uplink == a.Uplink })
		if k < 0 {
			d.add(planChange{Kind: changeUplink, Looser: true, What: strings.TrimSpace("new uplink " + a.Uplink + ": " + a.Kind + ", " + a.To + " " + a.Prefix)})
			continue
		}
		b := before.Upstream.Uplinks[k]
		if a.Kind != b.Kind {
			d.add(planChange{Kind: changeUplink, Looser: true, What: fmt.Sprintf("the uplink %s is %s (was %s)", a.Uplink, a.Kind, b.Kind)})
		}
		d.facts(changeUplink, "uplink "+a.Uplink, b.facts, a.facts)
	}
	names := func(p *plan) (names []string) {
		for _, u := range p.Upstream.Uplinks {
			names = append(names, u.Uplink)
		}
		return names
	}
	is, was := names(next), names(before)
	for _, gone := range without(was, is) {
		d.add(planChange{Kind: changeUplink, What: "no uplink " + gone + " any more"})
	}
	was = slices.DeleteFunc(was, func(s string) bool { return !slices.Contains(is, s) })
	is = slices.DeleteFunc(is, func(s string) bool { return !slices.Contains(was, s) })
	if !slices.Equal(was, is) {
		d.add(planChange{Kind: changeUplink, What: "uplinks are used in another order: " + strings.Join(names(next), ", ")})
	}
}

// gateway compares what the gateway file says of the gateway itself.
func (d *planDiffer) gateway(before, next *plan) {
	b, a := before.config, next.config
	say := func(looser bool, what, is, was string) {
		if is != was {
			d.add(planChange{Kind: changeGateway, Looser: looser, What: fmt.Sprintf("%s: %s (was %s)", what, is, was)})
		}
	}
	say(true, "the gateway's name, in addresses and signatures", a.Gateway, b.Gateway)
	say(a.Metrics.Network == "tcp" && b.Metrics.Network != "tcp" || b.Metrics.Listen == "",
		"metrics are served at", listens(a.Metrics), listens(b.Metrics))
	say(false, "outbox", bounds(a.Outbox), bounds(b.Outbox))
	say(false, "state folder", within(next.folder, a.State), within(before.folder, b.State))
	say(false, "the keystore is opened by", "credential:"+a.Keystore.Credential, "credential:"+b.Keystore.Credential)
}

func listens(m configs.Metrics) string {
	if m.Listen == "" {
		return "nothing"
	}
	return m.Network + ":" + m.Listen
}

func bounds(o configs.Outbox) string {
	age, full := "for any time", "drop-oldest"
	if o.MaxAge > 0 {
		age = "for " + duration(o.MaxAge)
	}
	if o.StopPolling {
		full = "stop-polling"
	}
	return fmt.Sprintf("%d MiB, %s, %s when full", o.MaxSize>>20, age, full)
}
