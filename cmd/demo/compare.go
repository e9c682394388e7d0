package main

import (
	"bytes"
	"math"
	"sort"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/policy"
)

// remembered is how many values of each point the simulated machines remember: half
// an hour at four a second. What is older is counted, and no longer compared.
const remembered = 1 << 13

// arrival is one value as the recipient has it.
type arrival struct {
	time   int64
	value  envelope.Value
	passed bool // as the device gave it out, and not sealed by the gateway
}

// pairs says which arrival is which of the values given out, by their times.
type pairs struct {
	of    []int  // for each value remembered its arrival; -1: it did not come
	lost  uint64 // given out and not there
	twice uint64
	wrong uint64 // another value than was given out at that time, at no such time, or out of order

	changed bool   // a payload that was passed is not what the device gave out
	old     uint64 // arrivals from before what is remembered
	sealed  uint64 // of those, not passed
}

// pair holds what arrived of one point against what its machine gave out. Where
// the protocol has source times they are alike. Otherwise a value arrived after
// the machine made its answer, and before it made the next.
func pair(h sim.History, got []arrival, sourceTimes bool) *pairs {
	p := &pairs{of: make([]int, len(h.Kept))}
	for k := range p.of {
		p.of[k] = -1
	}
	forgotten := h.Total - uint64(len(h.Kept))
	before := map[bool]int64{false: math.MinInt64, true: math.MinInt64}
	for i, a := range got {
		if a.time < before[a.passed] {
			p.wrong++
		}
		before[a.passed] = a.time
		k := p.find(h.Kept, a.time)
		switch {
		case k < 0 && forgotten > 0:
			p.old++
			if !a.passed {
				p.sealed++
			}
		case k < 0 || sourceTimes && h.Kept[k].At.UnixNano() != a.time:
			p.wrong++
			p.changed = p.changed || a.passed
		case p.of[k] >= 0:
			p.twice++
		default:
			p.of[k] = i
			if !same(h.Kept[k].Value, a.value) {
				p.wrong++
				p.changed = p.changed || a.passed
			}
		}
	}
	for _, i := range p.of {
		if i < 0 {
			p.lost++
		}
	}
	p.lost += forgotten - min(forgotten, p.old)
	p.twice += p.old - min(forgotten, p.old)
	return p
}

// find gives the newest of the values that is not younger than the time; of
// several of one time the first that is not paired yet.
func (p *pairs) find(given []sim.Given, time int64) int {
	end := sort.Search(len(given), func(k int) bool { return given[k].At.UnixNano() > time })
	k := end - 1
	for k > 0 && given[k-1].At.Equal(given[end-1].At) {
		k--
	}
	for k >= 0 && k < end-1 && p.of[k] >= 0 {
		k++
	}
	return k
}

// same compares bit by bit. On the wire integers have no sign of their own.
func same(given any, v envelope.Value) bool {
	switch g := given.(type) {
	case bool:
		return v.Kind() == envelope.Bool && v.Bool() == g
	case int64:
		return v.Kind() == envelope.Int && v.Int() == g || v.Kind() == envelope.Uint && g >= 0 && v.Uint() == uint64(g)
	case uint64:
		return v.Kind() == envelope.Uint && v.Uint() == g || v.Kind() == envelope.Int && v.Int() >= 0 && uint64(v.Int()) == g
	case float64:
		return v.Kind() == envelope.Float && math.Float64bits(v.Float()) == math.Float64bits(g)
	case string:
		return v.Kind() == envelope.Text && string(v.Data()) == g
	case []byte:
		return v.Kind() == envelope.Bytes && bytes.Equal(v.Data(), g)
	}
	return false
}

// compare holds what arrived of one machine against what it gave out.
func (out *result) compare(p *plant, r *reader, m *configs.Machine, rules *policy.Policy) {
	machine := p.of(m.Name)
	for _, pt := range m.Points {
		h, got := machine.History(m.Name, pt.Name), r.arrivals[m.Name+"/"+pt.Name]
		found := pair(h, got, m.OPCUA != nil)
		if pt.Name == sim.Counter || pt.Name == sim.PublicCounter {
			found.count(machine.Served(m.Name, pt.Name), got)
		}
		out.given += h.Total
		out.Lost += found.lost
		out.Duplicates += found.twice
		out.wrongValues += found.wrong
		switch {
		case pt.Passthrough != "":
			out.payloads(h, got, found)
		case !isClear(rules, m.Name, pt.Point):
			out.Sealed += h.Total
		}
	}
}

// payloads counts what became of the payloads of one point. One that the gateway
// does not forward it has to seal.
func (out *result) payloads(h sim.History, got []arrival, found *pairs) {
	out.Sealed += found.sealed
	for k, g := range h.Kept {
		i := found.of[k]
		passed := i >= 0 && got[i].passed
		if g.Plain && !passed {
			out.Held++
		}
		if !passed && (g.Plain || i >= 0) {
			out.Sealed++
		}
	}
	out.PassthroughIdentical = out.PassthroughIdentical && !found.changed
}

// count looks at a counter once more: each of its numbers has to come once,
// whatever the times.
func (p *pairs) count(served []uint32, got []arrival) {
	var lost, twice uint64
	seen := make(map[uint64]uint64)
	for _, a := range got {
		seen[a.value.Uint()]++
	}
	for _, n := range served {
		switch times := seen[uint64(n)]; times {
		case 0:
			lost++
		default:
			twice += times - 1
		}
	}
	p.lost, p.twice = max(p.lost, lost), max(p.twice, twice)
}
