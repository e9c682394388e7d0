package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// RTUOptions may be left zero.
type RTUOptions struct {
	Units     int           // on the line, 1, 2, …; default 40, at most 247
	Except    []int         // unit ids that are not there; default 17, and none where it is empty and not nil
	Dead      []int         // units that do not answer from the start
	Name      string        // machines are called Name-01, Name-02, …; default "hotrunner"
	Baud      int           // answers take the time that they and their requests take on the wire; default 0: none
	OnRequest func(Request) // called before each answer, also where there will be none; not to call the simulator
}

// Zones is the number of temperature zones of each machine on a line.
const Zones = 8

// Registers of the machines on a line: zone-1 to zone-8, and once more zone-1,
// where one of the example's machines has it. All others are illegal.
const (
	atZones = 200
	atSpare = 210
)

// ZoneTemperature is what the register of a zone holds, in tenths of a degree. It
// is another one in each unit and zone.
func ZoneTemperature(unit, zone int) int16 { return int16(1000 + 10*unit + zone) }

// RTULine is a simulated device server: a serial line with many units on it,
// behind one TCP port. The line has no connections: what a unit answers late
// goes to whoever is connected then.
type RTULine struct {
	baud      int
	onRequest func(Request)
	listener  net.Listener
	wg        sync.WaitGroup
	stopped   chan struct{}

	bus sync.Mutex // held from a request to its answer: one at a time

	mu    sync.Mutex // guards all below
	units map[byte]*rtuUnit
	ids   []byte
	codes map[byte]int
	asked map[string]int
	held  []heldFrame
	conns map[net.Conn]struct{}
}

// rtuUnit is one machine on the line, with what is wrong with it.
type rtuUnit struct {
	unit
	name   string
	mishap []mishap // of the answers that come next
}

// mishap is what happens to one answer.
type mishap int

const (
	none        mishap = iota
	late               // it comes before the answer to the next request on the line
	lateToSame         // it comes before the answer to the next request to the same unit
	wrongCRC           // it is changed on the way
	halfFrame          // its second half does not come
	ofOtherUnit        // it is the answer of another unit, with that one's values
)

// heldFrame is an answer that comes late.
type heldFrame struct {
	unit  byte // it waits until this unit is asked; 0: any
	frame []byte
}

// StartRTULine starts the simulator on a free port of the loopback interface.
func StartRTULine(o RTUOptions) (*RTULine, error) {
	if o.Units == 0 {
		o.Units = 40
	}
	if o.Units < 1 || o.Units > 247 {
		return nil, fmt.Errorf("cannot simulate %d units: a line has 1 to 247", o.Units)
	}
	if o.Except == nil {
		o.Except = []int{17}
	}
	if o.Name == "" {
		o.Name = "hotrunner"
	}
	if o.OnRequest == nil {
		o.OnRequest = func(Request) {}
	}
	l := &RTULine{
		baud: o.Baud, onRequest: o.OnRequest, stopped: make(chan struct{}),
		units: map[byte]*rtuUnit{}, codes: map[byte]int{}, asked: map[string]int{}, conns: map[net.Conn]struct{}{},
	}
	for id := 1; id <= o.Units; id++ {
		if slices.Contains(o.Except, id) {
			continue
		}
		u := &rtuUnit{name: fmt.Sprintf("%s-%02d", o.Name, id)}
		u.memory, u.dead = zones(id), slices.Contains(o.Dead, id)
		l.units[byte(id)] = u
		l.ids = append(l.ids, byte(id))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start simulator: %w", err)
	}
	l.listener = listener
	l.wg.Go(l.accept)
	return l, nil
}

// zones is the memory of one machine.
func zones(id int) *memory {
	var b []byte
	for z := 1; z <= Zones; z++ {
		b = binary.BigEndian.AppendUint16(b, uint16(ZoneTemperature(id, z)))
	}
	return &memory{holding: []span{
		fixed(atZones, 2*Zones, func(time.Time) []byte { return b }),
		fixed(atSpare, 2, func(time.Time) []byte { return b[:2] }),
	}}
}

// URL is what a mapping file connects to.
func (l *RTULine) URL() string { return "rtu-tcp://" + l.listener.Addr().String() }

// Stop closes the listener and all connections, and waits for their end.
func (l *RTULine) Stop() {
	l.mu.Lock()
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
		_ = l.listener.Close()
	}
	l.mu.Unlock()
	l.DropConnections()
	l.wg.Wait()
}

// DropConnections closes the connections and goes on listening.
func (l *RTULine) DropConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

func (l *RTULine) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		select {
		case <-l.stopped:
			_ = c.Close()
		default:
			l.conns[c] = struct{}{}
			l.wg.Go(func() { l.serve(c) })
		}
		l.mu.Unlock()
	}
}

// serve takes the requests of one connection: all that a client may ask for has
// 8 bytes.
func (l *RTULine) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	var request [8]byte
	for {
		if _, err := io.ReadFull(c, request[:]); err != nil {
			return
		}
		if binary.LittleEndian.Uint16(request[6:]) != crc16(request[:6]) {
			return // not in step: the connection is of no more use
		}
		l.bus.Lock()
		out := l.answer(request[:])
		l.onWire(len(request) + len(out))
		_, err := c.Write(out)
		l.bus.Unlock()
		if err != nil {
			return
		}
	}
}

// onWire waits as long as so many bytes take.
func (l *RTULine) onWire(bytes int) {
	if l.baud == 0 {
		return
	}
	wait := time.NewTimer(time.Duration(bytes) * 11 * time.Second / time.Duration(l.baud))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-l.stopped:
	}
}

// answer gives what comes over the line after a request: what is late, and the
// answer.
func (l *RTULine) answer(request []byte) (out []byte) {
	r := Request{Function: request[1], First: binary.BigEndian.Uint16(request[2:]), Count: binary.BigEndian.Uint16(request[4:])}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[r.Function]++
	waits := map[byte]bool{} // a unit answers in order
	l.held = slices.DeleteFunc(l.held, func(h heldFrame) bool {
		if h.unit != 0 && h.unit != request[0] || waits[h.frame[0]] {
			waits[h.frame[0]] = true
			return false
		}
		out = append(out, h.frame...)
		return true
	})
	u := l.units[request[0]]
	if u != nil {
		r.Machine = u.name
	}
	r.Dead = u == nil || u.dead
	l.asked[r.Machine]++
	l.onRequest(r)
	if r.Dead {
		return out
	}
	data, _ := u.execute(r, time.Time{})
	own := withCRC(append([]byte{request[0]}, data...))
	if len(u.mishap) == 0 {
		return append(out, own...)
	}
	first := u.mishap[0]
	u.mishap = u.mishap[1:]
	switch first {
	case none:
		out = append(out, own...)
	case late:
		l.held = append(l.held, heldFrame{0, own})
	case lateToSame:
		l.held = append(l.held, heldFrame{request[0], own})
	case wrongCRC:
		own[len(own)/2] ^= 0x10
		out = append(out, own...)
	case halfFrame:
		out = append(out, own[:len(own)/2]...)
	case ofOtherUnit:
		k := slices.Index(l.ids, request[0])
		id := l.ids[(k+1)%len(l.ids)]
		data, _ := l.units[id].execute(r, time.Time{})
		out = append(out, withCRC(append([]byte{id}, data...))...)
	}
	return out
}
