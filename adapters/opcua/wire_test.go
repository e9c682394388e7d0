package opcua

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
)

// everyType is a machine with a point of each type.
func everyType() *Machine {
	m := &Machine{Namespace: "urn:test"}
	for t := Bool; t <= DateTime; t++ {
		p := Point{Node: NodeID{Kind: TextNode, Text: t.String()}, Type: t, Period: time.Second}
		if t.sized() {
			p.MaxBytes = 8
		}
		m.Points = append(m.Points, p)
	}
	return m
}

// someFrames are frames of each kind.
func someFrames() [][]byte {
	samples := newFrame(frameSamples, 3)
	samples.u32(1)
	samples.u16(5)
	samples.sample(point.Sample{Point: 0, Time: 1, Value: point.OfBool(true)})
	samples.sample(point.Sample{Point: 3, Time: 2, Value: point.OfInt(-5), Quality: 0x40900000})
	samples.sample(point.Sample{Point: uint32(String) - 1, Time: 3, Value: point.OfText([]byte("text"))})
	samples.sample(point.Sample{Point: uint32(Float64) - 1, Time: 4, Value: point.OfFloat(1.5)})
	samples.sample(point.Sample{Point: 2, Time: -1, Quality: point.BadTypeMismatch})
	open := openFrame{Spec{
		Endpoint: "opc.tcp://h", Policy: "Basic256Sha256", Mode: "Sign", ServerSHA256: [32]byte{9}, Certificate: []byte{1, 2},
		Key: "key", ApplicationURI: "urn:x", User: User{Name: "n", Password: "p"}, Timeout: time.Second,
	}, defaultPace()}
	return [][]byte{
		open.frame(1), bareFrame(frameClose, 1), attachFrame(1, 7, everyType()), machineFrame(frameDetach, 1, 7), machineFrame(frameRefresh, 1, 7),
		linkFrame{machine: 1, up: true, grade: point.Encrypted, mechanism: "m", peer: "p", reconnect: true}.frame(3),
		linkFrame{machine: 1, quality: point.BadTimeout, why: "because"}.frame(3),
		samples.done(), statusFrame{1, 2, "why"}.frame(3), revisedFrame{1, 2, time.Second, 2 * time.Second, 1}.frame(3),
		lostFrame{1, 2, 3}.frame(3), bareFrame(framePing, 0), bareFrame(frameClosed, 3),
	}
}

// again parses a frame and writes it anew. ok is false where it is refused.
func again(b []byte) (out []byte, ok bool) {
	p := &parser{b: b}
	k, number := kind(p.u8()), p.u32()
	var err error
	switch k {
	case frameOpen:
		var o openFrame
		if o, err = parseOpen(p); err == nil {
			out = o.frame(number)
		}
	case frameAttach:
		var id uint32
		var m *Machine
		if id, m, err = parseAttach(p); err == nil {
			out = attachFrame(number, id, m)
		}
	case frameDetach, frameRefresh:
		out = machineFrame(k, number, p.u32())
		err = p.end()
	case frameLink:
		var l linkFrame
		if l, err = parseLink(p); err == nil {
			out = l.frame(number)
		}
	case frameSamples:
		id := p.u32()
		var samples []point.Sample
		if samples, err = parseSamples(p, everyType()); err == nil {
			f := newFrame(k, number)
			f.u32(id)
			f.u16(uint16(len(samples)))
			for _, s := range samples {
				f.sample(s)
			}
			out = f.done()
		}
	case frameStatus:
		var s statusFrame
		if s, err = parseStatus(p); err == nil {
			out = s.frame(number)
		}
	case frameRevised:
		var r revisedFrame
		if r, err = parseRevised(p); err == nil {
			out = r.frame(number)
		}
	case frameLost:
		var l lostFrame
		if l, err = parseLost(p); err == nil {
			out = l.frame(number)
		}
	case frameClose, framePing, frameClosed:
		out = bareFrame(k, number)
		err = p.end()
	default:
		return nil, false
	}
	return out, err == nil && !p.bad
}

