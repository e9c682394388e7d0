package approval

import (
	"slices"
	"strings"
)

// place is what two points have in common that read the same. A device that
// proves who it is, by its certificate or a key, is the same by whatever way it is
// reached.
func place(endpoint, unit, address string) [3]string {
	if isIdentity(unit) {
		endpoint = ""
	}
	return [3]string{endpoint, unit, address}
}

// isIdentity tells whether a unit is what a device proves to be, as
// "sha256:…" or "psk:pump-4", rather than a number behind an endpoint.
func isIdentity(unit string) bool { return strings.Contains(unit, ":") }

// isServer tells whether it is a server that its certificate stands for.
func isServer(endpoint, unit string) bool {
	return strings.HasPrefix(unit, "sha256:") && strings.HasPrefix(endpoint, "opc.tcp:")
}

// knows tells whether something was signed of the device that a machine reads, by
// the very name that the machine has for it. Any other name may be one of a device
// that was signed: whoever adds a machine's file also says, by a name of a host or
// by a gateway between, where it leads.
func (t Table) knows(m *Machine) bool {
	for i := range m.Points {
		unit := m.Points[i].Unit
		if i > 0 && unit == m.Points[i-1].Unit { // they have all the same, as a rule
			continue
		}
		own := place(m.Endpoint, unit, "")
		if !slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Unit == unit && place(e.Endpoint, unit, "") == own }) {
			return false
		}
	}
	return true
}

// overlaps finds what was signed of what a point reads, or of a part of it.
type overlaps struct {
	of map[[3]string][]overlap // by device and part; of any device where a machine's is not known
	m  *Machine
}

// everyUnit stands in a key for all units of an endpoint.
const everyUnit = "every"

type overlap struct {
	entry *Entry
	bit   string // of the part; empty where it is all of it
}

func (m *Machine) read(address, typ string) (parts []string, bit string) {
	if m.Parts == nil {
		return []string{address}, ""
	}
	return m.Parts(address, typ)
}

// add takes an entry, for the device that it names or for every one.
func (o *overlaps) add(e *Entry, device bool) {
	parts, bit := o.m.read(e.Address, e.Type)
	for _, part := range parts {
		keys := [][3]string{{"", "", part}}
		if device {
			keys = [][3]string{place(e.Endpoint, e.Unit, part)}
			if !isIdentity(e.Unit) {
				keys = append(keys, [3]string{e.Endpoint, everyUnit, part})
			}
		}
		for _, key := range keys {
			o.of[key] = append(o.of[key], overlap{e, bit})
		}
	}
}

// with gives the entries that read some of the same as a point.
func (o *overlaps) with(pt *Point, device bool) (entries []*Entry) {
	parts, bit := o.m.read(pt.Address, pt.Type)
	for _, part := range parts {
		keys := [][3]string{{"", "", part}}
		if device {
			keys = [][3]string{place(o.m.Endpoint, pt.Unit, part)}
			if slices.Contains(o.m.AnyUnit, pt.Unit) {
				keys = [][3]string{{o.m.Endpoint, everyUnit, part}}
			} else {
				for _, unit := range o.m.AnyUnit {
					keys = append(keys, place(o.m.Endpoint, unit, part))
				}
			}
		}
		for _, key := range keys {
			for _, other := range o.of[key] {
				if (bit == "" || other.bit == "" || bit == other.bit) && !slices.Contains(entries, other.entry) {
					entries = append(entries, other.entry)
				}
			}
		}
	}
	return entries
}
