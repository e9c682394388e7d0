package modbus

import (
	"cmp"
	"slices"
	"time"
)

// Request is one request of the plan: what `fieldseal plan` shows.
type Request struct {
	Table       Table
	First       uint16
	Count       int // registers, or bits of coils and discrete inputs
	Period      time.Duration
	Points      []int    // indexes of the points that it serves, in rising order of address; a request that only reads a counter has none
	ChangesWith *Address // made only when this counter moved; nil: made every period
}

// Requests is the plan of a machine that [Machine.Check] found no problem with:
// every point is in exactly one request. Requests of one period come together,
// the shortest period first.
func (m *Machine) Requests() []Request {
	var out []Request
	for _, j := range m.plan() {
		for _, b := range merge(j.items, m.Reads) {
			out = append(out, b.request(j.period, nil))
		}
		for _, w := range j.watches {
			for _, b := range merge(w.items, m.Reads) {
				out = append(out, b.request(j.period, &w.counter.at))
			}
		}
	}
	return out
}

func (b block) request(period time.Duration, with *Address) Request {
	r := Request{Table: b.table, First: b.first, Count: b.count, Period: period, ChangesWith: with}
	for _, it := range b.items {
		for _, p := range it.points {
			r.Points = append(r.Points, int(p))
		}
	}
	return r
}

// item is what is read in one piece: registers or a bit that one or more points
// lie in, or that a counter is.
type item struct {
	at     Address
	count  int
	points []uint32
	watch  *watch // whose counter this is

	// What the device taught. Owned by the session.
	alone   bool      // not joined to the item before: the device refused both together
	noGap   bool      // not joined over a gap: the device refused the block with it
	refused byte      // the exception it answers with; 0 while it is read
	retry   time.Time // when a refused item is tried again
}

func (it *item) end() int { return int(it.at.Offset) + it.count }

// watch is a counter register with the values that change with it.
type watch struct {
	counter *item
	items   []*item // sorted
	last    uint16  // what the counter was when the items were taken
	known   bool    // last is meaningful
	now     uint16  // what the counter is in this cycle
	read    bool    // now is meaningful
}

// job is what is read at one period of one machine.
type job struct {
	period  time.Duration
	items   []*item // sorted by table and address; read every period
	watches []*watch
	blocks  []block // items merged, without the refused ones
	due     time.Time
}

// block is one request: items that lie together.
type block struct {
	table Table
	first uint16
	count int
	items []*item
}

// count is the number of registers or bits.
func (p *Point) count() int { return p.Type.Registers(p.Bytes) }

// limit is the greatest number of registers or bits in a request.
func (r *Reads) limit(t Table) int {
	n := cmp.Or(r.MaxRegisters, maxRegisters)
	if t.bits() {
		return n * bitsPerRegister
	}
	return n
}

// touches tells whether a run has a forbidden address, and which.
func (r *Reads) touches(t Table, first, count int) (Span, bool) {
	for _, f := range r.Forbidden {
		if f.Table == t && first <= int(f.Last) && first+count > int(f.First) {
			return f, true
		}
	}
	return Span{}, false
}

// plan sorts the points into jobs, the shortest period first.
func (m *Machine) plan() []*job {
	var jobs []*job
	for i := range m.Points {
		p := &m.Points[i]
		k := slices.IndexFunc(jobs, func(j *job) bool { return j.period == p.Period })
		if k < 0 {
			k = len(jobs)
			jobs = append(jobs, &job{period: p.Period})
		}
		j := jobs[k]
		if p.ChangesWith == nil {
			j.items = add(j.items, p.At, p.count(), uint32(i))
			continue
		}
		w := j.watch(*p.ChangesWith)
		w.items = add(w.items, p.At, p.count(), uint32(i))
	}
	for _, j := range jobs {
		sortItems(j.items)
		for _, w := range j.watches {
			sortItems(w.items)
		}
		j.blocks = merge(j.items, m.Reads)
	}
	slices.SortFunc(jobs, func(a, b *job) int { return cmp.Compare(a.period, b.period) })
	return jobs
}

// watch gives the watch of a counter and makes it at first.
func (j *job) watch(counter Address) *watch {
	for _, w := range j.watches {
		if w.counter.at == counter {
			return w
		}
	}
	w := new(watch)
	j.items = add(j.items, counter, 1)
	for _, it := range j.items {
		if it.at == counter && it.count == 1 {
			w.counter, it.watch = it, w
		}
	}
	j.watches = append(j.watches, w)
	return w
}

// add puts points into the item of the same place, or into a new one.
func add(items []*item, at Address, count int, points ...uint32) []*item {
	for _, it := range items {
		if it.at == at && it.count == count {
			it.points = append(it.points, points...)
			return items
		}
	}
	return append(items, &item{at: at, count: count, points: points})
}

func sortItems(items []*item) {
	slices.SortStableFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.at.Table, b.at.Table), cmp.Compare(a.at.Offset, b.at.Offset), cmp.Compare(a.count, b.count))
	})
}

// merge joins sorted items into blocks, leaving out the refused ones. It never
// splits an item and bridges no forbidden and no refused address.
func merge(items []*item, reads Reads) []block {
	var out []block
	barrier := -1 // end of the last refused item of this table
	for k, it := range items {
		if k > 0 && items[k-1].at.Table != it.at.Table {
			barrier = -1
		}
		if it.refused != 0 {
			barrier = max(barrier, it.end())
			continue
		}
		if n := len(out); n > 0 && out[n-1].takes(it, barrier, reads) {
			b := &out[n-1]
			b.items = append(b.items, it)
			b.count = max(b.count, it.end()-int(b.first))
			continue
		}
		out = append(out, block{table: it.at.Table, first: it.at.Offset, count: it.count, items: []*item{it}})
	}
	return out
}

// takes tells whether an item can be joined to the block.
func (b *block) takes(it *item, barrier int, reads Reads) bool {
	if it.at.Table != b.table || it.alone {
		return false
	}
	end := int(b.first) + b.count
	gap := int(it.at.Offset) - end
	if max(end, it.end())-int(b.first) > reads.limit(b.table) {
		return false
	}
	if gap <= 0 {
		return true
	}
	if gap > reads.MaxGap || it.noGap || barrier > end {
		return false
	}
	_, forbidden := reads.touches(b.table, end, gap)
	return !forbidden
}
