package opcua

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopcua/opcua/ua"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// assignment is one machine in the worker: what is to be read, and what is on
// its way to the pool.
type assignment struct {
	endpoint, id uint32
	spec         *Machine

	// Under the session's mutex.
	items []*item
	batch packer // an open frame of samples; nil: none
	count int    // in it
	lost  uint64 // samples that the pool has to be told of
	gaps  uint64
}

// item is one point of a machine in a session.
type item struct {
	of    *assignment
	point uint32
	typ   Type
	limit int
	name  string // of the node, for people
	every time.Duration

	node   *ua.NodeID // nil: its namespace is missing
	handle uint32
	id     uint32 // the server's, while it is monitored
	sub    *subscription

	refused string // why it is not monitored; empty: it is, or will be
	why     string // that the pool was told last
	first   []byte // sample of the read after connecting, until the first notification
	timed   bool   // first has a source time
	revised bool   // the pool was told that the server gives less than was asked for
	noticed uint64 // the session's number of the last notification of it
	newest  int64  // source time of that; 0: it had none
}

func newItem(a *assignment, index int) *item {
	p := &a.spec.Points[index]
	return &item{of: a, point: uint32(index), typ: p.Type, limit: p.limit(), name: shorten(p.Node.String()), every: p.Period}
}

// nodeID gives the node for the library.
func (n NodeID) nodeID(namespace uint16) *ua.NodeID {
	switch n.Kind {
	case TextNode:
		return ua.NewStringNodeID(namespace, n.Text)
	case GUID:
		return ua.NewGUIDNodeID(namespace, n.guid())
	case Opaque:
		return ua.NewByteStringNodeID(namespace, []byte(n.Text))
	default:
		return ua.NewNumericNodeID(namespace, n.Number)
	}
}

// resolve finds the nodes of items whose namespace the server has, and says of
// the others why they cannot be read.
func (s *session) resolve(items []*item) {
	for _, it := range items {
		uri := it.of.spec.namespace(&it.of.spec.Points[it.point])
		index := slices.Index(s.namespaces, uri)
		if index < 0 || index > 0xFFFF {
			it.refused = s.missing(uri)
			continue
		}
		it.node, it.refused = it.of.spec.Points[it.point].Node.nodeID(uint16(index)), ""
	}
}

// missing says that there is no such namespace, and which there are.
func (s *session) missing(uri string) string {
	var have []string
	for _, n := range s.namespaces {
		have = append(have, oneLine(n, 80))
		if len(have) == 10 {
			have = append(have, "…")
			break
		}
	}
	return fmt.Sprintf("the server has no namespace %s; it has %s", oneLine(uri, 200), strings.Join(have, ", "))
}

// tell tells the pool why a point is not read, if that is news.
func (s *session) tell(it *item, why string) {
	if it.why != why {
		it.why = why
		s.out.send(statusFrame{it.of.id, it.point, why}.frame(it.of.endpoint), false)
	}
}

// add puts a sample into the machine's frame. Under the mutex.
func (s *session) add(a *assignment, sample point.Sample) {
	if a.batch == nil {
		a.batch = newFrame(frameSamples, a.endpoint)
		a.batch.u32(a.id)
		a.batch.u16(0)
	}
	a.batch.sample(sample)
	a.count++
	if a.count == point.MaxSamples || len(a.batch) >= maxBatch {
		s.flush(a)
	}
}

// flush sends the machine's frame. Under the mutex.
func (s *session) flush(a *assignment) {
	if a.count > 0 {
		binary.LittleEndian.PutUint16(a.batch[4+1+4+4:], uint16(a.count))
		if !s.out.send(a.batch.done(), true) {
			a.lost += uint64(a.count)
			s.stale = true
		}
		a.batch, a.count = nil, 0
	}
	if (a.lost > 0 || a.gaps > 0) && s.out.send(lostFrame{a.id, a.lost, a.gaps}.frame(a.endpoint), true) {
		a.lost, a.gaps = 0, 0
	}
}

// notified takes what the server gave for an item by itself. Under the mutex.
func (s *session) notified(it *item, d *ua.DataValue) {
	s.notices++
	it.noticed = s.notices
	sample, why := s.convert(it, d)
	if why != "" || !sample.Quality.IsBad() {
		s.tell(it, why)
	}
	_, timed := sourceTime(d)
	it.newest = 0
	if timed {
		it.newest = sample.Time
	}
	// A subscription begins with the value that was just read: it is one sample.
	if it.first != nil {
		var now packer
		now.sample(sample)
		same := timed && it.timed && bytes.Equal(now, it.first)
		if !timed && !it.timed {
			same = bytes.Equal(now[:8], it.first[:8]) && bytes.Equal(now[16:], it.first[16:]) // but for the time
		}
		it.first = nil
		if same {
			return
		}
	}
	s.add(it.of, sample)
}

// answered takes the answer to a read that was sent when the session had taken so
// many notices. A notification that came since is as new, unless the answer's own
// time says otherwise: what is left out here would be an old value after a new
// one. Under the mutex.
func (s *session) answered(it *item, d *ua.DataValue, notices uint64) {
	sample, why := s.convert(it, d)
	_, timed := sourceTime(d)
	if it.noticed > notices && (!timed || it.newest == 0 || sample.Time <= it.newest) {
		return
	}
	s.tell(it, why)
	var first packer
	first.sample(sample)
	it.first, it.timed = first, timed
	s.add(it.of, sample)
}

// convert makes a sample, and counts what the server's queue lost before it.
func (s *session) convert(it *item, d *ua.DataValue) (point.Sample, string) {
	if d != nil && d.Status&overflow == overflow {
		it.of.gaps++
	}
	return it.convert(d, time.Now())
}
