package opcua

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// notice is what people have to know of a machine that is up: it is the error of
// its link. Owned by the pump.
type notice struct {
	slow            string // of which points the server gives less than was asked for
	lost, out       uint64 // values lost on the way, samples left out, since the notice of it began
	lostAt, outAt   time.Time
	saidLost        time.Time // when lost was looked at last; some servers lose all the time
	said            string    // what the sink knows
	lossIsForgotten time.Duration
}

// missedEvery is between two words on what a server loses.
const missedEvery = 10 * time.Second

// text is all of it.
func (n *notice) text() string {
	var parts []string
	if n.out > 0 {
		parts = append(parts, fmt.Sprintf("%d samples were left out because what takes them was too slow; all points are read anew", n.out))
	}
	if n.lost > 0 {
		parts = append(parts, fmt.Sprintf("%d values or messages were lost on the way from the server", n.lost))
	}
	if n.slow != "" {
		parts = append(parts, n.slow)
	}
	return strings.Join(parts, "; ")
}

// remark brings the notice up to date, and tells the sink where it changed. out
// is how many samples were left out just now. A loss is forgotten when none came
// after it for a while. The answer is when to look again.
func (m *machine) remark(ctx context.Context, out uint64) (again time.Duration) {
	n, now := &m.notice, time.Now()
	again = time.Hour
	m.queue.Lock()
	missed, anew := m.missed, m.anew
	m.anew = false
	if missed > 0 && now.Sub(n.saidLost) >= missedEvery {
		n.lost, m.missed, n.lostAt, n.saidLost = n.lost+missed, 0, now, now
		m.source.log.Warn("values or messages were lost on the way from the server", "machine", m.name, "lost", missed)
	}
	if anew {
		n.slow = m.slow()
	}
	if m.missed > 0 {
		again = missedEvery - now.Sub(n.saidLost)
	}
	m.queue.Unlock()
	if out > 0 {
		n.out, n.outAt = n.out+out, now
	}
	for _, one := range []struct {
		count *uint64
		at    time.Time
	}{{&n.lost, n.lostAt}, {&n.out, n.outAt}} {
		if *one.count == 0 {
			continue
		}
		if left := n.lossIsForgotten - now.Sub(one.at); left > 0 {
			again = min(again, left)
		} else {
			*one.count = 0
		}
	}
	if text := n.text(); text != n.said && m.told && m.last.State == point.LinkUp {
		m.last.Err = text
		n.said = text
		_ = m.call(ctx, func(s point.Sink) error { s.Link(m.last); return nil })
	}
	return max(again, time.Millisecond)
}

// slow says of which points the server gives less than was asked for. Under the
// queue's mutex.
func (m *machine) slow() string {
	const most = 5 // points that are named
	type kind struct {
		Revision
		asked time.Duration
	}
	points := map[kind][]uint32{}
	var order []kind
	for _, index := range slices.Sorted(maps.Keys(m.revised)) {
		k := kind{m.revised[index], m.spec.Points[index].Period}
		k.Point = 0
		if points[k] == nil {
			order = append(order, k)
		}
		points[k] = append(points[k], index)
	}
	var texts []string
	for i, k := range order {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more kinds of it", len(order)-most))
			break
		}
		var names []string
		for _, index := range points[k] {
			if len(names) == most {
				names = append(names, fmt.Sprintf("and %d more", len(points[k])-most))
				break
			}
			names = append(names, m.spec.Points[index].Name)
		}
		text := fmt.Sprintf("the server looks at %s every %v and tells of it every %v, and %v was asked for",
			strings.Join(names, ", "), k.Sampling, k.Publishing, k.asked)
		if k.Queue > 0 {
			text += fmt.Sprintf("; it keeps %d of the values in between and drops the others", k.Queue)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
