package opcua

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// What goes over the two pipes between the pool and a worker: frames of a length
// (4 bytes, little-endian, of all that follows), a kind, the number of the
// endpoint and a body. Every value has one encoding, so that reading and writing
// a frame gives the same bytes; what is not exactly as written here is refused,
// and the worker that wrote it ended.
const (
	maxToWorker   = 64 << 20 // a machine of many points
	maxFromWorker = 1 << 20
	maxBatch      = 256 << 10 // when a frame of samples is closed; one value is at most 64 KiB
	maxWhy        = 1024      // of a text for people
	maxPeer       = 256
)

// kind says what a frame is.
type kind byte

// To the worker.
const (
	frameOpen    kind = 1 + iota // connect this endpoint
	frameClose                   // disconnect it; answered by frameClosed
	frameAttach                  // read this machine
	frameDetach                  // stop reading it
	frameRefresh                 // read all its points now
)

// From the worker.
const (
	frameLink    kind = 16 + iota // the state of one machine's connection
	frameSamples                  // of one machine
	frameStatus                   // why a point is not read; empty: it is
	frameRevised                  // the server gives a point more slowly than was asked
	frameLost                     // samples of a machine that were lost on the way
	framePing                     // the worker lives
	frameClosed                   // the endpoint is disconnected
)

var errFrame = errors.New("malformed frame")

