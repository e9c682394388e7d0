package approval

import "slices"

// gateways compares whose signatures receivers accept.
func (d *differ) gateways() {
	for _, g := range d.next.Gateways {
		i := slices.IndexFunc(d.old.Gateways, func(o Gateway) bool { return o.Name == g.Name })
		if i < 0 {
			d.looser("gateway %s: its signatures count until %s, made with %s", g.Name, g.Until, g.Key)
			continue
		}
		o := d.old.Gateways[i]
		if g.Key != o.Key {
			d.looser("gateway %s: signs with %s (was %s)", g.Name, g.Key, o.Key)
		}
		if g.Until != o.Until {
			d.add(g.Until > o.Until, "gateway %s: its signatures count until %s (was %s)", g.Name, g.Until, o.Until)
		}
	}
	for _, o := range d.old.Gateways {
		if !slices.ContainsFunc(d.next.Gateways, func(g Gateway) bool { return o.Name == g.Name }) {
			d.same("gateway %s: removed, its signatures count no longer", o.Name)
		}
	}
}

// recipients compares who can open what is sealed for a name.
func (d *differ) recipients() {
	for _, r := range d.next.Recipients {
		i := slices.IndexFunc(d.old.Recipients, func(o Recipient) bool { return o.Name == r.Name })
		if i < 0 {
			d.looser("recipient %s: new, with %s, for %s", r.Name, keys(r.Keys), limit(r.Only))
			continue
		}
		o := d.old.Recipients[i]
		if added := without(r.Keys, o.Keys); len(added) > 0 {
			d.looser("recipient %s: %s can open what is sealed from now on", r.Name, keys(added))
		}
		if gone := without(o.Keys, r.Keys); len(gone) > 0 {
			d.same("recipient %s: %s can no longer open what is sealed from now on", r.Name, keys(gone))
		}
		if !slices.Equal(o.Only, r.Only) {
			looser := len(o.Only) > 0 && (len(r.Only) == 0 || len(without(r.Only, o.Only)) > 0)
			d.add(looser, "recipient %s: for %s (was for %s)", r.Name, limit(r.Only), limit(o.Only))
		}
	}
	for _, o := range d.old.Recipients {
		if !slices.ContainsFunc(d.next.Recipients, func(r Recipient) bool { return o.Name == r.Name }) {
			d.same("recipient %s: removed", o.Name)
		}
	}
}

func keys(digests []string) string {
	if len(digests) == 0 {
		return "no key"
	}
	if len(digests) == 1 {
		return "the key " + digests[0]
	}
	return "the keys " + and(digests)
}

func limit(only []string) string {
	if len(only) == 0 {
		return "all machines"
	}
	return and(only) + " only"
}
