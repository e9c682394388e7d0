package approval

import (
	"cmp"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

// Machine is what a machine's file says, as far as it is approved.
type Machine struct {
	Name     string
	Endpoint string // where it is reached, written in one way: "tcp://10.20.3.13:502"
	Points   []Point
	// Parts says what an address and a type of this machine's protocol read: the
	// parts that another point may read too, and which bit of them, where it is
	// but one. Nil: nothing but the address itself.
	Parts func(address, typ string) (parts []string, bit string)
	// AnyUnit are the units behind the endpoint that may be any of the others: "0"
	// and "255" of Modbus TCP.
	AnyUnit []string
}

// Point is one point of a machine's file.
type Point struct {
	Policy policy.Point
	// What is read, written in one way: the device behind the endpoint ("1";
	// empty where there is none), the very register, bit, node or field
	// ("holding/121.3"), and the type with its size and what else decides when it
	// is read ("uint16", "bytes[240] changes-with holding/499"). Address may be
	// more exact than Policy.Address, which only groups.
	Unit, Address, Type string
	// What its payloads are to be, beyond the format, where the device encrypts
	// them: the key that signs them ("ed25519:BASE64"; empty: none is known) and
	// the names of the keys that they are encrypted with ("0x6b31"; none: any).
	DeviceKey string
	KeyIDs    []string
}

// Entry is one point that leaves otherwise than one that nobody labelled.
type Entry struct {
	Machine, Point                string
	Treatment                     policy.Treatment // sealed, clear, passthrough or withheld
	Level                         string
	Endpoint, Unit, Address, Type string
	Format                        string   // of passthrough
	ReadableBy                    []string // of passthrough, sorted
	DeviceKey                     string   // of passthrough; empty: signatures are not looked at
	KeyIDs                        []string // of passthrough, sorted; none: any key
	Wrap                          bool     // of passthrough: sealed again
}

// Table lists what a gateway does not send as a point that nobody labelled: the
// points of looser and of stricter levels, those that pass through as the device
// encrypted them, and those that read what is stricter in another device: that a
// device is another one is signed too. A table is in the order of machines and
// points.
type Table struct {
	Gateway string
	Entries []Entry
}

// Resolve gives the table of a gateway's machines under a policy. It takes the
// best connection there is: a weaker one only withholds more.
func Resolve(gateway string, machines []Machine, p *policy.Policy) Table {
	t := Table{Gateway: gateway}
	for i := range machines {
		m := &machines[i]
		for k, d := range compile(p, m.Name, labels(m)) {
			if d.Treatment == policy.Passed || d.Level != p.Default {
				t.Entries = append(t.Entries, entry(m, k, d))
			}
		}
	}
	t.Entries = append(t.Entries, t.others(machines, p)...)
	slices.SortStableFunc(t.Entries, compare)
	return t
}

// others gives the points at the default of devices of which nothing else is in
// the table, where they read what is stricter in another one. Without a signature
// they would be held at that level: see [Approval.Judge].
func (t Table) others(machines []Machine, p *policy.Policy) (entries []Entry) {
	for i := range machines {
		m := &machines[i]
		if t.knows(m) {
			continue
		}
		at := overlaps{of: map[[3]string][]overlap{}, m: m}
		for k := range t.Entries {
			if e := &t.Entries[k]; rank(p, e.Level) > rank(p, p.Default) {
				at.add(e, false)
			}
		}
		for k, d := range compile(p, m.Name, labels(m)) {
			if d.Treatment != policy.Passed && d.Level == p.Default && len(at.with(&m.Points[k], false)) > 0 {
				entries = append(entries, entry(m, k, d))
			}
		}
	}
	return entries
}

func (t Table) write(w *writer) {
	w.line("gateway", plain(t.Gateway))
	for i := range t.Entries {
		e := &t.Entries[i]
		words := []string{
			"point", plain(e.Machine + "/" + e.Point), e.Treatment.String(), attr("level", e.Level),
			attr("endpoint", e.Endpoint), attr("unit", e.Unit), attr("address", e.Address), attr("type", e.Type),
		}
		if e.Treatment == policy.Passed {
			words = append(words, attr("format", e.Format), list("readable-by", e.ReadableBy))
			if e.DeviceKey != "" {
				words = append(words, attr("device-key", e.DeviceKey))
			}
			if len(e.KeyIDs) > 0 {
				words = append(words, list("key-ids", e.KeyIDs))
			}
			if e.Wrap {
				words = append(words, "wrap=yes")
			}
		}
		w.line(words...)
	}
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Point, b.Point))
}

// Has tells whether a point of a machine is in the table, read from where that
// says.
func (t Table) Has(m *Machine, i int) bool {
	e, ok := t.find(m.Name, m.Points[i].Policy.Name)
	return ok && moved(m, i, &e) == ""
}

// find gives the entry of a point.
func (t Table) find(machine, name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(t.Entries, Entry{Machine: machine, Point: name}, compare)
	if !ok {
		return Entry{}, false
	}
	return t.Entries[i], true
}

func entry(m *Machine, i int, d policy.Decision) Entry {
	pt := &m.Points[i]
	e := Entry{
		Machine: m.Name, Point: pt.Policy.Name, Treatment: d.Treatment, Level: d.Level,
		Endpoint: m.Endpoint, Unit: pt.Unit, Address: pt.Address, Type: pt.Type,
	}
	if d.Treatment == policy.Passed {
		e.Format, e.ReadableBy = pt.Policy.Passthrough, sorted(pt.Policy.ReadableBy)
		e.DeviceKey, e.KeyIDs, e.Wrap = pt.DeviceKey, sorted(pt.KeyIDs), d.Wrap
	}
	return e
}

func labels(m *Machine) []policy.Point {
	points := make([]policy.Point, len(m.Points))
	for i := range m.Points {
		points[i] = m.Points[i].Policy
	}
	return points
}

// compile decides over the best connection. No exception bears on that, so the
// time does not matter.
func compile(p *policy.Policy, machine string, points []policy.Point) []policy.Decision {
	return p.Compile(machine, points, point.Encrypted, time.Time{}).Decisions
}

// rank gives the place of a level in a policy. One that it does not know is
// stricter than all.
func rank(p *policy.Policy, level string) int {
	i := slices.IndexFunc(p.Levels, func(l policy.Level) bool { return l.Name == level })
	if i < 0 {
		return len(p.Levels)
	}
	return i
}
