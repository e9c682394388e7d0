package configs

import (
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
)

// Modbus is how a machine is read that speaks it.
type Modbus struct {
	Endpoint modbus.Spec // machines with an equal one share it
	modbus.Machine
}

// modbusReader reads what a file says of a machine that speaks Modbus.
type modbusReader struct {
	*machineReader
	order modbus.Order // of points that give none
}

// connection reads how the machine is reached.
func (r *modbusReader) connection(own, base *mapping) {
	m := over(own, base)
	r.keep("", m)
	r.connect = m.get("connect")
	via := m.get("line")
	m.notYet("certificate", "trust")
	m.foreign("OPC UA", "Modbus", map[string]string{
		"endpoint": "write connect: \"tcp://HOST:502\"", "security": "remove it", "server_certificate": "remove it",
		"user": "remove it: Modbus knows no users", "namespace": "remove it",
	})
	timeout := m.get("timeout")
	r.m.Modbus.Endpoint.Timeout, _ = timeout.duration(time.Millisecond, "800ms")
	switch {
	case via.present() && r.connect.present():
		via.wrong("'line' and 'connect' are there both", "write one of them")
	case via.present():
		r.connect = via
		r.onLine(via, timeout)
	case r.connect.present():
		if s, ok := r.connect.text(); ok {
			r.endpoint(s)
		}
	case !r.partial:
		m.needUnless("connect", "write connect: tcp://HOST:502", "endpoint")
	}
	if unit := m.get("unit_id"); unit.present() {
		id, _ := unit.whole(0, 255)
		r.m.Modbus.UnitID = uint8(id)
	} else if !r.partial {
		m.missing("unit_id", "write unit_id: 1, or what the device is set to")
	}
	r.order = order(m.get("order"))
	m.get("reads")
	r.reads(over(own.part("reads"), base.part("reads")))
	m.done()
}

// endpoint takes the endpoint that the machine's own file gives.
func (r *modbusReader) endpoint(s string) {
	r.m.Modbus.Endpoint.URL = s
	before := len(r.l.problems)
	r.adapter(r.m.Modbus.Endpoint.Check())
	if len(r.l.problems) == before {
		r.m.Modbus.Endpoint.URL = r.connect.endpoint(s, "502")
	}
	if r.m.Modbus.Endpoint.Timeout == 0 && !strings.HasPrefix(r.m.Modbus.Endpoint.URL, "rtu-tcp:") {
		r.m.Modbus.Endpoint.Timeout = time.Second
	}
}

// endpoint writes an endpoint in one way.
func (n node) endpoint(s, usualPort string) string {
	one, err := canonical(s, usualPort)
	if err != nil {
		n.wrong(split(err))
	}
	return strings.TrimSuffix(one, "/")
}

func order(n node) modbus.Order {
	s, ok := n.text()
	if !ok {
		return modbus.Order{}
	}
	o, err := modbus.ParseOrder(s)
	if err != nil {
		n.wrong(split(err))
	}
	return o
}

// reads reads the limits of requests.
func (r *modbusReader) reads(m *mapping) {
	reads := &r.m.Modbus.Reads
	registers, _ := m.get("max_registers").whole(1, 125)
	gap, _ := m.get("max_gap").whole(0, 124)
	reads.MaxRegisters, reads.MaxGap = int(registers), int(gap)
	reads.Pause, _ = m.get("pause").duration(0, "20ms")
	for _, item := range m.get("forbidden").list() {
		const instead = "write a run of addresses such as holding/900-999"
		if s, ok := item.source(instead); ok {
			span, err := modbus.ParseSpan(s)
			if err != nil {
				item.wrong(split(err))
				continue
			}
			reads.Forbidden = append(reads.Forbidden, span)
		}
	}
	m.done()
}

// differs compares two machines of one connection.
func (r *modbusReader) differs(other *machineReader) (what, here, there string) {
	if a, b := r.m.Modbus.Endpoint.Timeout, other.m.Modbus.Endpoint.Timeout; a != b {
		return "timeout", a.String(), b.String()
	}
	return "", "", ""
}

// check has the adapter look at the machine.
func (r *modbusReader) check() {
	r.shareAddresses()
	r.m.Modbus.Name = r.m.Name
	r.adapter(r.m.Modbus.Check())
	r.onSerial()
}
