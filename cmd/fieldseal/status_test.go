package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/status"
)

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := status.Gateway{
		Gateway: "gw-1", Version: "v0.1.0", Start: 7, Time: now, Started: now.Add(-90 * time.Minute),
		Clock:      status.Clock{Trusted: true, How: "plausible", Why: "it has been later already"},
		Policy:     status.Policy{Name: "plant", Revision: 17, ApprovedBy: []string{"anna", "ben"}},
		Trust:      status.Trust{Revision: 4, ApprovedBy: []string{"anna"}},
		Refused:    []status.Refused{{File: "policy", Problem: "policy.yaml:4:11: a newer one was accepted already"}},
		Unapproved: []status.Unapproved{{Machine: "press-3", Points: []string{"force", "state"}, Why: "nothing was signed for this point"}},
		Uplinks: []status.Uplink{{
			Name: "plant-nats", State: "connecting", Messages: 1, LastStored: now.Add(-2 * time.Minute), Error: "connection refused",
		}},
		Outbox:  status.Outbox{Messages: 12, Bytes: 3 << 10, Oldest: now.Add(-time.Minute), Lost: 2},
		Commits: status.Commits{Stalled: "the outbox is full"},
		Exceptions: []status.Exception{
			{Allow: "connection-not-encrypted", Where: "policy.yaml:29", Why: "cabinet", Until: now.AddDate(0, 1, 0)},
			{Allow: "connection-not-encrypted", Where: "policy.yaml:30", Why: "move", Until: now, Over: true},
		},
		LeftOut: []status.LeftOut{{Machine: "mixer-4", Problem: "machines/mixer-4.yaml:3:1: unknown key"}},
		Machines: []status.Machine{
			{
				Name: "press-3", State: "up", Security: "any", Points: map[string]int{"clear": 1, "sealed": 12, "withheld": 2},
				Samples: status.Samples{Taken: 123456}, Last: now.Add(-200 * time.Millisecond),
				Withheld: []status.Withheld{{Point: "force", Why: "the connection is any"}, {Point: "recipe", Why: "the connection is any"}},
				Unread:   []status.Unread{{Point: "energy", Status: "illegal data address"}},
			},
			{
				Name: "mixer-1", State: "up", Security: "encrypted", Error: "it gives less often than asked: speed",
				Field: status.Field{Missed: 3, Deaths: 2, Alone: true},
			},
			{Name: "hotrunner-17", State: "down", Security: "any", Error: "no route to host", Since: now.Add(-time.Minute)},
		},
	}
	var out strings.Builder
	require.NoError(t, printStatus(&out, &s))
	require.Equal(t, `gateway    gw-1, version v0.1.0, start 7, up 1h30m0s
policy     plant, revision 17, approved by anna and ben
trust      revision 4, approved by anna
CLOCK      plausible: it has been later already
REFUSED    policy: policy.yaml:4:11: a newer one was accepted already
uplink     plant-nats: connecting, 1 message stored upstream, last 2m0s ago: connection refused
outbox     waiting: 12 messages, 3.0 KiB, oldest 1m0s ago; 2 given up
STALLED    nothing is accepted, and machines are not polled once 4 MiB wait in memory, or at once with stop-polling: the outbox is full
exception  connection-not-encrypted (policy.yaml:29), until 2026-12-22: cabinet
exception  connection-not-encrypted (policy.yaml:30), PAST ITS DAY, its points stop: move
LEFT OUT   mixer-4: machines/mixer-4.yaml:3:1: unknown key

machine       state  connection  clear  sealed  passthrough  withheld  samples  bad  last
press-3       up     any         1      12      0            2         123456   0    200ms ago
mixer-1       up     encrypted   0      0       0            0         0        0    never
hotrunner-17  down   -           0      0       0            0         0        0    never

press-3: force, state leave as points that nobody labelled: not approved: nothing was signed for this point
press-3: force, recipe do not leave: the connection is any
press-3: energy is not read: illegal data address
mixer-1: it gives less often than asked: speed
mixer-1: since its source began 0 samples or polls were left out, and 3 values or messages were lost on the way
mixer-1: its worker process died 2 times; it has one of its own now
hotrunner-17 is down for 1m0s: no route to host
`, out.String())
}

// Nothing of what others wrote reaches the terminal as they wrote it.
func TestStatusIsPlain(t *testing.T) {
	var out bytes.Buffer
	s := status.Gateway{Gateway: "gw-1", LeftOut: []status.LeftOut{{Machine: "press\x1b[2J", Problem: "\x9b31mred\a"}}}
	if err := printStatus(&out, &s); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == utf8.RuneError }) {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	if n, err := (plainWriter{&out}).Write([]byte("a\x1bb\n")); n != 4 || err != nil || out.String() != "a\\x1bb\n" {
		t.Errorf("%d %v %q", n, err, out.String())
	}
}