// FuzzFrames: whatever comes over the pipe, reading it does not fail in a worse
// way than with an error, and what is read is written as the same bytes.
func FuzzFrames(f *testing.F) {
	for _, b := range someFrames() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := readFrame(bytes.NewReader(in), maxFromWorker)
		if err != nil {
			return
		}
		if out, ok := again(b); ok {
			assert.Equal(t, in[:len(out)], out)
		}
	})
}

func TestFrames(t *testing.T) {
	for _, b := range someFrames() {
		frame, err := readFrame(bytes.NewReader(b), maxFromWorker)
		require.NoError(t, err)
		out, ok := again(frame)
		require.True(t, ok, kind(b[4]))
		assert.Equal(t, b, out)
		_, ok = again(append(bytes.Clone(frame), 0))
		assert.False(t, ok, "%v with a byte too many", kind(b[4]))
		_, ok = again(frame[:len(frame)-1])
		assert.False(t, ok, "%v with a byte too few", kind(b[4]))
	}
	_, err := readFrame(bytes.NewReader([]byte{0xFF, 0xFF, 0xFF, 0x7F, 0}), maxFromWorker)
	assert.ErrorIs(t, err, errFrame)
}

// TestSamplesAreAsMapped: a worker cannot make a sample that the mapping does not
// allow.
func TestSamplesAreAsMapped(t *testing.T) {
	for name, s := range map[string]point.Sample{
		"no such point":       {Point: 99, Value: point.OfBool(true)},
		"another kind":        {Point: 0, Value: point.OfInt(1)},
		"a value that is bad": {Point: 0, Quality: point.Bad, Value: point.OfBool(true)},
		"no value, and good":  {Point: 0},
		"too long":            {Point: uint32(String) - 1, Value: point.OfText([]byte("123456789"))},
		"no UTF-8":            {Point: uint32(String) - 1, Value: point.OfText([]byte{0xFF})},
	} {
		var f packer
		f.u16(1)
		f.sample(s)
		_, err := parseSamples(&parser{b: f}, everyType())
		assert.ErrorIs(t, err, errFrame, name)
	}
}

// TestOneLine: what a server calls something does not change what else is shown.
func TestOneLine(t *testing.T) {
	assert.Equal(t, "a?b?c", oneLine("a\nb\x1bc", 10))
	assert.Equal(t, "?", oneLine("\u202e", 10))
	assert.Equal(t, "ä", oneLine("äöü", 3))
	assert.Equal(t, "?", oneLine("\xff", 10))
}

// TestWorkerObeys: a worker ends when its orders make no sense or end.
func TestWorkerObeys(t *testing.T) {
	for name, in := range map[string][]byte{
		"an endpoint that was not opened": bareFrame(frameClose, 1),
		"a frame of the other direction":  append(someFrames()[0], bareFrame(frameClosed, 1)...),
		"half a frame":                    someFrames()[0][:20],
	} {
		w := &worker{endpoints: map[uint32]*endpoint{}, out: newSender(sendLimit)}
		assert.Error(t, w.run(bytes.NewReader(in), &bytes.Buffer{}), name)
	}
	w := &worker{endpoints: map[uint32]*endpoint{}, out: newSender(sendLimit)}
	var out bytes.Buffer
	require.NoError(t, w.run(bytes.NewReader(append(someFrames()[0], bareFrame(frameClose, 1)...)), &out))
	assert.Contains(t, out.String(), string(bareFrame(frameClosed, 1)))
}

// TestSenderDrops: what may be left out is, and nothing blocks.
func TestSenderDrops(t *testing.T) {
	s := newSender(10)
	assert.True(t, s.send(make([]byte, 8), true))
	assert.False(t, s.send(make([]byte, 8), true))
	assert.True(t, s.send(make([]byte, 8), false))
	s.close()
	var out bytes.Buffer
	require.NoError(t, s.run(&out))
	assert.Equal(t, 16, out.Len())
	assert.False(t, s.send(nil, false))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	beat(ctx, s, time.Hour)
}
