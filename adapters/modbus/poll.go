package modbus

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const (
	maxSearch = 64 // requests of one cycle that look for refused addresses
	maxRetry  = 8  // refused addresses tried again in one cycle
)

// poll reads one job, hands its samples over and sets when it is due again.
func (s *session) poll(m *machine, j *job) {
	err := s.cycle(m, j)
	if m.changed {
		j.blocks, m.changed = merge(j.items, m.spec.Reads), false
	}
	m.deliver()
	now := time.Now()
	m.counters.overruns.Add(j.schedule(now))
	var f *fault
	if errors.As(err, &f) {
		s.failed(m, f)
	}
}

// schedule sets the next wall-clock multiple of the period as due, and gives
// how many were skipped because the job began or lasted too long.
func (j *job) schedule(now time.Time) (skipped uint64) {
	if late := now.Sub(j.due); late > j.period {
		skipped = uint64(late / j.period)
	}
	before := j.due
	j.due = now.Add(j.period - time.Duration(now.UnixNano()%int64(j.period)))
	if j.due.Sub(before).Abs() < j.period/100 {
		j.due = j.due.Add(j.period) // the timer was early, or the clock is being slewed
	}
	return skipped
}

// cycle reads all that is due of one job. An exception concerns its block; the
// others go on.
func (s *session) cycle(m *machine, j *job) error {
	m.budget = maxSearch
	for _, w := range j.watches {
		w.read = false
	}
	for _, b := range j.blocks {
		if _, err := s.read(m, b); err != nil {
			return err
		}
	}
	if err := s.retry(m, j); err != nil {
		return err
	}
	for _, w := range j.watches {
		if err := s.follow(m, w); err != nil {
			return err
		}
	}
	return nil
}

// read reads a block into samples. What the device refuses is searched for
// within the block and left out; refused is how many items that were.
func (s *session) read(m *machine, b block) (refused int, err error) {
	if k := s.line.part(m.spec.UnitID, b); k > 0 {
		refused, err = s.read(m, whole(b.items[:k]))
		if err != nil {
			return refused, err
		}
		n, err := s.read(m, whole(b.items[k:]))
		return refused + n, err
	}
	a, err := s.request(m, b.table, b.first, b.count)
	if err == nil {
		m.take(a, b)
		return 0, nil
	}
	var code exception
	switch {
	case !errors.As(err, &code):
		return 0, err
	case code == illegalAddress || code == illegalValue:
		return s.search(m, b, code)
	case code.lasting():
		for _, it := range b.items {
			s.refuse(m, it, code)
		}
		return len(b.items), nil
	}
	m.bad(b.items, code.quality(), s.now())
	return 0, nil
}

// search halves a refused block until what is refused stands alone.
func (s *session) search(m *machine, b block, code exception) (refused int, err error) {
	if len(b.items) == 1 {
		s.refuse(m, b.items[0], code)
		return 1, nil
	}
	m.changed = true
	if m.budget -= 2; m.budget < 0 {
		// The next cycle goes on from here.
		b.items[0].alone = true
		m.bad(b.items, code.quality(), s.now())
		return 0, nil
	}
	if parts := b.withoutGaps(); len(parts) > 1 {
		for _, part := range parts {
			n, err := s.read(m, part)
			if refused += n; err != nil {
				return refused, err
			}
		}
		return refused, nil
	}
	half := len(b.items) / 2
	for _, items := range [][]*item{b.items[:half], b.items[half:]} {
		n, err := s.read(m, whole(items))
		if refused += n; err != nil {
			return refused, err
		}
	}
	if refused == 0 {
		// Each half is fine and both together are not: the device's own limit,
		// or a border between two of its areas.
		b.items[half].alone = true
	}
	return refused, nil
}

// whole is the block of just these sorted items.
func whole(items []*item) block {
	b := block{table: items[0].at.Table, first: items[0].at.Offset, items: items}
	for _, it := range items {
		b.count = max(b.count, it.end()-int(b.first))
	}
	return b
}

// withoutGaps cuts a refused block at the gaps that nobody mapped, for good:
// they are the likeliest to be refused.
func (b block) withoutGaps() []block {
	var parts []block
	from, end := 0, b.items[0].end()
	for k, it := range b.items {
		if int(it.at.Offset) > end {
			it.noGap = true
			parts = append(parts, whole(b.items[from:k]))
			from = k
		}
		end = max(end, it.end())
	}
	return append(parts, whole(b.items[from:]))
}

