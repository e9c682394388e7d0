package opcua

import (
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// openFrame tells the worker of an endpoint. Key and password cross the process
// border in it, and nowhere else.
type openFrame struct {
	spec Spec
	pace pace
}

// pace is how patient the worker is. Tests are less patient than plants.
type pace struct {
	keepAlive        time.Duration // of a subscription without changes
	minWait, maxWait time.Duration // before jitter, until a connection is tried again
	refusedWait      time.Duration // at least, where the server refused who we are
	retryBad         time.Duration // until a refused node is tried again
	token            time.Duration // life of the channel's keys, if the server agrees
}

func defaultPace() pace {
	return pace{
		keepAlive: 5 * time.Second, minWait: 500 * time.Millisecond, maxWait: 20 * time.Second,
		refusedWait: time.Minute, retryBad: 5 * time.Minute, token: time.Hour,
	}
}

func (o openFrame) frame(endpoint uint32) []byte {
	p := newFrame(frameOpen, endpoint)
	s := &o.spec
	p.text(s.Endpoint)
	p.text(s.Policy)
	p.text(s.Mode)
	p = append(p, s.ServerSHA256[:]...)
	p.text(string(s.Certificate))
	p.text(string(s.Key))
	p.text(s.ApplicationURI)
	p.flag(s.User.Anonymous)
	p.text(s.User.Name)
	p.text(string(s.User.Password))
	p.i64(int64(s.Timeout))
	for _, d := range []time.Duration{o.pace.keepAlive, o.pace.minWait, o.pace.maxWait, o.pace.refusedWait, o.pace.retryBad, o.pace.token} {
		p.i64(int64(d))
	}
	return p.done()
}

func parseOpen(p *parser) (o openFrame, err error) {
	s := &o.spec
	s.Endpoint, s.Policy, s.Mode = p.text(maxURI), p.text(maxPeer), p.text(maxPeer)
	copy(s.ServerSHA256[:], p.take(len(s.ServerSHA256)))
	s.Certificate = p.bytes(1 << 16)
	s.Key = Secret(p.bytes(1 << 16))
	s.ApplicationURI = p.text(maxURI)
	s.User.Anonymous = p.flag()
	s.User.Name, s.User.Password = p.text(maxText), Secret(p.bytes(maxText))
	s.Timeout = time.Duration(p.i64())
	for _, d := range []*time.Duration{&o.pace.keepAlive, &o.pace.minWait, &o.pace.maxWait, &o.pace.refusedWait, &o.pace.retryBad, &o.pace.token} {
		*d = time.Duration(p.i64())
		p.need(*d > 0)
	}
	return o, p.end()
}

// attachFrame tells the worker of a machine.
func attachFrame(endpoint, id uint32, m *Machine) []byte {
	p := newFrame(frameAttach, endpoint)
	p.u32(id)
	p.text(m.Namespace)
	p.u32(uint32(len(m.Points)))
	for i := range m.Points {
		t := &m.Points[i]
		p.u8(byte(t.Node.Kind))
		p.u32(t.Node.Number)
		p.text(t.Node.Text)
		p.text(t.Namespace)
		p.u8(byte(t.Type))
		p.u32(uint32(t.MaxBytes))
		p.i64(int64(t.Period))
	}
	return p.done()
}

// parseAttach takes the machine, without its names and units: the worker needs
// none.
func parseAttach(p *parser) (id uint32, m *Machine, err error) {
	const least = 1 + 4 + 4 + 4 + 1 + 4 + 8
	id = p.u32()
	m = &Machine{Namespace: p.text(maxURI)}
	n := p.u32()
	p.need(n <= maxPoints && int64(len(p.b)) >= int64(n)*least)
	if p.bad {
		return 0, nil, errFrame
	}
	m.Points = make([]Point, n)
	for i := range m.Points {
		t := &m.Points[i]
		t.Node = NodeID{Kind: NodeKind(p.u8()), Number: p.u32(), Text: string(p.bytes(maxNode))}
		t.Namespace = p.text(maxURI)
		t.Type = Type(p.u8())
		t.MaxBytes = int(p.u32())
		t.Period = time.Duration(p.i64())
		p.need(t.Node.valid() && t.Type >= Bool && t.Type <= DateTime && t.MaxBytes <= point.MaxValueSize &&
			t.Period >= minPeriod && t.Period <= maxPeriod)
	}
	return id, m, p.end()
}

// machineFrame is a frame that names a machine and says nothing else.
func machineFrame(k kind, endpoint, machine uint32) []byte {
	p := newFrame(k, endpoint)
	p.u32(machine)
	return p.done()
}

// bareFrame is a frame without a body.
func bareFrame(k kind, endpoint uint32) []byte { return newFrame(k, endpoint).done() }

// statusFrame says why a point is not read.
type statusFrame struct {
	machine, point uint32
	why            string
}

func (s statusFrame) frame(endpoint uint32) []byte {
	p := newFrame(frameStatus, endpoint)
	p.u32(s.machine)
	p.u32(s.point)
	p.text(oneLine(s.why, maxWhy))
	return p.done()
}

func parseStatus(p *parser) (statusFrame, error) {
	s := statusFrame{machine: p.u32(), point: p.u32(), why: p.line(maxWhy)}
	return s, p.end()
}

// revisedFrame says how often the server looks at a point and tells of it, where
// that is more slowly than was asked for or it keeps too few values in between.
// Zeros: it is not any more.
type revisedFrame struct {
	machine, point       uint32
	sampling, publishing time.Duration
	queue                uint32 // values that it keeps, where they are too few; 0: enough
}

func (r revisedFrame) frame(endpoint uint32) []byte {
	p := newFrame(frameRevised, endpoint)
	p.u32(r.machine)
	p.u32(r.point)
	p.i64(int64(r.sampling))
	p.i64(int64(r.publishing))
	p.u32(r.queue)
	return p.done()
}

func parseRevised(p *parser) (revisedFrame, error) {
	r := revisedFrame{machine: p.u32(), point: p.u32(), sampling: time.Duration(p.i64()), publishing: time.Duration(p.i64()), queue: p.u32()}
	p.need(r.sampling >= 0 && r.publishing >= 0)
	return r, p.end()
}

// lostFrame says how many notifications or samples of a machine were lost.
type lostFrame struct {
	machine uint32
	count   uint64
	gaps    uint64 // where the server's numbering shows that some were lost, how many messages
}

func (l lostFrame) frame(endpoint uint32) []byte {
	p := newFrame(frameLost, endpoint)
	p.u32(l.machine)
	p.u64(l.count)
	p.u64(l.gaps)
	return p.done()
}

func parseLost(p *parser) (lostFrame, error) {
	l := lostFrame{machine: p.u32(), count: p.u64(), gaps: p.u64()}
	return l, p.end()
}
