package modbus

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

const maxTimeout = time.Minute

const (
	schemeTCP = "tcp"
	schemeRTU = "rtu-tcp"
)

// The parities of a serial line.
const (
	EvenParity = "even"
	OddParity  = "odd"
	NoParity   = "none"
)

// Check gives all that is wrong with the endpoint.
func (s *Spec) Check() []point.Problem {
	scheme, _, p := s.endpoint()
	var found []point.Problem
	if p != nil {
		found = append(found, *p)
	}
	if s.Timeout < 0 || s.Timeout > maxTimeout {
		usual := time.Second
		if scheme == schemeRTU {
			usual = lineAnswer
		}
		found = append(found, point.Problem{
			Key:  "timeout",
			What: fmt.Sprintf("a timeout of %v is outside 0–1m", s.Timeout), Instead: fmt.Sprintf("leave it out for %v", usual),
		})
	}
	return append(found, s.checkSerial(scheme)...)
}

// checkSerial checks what only a serial line has.
func (s *Spec) checkSerial(scheme string) (found []point.Problem) {
	if scheme == schemeTCP {
		const instead = "leave it out, or write rtu-tcp:// for a serial line behind a device server"
		if s.Baud != 0 {
			found = append(found, point.Problem{Key: "baud", What: "Modbus TCP has no baud rate", Instead: instead})
		}
		if s.Parity != "" {
			found = append(found, point.Problem{Key: "parity", What: "Modbus TCP has no parity", Instead: instead})
		}
		return found
	}
	if s.Baud != 0 && (s.Baud < leastBaud || s.Baud > mostBaud) {
		found = append(found, point.Problem{
			Key:  "baud",
			What: fmt.Sprintf("%d baud is outside %d–%d", s.Baud, leastBaud, mostBaud), Instead: fmt.Sprintf("leave it out for %d", usualBaud),
		})
	}
	if !slices.Contains([]string{"", EvenParity, OddParity, NoParity}, s.Parity) {
		found = append(found, point.Problem{
			Key:  "parity",
			What: fmt.Sprintf("there is no parity %q", shorten(s.Parity)), Instead: "write even, odd or none",
		})
	}
	return found
}

// endpoint gives scheme, host and port. The scheme is empty where there is a
// problem with it.
func (s *Spec) endpoint() (scheme, address string, p *point.Problem) {
	example := "write tcp://10.20.3.13:502"
	problem := func(what, instead string) (string, string, *point.Problem) {
		return scheme, "", &point.Problem{Key: "connect", What: what, Instead: instead}
	}
	if !strings.Contains(s.URL, "://") {
		return problem("the URL has no scheme", example)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return problem("this is no URL", example)
	}
	switch u.Scheme {
	case schemeTCP:
	case schemeRTU:
		example = "write rtu-tcp://10.20.9.5:4001"
	case "tls", "rtu":
		return problem(u.Scheme+":// is understood but not honoured yet", "this version reads tcp:// only")
	default:
		return problem(fmt.Sprintf("there is no scheme %q", shorten(u.Scheme)), example)
	}
	scheme = u.Scheme
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return problem("the URL has more than a host and a port", example)
	}
	if u.Hostname() == "" {
		return problem("the URL has no host", example)
	}
	port := u.Port()
	if scheme == schemeTCP {
		port = cmp.Or(port, "502")
	} else if port == "" {
		return problem("the URL has no port: each line of a device server has one of its own", example)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return problem("the port is outside 1–65535", example)
	}
	return scheme, net.JoinHostPort(u.Hostname(), port), nil
}

// checkUnit checks the unit id of a machine on a serial line.
func (m *Machine) checkUnit() *point.Problem {
	if m.UnitID >= 1 && m.UnitID <= 247 {
		return nil
	}
	return &point.Problem{
		Key:  "unit_id",
		What: fmt.Sprintf("unit %d is outside 1–247, and 0 is a broadcast that nobody answers", m.UnitID), Instead: "write the device's own number",
	}
}

// CheckLine gives what is wrong with the machines of one endpoint together:
// what each of them has alone is [Machine.Check]'s, and they are sound. A serial
// line that its requests need for longer than their periods is a problem with
// the sum in it. The sum has the frames and the silence between them; what
// machines take to answer comes on top.
func CheckLine(s Spec, machines []*Machine) []point.Problem {
	scheme, _, p := s.endpoint()
	if p != nil || scheme != schemeRTU {
		return nil
	}
	var found []point.Problem
	type sum struct {
		period   time.Duration
		requests int
		busy     time.Duration
	}
	var sums []sum
	t, share := s.serial(), 0.0
	for _, m := range machines {
		if p := m.checkUnit(); p != nil {
			p.What = m.Name + ": " + p.What
			found = append(found, *p)
		}
		for _, r := range m.Requests() {
			if r.ChangesWith != nil {
				continue
			}
			k := slices.IndexFunc(sums, func(o sum) bool { return o.period == r.Period })
			if k < 0 {
				k = len(sums)
				sums = append(sums, sum{period: r.Period})
			}
			busy := t.exchange(r.Table, uint16(r.Count))
			sums[k].requests++
			sums[k].busy += busy
			share += float64(busy) / float64(r.Period)
		}
	}
	if share <= 1 {
		return found
	}
	slices.SortFunc(sums, func(a, b sum) int { return cmp.Compare(a.period, b.period) })
	var words []string
	for _, o := range sums {
		words = append(words, fmt.Sprintf("%d requests every %v take %v", o.requests, o.period, o.busy.Round(time.Millisecond)))
	}
	return append(found, point.Problem{
		Key: "line",
		What: fmt.Sprintf("the line is asked for %.0f %% of its time at %d baud: %s",
			100*share, cmp.Or(s.Baud, usualBaud), strings.Join(words, ", ")),
		Instead: "poll more slowly, raise the baud rate, or share the machines out over more lines",
	})
}
