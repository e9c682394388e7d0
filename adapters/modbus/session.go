package modbus

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// session is the goroutine that owns the endpoint: nobody else touches the
// client or sets its unit id.
type session struct {
	*Source
	ctx      context.Context
	machines []*machine // adopted
	timer    *time.Timer

	line     *line  // nil: Modbus TCP
	client   client // nil: not connected
	conn     uint64 // number of the connection
	answered bool   // it brought an answer
	silent   bool   // the one before was given up for one unit's sake: the others need no fresh read

	down   *fault // the endpoint cannot be connected to; nil: it can, or nobody tried
	redial *backoff.ExponentialBackOff
	dialAt time.Time
}

func newSession(ctx context.Context, s *Source) *session {
	n := &session{Source: s, ctx: ctx, redial: s.newWait()}
	if s.rtu {
		n.line = newLine(s.address, &s.spec, s.owedFor, &s.strays)
	}
	return n
}

// run polls what is due until ctx ends.
func (s *session) run() {
	s.timer = time.NewTimer(0)
	defer s.timer.Stop()
	defer s.close()
	for s.ctx.Err() == nil {
		s.reconcile()
		m, j := s.next()
		switch {
		case m == nil:
			s.close() // equipment takes few connections
			s.sleep(time.Hour)
		case time.Until(j.due) > 0:
			s.sleep(time.Until(j.due))
		default:
			s.guard(m, j)
		}
	}
}

// sleep waits for the time, a change of machines or the end of ctx.
func (s *session) sleep(d time.Duration) {
	s.timer.Reset(d)
	select {
	case <-s.timer.C:
	case <-s.changed:
	case <-s.ctx.Done():
	}
}

// reconcile takes over which machines are attached.
func (s *session) reconcile() {
	s.mu.Lock()
	if slices.Equal(s.machines, s.Source.machines) {
		s.mu.Unlock()
		return
	}
	s.machines = slices.Clone(s.Source.machines)
	s.mu.Unlock()
	for _, m := range s.machines {
		if m.run != nil {
			continue
		}
		m.adopt(s.ctx)
		m.refresh(time.Now())
		if s.down != nil {
			s.lost(m, s.down)
			m.refresh(s.dialAt)
		}
	}
}

// next is the job that is due first, in the order of Attach among equals.
func (s *session) next() (*machine, *job) {
	var first *job
	var of *machine
	for _, m := range s.machines {
		for _, j := range m.jobs {
			if first == nil || j.due.Before(first.due) {
				of, first = m, j
			}
		}
	}
	return of, first
}

// guard polls, and makes a panic the fault of the machine at which it happened:
// neither the process nor the other machines pay for it.
func (s *session) guard(m *machine, j *job) {
	defer func() {
		if r := recover(); r != nil {
			// Neither the panic's text nor arguments of a stack trace, which
			// could hold a value.
			s.log.Error("internal error while polling", "machine", m.name, "panic", fmt.Sprintf("%T", r), "at", frames())
			m.samples, m.scratch = m.samples[:0], m.scratch[:0]
			s.close()
			s.failed(m, &fault{quality: point.BadCommunicationError, why: "internal error, see the log"})
		}
	}()
	s.poll(m, j)
}

// frames names the functions on the stack above a panic.
func frames() []string {
	var pc [16]uintptr
	var out []string
	next := runtime.CallersFrames(pc[:runtime.Callers(3, pc[:])])
	for {
		f, more := next.Next()
		out = append(out, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return out
		}
	}
}

// connect makes a fresh client unless there is one.
func (s *session) connect() error {
	if s.client != nil {
		return nil
	}
	client, err := s.dial()
	if err != nil {
		return dialFault(err)
	}
	s.client, s.answered, s.down = client, false, nil
	s.conn++
	s.redial.Reset()
	if s.conn > 1 {
		s.reconnects.Add(1)
	}
	if !s.silent {
		for _, m := range s.machines {
			if m.up {
				m.refresh(time.Now())
			}
		}
	}
	s.silent = false
	return nil
}

func (s *session) dial() (client, error) {
	if s.line != nil {
		return s.line.dial(s.ctx)
	}
	return dialTCP(s.address, s.spec.Timeout)
}

// close closes the client. A client is never opened again.
func (s *session) close() {
	if s.client != nil {
		s.client.close()
		s.client = nil
	}
}

// giveUp is close after an error.
func (s *session) giveUp() {
	if s.client != nil {
		s.client.giveUp()
		s.client = nil
	}
}

