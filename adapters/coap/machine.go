package coap

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// maxSessions is how many sessions one device has at a time: the one that it
// uses, and the one that it forgot when it was switched off.
const maxSessions = 2

// Why a device is not there.
const (
	notYet = "the device has not connected"
	silent = "the device is silent"
)

const mechanism = "DTLS 1.2"

// machine is one attached machine.
type machine struct {
	name     string
	spec     *Machine
	key      Secret            // the pre-shared one; empty: the device has a certificate
	paths    map[string]uint32 // point by path
	now      func() time.Time
	counters counters
	live     atomic.Int32 // sessions

	ctx    context.Context //nolint:containedctx // ends with Detach
	cancel context.CancelFunc

	// turn is held over each call to the sink, and guards what follows. It is a
	// channel because who waits for it may have to give up.
	turn     chan struct{}
	sink     point.Sink
	run      context.Context //nolint:containedctx // ends with Run; nil before
	gone     bool            // detached: no call any more
	sessions []*session      // oldest first
	up       bool
	absence  *time.Timer // until the points of a device that is not there are bad; nil: it is there, or never was

	counting  sync.Mutex // guards what follows
	allowance allowance
}

func newMachine(name string, spec *Machine, key Secret, sink point.Sink, now func() time.Time) *machine {
	m := &machine{
		name: name, spec: spec, key: key, sink: sink, now: now, turn: make(chan struct{}, 1), paths: make(map[string]uint32),
		allowance: allowance{rate: rate, burst: burst},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for i := range spec.Points {
		m.paths[spec.Points[i].Path] = uint32(i)
	}
	return m
}

func (m *machine) silence() time.Duration { return cmp.Or(m.spec.Silence, defaultSilence) }

// allows uses one message of what the device may send.
func (m *machine) allows(now time.Time) bool {
	m.counting.Lock()
	defer m.counting.Unlock()
	return m.allowance.take(now)
}

func (m *machine) lock()   { m.turn <- struct{}{} }
func (m *machine) unlock() { <-m.turn }

// over tells that no call may come any more. With the turn.
func (m *machine) over() bool { return m.gone || m.run == nil || m.run.Err() != nil }

// adopt begins the machine's life within a run.
func (m *machine) adopt(run context.Context, why string) {
	m.lock()
	defer m.unlock()
	m.run = run
	if m.over() {
		return
	}
	for i := range m.spec.Points {
		m.sink.Describe(uint32(i), point.Meta{})
	}
	m.sink.Link(point.Link{Mechanism: mechanism, Err: why, Since: m.now()})
}

// take hands a sample over. An error means that it was not taken.
func (m *machine) take(ctx context.Context, s point.Sample) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer m.unlock()
	if m.over() {
		return context.Canceled
	}
	return m.sink.Take(ctx, []point.Sample{s})
}

// join adds a session; false where the machine is no more. It gives the oldest
// one where that has to go for it.
func (m *machine) join(s *session) (oldest *session, ok bool) {
	m.lock()
	defer m.unlock()
	if m.over() {
		return nil, false
	}
	m.sessions = append(m.sessions, s)
	if len(m.sessions) > maxSessions {
		oldest = m.sessions[0]
		m.sessions = slices.Delete(m.sessions, 0, 1)
	}
	m.live.Store(int32(len(m.sessions)))
	m.counters.joined.Add(1)
	m.up = true
	m.waits(nil)
	m.link(s)
	return oldest, true
}

// leave takes a session out. The last one takes the link down.
func (m *machine) leave(s *session, why string) {
	m.lock()
	defer m.unlock()
	k := slices.Index(m.sessions, s)
	if k < 0 { // another one took its place
		return
	}
	m.sessions = slices.Delete(m.sessions, k, k+1)
	m.live.Store(int32(len(m.sessions)))
	if m.over() {
		return
	}
	if n := len(m.sessions); n > 0 {
		if k == n { // it was the newest, which the link was about
			m.link(m.sessions[n-1])
		}
		return
	}
	m.down(why)
}

// link tells the sink of a session. With the turn.
func (m *machine) link(s *session) {
	m.sink.Link(point.Link{
		State: point.LinkUp, Security: point.Encrypted, Mechanism: mechanism + " " + s.suite,
		Peer: s.conn.RemoteAddr().String(), Since: s.since,
	})
}

// waits puts another timer in place of the one that there was. With the turn.
func (m *machine) waits(t *time.Timer) {
	if m.absence != nil {
		m.absence.Stop()
	}
	m.absence = t
}

// down tells the sink that the device is not there. Many have a session for each
// of their messages: their points are bad once they have been away for as long as
// they may be silent. With the turn.
func (m *machine) down(why string) {
	m.up = false
	m.sink.Link(point.Link{Mechanism: mechanism, Err: why, Since: m.now()})
	if why == silent {
		m.missing()
		return
	}
	m.waits(time.AfterFunc(m.silence(), func() {
		m.lock()
		defer m.unlock()
		if !m.over() && !m.up {
			m.missing()
		}
	}))
}

// missing gives a bad sample for each point. With the turn.
func (m *machine) missing() {
	if len(m.spec.Points) == 0 {
		return
	}
	now := m.now()
	bad := make([]point.Sample, len(m.spec.Points))
	for i := range bad {
		bad[i] = point.Sample{Point: uint32(i), Quality: point.BadNoCommunication, Time: now.UnixNano()}
	}
	// Where the outbox is full, that nobody is there is the least that is missing.
	ctx, cancel := context.WithTimeout(m.run, fullWait)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	_ = m.sink.Take(ctx, bad)
}

// lost tells the sink why nobody can connect.
func (m *machine) lost(why string) {
	m.lock()
	defer m.unlock()
	if m.over() {
		return
	}
	if m.up {
		m.down(why)
		return
	}
	m.sink.Link(point.Link{Mechanism: mechanism, Err: why, Since: m.now()})
}

// detach ends all sessions, and the calls to the sink.
func (m *machine) detach() {
	m.cancel()
	m.lock()
	m.gone = true
	m.waits(nil)
	sessions := slices.Clone(m.sessions)
	m.unlock()
	for _, s := range sessions {
		_ = s.conn.Close()
	}
}
