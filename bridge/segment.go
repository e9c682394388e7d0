package bridge

import (
	"fmt"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	largestSegment = 1 << 30
	oldStreamCost  = 512 // of a stream that nothing is sent in any more: a closed head
)

// streamsCost is what the streams that the configuration can have take in each
// segment of the outbox besides data.
type streamsCost struct {
	of    map[envelope.Stream]bool
	bytes int64
}

func streamsCostOf(config *configs.Config, c *stream.Config, now time.Time) (streamsCost, error) {
	cost := streamsCost{of: make(map[envelope.Stream]bool)}
	keyFrames := make(map[string]int)
	for i := range config.Machines {
		m := &config.Machines[i]
		for _, d := range config.Policy.Compile(m.Name, policyPoints(m), point.Encrypted, now).Decisions {
			id := envelope.Stream{Gateway: c.Gateway, Machine: m.Name, Level: d.Level}
			if l, ok := config.Policy.Level(d.Level); !ok || l.Send == policy.SendWithheld || cost.of[id] {
				continue
			}
			n, err := c.Cost(id.Machine, id.Level, keyFrames)
			if err != nil {
				return cost, err
			}
			cost.of[id] = true
			cost.bytes += int64(n)
		}
	}
	for i := range c.Levels {
		if c.Levels[i].Name != eventLevel {
			continue
		}
		n, err := c.Cost(eventMachine, eventLevel, keyFrames)
		if err != nil {
			return cost, err
		}
		cost.of[envelope.Stream{Gateway: c.Gateway, Machine: eventMachine, Level: eventLevel}] = true
		cost.bytes += int64(n)
	}
	return cost, nil
}

// old adds the streams that the outbox knows besides.
func (c *streamsCost) old(heads *stream.Heads) {
	heads.Each(func(id envelope.Stream, _, _ uint64) {
		if !c.of[id] {
			c.of[id] = true
			c.bytes += oldStreamCost
		}
	})
}

// add adds a stream that is there already.
func (c *streamsCost) add(machine, level, gateway string) {
	id := envelope.Stream{Gateway: gateway, Machine: machine, Level: level}
	if !c.of[id] {
		c.of[id] = true
		c.bytes += oldStreamCost
	}
}

// segmentFor gives the size of the outbox's segments: the usual one, or a larger
// one where there are many streams. They may take half of it.
func (c *streamsCost) segmentFor(maxSize int64) (int64, error) {
	const block = 4096
	size := max(segmentSize(maxSize), (2*c.bytes+block-1)/block*block)
	if size > maxSize/4 || size > largestSegment {
		return 0, c.tooSmall(maxSize)
	}
	return size, nil
}

func (c *streamsCost) tooSmall(maxSize int64) error {
	const mib = 1 << 20
	least := 8 * c.bytes
	if least > 4*largestSegment {
		return fmt.Errorf("outbox: %d streams (a machine's points of one level are one) are too many for one gateway: split its machines between two, or have fewer recipients", len(c.of))
	}
	return fmt.Errorf("outbox: max_size of %d MiB is too small for %d streams (a machine's points of one level are one), whose heads and key frames stand in each segment: make it %d MiB at least, or have fewer machines, levels or recipients",
		maxSize/mib, len(c.of), (least+mib-1)/mib+1)
}