// failed reacts to a fault: what it concerns is down, and tried again later.
func (s *session) failed(m *machine, f *fault) {
	if !f.endpoint {
		s.silent = s.client == nil
		s.lost(m, f)
		at := time.Now().Add(s.probeWait(m))
		if resume := s.line.resume(m); resume.After(at) {
			at = resume
		}
		m.refresh(at)
		return
	}
	s.silent = false
	s.down, s.dialAt = f, time.Now().Add(s.redial.NextBackOff())
	for _, m := range s.machines {
		s.lost(m, f)
		m.refresh(s.dialAt)
	}
}

// probeWait is how long a machine that does not answer is left alone. Where
// others behind the endpoint do answer, the silent ones together cost them at
// most a tenth of the time in the long run, however many they are.
func (s *session) probeWait(m *machine) time.Duration {
	wait := m.wait.NextBackOff()
	silent := 0
	for _, o := range s.machines {
		if o.told && !o.up {
			silent++
		}
	}
	cost := s.spec.Timeout
	if s.line != nil {
		cost = s.line.cost()
	}
	if lost := time.Duration(silent) * cost; silent < len(s.machines) && lost > s.maxWait/10 {
		wait = time.Duration(float64(wait) * float64(lost) / float64(s.maxWait/10))
	}
	return wait
}

// lost tells a machine's sink once that the machine is down: the state, and one
// bad sample for each point.
func (s *session) lost(m *machine, f *fault) {
	if m.told && !m.up {
		if m.why != f.why {
			m.why = f.why
			m.link(s.address)
		}
		return
	}
	m.up, m.why, m.since = false, f.why, s.now()
	s.log.Warn("machine is down", "machine", m.name, "why", f.why)
	m.link(s.address)
	at := s.now().UnixNano()
	for i := range m.spec.Points {
		m.samples = append(m.samples, point.Sample{Point: uint32(i), Quality: f.quality, Time: at})
	}
	m.deliver()
}

// alive notes that a machine answered, and tells its sink where that is news.
func (s *session) alive(m *machine) {
	s.answered = true
	if m.up && m.conn == s.conn {
		return
	}
	m.wait.Reset()
	if !m.up {
		m.up, m.why, m.since = true, "", s.now()
		m.refresh(time.Now())
		s.log.Info("machine is up", "machine", m.name)
	}
	m.conn = s.conn
	m.link(s.address)
}

// request reads a run of one table. Its error is an exception, a *fault or
// ctx's.
func (s *session) request(m *machine, t Table, first uint16, count int) (answer, error) {
	for again := false; ; again = true {
		if !s.line.mixes(m.spec.UnitID, debt{table: t, first: first, count: uint16(count)}).IsZero() {
			return answer{}, unitFault(m.spec.UnitID, errOther)
		}
		if err := s.pause(m); err != nil {
			return answer{}, err
		}
		if err := s.connect(); err != nil {
			return answer{}, err
		}
		if err := m.run.Err(); err != nil {
			return answer{}, err // ended while dialing
		}
		worked := s.answered
		a, err := s.ask(m, t, first, count)
		m.last = time.Now()
		m.counters.requests.Add(1)
		if err == nil {
			s.alive(m)
			return a, nil
		}
		if code, ok := asException(err); ok {
			m.counters.exceptions.Add(1)
			if code == noPath || code == noTarget {
				// The gateway in between answers, the unit does not.
				s.answered = true
				return a, unitFault(m.spec.UnitID, code)
			}
			s.alive(m)
			return a, code
		}
		m.counters.faults.Add(1)
		s.giveUp()
		if s.ctx.Err() != nil {
			return a, s.ctx.Err()
		}
		// A connection that worked and broke, because the device restarted or
		// dropped an idle peer, is made again at once. After a timeout it would
		// cost the units behind the endpoint another one.
		if again || !worked || isTimeout(err) {
			return a, unitFault(m.spec.UnitID, err)
		}
	}
}

// pause keeps the distance between two requests to one machine.
func (s *session) pause(m *machine) error {
	if m.spec.Reads.Pause > 0 {
		if d := time.Until(m.last.Add(m.spec.Reads.Pause)); d > 0 {
			s.timer.Reset(d)
			select {
			case <-s.timer.C:
			case <-m.run.Done():
			}
		}
	}
	return m.run.Err()
}

// answer is what a request brought.
type answer struct {
	wire []byte // registers, big-endian
	bits []bool
	at   time.Time // when it was complete
}

// ask sends one request: function codes 1 to 4 and no other.
func (s *session) ask(m *machine, t Table, first uint16, count int) (a answer, err error) {
	if limit := m.spec.Reads.limit(t); count < 1 || count > limit || int(first)+count > 1<<16 {
		return a, fmt.Errorf("request for %d from %v/%d is out of range", count, t, first)
	}
	a.wire, a.bits, err = s.client.read(m.spec.UnitID, t, first, uint16(count))
	a.at = s.now()
	return a, err
}
