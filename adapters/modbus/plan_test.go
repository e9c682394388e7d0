package modbus

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// at makes a point of a mapping line.
func at(address, typ string, period time.Duration) Point {
	a, err := ParseAddress(address)
	if err != nil {
		panic(err)
	}
	t, err := ParseType(typ)
	if err != nil {
		panic(err)
	}
	return Point{Name: address + typ, At: a, Type: t, Bit: -1, Period: period}
}

func span(s string) Span {
	v, err := ParseSpan(s)
	if err != nil {
		panic(err)
	}
	return v
}

func TestRequests(t *testing.T) {
	const fast, slow = 250 * time.Millisecond, time.Second
	text := at("holding/200", "string", slow)
	text.Bytes = 32
	log := at("holding/500", "bytes", slow)
	log.Bytes, log.ChangesWith = 240, &Address{Holding, 499}
	bit0, bit3 := at("holding/121", "bool", slow), at("holding/121", "bool", slow)
	bit0.Bit, bit3.Bit, bit3.Name = 0, 3, "bit3"
	m := Machine{
		Reads: Reads{MaxGap: 2, Forbidden: []Span{span("holding/123")}},
		Points: []Point{
			at("holding/122", "uint16", slow), // 0
			at("holding/100", "float32", fast),
			at("holding/120", "uint16", slow), // 2
			bit0, bit3,
			at("holding/124", "uint16", slow), // 5: the gap is forbidden
			at("holding/127", "int64", slow),  // 6: gap of two
			text, log,
			at("input/12", "int16", slow), // 9
			at("coil/7", "bool", slow), at("coil/9", "bool", slow), at("coil/2006", "bool", slow),
		},
	}
	require.Empty(t, m.Check())
	assert.Equal(t, []Request{
		{Holding, 100, 2, fast, []int{1}, nil},
		{Holding, 120, 3, slow, []int{2, 3, 4, 0}, nil},
		{Holding, 124, 7, slow, []int{5, 6}, nil},
		{Holding, 200, 16, slow, []int{7}, nil},
		{Holding, 499, 1, slow, nil, nil},
		{Input, 12, 1, slow, []int{9}, nil},
		{Coil, 7, 3, slow, []int{10, 11}, nil},
		{Coil, 2006, 1, slow, []int{12}, nil},
		{Holding, 500, 120, slow, []int{8}, &Address{Holding, 499}},
	}, m.Requests())
}

// TestRequestsProperty: every point is in exactly one request that has all of
// its registers, no forbidden address is touched, and limits are kept.
func TestRequestsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := machineOf(t)
		seen := make([]int, len(m.Points))
		for _, r := range m.Requests() {
			end := int(r.First) + r.Count
			limit := m.Reads.MaxRegisters
			if limit == 0 {
				limit = 125
			}
			if r.Table.bits() {
				limit *= 16
			}
			if r.Count < 1 || r.Count > limit || end > 65536 {
				t.Fatalf("request %+v breaks the limit %d", r, limit)
			}
			if f, ok := m.Reads.touches(r.Table, int(r.First), r.Count); ok {
				t.Fatalf("request %+v touches the forbidden %v", r, f)
			}
			// No run of unmapped addresses is longer than max_gap.
			mapped := make([]bool, r.Count)
			for _, i := range r.Points {
				p := m.Points[i]
				seen[i]++
				if p.Period != r.Period || p.At.Table != r.Table || p.At.Offset < r.First || int(p.At.Offset)+p.count() > end {
					t.Fatalf("request %+v does not have all of %+v", r, p)
				}
				if (p.ChangesWith == nil) != (r.ChangesWith == nil) {
					t.Fatalf("request %+v is made at another time than %+v", r, p)
				}
				for k := range p.count() {
					mapped[int(p.At.Offset-r.First)+k] = true
				}
			}
			for _, p := range m.Points { // counters are mapped too
				if c := p.ChangesWith; c != nil && c.Table == r.Table && c.Offset >= r.First && int(c.Offset) < end {
					mapped[c.Offset-r.First] = true
				}
			}
			gap := 0
			for _, is := range mapped {
				if gap++; is {
					gap = 0
				}
				if gap > m.Reads.MaxGap {
					t.Fatalf("request %+v has a gap above %d", r, m.Reads.MaxGap)
				}
			}
		}
		for i, n := range seen {
			if n != 1 {
				t.Fatalf("point %+v is in %d requests", m.Points[i], n)
			}
		}
	})
}

