package bridge

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// newSink makes the sink of one machine. Before its first link everything is
// decided as over the weakest connection.
func (g *Gateway) newSink(m *configs.Machine) *sink {
	points := make([]stream.Point, len(m.Points))
	for i, p := range m.Points {
		points[i] = stream.Point{
			Name: p.Name, Unit: m.Modbus.Points[i].Unit, Report: stream.Report(p.Report),
			Passthrough: p.Passthrough, ContentType: p.ContentType,
		}
	}
	s := &sink{
		machine: m.Name, about: m.About, protocol: "modbus", points: policyPoints(m), policy: &g.config.Policy,
		now: g.now, intake: g.committer.intake, events: g.events.write,
		pending: stream.NewMachine(m.Name, points, g.config.Policy.Passthrough.IfReadable),
		meta:    make([]point.Meta, len(points)),
	}
	s.decide(g.now())
	return s
}

func policyPoints(m *configs.Machine) []policy.Point {
	points := make([]policy.Point, len(m.Points))
	for i := range m.Points {
		points[i] = m.Points[i].Point
	}
	return points
}

// supervise runs one source until ctx ends. A source that gives up, or panics,
// ends neither another one nor the gateway: after a pause it is run again,
// unless its configuration is what is wrong.
func (g *Gateway) supervise(ctx context.Context, e endpoint) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = time.Second, time.Minute
	for {
		err := runSource(ctx, e.source)
		if ctx.Err() != nil {
			return
		}
		g.logger.Error("a source ended", "endpoint", e.name, "error", err)
		g.events.write(stream.Event{Name: "source-ended", Text: fmt.Sprintf("%s: %v", e.name, err)})
		var config *point.ConfigError
		if errors.As(err, &config) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func runSource(ctx context.Context, s Source) (err error) {
	defer func() {
		if r := recover(); r != nil {
			// The panic's own text may quote what the machine sent.
			err = fmt.Errorf("panic of type %T\n%s", r, debug.Stack())
		}
	}()
	if err := s.Run(ctx); err != nil {
		return err
	}
	return errors.New("ended without being asked to")
}
