package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fieldseal/fieldseal/bridge"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// endpointsAtOnce is how many endpoints a check connects to at one time.
const endpointsAtOnce = 32

// machines reads each machine once.
func (o *online) machines(ctx context.Context) {
	var mu sync.Mutex
	sinks := map[string]*checkSink{}
	out := map[string]error{}
	probe := bridge.Probe{
		Machines: o.config.Machines, Keys: o.keys, State: o.config.State, Logger: slog.New(slog.DiscardHandler), AtOnce: endpointsAtOnce,
		Sink: func(m *configs.Machine) (point.Sink, <-chan struct{}) {
			s := newCheckSink(m)
			mu.Lock()
			defer mu.Unlock()
			sinks[m.Name] = s
			return s, s.enough
		},
		LeftOut: func(machine string, err error) {
			mu.Lock()
			defer mu.Unlock()
			out[machine] = err
		},
	}
	probe.Run(ctx)
	mu.Lock()
	defer mu.Unlock()
	for i := range o.config.Machines {
		m := &o.config.Machines[i]
		s := sinks[m.Name]
		if s != nil {
			s.stop()
		}
		switch err := out[m.Name]; {
		case errors.Is(err, bridge.ErrComes):
			o.note(m.File, m.Name, o.places.connection(m.File), "machine "+m.Name+" is not looked at: "+err.Error(), "the gateway's own status tells: fieldseal status")
		case errors.Is(err, bridge.ErrNoKeys):
			o.unseen(m.File, m.Name, o.places.connection(m.File), "machine "+m.Name+" is not looked at: "+err.Error(), "look on the gateway, as the user that runs it: fieldseal check --online")
		case errors.Is(err, keystore.ErrNoCredential), errors.Is(err, fs.ErrPermission):
			o.unseen(m.File, m.Name, o.places.connection(m.File), "machine "+m.Name+" is not looked at: "+err.Error(), "give the credential to this check too, as the service or the container has it")
		case err != nil:
			o.problem(m.File, m.Name, o.places.connection(m.File), "machine "+m.Name+": "+err.Error(), "mend it: the gateway leaves the machine out")
		case s == nil:
			o.unseen(m.File, m.Name, o.places.connection(m.File), "machine "+m.Name+" is not looked at: the time was over", "give it more: --timeout 1m")
		default:
			o.machine(s)
		}
	}
}

// machine says what is wrong with what a machine answered.
func (o *online) machine(s *checkSink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, where := s.machine, o.places.connection(s.machine.File)
	switch {
	case s.link.State != point.LinkUp && s.link.Err != "":
		o.down(m, where, "machine "+m.Name+" is down: "+s.link.Err, "see that it runs and can be reached from here, and that address and security are as the file says")
		return
	case !s.linked:
		o.down(m, where, fmt.Sprintf("machine %s did not answer within %v", m.Name, o.timeout), "see that it runs and can be reached from here, or give it more time: --timeout 1m")
		return
	}
	o.negotiated(s, where)
	for i := range m.Points {
		name, q := m.Points[i].Name, s.quality[i]
		at := o.places.point(m.File, m.Name, name)
		said := "point '" + name + "'"
		if m.Name != fileMachine(m.File) {
			said += " of " + m.Name
		}
		switch {
		case !s.seen[i] && s.status[i] == "":
			o.unseen(m.File, m.Name, at, fmt.Sprintf("%s was not read within %v", said, o.timeout), "give it more time: --timeout 1m")
		case s.status[i] != "":
			o.point(m, name, at, said+": "+s.status[i], remedy(m, i, q))
		case q.IsBad():
			o.point(m, name, at, said+" cannot be read: "+q.String(), remedy(m, i, q))
		case !q.IsGood():
			o.note(m.File, m.Name, at, said+" is read, and the machine calls its value uncertain: "+q.String(), "see what it shows there")
		}
	}
}

// fileMachine is the name that a file of one machine has as a rule.
func fileMachine(file string) string {
	base := file[strings.LastIndexAny(file, `/\`)+1:]
	name, _, _ := strings.Cut(base, ".")
	return name
}

// remedy says what to do about a point that cannot be read.
func remedy(m *configs.Machine, i int, q point.Quality) string {
	key := "at"
	if m.OPCUA != nil {
		key = "node"
	}
	switch q {
	case point.BadTypeMismatch:
		return "the machine gives another type than " + m.Points[i].Type + ": write the one that it has"
	case point.BadEncodingLimitsExceeded:
		return "the value is longer than the file allows: write a greater max_bytes"
	case point.BadSensorFailure, point.BadOutOfRange:
		return "the machine gives no valid value now: see what it shows, or correct 'invalid' and 'valid'"
	}
	return "correct '" + key + "', or remove the point"
}

// negotiated compares what a connection gives with what the levels of its points
// ask for. Where it gives what the file says, the check without it has said all.
func (o *online) negotiated(s *checkSink, where at) {
	m := s.machine
	given := s.link.Security
	if given >= m.Security() {
		return
	}
	points := make([]policy.Point, len(m.Points))
	for i := range m.Points {
		points[i] = m.Points[i].Point
	}
	before := o.config.Policy.Compile(m.Name, points, m.Security(), o.deciding).Decisions
	stopped := map[string][]string{}
	for i, d := range o.config.Policy.Compile(m.Name, points, given, o.deciding).Decisions {
		if d.Treatment == policy.Withheld && before[i].Treatment != policy.Withheld {
			stopped[d.Level] = append(stopped[d.Level], m.Points[i].Name)
		}
	}
	for _, l := range o.config.Policy.Levels {
		if names := stopped[l.Name]; len(names) > 0 {
			o.add(configs.Problem{
				File: m.File, Line: where.line, Column: where.column, Machine: m.Name, Stops: true,
				What: fmt.Sprintf("level '%s' asks for a connection that is %s, and %s negotiated one that is %s (%s): %s will stop",
					l.Name, l.Connection, m.Name, given, s.link.Mechanism, strings.Join(first(names, 5), ", ")),
				Instead: "secure it, or have it approved for a time: add this to 'exceptions' of the policy, with the reason\n" + o.stanza(m.Name, &l, names, time.Now()),
			})
		}
	}
}

// stanza writes an exception for three months, without the reason that the policy
// asks for.
func (o *online) stanza(machine string, l *policy.Level, names []string, now time.Time) string {
	allow := policy.ConnectionNotAuthenticated
	if l.Connection == point.Encrypted {
		allow = policy.ConnectionNotEncrypted
	}
	patterns := []string{machine + "/*"}
	if len(names) <= 5 {
		patterns = nil
		for _, name := range names {
			patterns = append(patterns, machine+"/"+name)
		}
	}
	zone := o.config.Policy.Location
	if zone == nil {
		zone = time.UTC
	}
	slices.Sort(patterns)
	return fmt.Sprintf(`  - {allow: %s, points: ["%s"], why: "", until: %s}`, allow, strings.Join(patterns, `", "`), now.In(zone).AddDate(0, 3, 0).Format(time.DateOnly))
}
