package configs

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// said gives what a machine's file says, as it is signed.
func (m *Machine) said() approval.Machine {
	out := approval.Machine{Name: m.Name, Endpoint: m.Endpoint(), Points: make([]approval.Point, len(m.Points))}
	unit := m.Device()
	if m.Modbus != nil {
		out.Parts = registers
		if !isSerial(m.Modbus.Endpoint) {
			out.AnyUnit = []string{"0", "255"}
		}
	}
	if m.CoAP != nil {
		unit = m.CoAP.identity()
	}
	if m.OPCUA != nil { // another server at the same address is another device
		unit = "sha256:" + hex.EncodeToString(m.OPCUA.Endpoint.ServerSHA256[:])
	}
	for i := range m.Points {
		p := &m.Points[i]
		out.Points[i] = approval.Point{Policy: p.Point, Unit: unit, Address: p.At, Type: p.Type, DeviceKey: keyText(p.Guard.DeviceKey), KeyIDs: idTexts(p.Guard.KeyIDs)}
		if m.Modbus != nil && m.Modbus.Points[i].ChangesWith != nil { // when a point is read says something of the register that decides it
			out.Points[i].Type += " changes-with " + m.Modbus.Points[i].ChangesWith.String()
		}
	}
	return out
}

// registers gives the registers or inputs that an address and a type read, and the
// bit of them where it is one.
func registers(address, typ string) (parts []string, bit string) {
	base, bit, _ := strings.Cut(address, ".")
	typ, _, _ = strings.Cut(typ, " ") // and what it changes with
	word, length, _ := strings.Cut(strings.TrimSuffix(typ, "]"), "[")
	at, err := modbus.ParseAddress(base)
	t, typeErr := modbus.ParseType(word)
	if err != nil || typeErr != nil {
		return []string{address}, ""
	}
	size, _ := strconv.Atoi(length)
	for range max(1, t.Registers(size)) {
		parts = append(parts, at.String())
		at.Offset++
	}
	return parts, bit
}

// judged is what was approved of a machine.
type judged struct {
	said     approval.Machine
	whys     []string // why a point is not as the file says; empty where it is
	stricter []string // the level that the file gives it and nobody signed, where that is a stricter one
	listed   []bool   // whether the table that was signed has it, read from there
	signed   int      // so many of them
}

// others counts the points that are not as somebody signed them.
func (j *judged) others() (n int) {
	for i := range j.whys {
		if j.whys[i] != "" || j.stricter[i] != "" {
			n++
		}
	}
	return n
}

// approved is the gateway's name, its policy and what was signed of that; all
// zero where they are not known.
type approved struct {
	gateway  string
	policy   *policy.Policy
	approval *approval.Approval
}

// hold gives the points of a machine the levels that they have once everything
// that nobody signed is gone from them.
func (l *loader) hold(r *machineReader, by approved) {
	n := len(r.m.Points)
	j := &judged{said: r.m.said(), whys: make([]string, n), stricter: make([]string, n), listed: make([]bool, n)}
	l.judged[r] = j
	if l.draft || by.policy == nil {
		return
	}
	points, verdicts := by.approval.Judge(by.gateway, j.said, by.policy)
	for i := range points {
		r.m.Points[i].Point = points[i]
	}
	if by.approval == nil { // that nothing is signed is said of the policy
		return
	}
	table, _ := by.approval.Table(by.gateway)
	for i := range points {
		j.whys[i], j.stricter[i] = verdicts[i].Refused, verdicts[i].Stricter
		if table.Has(&j.said, i) {
			j.listed[i] = true
			j.signed++
		}
	}
}

// rank orders machines whose files contradict each other: what is left out anyway
// takes neither name nor connection from another machine, and what nobody signed
// takes none from one that was signed.
func (l *loader) rank(a, b *machineReader) int {
	if c := cmp.Compare(min(*a.wrong, 1), min(*b.wrong, 1)); c != 0 || *a.wrong > 0 {
		return c
	}
	x, y := l.judged[a], l.judged[b]
	return cmp.Or(cmp.Compare(y.signed, x.signed), cmp.Compare(x.others(), y.others()))
}

// unapproved notes the points that nobody signed as the machine's file has them:
// those that leave otherwise, and those whose label is stricter than anybody asked
// for.
func (d *decisions) unapproved(m *decided) {
	const sign = "raise the policy's revision and have it signed: fieldseal policy sign"
	j := d.l.judged[m.machineReader]
	m.groups(j.whys, func(points []string, why string) {
		d.l.unapproved = append(d.l.unapproved, Unapproved{m.m.Name, slices.Clone(points), why})
		verb, like := " do", "like points that nobody labelled"
		if len(points) == 1 {
			verb = " does"
		}
		if level := d.common(m, points); level != d.policy.Default {
			like = "as " + level
		}
		m.place(points[0], "sensitivity").note(some(points)+verb+" not leave as this file says, but "+like+": "+why, sign)
	})
	m.groups(j.stricter, func(points []string, level string) {
		verb, it := " have", "them"
		if len(points) == 1 {
			verb, it = " has", "it"
		}
		m.place(points[0], "sensitivity").note(some(points)+verb+" level "+quote(level)+", which is stricter than what was signed, and binds nobody who takes the label away again",
			"to keep "+it+" so, "+sign)
	})
}

// groups gathers the points of a machine that have the same said of them.
func (m *decided) groups(said []string, each func(points []string, what string)) {
	groups := map[string][]string{}
	var order []string
	for i, what := range said {
		if what == "" {
			continue
		}
		if groups[what] == nil {
			order = append(order, what)
		}
		groups[what] = append(groups[what], m.points[i].Name)
	}
	for _, what := range order {
		each(groups[what], what)
	}
}

// common gives the level that points have, where it is the same for all of them,
// and else the default.
func (d *decisions) common(m *decided, points []string) string {
	level, wanted := "", make(map[string]bool, len(points))
	for _, name := range points {
		wanted[name] = true
	}
	for i := range m.points {
		if !wanted[m.points[i].Name] {
			continue
		}
		if level != "" && level != m.best[i].Level {
			return d.policy.Default
		}
		level = m.best[i].Level
	}
	return level
}
