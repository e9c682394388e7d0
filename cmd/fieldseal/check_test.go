package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// mixerMachine is read over a connection that is encrypted, as its file says.
func mixerMachine() *configs.Machine {
	m := &configs.Machine{Name: "mixer-4", File: "none/mixer-4.yaml", OPCUA: &configs.OPCUA{Endpoint: opcua.Spec{Mode: "SignAndEncrypt"}}}
	for _, p := range []struct{ name, label string }{{"speed", "internal"}, {"recipe", "restricted"}} {
		m.Points = append(m.Points, configs.Point{Point: policy.Point{Name: p.name, Label: p.label}})
	}
	return m
}

func seen(s *checkSink) bool {
	select {
	case <-s.enough:
		return true
	default:
		return false
	}
}

// Enough is when each point was read once over a connection, or when the machine
// stays down.
func TestCheckSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCheckSink(mixerMachine())
		take := func(k uint32, q point.Quality) {
			require.NoError(t, s.Take(context.Background(), []point.Sample{{Point: k, Quality: q}, {Point: 99}}))
		}
		s.Link(point.Link{Err: "nobody answers"})
		take(0, point.BadNotConnected)
		take(1, point.BadNotConnected)
		<-time.After(downFor - time.Millisecond)
		s.Link(point.Link{State: point.LinkUp, Security: point.Encrypted})
		<-time.After(downFor)
		assert.False(t, seen(s), "what is said while it is down is no reading")
		take(0, point.Good)
		assert.False(t, seen(s))
		take(1, point.BadTypeMismatch)
		assert.True(t, seen(s))
		take(1, point.Good)
		assert.Equal(t, []point.Quality{point.Good, point.Good}, s.quality, "the last one counts")

		down := newCheckSink(mixerMachine())
		down.Link(point.Link{Err: "nobody answers"})
		<-time.After(downFor)
		synctest.Wait()
		assert.True(t, seen(down))
	})
}

// A connection that gives less than the file asks for stops the points of the
// levels that ask for more; what to have approved is printed.
func TestCheckNegotiated(t *testing.T) {
	o := online{timeout: time.Second, config: &configs.Config{Policy: policy.Policy{
		Levels: []policy.Level{
			{Name: "internal", To: []string{"a"}, Connection: point.Authenticated},
			{Name: "restricted", To: []string{"a"}, Connection: point.Encrypted},
		},
		Default: "restricted",
	}}}
	s := newCheckSink(mixerMachine())
	s.seen[0], s.seen[1] = true, true
	s.Link(point.Link{State: point.LinkUp, Security: point.Authenticated, Mechanism: "Basic256Sha256 Sign"})
	o.machine(s)
	require.Len(t, o.found, 1)
	p := o.found[0]
	assert.True(t, p.Stops)
	assert.Equal(t, "level 'restricted' asks for a connection that is encrypted, and mixer-4 negotiated one that is authenticated (Basic256Sha256 Sign): recipe will stop", p.What)
	assert.Contains(t, p.Instead, `  - {allow: connection-not-encrypted, points: ["mixer-4/recipe"], why: "", until: `)

	o.found = nil
	s.Link(point.Link{State: point.LinkUp, Security: point.Encrypted})
	o.machine(s)
	assert.Empty(t, o.found)
}

// What a machine says of its points.
func TestCheckPoints(t *testing.T) {
	o := online{timeout: time.Second, config: &configs.Config{}}
	m := mixerMachine()
	s := newCheckSink(m)
	s.Link(point.Link{State: point.LinkUp, Security: point.Encrypted})
	s.seen[0], s.quality[0] = true, point.Uncertain
	o.machine(s)
	require.Len(t, o.found, 2)
	assert.True(t, o.found[0].Note)
	assert.Equal(t, "point 'speed' is read, and the machine calls its value uncertain: Uncertain", o.found[0].What)
	assert.Equal(t, "point 'recipe' was not read within 1s", o.found[1].What)
	assert.Equal(t, 1, o.notSeen)

	o.found = nil
	s.Describe(1, point.Meta{Status: "the server has no node s=Recipe (BadNodeIdUnknown)"})
	s.seen[1], s.quality[1] = true, point.Bad
	o.machine(s)
	assert.Equal(t, "point 'recipe': the server has no node s=Recipe (BadNodeIdUnknown)", o.found[1].What)
	assert.Equal(t, "correct 'node', or remove the point", o.found[1].Instead)
}