// machineOf draws a machine and leaves out the points that Check refuses.
func machineOf(t *rapid.T) Machine {
	m := Machine{Reads: Reads{
		MaxRegisters: rapid.SampledFrom([]int{0, 125, 60, 16, 4}).Draw(t, "max"),
		MaxGap:       rapid.SampledFrom([]int{0, 0, 1, 8, 40}).Draw(t, "gap"),
	}}
	for range rapid.IntRange(0, 4).Draw(t, "forbidden") {
		first := rapid.Uint16Range(0, 400).Draw(t, "first")
		m.Reads.Forbidden = append(m.Reads.Forbidden, Span{Table(rapid.IntRange(0, 3).Draw(t, "table")), first, first + rapid.Uint16Range(0, 20).Draw(t, "length")})
	}
	base := rapid.SampledFrom([]uint16{0, 65536 - 400}).Draw(t, "base")
	for i := range rapid.IntRange(1, 120).Draw(t, "points") {
		p := Point{
			Name:   string(rune('a'+i/26)) + string(rune('a'+i%26)),
			At:     Address{Table(rapid.IntRange(0, 3).Draw(t, "table")), base + rapid.Uint16Range(0, 399).Draw(t, "offset")},
			Type:   Type(rapid.IntRange(int(Bool), int(Bytes)).Draw(t, "type")),
			Bit:    -1,
			Period: rapid.SampledFrom([]time.Duration{250 * time.Millisecond, time.Second}).Draw(t, "period"),
		}
		if p.At.Table.bits() {
			p.Type = Bool
		} else if p.Type == Bool {
			p.Bit = int8(rapid.IntRange(0, 15).Draw(t, "bit"))
		}
		if p.Type == String || p.Type == Bytes {
			p.Bytes = rapid.IntRange(1, 40).Draw(t, "bytes")
		}
		if rapid.IntRange(0, 9).Draw(t, "watched") == 0 {
			p.ChangesWith = &Address{Holding, base + rapid.Uint16Range(0, 399).Draw(t, "counter")}
		}
		m.Points = append(m.Points, p)
		if len(m.Check()) > 0 {
			m.Points = slices.Delete(m.Points, len(m.Points)-1, len(m.Points))
		}
	}
	return m
}

func TestSchedule(t *testing.T) {
	const period = 250 * time.Millisecond
	base := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		due, now time.Duration
		next     time.Duration
		skipped  uint64
	}{
		"in time":           {0, 3 * time.Millisecond, 250 * time.Millisecond, 0},
		"on the border":     {0, 250 * time.Millisecond, 500 * time.Millisecond, 0},
		"one skipped":       {0, 300 * time.Millisecond, 500 * time.Millisecond, 1},
		"four skipped":      {0, 1100 * time.Millisecond, 1250 * time.Millisecond, 4},
		"unaligned start":   {100 * time.Millisecond, 103 * time.Millisecond, 250 * time.Millisecond, 0},
		"timer early":       {250 * time.Millisecond, 249999 * time.Microsecond, 500 * time.Millisecond, 0},
		"clock jumped back": {time.Hour, time.Millisecond, 250 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			j := job{period: period, due: base.Add(c.due)}
			skipped := j.schedule(base.Add(c.now))
			assert.Equal(t, c.skipped, skipped)
			assert.Equal(t, c.next, j.due.Sub(base))
		})
	}
}

