package configs

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/bridge/point"
)

// line is what several machines share.
type line struct {
	name string
	at   node // its name's value
	spec modbus.Spec
	used bool // a machine names it
}

// readLines reads the lines of the gateway file.
func (l *loader) readLines(n node) {
	l.lines = map[string]*line{}
	first := map[string]string{}
	for _, e := range n.named() {
		found := len(l.problems)
		m := e.value.mapping()
		if !m.present() {
			continue
		}
		ln := &line{name: e.key.Value, at: node{f: e.value.f, y: e.key}}
		r := &machineReader{l: l, wrong: new(int), places: map[string]map[string]node{}}
		r.keep("", m)
		connect := m.need("connect", "write connect: rtu-tcp://HOST:PORT")
		url, ok := connect.text()
		ln.spec.URL = url
		baud, _ := m.get("baud").whole(1, 1<<31-1)
		ln.spec.Baud = int(baud)
		ln.spec.Parity, _ = m.get("parity").choice("parity", modbus.EvenParity, modbus.OddParity, modbus.NoParity)
		ln.spec.Timeout, _ = m.get("timeout").duration(time.Millisecond, "300ms")
		m.done()
		if ok {
			before := len(l.problems)
			r.adapter(ln.spec.Check())
			if len(l.problems) == before {
				ln.spec.URL = connect.endpoint(url, "502")
				if ln.spec.Timeout == 0 && !ln.serial() {
					ln.spec.Timeout = time.Second
				}
			}
			if other, twice := first[ln.spec.URL]; twice {
				connect.wrong("the line "+quote(other)+" has this connection already", "name that one in the machines, or correct the address")
			} else {
				first[ln.spec.URL] = ln.name
			}
		}
		ln.used = len(l.problems) > found // or nobody can tell
		l.lines[ln.name] = ln
	}
}

func (ln *line) serial() bool { return isSerial(ln.spec) }

func isSerial(s modbus.Spec) bool { return strings.HasPrefix(s.URL, "rtu-tcp:") }

// onLine gives the machine the connection of a line.
func (r *modbusReader) onLine(via, timeout node) {
	name, ok := via.text()
	if !ok || r.l.alone {
		return
	}
	ln, ok := r.l.lines[name]
	if !ok {
		what, instead := unknown("line", name, slices.Sorted(maps.Keys(r.l.lines)))
		via.wrong(what, instead+" ('lines' in the gateway file)")
		return
	}
	timeout.wrong("the timeout is that of the line "+quote(name)+" ("+ln.at.where()+")", "remove it here")
	ln.used = true
	r.m.Modbus.Endpoint = ln.spec
}

// lineOf gives the line that has a machine's connection; nil if none.
func (l *loader) lineOf(r *machineReader) *line {
	for _, ln := range l.lines {
		if ln.spec.URL == r.m.Endpoint() {
			return ln
		}
	}
	return nil
}

// onSerial checks what a serial line asks of one machine.
func (r *modbusReader) onSerial() {
	if *r.wrong > 0 || !isSerial(r.m.Modbus.Endpoint) {
		return
	}
	for _, p := range modbus.CheckLine(r.m.Modbus.Endpoint, []*modbus.Machine{&r.m.Modbus.Machine}) {
		if p.Key == "unit_id" {
			p.What = strings.TrimPrefix(p.What, r.m.Name+": ")
			r.adapter([]point.Problem{p})
		}
	}
}

// checkLines compares what the machines of a serial line ask with what it can
// do. They start all the same.
func (l *loader) checkLines(readers []*machineReader) {
	machines, at := map[modbus.Spec][]*modbus.Machine{}, map[modbus.Spec]node{}
	for _, r := range readers {
		if *r.wrong == 0 && r.m.Modbus != nil && isSerial(r.m.Modbus.Endpoint) {
			s := r.m.Modbus.Endpoint
			if machines[s] == nil {
				at[s] = r.connect
			}
			machines[s] = append(machines[s], &r.m.Modbus.Machine)
		}
	}
	for _, ln := range l.lines {
		at[ln.spec] = ln.at
		if !ln.used && !l.alone {
			ln.at.note("no machine is on the line "+quote(ln.name), "name it in a machine: modbus: {line: "+ln.name+", unit_id: 1}; or remove it")
		}
	}
	for s, all := range machines {
		for _, p := range modbus.CheckLine(s, all) {
			if p.Key == "line" {
				at[s].mild(p.What, p.Instead)
			}
		}
	}
}
