package stream

import (
	"fmt"
	"unsafe"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// Point is one point as the stream side sees it.
type Point struct {
	Name        string
	Unit        string
	Report      Report
	Texts       map[int64]string // what the numbers of an enumeration mean
	Counter     string           // "rises" or "resets" for one that only rises; empty otherwise
	Passthrough string           // declared format of what the device encrypts; empty otherwise
	ContentType string           // of a passthrough payload upstream
	Guard       ciphertext.Config
	Origin      string // what a guard's memory holds for: the same point of the same device, read in the same way
}

// Machine turns one machine's samples into what is pending for its streams. It
// is not safe for concurrent use.
type Machine struct {
	name      string
	points    []Point
	decisions []policy.Decision
	clear     []bool // whether a point's level sends in clear: nothing may be sealed into it
	tags      map[string]string
	catalogue *Catalogue
	guards    []*ciphertext.Guard // of each point; nil where it is not passed through
	last      []reported
	marks     []mark // of each point
	lanes     map[laneOf]*lane
	recent    *lane // of recentOf, where the newest sample went; nil: none
	recentOf  laneOf
	counts    Counts
	kept      int // bytes that pending samples take, ever
	events    []Event
}

// Counts tells what became of the samples taken so far.
type Counts struct {
	Taken       uint64 // all of them
	Bad         uint64 // of all, those with a bad quality
	Unreported  uint64 // left out by report-by-exception
	Clear       uint64
	Sealed      uint64
	Passthrough uint64
	Withheld    uint64 // by policy
	Held        uint64 // claimed to be ciphertext and was not
	Probation   uint64 // of those sealed or held: ciphertext, as far as it can be told, of a source that is not trusted yet
}

// Event is something security-relevant that happened to a point. Its text holds
// no value.
type Event struct {
	Name    string // such as "passthrough-not-ciphertext"
	Machine string
	Point   string
	Text    string
}

func (c *Counts) bad(s *point.Sample) {
	if s.Quality.IsBad() {
		c.Bad++
	}
}

// mark says what was odd about a point's newest sample, so that it is said once.
type mark uint8

const (
	oversize mark = 1 << iota // its value was too large
)

// laneOf is a stream of the machine, and whether its level sent in clear when the
// sample was decided.
type laneOf struct {
	level string
	clear bool
}

// lane is what is pending for one stream.
type lane struct {
	samples []envelope.Sample
	bytes   []byte // what the samples' texts and byte strings point into
	passed  []passed
	spare   *lane // the buffers of the commit before, to be used again
}

type passed struct {
	point       string
	contentType string
	time        int64
	body        []byte
}

// NewMachine makes a machine without decisions: until [Machine.Decide] is
// called all its samples are withheld.
func NewMachine(name string, points []Point) *Machine {
	return &Machine{
		name:   name,
		points: points,
		guards: guards(points),
		last:   make([]reported, len(points)),
		marks:  make([]mark, len(points)),
		lanes:  make(map[laneOf]*lane),
	}
}

// Tag says what the catalogue tells of each of the machine's points.
func (m *Machine) Tag(tags map[string]string) {
	m.tags = tags
	m.describe()
}

// Describe changes a point's unit, as the device says it.
func (m *Machine) Describe(index int, unit string) {
	if index < len(m.points) && m.points[index].Unit != unit {
		m.points[index].Unit = unit
		m.describe()
	}
}

// Name is the machine's name.
func (m *Machine) Name() string { return m.name }

// Counts gives the counters.
func (m *Machine) Counts() Counts { return m.counts }

// Decisions gives the decisions in force, in the order of the points; not to be
// changed.
func (m *Machine) Decisions() []policy.Decision { return m.decisions }

// Decide puts new decisions in force for the samples that come next. clear
// tells for each point whether its level sends in clear. A point that leaves
// otherwise than before goes out once, whatever its filter says: its new readers
// have nothing of it.
func (m *Machine) Decide(decisions []policy.Decision, clear []bool) {
	for i := range min(len(m.decisions), len(decisions)) {
		was, is := &m.decisions[i], &decisions[i]
		if was.Treatment != is.Treatment || was.Readable != is.Readable || was.Wrap != is.Wrap || was.Level != is.Level {
			m.last[i].sent = false
		}
	}
	m.decisions, m.clear = decisions, clear
	m.describe()
}

// Reconnected makes each point go out once again, whatever its filter says.
func (m *Machine) Reconnected() {
	for i := range m.last {
		m.last[i].sent = false
	}
}

// Take adds samples to what is pending. It gives the bytes that this adds to
// frames, roughly, and those that it takes in memory. It copies what it keeps.
func (m *Machine) Take(samples []point.Sample) (size, kept int) {
	before := m.kept
	for i := range samples {
		size += m.take(&samples[i])
	}
	return size, m.kept - before
}

func (m *Machine) take(s *point.Sample) int {
	m.counts.Taken++
	i := int(s.Point)
	if i >= len(m.decisions) || i >= len(m.points) {
		m.counts.bad(s)
		m.counts.Withheld++ // no decision is a decision: nothing leaves
		return 0
	}
	p, d := &m.points[i], &m.decisions[i]
	if d.Treatment == policy.Withheld {
		m.counts.bad(s)
		m.counts.Withheld++
		return 0
	}
	if len(s.Value.Data()) > point.MaxValueSize || m.marks[i]&oversize != 0 {
		s = m.limit(i, s)
	}
	m.counts.bad(s)
	if !p.Report.wants(&m.last[i], s) {
		m.counts.Unreported++
		return 0
	}
	p.Report.note(&m.last[i], s)
	l := m.lane(laneOf{d.Level, m.clear[i]})
	switch d.Treatment {
	case policy.Clear:
		m.counts.Clear++
	case policy.Passed:
		if s.Value.Kind() != point.None && !s.Quality.IsBad() {
			return m.pass(l, i, s)
		}
		if m.clear[i] {
			m.counts.Clear++ // a bad quality without a payload
			break
		}
		m.counts.Sealed++
	default:
		m.counts.Sealed++
	}
	return m.add(l, p, s)
}

// limit makes a value that no message has room for a bad sample, and says so
// once. Sources do not give such values; one that does must not stop the others.
func (m *Machine) limit(i int, s *point.Sample) *point.Sample {
	size := len(s.Value.Data())
	if size <= point.MaxValueSize {
		if !s.Quality.IsBad() {
			m.marks[i] &^= oversize
		}
		return s
	}
	if m.marks[i]&oversize == 0 {
		m.marks[i] |= oversize
		m.events = append(m.events, Event{
			Name: "value-too-large", Machine: m.name, Point: m.points[i].Name,
			Text: fmt.Sprintf("its values have more than %d bytes; bad samples are sent in their place", point.MaxValueSize),
		})
	}
	return &point.Sample{Point: s.Point, Time: s.Time, Quality: point.BadEncodingLimitsExceeded}
}

func (m *Machine) lane(of laneOf) *lane {
	if m.recent != nil && m.recentOf == of {
		return m.recent
	}
	l := m.lanes[of]
	if l == nil {
		l = &lane{}
		m.lanes[of] = l
	}
	m.recent, m.recentOf = l, of
	return l
}

// add copies one sample.
func (m *Machine) add(l *lane, p *Point, s *point.Sample) int {
	e := envelope.Sample{Name: p.Name, Unit: p.Unit, Time: s.Time, Quality: uint32(s.Quality)}
	if !s.Quality.IsBad() {
		e.Value = l.value(s.Value)
	}
	l.samples = append(l.samples, e)
	m.kept += int(unsafe.Sizeof(e)) + len(s.Value.Data())
	return 24 + len(p.Name) + len(s.Value.Data())
}

func (l *lane) value(v point.Value) envelope.Value {
	switch v.Kind() {
	case point.Bool:
		return envelope.OfBool(v.Bool())
	case point.Int:
		return envelope.OfInt(v.Int())
	case point.Uint:
		return envelope.OfUint(v.Uint())
	case point.Float:
		return envelope.OfFloat(v.Float())
	case point.Time:
		return envelope.OfTime(v.Int())
	case point.Text:
		return envelope.OfText(l.keep(v.Data()))
	case point.Bytes:
		return envelope.OfBytes(l.keep(v.Data()))
	default:
		return envelope.Value{}
	}
}

func (l *lane) keep(b []byte) []byte {
	at := len(l.bytes)
	l.bytes = append(l.bytes, b...)
	return l.bytes[at:len(l.bytes):len(l.bytes)]
}

// Events gives what happened since the last call.
func (m *Machine) Events() []Event {
	e := m.events
	m.events = nil
	return e
}

// Pending is what one machine has for one stream at a commit.
type Pending struct {
	Machine   string
	Level     string
	Catalogue *Catalogue // nil: none
	clear     bool       // its level sent in clear when the samples were decided
	lane      *lane
	samples   int // of the lane, so many are built
	passed    int
}

func (p *Pending) empty() bool {
	return p.samples >= len(p.lane.samples) && p.passed >= len(p.lane.passed)
}

// Samples makes what is pending of samples that are no machine's: the gateway's
// own word.
func Samples(machine, level string, samples []envelope.Sample) Pending {
	return Pending{Machine: machine, Level: level, lane: &lane{samples: samples}}
}

// Drain appends what is pending to dst and begins anew. What it gives is valid
// until the next call of Drain.
func (m *Machine) Drain(dst []Pending) []Pending {
	m.recent = nil
	for of, l := range m.lanes {
		if len(l.samples) == 0 && len(l.passed) == 0 {
			continue
		}
		next := l.spare
		if next == nil {
			next = &lane{}
		}
		next.samples, next.bytes, next.passed = next.samples[:0], next.bytes[:0], nil
		next.spare, l.spare = l, nil
		m.lanes[of] = next
		dst = append(dst, Pending{Machine: m.name, Level: of.level, Catalogue: m.catalogue, clear: of.clear, lane: l})
	}
	return dst
}