func TestCheck(t *testing.T) {
	const s = time.Second
	with := func(p Point, f func(*Point)) Point { f(&p); return p }
	bit := func(address string, b int8) Point {
		return with(at(address, "bool", s), func(p *Point) { p.Bit, p.Name = b, p.Name+string(rune('a'+b)) })
	}
	pattern := func(u uint64) *uint64 { return &u }
	for name, c := range map[string]struct {
		m    Machine
		want map[string]string // key → part of the text; empty: nothing is wrong
	}{
		"fine":                {Machine{Points: []Point{at("40101", "float32", s), at("coil/7", "bool", s), bit("holding/121", 0), bit("holding/121", 15), at("holding/121", "uint16", s)}}, nil},
		"same address":        {Machine{Points: []Point{at("40101", "float32", s), at("40101", "uint16", s)}}, nil},
		"bool of a register":  {Machine{Points: []Point{at("holding/1", "bool", s)}}, map[string]string{"bit": "needs a bit"}},
		"bit 16":              {Machine{Points: []Point{bit("holding/1", 16)}}, map[string]string{"bit": "needs a bit"}},
		"number of a coil":    {Machine{Points: []Point{at("coil/1", "int16", s)}}, map[string]string{"type": "one bit"}},
		"bit of a coil":       {Machine{Points: []Point{bit("coil/1", 2)}}, map[string]string{"bit": "no bits"}},
		"bit of a number":     {Machine{Points: []Point{with(at("holding/1", "uint16", s), func(p *Point) { p.Bit = 0 })}}, map[string]string{"bit": "type bool"}},
		"no type":             {Machine{Points: []Point{{Name: "x", Bit: -1, Period: s}}}, map[string]string{"type": "no type"}},
		"no table":            {Machine{Points: []Point{{Name: "x", At: Address{Table: 9}, Type: Int16, Bit: -1, Period: s}}}, map[string]string{"at": "table"}},
		"no name":             {Machine{Points: []Point{{Type: Int16, Bit: -1, Period: s}}}, map[string]string{"name": "no name"}},
		"twice":               {Machine{Points: []Point{at("holding/1", "int16", s), at("holding/1", "int16", s)}}, map[string]string{"name": "twice"}},
		"period":              {Machine{Points: []Point{at("holding/1", "int16", 9*time.Millisecond)}}, map[string]string{"poll": "10ms"}},
		"invert":              {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.Invert = true })}}, map[string]string{"invert": "inverse"}},
		"order":               {Machine{Points: []Point{with(at("holding/1", "float32", s), func(p *Point) { p.Order = order("GHEFCDAB") })}}, map[string]string{"order": "8 bytes"}},
		"no length":           {Machine{Points: []Point{at("holding/1", "string", s)}}, map[string]string{"bytes": "missing"}},
		"length of a number":  {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.Bytes = 2 })}}, map[string]string{"bytes": "fixed"}},
		"too long":            {Machine{Points: []Point{with(at("holding/1", "bytes", s), func(p *Point) { p.Bytes = 251 })}}, map[string]string{"bytes": "126 registers"}},
		"above max_registers": {Machine{Reads: Reads{MaxRegisters: 2}, Points: []Point{at("holding/1", "int64", s)}}, map[string]string{"bytes": "at most 2"}},
		"end":                 {Machine{Points: []Point{at("holding/65535", "int32", s)}}, map[string]string{"at": "65535"}},
		"last":                {Machine{Points: []Point{at("holding/65534", "int32", s)}}, nil},
		"forbidden":           {Machine{Reads: Reads{Forbidden: []Span{span("holding/2-9")}}, Points: []Point{at("holding/1", "int32", s)}}, map[string]string{"at": "forbidden holding/2-9"}},
		"other table":         {Machine{Reads: Reads{Forbidden: []Span{span("input/2-9")}}, Points: []Point{at("holding/1", "int32", s)}}, nil},
		"overlap":             {Machine{Points: []Point{at("holding/11", "uint16", s), at("holding/10", "float32", s)}}, map[string]string{"at": "lies within holding/10float32"}},
		"overlap far":         {Machine{Points: []Point{at("holding/10", "float64", s), at("holding/11", "uint16", s), at("holding/13", "uint16", s)}}, map[string]string{"at": "lies within holding/10float64"}},
		"overlap of periods":  {Machine{Points: []Point{at("holding/10", "float32", s), at("holding/11", "uint16", 2*s)}}, map[string]string{"at": "lies within"}},
		"scale of a text":     {Machine{Points: []Point{with(at("holding/1", "string", s), func(p *Point) { p.Bytes, p.Scale, p.Valid, p.Invalid = 2, &Scale{Factor: 1}, &Range{}, pattern(1) })}}, map[string]string{"scale": "string", "valid": "string", "invalid": "string"}},
		"scale 0":             {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.Scale = &Scale{} })}}, map[string]string{"scale": "no line"}},
		"invalid too wide":    {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.Invalid = pattern(0x10000) })}}, map[string]string{"invalid": "wider"}},
		"valid reversed":      {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.Valid = &Range{2, 1} })}}, map[string]string{"valid": "no raw value"}},
		"valid impossible":    {Machine{Points: []Point{with(at("holding/1", "uint16", s), func(p *Point) { p.Valid = &Range{-9, -1} })}}, map[string]string{"valid": "no raw value"}},
		"counter of coils":    {Machine{Points: []Point{with(at("holding/1", "int16", s), func(p *Point) { p.ChangesWith = &Address{Coil, 1} })}}, map[string]string{"changes_with": "no register"}},
		"counter inside":      {Machine{Points: []Point{with(at("holding/1", "int32", s), func(p *Point) { p.ChangesWith = &Address{Holding, 2} })}}, map[string]string{"changes_with": "in the value"}},
		"counter forbidden":   {Machine{Reads: Reads{Forbidden: []Span{span("input/2")}}, Points: []Point{with(at("holding/1", "int32", s), func(p *Point) { p.ChangesWith = &Address{Input, 2} })}}, map[string]string{"changes_with": "forbidden"}},
		"limits":              {Machine{Reads: Reads{MaxRegisters: 126, MaxGap: -1, Pause: -1}}, map[string]string{"reads": ""}},
		"pauses":              {Machine{Reads: Reads{Pause: 20 * time.Millisecond}, Points: []Point{at("holding/1", "int16", 30*time.Millisecond), at("holding/9", "int16", 30*time.Millisecond)}}, map[string]string{"reads": "133 %"}},
	} {
		t.Run(name, func(t *testing.T) {
			found := c.m.Check()
			if len(c.want) == 0 {
				assert.Empty(t, found)
			}
			keys := map[string]bool{}
			for _, p := range found {
				keys[p.Key] = true
				assert.Contains(t, p.What+p.Instead, c.want[p.Key], "%+v", p)
			}
			for key := range c.want {
				assert.True(t, keys[key], key)
			}
			assert.Len(t, keys, len(c.want), "%+v", found)
		})
	}
}

