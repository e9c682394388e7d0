package modbus

import (
	"slices"
	"sync/atomic"
	"time"
)

const (
	usualBaud  = 19200 // Modbus over Serial Line 1.02, 3.3
	leastBaud  = 300
	mostBaud   = 1_000_000
	lineAnswer = 300 * time.Millisecond // until an answer begins

	mostQuiet  = time.Second
	mostOwed   = 16
	freshQuiet = 50 * time.Millisecond // for what a device server kept while nobody was connected
)

// serial is how long things take on a serial line.
type serial struct {
	char time.Duration // one byte
	gap  time.Duration // the silence between two frames, 3.5 characters
}

// serial gives the timings at the baud rate.
func (s *Spec) serial() serial {
	baud, bits := s.Baud, 11 // start, 8, parity or a second stop bit, stop
	if baud == 0 {
		baud = usualBaud
	}
	if s.Parity == NoParity {
		bits = 10 // the specification asks for a second stop bit then, and most equipment has none
	}
	t := serial{char: time.Duration(bits) * time.Second / time.Duration(baud)}
	// Above 19200 a fixed one (Modbus over Serial Line 1.02, 2.5.1.1).
	t.gap = max(t.char*7/2, 1750*time.Microsecond)
	return t
}

// exchange is how long request and answer keep the line busy, without the time
// that the unit takes between them.
func (t serial) exchange(table Table, count uint16) time.Duration {
	return time.Duration(rtuRequest+rtuAround+table.dataSize(count))*t.char + 2*t.gap
}

// line is a serial line behind a device server. It outlives connections.
//
// An answer on a serial line says which unit it is of and how long it is, not
// which request it is to. What a unit did not answer in time it may answer
// later, and that must not be taken for the answer to another request. So the
// line keeps what its units owe: a request whose answer would look like one that
// is owed is not made, unless it asks for the same. A part of it is asked for
// instead, which differs in length: a unit answers in order, so its answer says
// that none is owed any more. Where no request of a machine differs, only time
// helps: it is left alone until an answer can be thought not to come any more.
type line struct {
	serial
	address string
	timeout time.Duration
	expiry  time.Duration // how late an answer may come
	strays  *atomic.Uint64
	owed    map[uint8][]debt
}

// debt is a request that a unit did not answer.
type debt struct {
	table        Table
	first, count uint16
	until        time.Time // then it is thought not to come any more
}

func newLine(address string, s *Spec, expiry time.Duration, strays *atomic.Uint64) *line {
	return &line{
		serial: s.serial(), address: address, timeout: s.Timeout, expiry: expiry,
		strays: strays, owed: map[uint8][]debt{},
	}
}

// quiet is how long the line has to be silent after an error.
func (l *line) quiet() time.Duration { return min(l.timeout, mostQuiet) }

// cost is what a request that is not answered takes.
func (l *line) cost() time.Duration { return l.timeout + l.quiet() + freshQuiet }

// answersLike tells whether the answers to both look the same.
func (d debt) answersLike(o debt) bool {
	return d.table == o.table && d.table.dataSize(d.count) == d.table.dataSize(o.count)
}

func (d debt) same(o debt) bool {
	return d.table == o.table && d.first == o.first && d.count == o.count
}

// owe notes a request that was not answered. Of many, the newest are kept.
func (l *line) owe(unit uint8, d debt) {
	debts := slices.DeleteFunc(l.owed[unit], d.same)
	if len(debts) == mostOwed {
		debts = slices.Delete(debts, 0, 1)
	}
	d.until = time.Now().Add(l.expiry)
	l.owed[unit] = append(debts, d)
}

// expects tells whether a late answer of the unit may come.
func (l *line) expects(unit uint8) bool {
	now := time.Now()
	return slices.ContainsFunc(l.owed[unit], func(d debt) bool { return now.Before(d.until) })
}

// answered notes an answer that could be to this request alone.
func (l *line) answered(unit uint8, d debt) {
	if !slices.ContainsFunc(l.owed[unit], d.answersLike) {
		delete(l.owed, unit)
	}
}

// mixes gives the time until which the answer to a request could be an answer to
// another one; zero if it cannot.
func (l *line) mixes(unit uint8, d debt) (until time.Time) {
	if l == nil {
		return until
	}
	now := time.Now()
	for _, o := range l.owed[unit] {
		if o.answersLike(d) && !o.same(d) && o.until.After(now) && o.until.After(until) {
			until = o.until
		}
	}
	return until
}

// part gives how many items of a block to ask for by themselves, so that the
// answer looks like none that is owed; 0: ask for the whole.
func (l *line) part(unit uint8, b block) int {
	if l == nil {
		return 0
	}
	debts := l.owed[unit]
	free := func(b block) bool { return !slices.ContainsFunc(debts, b.asDebt().answersLike) }
	if len(debts) == 0 || free(b) {
		return 0
	}
	for k := 1; k < len(b.items); k++ {
		if free(whole(b.items[:k])) {
			return k
		}
	}
	return 0
}

func (b block) asDebt() debt { return debt{table: b.table, first: b.first, count: uint16(b.count)} }

// resume is when a machine may be asked again: at once, or where a request of it
// cannot be told from one that is owed, when that has expired.
func (l *line) resume(m *machine) (at time.Time) {
	if l == nil {
		return at
	}
	for _, j := range m.jobs {
		for _, b := range j.blocks {
			if until := l.mixes(m.spec.UnitID, b.asDebt()); until.After(at) && l.part(m.spec.UnitID, b) == 0 {
				at = until
			}
		}
	}
	return at
}
