package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/integration/sim"
)

func TestPair(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	given := func(seconds ...int64) (h sim.History) {
		for _, s := range seconds {
			h.Total++
			h.Kept = append(h.Kept, sim.Given{At: at(s), Value: uint64(s)})
		}
		return h
	}
	later := func(h sim.History, forgotten uint64) sim.History {
		h.Total += forgotten
		return h
	}
	got := func(seconds ...int64) (all []arrival) {
		for _, s := range seconds {
			all = append(all, arrival{time: at(s).UnixNano(), value: envelope.OfUint(uint64(s))})
		}
		return all
	}
	late := func(all []arrival) []arrival {
		for i := range all {
			all[i].time += int64(time.Millisecond)
		}
		return all
	}
	for name, c := range map[string]struct {
		given              sim.History
		got                []arrival
		exact              bool
		lost, twice, wrong uint64
	}{
		"alike":                             {given(1, 2, 3), got(1, 2, 3), true, 0, 0, 0},
		"a little later":                    {given(1, 2, 3), late(got(1, 2, 3)), false, 0, 0, 0},
		"at a time that the source had not": {given(1, 2, 3), late(got(1, 2, 3)), true, 3, 0, 3},
		"one is not there":                  {given(1, 2, 3), late(got(1, 3)), false, 1, 0, 0},
		"the last is not there":             {given(1, 2, 3), late(got(1, 2)), false, 1, 0, 0},
		"one came twice":                    {given(1, 2, 3), got(1, 2, 2, 3), true, 0, 1, 0},
		"one was given out twice":           {given(1, 2, 2, 3), got(1, 2, 2, 3), true, 0, 0, 0},
		"out of order":                      {given(1, 2, 3), got(1, 3, 2), true, 0, 0, 1},
		"before anything was given out":     {given(2, 3), late(got(1, 2, 3)), false, 0, 0, 1},
		"never given out":                   {given(), got(1), false, 0, 0, 1},
		"from before what is remembered":    {later(given(3, 4), 2), late(got(1, 2, 3, 4)), false, 0, 0, 0},
		"of that one is not there":          {later(given(3, 4), 2), late(got(2, 3, 4)), false, 1, 0, 0},
		"of that one came twice":            {later(given(3, 4), 1), late(got(1, 1, 3, 4)), false, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := pair(c.given, c.got, c.exact)
			assert.Equal(t, []uint64{c.lost, c.twice, c.wrong}, []uint64{p.lost, p.twice, p.wrong}, "lost, twice, wrong")
		})
	}
}

func TestSame(t *testing.T) {
	zero := 0.0
	for _, c := range []struct {
		given any
		value envelope.Value
		same  bool
	}{
		{true, envelope.OfBool(true), true},
		{true, envelope.OfUint(1), false},
		{uint64(7), envelope.OfInt(7), true},
		{uint64(7), envelope.OfFloat(7), false},
		{int64(-7), envelope.OfInt(-7), true},
		{int64(-1), envelope.OfUint(1<<64 - 1), false},
		{0.3, envelope.OfFloat(0.3), true},
		{0.3, envelope.OfFloat(3 * 0.1), true}, // constants are exact
		{zero, envelope.OfFloat(-1 / (1 / zero)), false},
		{"a", envelope.OfText([]byte("a")), true},
		{"a", envelope.OfBytes([]byte("a")), false},
		{[]byte("a"), envelope.OfBytes([]byte("a")), true},
		{nil, envelope.Value{}, false},
	} {
		assert.Equal(t, c.same, same(c.given, c.value), "%v", c.given)
	}
}