func TestSpecCheck(t *testing.T) {
	for url, want := range map[string]string{
		"tcp://10.20.3.13:502": "", "tcp://plc-7": "", "tcp://[fe80::1]:502": "", "tcp://plc/": "",
		"tls://plc": "not honoured yet", "rtu:///dev/ttyUSB0": "not honoured yet", "rtu-tcp://moxa:4001": "",
		"10.20.3.13": "no scheme", "10.20.3.13:502": "no scheme", "://plc": "no URL", "http://plc": `no scheme "http"`, "tcp://": "no host", "tcp://plc:0": "port",
		"tcp://plc:70000": "port", "tcp://a@plc": "more than", "tcp://plc/x": "more than", "tcp://plc:x": "no URL", "": "no scheme",
	} {
		found := (&Spec{URL: url}).Check()
		if want == "" {
			assert.Empty(t, found, url)
			continue
		}
		if assert.Len(t, found, 1, url) {
			assert.Contains(t, found[0].What, want)
			assert.Equal(t, "connect", found[0].Key)
		}
	}
	assert.Len(t, (&Spec{URL: "tcp://x", Timeout: -1}).Check(), 1)
	_, address, _ := (&Spec{URL: "tcp://[fe80::1]"}).endpoint()
	assert.Equal(t, "[fe80::1]:502", address)
}