// refuse leaves an item out of its block and says so.
func (s *session) refuse(m *machine, it *item, code exception) {
	first := it.refused == 0
	it.refused, it.retry = byte(code), time.Now().Add(s.retryRefused)
	m.changed = true
	m.bad([]*item{it}, code.quality(), s.now())
	if first {
		m.counters.refused.Add(1)
	}
	for _, p := range it.everyPoint() {
		m.describe(p, "the device answers "+code.Error()+" at "+it.at.String())
		if first {
			s.log.Warn("the device refuses a point", "machine", m.name, "point", m.spec.Points[p].Name, "at", it.at.String(), "answer", code.Error())
		}
	}
}

// everyPoint gives the points of an item, and those that change with it.
func (it *item) everyPoint() []uint32 {
	if it.watch == nil {
		return it.points
	}
	all := slices.Clone(it.points)
	for _, w := range it.watch.items {
		all = append(all, w.points...)
	}
	return all
}

// retry tries a few of the refused items again.
func (s *session) retry(m *machine, j *job) error {
	if m.counters.refused.Load() == 0 {
		return nil
	}
	left, now := maxRetry, time.Now()
	for _, it := range j.items {
		if it.refused == 0 || it.retry.After(now) || left == 0 {
			continue
		}
		left--
		if err := s.again(m, it); err != nil {
			return err
		}
	}
	for _, w := range j.watches {
		for _, it := range w.items {
			if it.refused != 0 && !it.retry.After(now) && w.read && left > 0 {
				left--
				w.known = false
				if err := s.again(m, it); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// again reads one refused item.
func (s *session) again(m *machine, it *item) error {
	mark := len(m.samples)
	n, err := s.read(m, whole([]*item{it}))
	if err != nil || n > 0 {
		return err
	}
	it.refused = 0
	m.changed = true
	m.counters.refused.Add(^uint64(0))
	for _, p := range it.everyPoint() {
		m.describe(p, "")
	}
	if m.changesWith(it) {
		m.samples = m.samples[:mark] // follow reads it between two looks at the counter
	}
	return nil
}

// changesWith tells whether an item's points have a counter.
func (m *machine) changesWith(it *item) bool {
	return len(it.points) > 0 && m.spec.Points[it.points[0]].ChangesWith != nil
}

// follow reads what changes with a counter that moved, and takes it only if the
// counter did not move meanwhile: otherwise the next cycle tries again.
func (s *session) follow(m *machine, w *watch) error {
	if !w.read || w.known && w.now == w.last {
		return nil
	}
	mark := len(m.samples)
	for _, b := range merge(w.items, m.spec.Reads) {
		if _, err := s.read(m, b); err != nil {
			m.samples = m.samples[:mark]
			return err
		}
	}
	a, err := s.request(m, w.counter.at.Table, w.counter.at.Offset, 1)
	var code exception
	if err != nil && !errors.As(err, &code) {
		m.samples = m.samples[:mark]
		return err
	}
	if err == nil && binary.BigEndian.Uint16(a.wire) == w.now {
		w.last, w.known = w.now, true
		return nil
	}
	m.samples = m.samples[:mark]
	m.counters.torn.Add(1)
	for _, it := range w.items {
		if it.refused != 0 {
			m.bad([]*item{it}, exception(it.refused).quality(), s.now())
		}
	}
	return nil
}

// take decodes a block into samples.
func (m *machine) take(a answer, b block) {
	at := a.at.UnixNano()
	for _, it := range b.items {
		from := int(it.at.Offset) - int(b.first)
		if b.table.bits() {
			for _, p := range it.points {
				m.samples = append(m.samples, point.Sample{Point: p, Time: at, Value: m.decoders[p].ofBit(a.bits[from])})
			}
			continue
		}
		wire := a.wire[2*from : 2*(from+it.count)]
		if w := it.watch; w != nil {
			w.now, w.read = binary.BigEndian.Uint16(wire), true
		}
		for _, p := range it.points {
			sample := point.Sample{Point: p, Time: at}
			sample.Value, sample.Quality, m.scratch = m.decoders[p].decode(wire, m.scratch)
			m.samples = append(m.samples, sample)
		}
	}
}
