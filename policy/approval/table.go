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
}

// Entry is one point that leaves otherwise than one that nobody labelled.
type Entry struct {
	Machine, Point                string
	Treatment                     policy.Treatment // sealed, clear, passthrough or withheld
	Level                         string
	Endpoint, Unit, Address, Type string
	Format                        string   // of passthrough
	ReadableBy                    []string // of passthrough, sorted
}

// Table lists what a gateway does not send as a point that nobody labelled: the
// points of looser and of stricter levels, and those that pass through as the
// device encrypted them. A table is in the order of machines and points.
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
	slices.SortStableFunc(t.Entries, compare)
	return t
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
		}
		w.line(words...)
	}
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Point, b.Point))
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
		e.Format = pt.Policy.Passthrough
		e.ReadableBy = slices.Clone(pt.Policy.ReadableBy)
		slices.Sort(e.ReadableBy)
		e.ReadableBy = slices.Compact(e.ReadableBy)
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
