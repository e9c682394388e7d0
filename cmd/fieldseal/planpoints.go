package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/fieldseal/fieldseal/adapters/modbus"
	"github.com/fieldseal/fieldseal/configs"
)

// longestPublish is the longest publishing interval that the OPC UA adapter asks
// for.
const longestPublish = 5 * time.Second

// requests gives what is read of a machine at one go.
func requests(m *configs.Machine) (out []planRequest) {
	switch {
	case m.Modbus != nil:
		for _, r := range m.Modbus.Requests() {
			out = append(out, modbusRequest(&r))
		}
	case m.OPCUA != nil:
		for i := range m.OPCUA.Points {
			every := m.OPCUA.Points[i].Period
			k := slices.IndexFunc(out, func(r planRequest) bool { return r.EveryMS == every.Milliseconds() })
			if k < 0 {
				k = len(out)
				out = append(out, planRequest{
					Read: "subscription", EveryMS: every.Milliseconds(), PublishMS: min(every, longestPublish).Milliseconds(),
				})
			}
			out[k].indexes = append(out[k].indexes, i)
		}
		slices.SortStableFunc(out, func(a, b planRequest) int { return int(a.EveryMS - b.EveryMS) })
	default: // it sends when it will
		r := planRequest{Read: "sent"}
		for i := range m.Points {
			r.indexes = append(r.indexes, i)
		}
		out = append(out, r)
	}
	return out
}

func modbusRequest(r *modbus.Request) planRequest {
	out := planRequest{
		Read: modbus.Address{Table: r.Table, Offset: r.First}.String(), Count: r.Count, Unit: "register",
		EveryMS: r.Period.Milliseconds(), indexes: r.Points,
	}
	if r.Table == modbus.Coil || r.Table == modbus.Discrete {
		out.Unit = "bit"
	}
	if r.Count > 1 {
		out.Read += fmt.Sprintf("-%d", int(r.First)+r.Count-1)
	}
	if r.ChangesWith != nil {
		out.ChangesWith = r.ChangesWith.String()
	}
	return out
}

// reported says which readings of a point are sent.
func reported(r configs.Report) string {
	if !r.OnChange {
		return "every read"
	}
	s := "on change"
	if r.Deadband > 0 {
		s = fmt.Sprintf("on change by %v", r.Deadband)
	}
	if r.AtLeastEvery > 0 {
		s += ", at least every " + duration(r.AtLeastEvery)
	}
	return s
}

// duration writes a duration as the files do: 250ms, 1s, 1m, 7d.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		unit time.Duration
		word string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.word)
		}
	}
	return d.String()
}

func milliseconds(ms int64) string { return duration(time.Duration(ms) * time.Millisecond) }
