package bridge

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	maxChanges = 4 << 10 // bytes of the difference in one event
	maxPoints  = 20      // of one machine that are told apart in it
)

// difference says for people what changes from one configuration to another,
// what becomes more readable first.
func difference(old, c *configs.Config, now time.Time) (changes []string) {
	say := func(format string, a ...any) { changes = append(changes, fmt.Sprintf(format, a...)) }
	if old.Policy.Revision != c.Policy.Revision || old.Policy.Digest != c.Policy.Digest {
		say("policy revision %d becomes %d", old.Policy.Revision, c.Policy.Revision)
	}
	if was, is := old.Policy.Location, c.Policy.Location; was != nil && is != nil && was.String() != is.String() {
		say("time zone %s becomes %s", was, is)
	}
	if old.Trust.Revision != c.Trust.Revision {
		say("trust file revision %d becomes %d", old.Trust.Revision, c.Trust.Revision)
	}
	for i := range c.Policy.Levels {
		l := &c.Policy.Levels[i]
		was, ok := old.Policy.Level(l.Name)
		if ok && !slices.Equal(was.To, l.To) {
			say("level %s: readable by %s, was by %s", l.Name, list(l.To), list(was.To))
		}
	}
	was := make(map[string]*configs.Machine)
	for i := range old.Machines {
		was[old.Machines[i].Name] = &old.Machines[i]
	}
	for i := range c.Machines {
		m := &c.Machines[i]
		before := was[m.Name]
		delete(was, m.Name)
		switch {
		case before == nil:
			say("machine %s: new, %d points", m.Name, len(m.Points))
		case !sameReading(before, m):
			say("machine %s: read otherwise%s", m.Name, decided(old, c, before, m, now))
		default:
			if points := decided(old, c, before, m, now); points != "" {
				say("machine %s%s", m.Name, points)
			} else if !reflect.DeepEqual(before, m) {
				say("machine %s: described otherwise", m.Name)
			}
		}
	}
	for i := range old.Machines { // in their order
		if m := &old.Machines[i]; was[m.Name] != nil {
			say("machine %s: gone", m.Name)
		}
	}
	if !reflect.DeepEqual(old.Uplinks, c.Uplinks) {
		say("uplinks: %s", list(uplinkNames(c)))
	}
	if old.Outbox != c.Outbox {
		say("outbox: another size, age or rule")
	}
	return changes
}

// decided tells which points leave otherwise than before.
func decided(old, c *configs.Config, before, after *configs.Machine, now time.Time) string {
	is := c.Policy.Compile(after.Name, policyPoints(after), after.Security(), now).Decisions
	was := make(map[string]policy.Decision)
	for i, d := range old.Policy.Compile(before.Name, policyPoints(before), before.Security(), now).Decisions {
		was[before.Points[i].Name] = d
	}
	var points []string
	for i, d := range is {
		name := after.Points[i].Name
		b, ok := was[name]
		delete(was, name)
		switch {
		case !ok:
			points = append(points, fmt.Sprintf("%s new, %s", name, leaving(d)))
		case leaving(b) != leaving(d):
			points = append(points, fmt.Sprintf("%s %s, was %s", name, leaving(d), leaving(b)))
		}
	}
	for i := range before.Points {
		if _, left := was[before.Points[i].Name]; left {
			points = append(points, before.Points[i].Name+" gone")
		}
	}
	if len(points) == 0 {
		return ""
	}
	more := ""
	if n := len(points) - maxPoints; n > 0 {
		points, more = points[:maxPoints], fmt.Sprintf(", and %d more", n)
	}
	return ": " + strings.Join(points, ", ") + more
}

func leaving(d policy.Decision) string {
	s := d.Treatment.String()
	if d.Wrap {
		s = "passthrough, sealed again"
	}
	if d.Level == "" {
		return s
	}
	return s + " (" + d.Level + ")"
}

func uplinkNames(c *configs.Config) (names []string) {
	for i := range c.Uplinks {
		names = append(names, c.Uplinks[i].Name)
	}
	return names
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}
