package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// ModbusOptions may be left zero.
type ModbusOptions struct {
	Machines     int              // behind the one endpoint, units 1, 2, …; default 1, at most 247
	Name         string           // machines are called Name-1, Name-2, …; default "press"
	PayloadEvery time.Duration    // a new payload; default 5 s, negative: only by NextPayload
	Now          func() time.Time // default time.Now
	Load         int              // that many more holding registers from 1000, for benchmarks
	Record       int              // values that History keeps of each point; default none
	OnRequest    func(Request)    // called before each answer, also where there will be none; not to call the simulator
}

// Modbus is a simulated Modbus TCP endpoint with machines behind it.
type Modbus struct {
	now       func() time.Time
	onRequest func(Request)
	address   string

	mu         sync.Mutex // guards all below, and what belongs to units
	units      []*unit
	codes      map[byte]int
	halfFrames int
	listener   net.Listener
	conns      map[net.Conn]struct{}
	wg         sync.WaitGroup
}

// StartModbus starts the simulator on a free port of the loopback interface.
func StartModbus(o ModbusOptions) (*Modbus, error) {
	o.Machines = max(o.Machines, 1)
	if o.Machines > 247 {
		return nil, fmt.Errorf("cannot simulate %d machines: an endpoint has at most 247 units", o.Machines)
	}
	if o.Name == "" {
		o.Name = "press"
	}
	if o.PayloadEvery == 0 {
		o.PayloadEvery = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnRequest == nil {
		o.OnRequest = func(Request) {}
	}
	p := &Modbus{now: o.Now, onRequest: o.OnRequest, address: "127.0.0.1:0", codes: map[byte]int{}, conns: map[net.Conn]struct{}{}}
	for i := range o.Machines {
		m := newMachine(fmt.Sprintf("%s-%d", o.Name, i+1), i+1, o.Now(), o.PayloadEvery, o.Record)
		p.units = append(p.units, &unit{machine: m, memory: m.memory(o.Load)})
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// Addr is host and port. It stays the same over Stop and Start.
func (p *Modbus) Addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// URL is what a mapping file connects to.
func (p *Modbus) URL() string { return "tcp://" + p.Addr() }

// Start listens again after Stop.
func (p *Modbus) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("cannot start simulator: %w", err)
	}
	p.listener, p.address = l, l.Addr().String()
	p.wg.Go(func() { p.accept(l) })
	return nil
}

// Stop closes the listener and all connections, and waits for their end. The
// machines live on.
func (p *Modbus) Stop() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.DropConnections()
	p.wg.Wait()
}

// DropConnections closes the connections and goes on listening.
func (p *Modbus) DropConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Modbus) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.listener != l { // stopped meanwhile
			p.mu.Unlock()
			_ = c.Close()
			return
		}
		p.conns[c] = struct{}{}
		p.wg.Go(func() { p.serve(c) })
		p.mu.Unlock()
	}
}

// serve answers one connection: MBAP header, then function code and data
// (Modbus Messaging on TCP/IP 1.0b, 3.1.3).
func (p *Modbus) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	var frame [260]byte
	for {
		if _, err := io.ReadFull(c, frame[:7]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(frame[4:])) - 1 // the unit id is counted in
		if size < 1 || size > len(frame)-7 {
			return
		}
		if _, err := io.ReadFull(c, frame[7:7+size]); err != nil {
			return
		}
		if !p.answer(c, frame[:7], frame[7:7+size]) {
			return
		}
	}
}

// answer writes the answer to one request. It gives false where the connection
// is to be closed.
func (p *Modbus) answer(c net.Conn, header, request []byte) bool {
	r := Request{Function: request[0]}
	if len(request) >= 5 {
		r.First, r.Count = binary.BigEndian.Uint16(request[1:]), binary.BigEndian.Uint16(request[3:])
	}
	p.mu.Lock()
	p.codes[r.Function]++
	var u *unit
	if id := int(header[6]); id >= 1 && id <= len(p.units) {
		u = p.units[id-1]
		r.Machine = u.machine.name
	}
	r.Dead = u == nil || u.dead
	p.onRequest(r)
	if r.Dead {
		p.mu.Unlock()
		return true
	}
	if d := u.delay; d > 0 {
		p.mu.Unlock()
		<-time.After(d)
		p.mu.Lock()
	}
	defer p.mu.Unlock()

	data, after := u.execute(r, p.now())
	out := append([]byte{}, header...)
	binary.BigEndian.PutUint16(out[4:], uint16(1+len(data)))
	out = append(out, data...)
	if p.halfFrames > 0 {
		p.halfFrames--
		_, _ = c.Write(out[:len(out)/2])
		return false
	}
	if _, err := c.Write(out); err != nil {
		return false
	}
	for _, f := range after {
		f()
	}
	return true
}

// execute gives function code and data of the answer.
func (u *unit) execute(r Request, now time.Time) (data []byte, after []func()) {
	exception := func(code byte) ([]byte, []func()) { return []byte{r.Function | 0x80, code}, nil }
	limit := 125
	switch table(r.Function) {
	case holding, input:
	case coils, discrete:
		limit = 2000
	default:
		return exception(1)
	}
	if r.Count < 1 || int(r.Count) > limit {
		return exception(3)
	}
	for _, f := range u.faults {
		if f.meets(r) {
			return exception(f.code)
		}
	}
	if u.machine != nil {
		u.machine.payload.reader.requests++
	}
	var wire []byte
	ok := false
	switch table(r.Function) {
	case holding:
		wire, after, ok = registers(u.memory.holding, int(r.First), int(r.Count), now)
	case input:
		wire, after, ok = registers(u.memory.input, int(r.First), int(r.Count), now)
	case coils:
		wire, after, ok = u.memory.bits(int(r.First), int(r.Count), now)
	}
	if !ok {
		return exception(2)
	}
	return append([]byte{r.Function, byte(len(wire))}, wire...), after
}
