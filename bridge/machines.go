package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// newSink makes the sink of one machine. Before its first link everything is
// decided as over the connection that the file asks for, which is never weaker.
func (g *Gateway) newSink(m *configs.Machine) *sink {
	return g.newSinkOf(g.configuration(), m, g.events.write)
}

func (g *Gateway) newSinkOf(c *configs.Config, m *configs.Machine, events func(stream.Event)) *sink {
	s := &sink{
		machine: m.Name, about: m.About, protocol: m.Protocol(), points: policyPoints(m), policy: &c.Policy,
		now: g.now, deciding: g.clock.Deciding, intake: g.committer.intake, events: events,
		pending: newPending(m), meta: make([]point.Meta, len(m.Points)), negotiated: m.Security(),
		secrets: secretsOf(c.State, m),
	}
	s.guarded(func() {
		s.pending.Remember(g.guards.remembered(m.Name))
		s.decide()
	})
	return s
}

// secretsOf gives a digest of what a machine's credentials hold: its file only
// names them.
func secretsOf(state string, m *configs.Machine) [32]byte {
	name := ""
	switch {
	case m.OPCUA != nil:
		name = m.OPCUA.Credential
	case m.CoAP != nil:
		name = m.CoAP.Device.Credential
	}
	if name == "" {
		return [32]byte{}
	}
	secret, err := keystore.Password(state, name)
	if err != nil {
		return sha256.Sum256([]byte("error " + err.Error()))
	}
	return sha256.Sum256([]byte("secret " + secret))
}

// newPending makes the stream side of a machine.
func newPending(m *configs.Machine) *stream.Machine {
	points := make([]stream.Point, len(m.Points))
	for i, p := range m.Points {
		points[i] = stream.Point{
			Name: p.Name, Unit: p.Unit, Report: stream.Report(p.Report), Texts: p.Values, Counter: counter(p.Counter),
			Passthrough: p.Passthrough, ContentType: p.ContentType, Guard: p.Guard, Origin: origin(m, &p),
		}
	}
	pending := stream.NewMachine(m.Name, points)
	pending.Tag(m.Tags)
	return pending
}

// counter is the catalogue's word for a point that only rises.
func counter(c *configs.Counter) string {
	switch {
	case c == nil:
		return ""
	case c.Resets:
		return "resets"
	}
	return "rises"
}

func policyPoints(m *configs.Machine) []policy.Point {
	points := make([]policy.Point, len(m.Points))
	for i := range m.Points {
		points[i] = m.Points[i].Point
	}
	return points
}

// supervise runs one source until ctx ends. A source that gives up, or panics,
// ends neither another one nor the gateway: after a pause another one takes its
// place, unless its configuration is what is wrong.
func (g *Gateway) supervise(ctx context.Context, e *endpoint) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = g.firstPause, time.Minute
	source := e.source
	for {
		err := runSource(ctx, source)
		if ctx.Err() != nil {
			return
		}
		g.logger.Error("a source ended", "endpoint", e.name, "error", err)
		g.events.write(stream.Event{Name: "source-ended", Text: fmt.Sprintf("%s: %v", e.name, err)})
		if isConfig(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
		if source, err = e.again(); err != nil { // it could be made before
			g.logger.Error("a source cannot be made again", "endpoint", e.name, "error", err)
			return
		}
	}
}

func isConfig(err error) bool {
	var config *point.ConfigError
	return errors.As(err, &config)
}

func runSource(ctx context.Context, s Source) (err error) {
	defer func() {
		if r := recover(); r != nil {
			// The panic's own text may quote what the machine sent, and so may
			// the arguments of a stack trace.
			err = fmt.Errorf("panic of type %T at %s", r, frames())
		}
	}()
	if err := s.Run(ctx); err != nil {
		return err
	}
	return errors.New("ended without being asked to")
}

// frames names the functions on the stack above a panic.
func frames() string {
	var pc [16]uintptr
	var out []string
	next := runtime.CallersFrames(pc[:runtime.Callers(3, pc[:])])
	for {
		f, more := next.Next()
		out = append(out, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			return strings.Join(out, " ")
		}
	}
}