// readFrame reads one frame into fresh memory.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < 5 || int64(n) > int64(limit) {
		return nil, errFrame
	}
	// The memory grows with what arrives, not with what is announced.
	var b []byte
	for have := 0; have < int(n); have = len(b) {
		b = append(b, make([]byte, min(int(n)-have, 1<<16))...)
		if _, err := io.ReadFull(r, b[have:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// packer appends the parts of a frame.
type packer []byte

// newFrame begins a frame.
func newFrame(k kind, endpoint uint32) packer {
	p := packer(make([]byte, 4, 64))
	p.u8(byte(k))
	p.u32(endpoint)
	return p
}

// done fills in the length.
func (p packer) done() []byte {
	binary.LittleEndian.PutUint32(p, uint32(len(p)-4))
	return p
}

func (p *packer) u8(v byte)     { *p = append(*p, v) }
func (p *packer) u16(v uint16)  { *p = binary.LittleEndian.AppendUint16(*p, v) }
func (p *packer) u32(v uint32)  { *p = binary.LittleEndian.AppendUint32(*p, v) }
func (p *packer) u64(v uint64)  { *p = binary.LittleEndian.AppendUint64(*p, v) }
func (p *packer) i64(v int64)   { p.u64(uint64(v)) }
func (p *packer) text(s string) { p.u32(uint32(len(s))); *p = append(*p, s...) }

func (p *packer) flag(v bool) {
	if v {
		p.u8(1)
	} else {
		p.u8(0)
	}
}

// parser takes the parts of a frame. After the first that is wrong, all are zero
// and bad is set.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if p.bad || n < 0 || n > len(p.b) {
		p.bad = true
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func (p *parser) u8() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) u16() uint16 {
	if b := p.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (p *parser) u32() uint32 {
	if b := p.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (p *parser) u64() uint64 {
	if b := p.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (p *parser) i64() int64 { return int64(p.u64()) }

func (p *parser) flag() bool {
	v := p.u8()
	p.need(v <= 1)
	return v == 1
}

// bytes takes a length and as many bytes, which share the frame's memory.
func (p *parser) bytes(limit int) []byte {
	n := p.u32()
	if int64(n) > int64(limit) {
		p.bad = true
		return nil
	}
	return p.take(int(n))
}

// text takes UTF-8.
func (p *parser) text(limit int) string {
	b := p.bytes(limit)
	p.need(utf8.Valid(b))
	return string(b)
}

// line takes a text that people are shown: no control characters.
func (p *parser) line(limit int) string {
	s := p.text(limit)
	p.need(s == oneLine(s, limit))
	return s
}

// need refuses the frame unless the condition holds.
func (p *parser) need(ok bool) {
	if !ok {
		p.bad = true
	}
}

// end gives an error unless all was right and nothing is left.
func (p *parser) end() error {
	if p.bad || len(p.b) > 0 {
		return errFrame
	}
	return nil
}

// oneLine makes a text fit to be shown, whoever wrote it.
func oneLine(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r >= 0x80 && r < 0xA0 || r == utf8.RuneError || r >= 0x2028 && r <= 0x202E || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// linkFrame is the state of one machine's connection.
type linkFrame struct {
	machine   uint32
	up        bool
	grade     point.Security
	quality   point.Quality // of its points while it is down
	reconnect bool          // up again on a new connection
	mechanism string
	peer      string
	why       string
}

func (l linkFrame) frame(endpoint uint32) []byte {
	p := newFrame(frameLink, endpoint)
	p.u32(l.machine)
	p.flag(l.up)
	p.u8(byte(l.grade))
	p.u32(uint32(l.quality))
	p.flag(l.reconnect)
	p.text(oneLine(l.mechanism, maxPeer))
	p.text(oneLine(l.peer, maxPeer))
	p.text(oneLine(l.why, maxWhy))
	return p.done()
}

func parseLink(p *parser) (l linkFrame, err error) {
	l.machine = p.u32()
	l.up = p.flag()
	l.grade = point.Security(p.u8())
	p.need(l.grade <= point.Encrypted)
	l.quality = point.Quality(p.u32())
	l.reconnect = p.flag()
	l.mechanism, l.peer, l.why = p.line(maxPeer), p.line(maxPeer), p.line(maxWhy)
	p.need(l.up == (l.why == "") && l.up == !l.quality.IsBad())
	return l, p.end()
}

// sampleSize is the size of a sample without a text or bytes.
const sampleSize = 4 + 4 + 8 + 1

// sample appends one sample.
func (p *packer) sample(s point.Sample) {
	p.u32(s.Point)
	p.u32(uint32(s.Quality))
	p.i64(s.Time)
	k := s.Value.Kind()
	p.u8(byte(k))
	switch k {
	case point.None:
	case point.Bool:
		p.flag(s.Value.Bool())
	case point.Text, point.Bytes:
		p.text(string(s.Value.Data()))
	case point.Float:
		p.u64(math.Float64bits(s.Value.Float()))
	case point.Int, point.Time:
		p.i64(s.Value.Int())
	case point.Uint:
		p.u64(s.Value.Uint())
	}
}

// parseSamples takes the samples of one machine. Their texts and bytes share the
// frame's memory. Each is what the machine's mapping says it can be.
func parseSamples(p *parser, m *Machine) ([]point.Sample, error) {
	n := int(p.u16())
	p.need(n >= 1 && n <= point.MaxSamples && len(p.b) >= n*sampleSize)
	if p.bad {
		return nil, errFrame
	}
	out := make([]point.Sample, n)
	for i := range out {
		s := &out[i]
		s.Point = p.u32()
		if int64(s.Point) >= int64(len(m.Points)) {
			return nil, errFrame
		}
		s.Quality = point.Quality(p.u32())
		s.Time = p.i64()
		of := &m.Points[s.Point]
		k := point.Kind(p.u8())
		switch {
		case k == point.None:
			p.need(s.Quality.IsBad())
		case s.Quality.IsBad() || k != of.Type.kind():
			return nil, errFrame
		default:
			s.Value = p.value(k, of.limit())
		}
	}
	return out, p.end()
}

// value takes a value of that kind.
func (p *parser) value(k point.Kind, limit int) point.Value {
	switch k {
	case point.Bool:
		return point.OfBool(p.flag())
	case point.Int:
		return point.OfInt(p.i64())
	case point.Uint:
		return point.OfUint(p.u64())
	case point.Float:
		return point.OfFloat(math.Float64frombits(p.u64()))
	case point.Time:
		return point.OfTime(p.i64())
	case point.Text:
		b := p.bytes(limit)
		p.need(utf8.Valid(b))
		return point.OfText(b)
	case point.Bytes:
		return point.OfBytes(p.bytes(limit))
	default:
		p.bad = true
		return point.Value{}
	}
}

// kind is what values of the type are.
func (t Type) kind() point.Kind {
	switch t {
	case Bool:
		return point.Bool
	case Int8, Int16, Int32, Int64:
		return point.Int
	case Uint8, Uint16, Uint32, Uint64:
		return point.Uint
	case Float32, Float64:
		return point.Float
	case String:
		return point.Text
	case Bytes:
		return point.Bytes
	case DateTime:
		return point.Time
	}
	return point.None
}
