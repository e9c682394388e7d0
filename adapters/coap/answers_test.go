package coap

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unknownCritical is an option that has to be understood, and is not.
var unknownCritical = message.Option{ID: 9, Value: []byte("oscore")}

func TestAnswers(t *testing.T) {
	m := sensor("keyed")
	m.Points = append(m.Points, Point{Name: "short", Path: "/short", Passthrough: "cose", MaxBytes: 8})
	s := newSite(t, nil, m)
	d := s.connect(byKey("keyed", theKey)...)
	type options = []message.Option
	for name, c := range map[string]struct {
		method  codes.Code
		path    string
		payload string
		options options
		want    codes.Code
	}{
		"post":                    {codes.POST, "/vibration", "x", nil, codes.Changed},
		"put":                     {codes.PUT, "/vibration", "x", nil, codes.Changed},
		"encrypt0":                {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 16)}, codes.Changed},
		"encrypt":                 {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 96)}, codes.Changed},
		"sign1":                   {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 18)}, codes.Changed},
		"octets":                  {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 42)}, codes.Changed},
		"what is of no use":       {codes.POST, "/vibration", "x", options{option(message.Observe, 0), option(message.Accept, 50), option(2000, 5)}, codes.Changed},
		"host and port":           {codes.POST, "/vibration", "x", options{{ID: message.URIHost, Value: []byte("gw")}, option(message.URIPort, 5684)}, codes.Changed},
		"text":                    {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 0)}, codes.UnsupportedMediaType},
		"json":                    {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 50)}, codes.UnsupportedMediaType},
		"a long format":           {codes.POST, "/vibration", "x", options{option(message.ContentFormat, 1<<16+16)}, codes.UnsupportedMediaType},
		"get":                     {codes.GET, "/vibration", "", nil, codes.MethodNotAllowed},
		"observe":                 {codes.GET, "/vibration", "", options{option(message.Observe, 0)}, codes.MethodNotAllowed},
		"delete":                  {codes.DELETE, "/vibration", "", nil, codes.MethodNotAllowed},
		"fetch":                   {codes.Code(5), "/vibration", "x", nil, codes.MethodNotAllowed},
		"no path":                 {codes.POST, "", "x", nil, codes.NotFound},
		"another path":            {codes.POST, "/temperature", "x", nil, codes.NotFound},
		"discovery":               {codes.GET, "/.well-known/core", "", nil, codes.NotFound},
		"a part of a path":        {codes.POST, "/a", "x", nil, codes.NotFound},
		"a slash in a part":       {codes.POST, "", "x", options{{ID: message.URIPath, Value: []byte("a/long")}}, codes.NotFound},
		"an empty part":           {codes.POST, "", "x", options{{ID: message.URIPath, Value: []byte("vibration")}, {ID: message.URIPath}}, codes.NotFound},
		"a part that is too long": {codes.POST, "", "x", options{{ID: message.URIPath, Value: []byte("vibration")}, {ID: message.URIPath, Value: bytes.Repeat([]byte("a"), 300)}}, codes.NotFound},
		"a query":                 {codes.POST, "/vibration", "x", options{{ID: message.URIQuery, Value: []byte("t=21")}}, codes.BadOption},
		"a critical option":       {codes.POST, "/vibration", "x", options{unknownCritical}, codes.BadOption},
		"if-match":                {codes.POST, "/vibration", "x", options{{ID: message.IfMatch, Value: []byte("e")}}, codes.BadOption},
		"accept twice":            {codes.POST, "/vibration", "x", options{option(message.Accept, 1), option(message.Accept, 2)}, codes.BadOption},
		"a proxy":                 {codes.POST, "", "x", options{{ID: message.ProxyURI, Value: []byte("coap://x/")}}, codes.ProxyingNotSupported},
		"no payload":              {codes.POST, "/vibration", "", nil, codes.BadRequest},
		"as long as may be":       {codes.POST, "/short", "12345678", nil, codes.Changed},
		"too long":                {codes.POST, "/short", "123456789", nil, codes.RequestEntityTooLarge},
		"announced too long":      {codes.POST, "/short", "x", options{option(message.Size1, 9)}, codes.RequestEntityTooLarge},
		"a block of no size":      {codes.POST, "/vibration", "x", options{option(message.Block1, 7)}, codes.BadOption},
	} {
		m := d.ask(c.method, c.path, []byte(c.payload), c.options...)
		assert.Equal(t, c.want, m.Code, "%s: %s", name, m.Payload)
		if c.want == codes.RequestEntityTooLarge {
			assert.Equal(t, uint32(8), number(t, m, message.Size1), name)
		}
	}
	for _, payload := range append(s.sinks["keyed"].Payloads(0), s.sinks["keyed"].Payloads(1)...) {
		assert.Contains(t, []string{"x", "12345678"}, payload)
	}
}

func TestFormatErrors(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	d := s.connect(byKey("keyed", theKey)...)
	for name, b := range map[string][]byte{
		"ping":                              {0x40, 0, 1, 2},
		"ping with a token":                 {0x41, 0, 1, 2, 3},
		"a response":                        {0x40, 0x45, 1, 2},
		"a reserved class":                  {0x40, 0x25, 1, 2},
		"a long token":                      {0x49, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		"half a token":                      {0x44, 2, 1, 2, 1},
		"half an option":                    {0x40, 2, 1, 2, 0xb9, 'v'},
		"a reserved delta":                  {0x40, 2, 1, 2, 0xf1, 'v'},
		"a reserved length":                 {0x40, 2, 1, 2, 0xbf, 'v'},
		"a marker without payload":          {0x40, 2, 1, 2, 0xff},
		"a path, a marker without payload":  {0x40, 2, 1, 2, 0xb1, 'v', 0xff},
		"more options than a message needs": append([]byte{0x40, 2, 1, 2}, bytes.Repeat([]byte{0x10}, maxOptions+1)...),
	} {
		m := d.say(b)
		assert.Equal(t, message.Reset, m.Type, name)
		assert.Equal(t, codes.Empty, m.Code, name)
		assert.Equal(t, int32(0x0102), m.MessageID, name)
	}
	// What is no message, and what answers nothing, is not answered.
	for _, b := range [][]byte{{0}, {0x40}, {0x80, 2, 1, 2}, {0x60, 0, 1, 2}, {0x70, 0, 1, 2}, {0x50, 0, 1, 2}, {0x50, 0x45, 1, 2}, {0x59, 2, 1, 2}} {
		_, err := d.Write(b)
		require.NoError(t, err)
	}
	// A path that ends in 0xff is a path, and no marker.
	m := d.say([]byte{0x40, 2, 1, 3, 0xb1, 0xff})
	assert.Equal(t, codes.NotFound, m.Code)
	// One that need not be confirmed is answered by one that need not be, too.
	m = d.say(encode(t, message.NonConfirmable, 77, codes.POST, "/vibration", []byte("x")))
	assert.Equal(t, message.NonConfirmable, m.Type)
	assert.Equal(t, codes.Changed, m.Code)
	m = d.say(encode(t, message.NonConfirmable, 78, codes.POST, "/vibration", []byte("x"), unknownCritical))
	assert.Equal(t, message.Reset, m.Type)
	assert.Equal(t, uint64(18), s.stats("keyed").Senseless)
}

// TestRepeats shows that a message that comes again is one sample, and answered
// as before.
func TestRepeats(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	d := s.connect(byKey("keyed", theKey)...)
	for _, kind := range []message.Type{message.Confirmable, message.NonConfirmable} {
		id := uint16(500 + int(kind))
		first := d.say(encode(t, kind, id, codes.POST, "/vibration", []byte(kind.String())))
		for range 3 {
			again := d.say(encode(t, kind, id, codes.POST, "/vibration", []byte(kind.String())))
			assert.Equal(t, first.Code, again.Code)
		}
	}
	wrong := d.say(encode(t, 0, 600, codes.POST, "/nowhere", []byte("x")))
	assert.Equal(t, wrong, d.say(encode(t, 0, 600, codes.POST, "/nowhere", []byte("x"))))
	assert.Equal(t, []string{"Confirmable", "NonConfirmable"}, s.sinks["keyed"].Payloads(0))
	assert.Equal(t, uint64(7), s.stats("keyed").Repeats)
}

func TestMessageIDsComeAround(t *testing.T) {
	var n seen
	begin := time.Now()
	for i := range 3 * maxSeen { // at the rate that is allowed
		now := begin.Add(time.Duration(i) * time.Second / rate)
		require.True(t, n.room(now), i)
		_, known := n.again(uint16(i), now)
		require.False(t, known)
		n.note(uint16(i), now, answer{code: codes.Changed})
		if i > 0 {
			_, known = n.again(uint16(i-1), now)
			require.True(t, known)
		}
	}
	assert.LessOrEqual(t, len(n.answers), maxSeen)
	assert.LessOrEqual(t, len(n.order), 3*maxSeen)

	var full seen
	for i := range maxSeen {
		require.True(t, full.room(begin))
		full.note(uint16(i), begin, answer{})
	}
	assert.False(t, full.room(begin.Add(lifetime)))
	assert.True(t, full.room(begin.Add(lifetime+1)))
	assert.Empty(t, full.answers)

	// An id that is used again before it was forgotten is the newest then.
	var again seen
	again.note(7, begin, answer{code: codes.Changed})
	again.note(7, begin.Add(lifetime+1), answer{code: codes.NotFound})
	assert.True(t, again.room(begin.Add(lifetime+2)))
	a, ok := again.again(7, begin.Add(2*lifetime))
	assert.True(t, ok)
	assert.Equal(t, codes.NotFound, a.code)
	assert.True(t, again.room(begin.Add(2*lifetime+2)))
	assert.Empty(t, again.answers)
}

// TestRate shows that a device that sends too much is told, and that another one
// is not hindered.
func TestRate(t *testing.T) {
	at := time.Now()
	s := newSite(t, func(s *site) { s.now = func() time.Time { return at } }, sensor("keyed"), sensor("calm"))
	d, calm := s.connect(byKey("keyed", theKey)...), s.connect(byKey("calm", theKey)...)
	second := s.connect(byKey("keyed", theKey)...) // shares what its device may send
	for range burst / 2 {
		require.Equal(t, codes.Changed, d.post("/vibration", "x"))
		require.Equal(t, codes.Changed, second.post("/vibration", "x"))
	}
	m := d.ask(codes.POST, "/vibration", []byte("x"))
	assert.Equal(t, tooMany, m.Code)
	assert.Equal(t, uint32(limitAge), number(t, m, message.MaxAge))
	assert.Equal(t, tooMany, second.post("/vibration", "x"))
	assert.Equal(t, codes.Changed, calm.post("/vibration", "x"))
	assert.Equal(t, uint64(2), s.stats("keyed").Limited)

	a := allowance{rate: rate, burst: burst}
	for range burst {
		require.True(t, a.take(at))
	}
	assert.False(t, a.take(at))
	assert.True(t, a.take(at.Add(time.Second/rate)))
	assert.False(t, a.take(at.Add(time.Second/rate)))
	assert.False(t, a.take(at), "a clock that is set back gives nothing")
}

// sendBlocks sends a payload block by block, and gives the last answer.
func (d *device) sendBlocks(path, payload string, exp uint8) (m message.Message) {
	size := block{exp: exp}.size()
	for i := uint32(0); ; i++ {
		end := min(len(payload), size)
		b := block{number: i, more: end < len(payload), exp: exp}
		m = d.ask(codes.POST, path, []byte(payload[:end]), option(message.Block1, b.value()))
		if !b.more || m.Code != codes.Continue {
			return m
		}
		assert.Equal(d.t, b.value(), number(d.t, m, message.Block1))
		payload = payload[end:]
	}
}

func TestBlocks(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	r := s.sinks["keyed"]
	d := s.connect(byKey("keyed", theKey)...)
	long := strings.Repeat("ciphertext ", 1+(64<<10)/11)[:64<<10]
	short := long[:1000]
	for exp := range uint8(7) {
		require.Equal(t, codes.Changed, d.sendBlocks("/vibration", short, exp).Code, exp)
	}
	assert.Equal(t, slicesOf(short, 7), r.Payloads(0))
	m := d.sendBlocks("/a/long", long, 6)
	assert.Equal(t, codes.Changed, m.Code)
	assert.Equal(t, block{number: 63, exp: 6}.value(), number(t, m, message.Block1))
	assert.Equal(t, []string{long}, r.Payloads(1))
}

func slicesOf(s string, n int) (out []string) {
	for range n {
		out = append(out, s)
	}
	return out
}

func TestWrongBlocks(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	r := s.sinks["keyed"]
	d := s.connect(byKey("keyed", theKey)...)
	b16 := strings.Repeat("b", 16)
	send := func(payload string, b block, more ...message.Option) codes.Code {
		return d.ask(codes.POST, "/vibration", []byte(payload), append(more, option(message.Block1, b.value()))...).Code
	}
	assert.Equal(t, codes.RequestEntityIncomplete, send("end", block{number: 1}), "the first one is missing")
	assert.Equal(t, codes.BadRequest, send("short", block{more: true}))
	assert.Equal(t, codes.BadRequest, send(b16+"b", block{}))
	assert.Equal(t, codes.Continue, send(b16, block{more: true}))
	assert.Equal(t, codes.RequestEntityIncomplete, send("end", block{number: 2}), "one is missing")
	assert.Equal(t, codes.RequestEntityIncomplete, send("end", block{number: 1}), "and all of it is gone")
	assert.Equal(t, codes.Continue, send(b16, block{more: true}, option(message.ContentFormat, 16)))
	assert.Equal(t, codes.RequestEntityIncomplete, send("end", block{number: 1}, option(message.ContentFormat, 42)))
	assert.Empty(t, r.Payloads(0))
	// It begins again in the middle, goes on with smaller blocks, and one comes twice.
	b64 := strings.Repeat("c", 64)
	assert.Equal(t, codes.Continue, send(b64, block{more: true, exp: 2}))
	assert.Equal(t, codes.Continue, send(b64, block{more: true, exp: 2}))
	assert.Equal(t, codes.Continue, send(b16, block{number: 4, more: true}))
	twice := encode(t, 0, 7000, codes.POST, "/vibration", []byte(b16), option(message.Block1, block{number: 5, more: true}.value()))
	first := d.say(twice)
	assert.Equal(t, first, d.say(twice))
	assert.Equal(t, codes.Changed, send("end", block{number: 6}))
	assert.Equal(t, []string{b64 + b16 + b16 + "end"}, r.Payloads(0))
	// Two at once, told apart by their tag.
	one, two := message.Option{ID: requestTag, Value: []byte{1}}, message.Option{ID: requestTag, Value: []byte{2}}
	assert.Equal(t, codes.Continue, send(b16, block{more: true}, one))
	assert.Equal(t, codes.Continue, send(b64[:16], block{more: true}, two))
	assert.Equal(t, codes.Changed, send("1", block{number: 1}, one))
	assert.Equal(t, codes.Changed, send("2", block{number: 1}, two))
	assert.Equal(t, []string{b16 + "1", b64[:16] + "2"}, r.Payloads(0)[1:])
	// Longer than the point takes, without having said so.
	m := d.sendBlocks("/vibration", strings.Repeat("x", defaultMaxBytes+1), 6)
	assert.Equal(t, codes.RequestEntityTooLarge, m.Code)
	assert.Equal(t, uint32(defaultMaxBytes), number(t, m, message.Size1))
}

// TestTransfersAreFew shows what blocks without an end cost.
func TestTransfersAreFew(t *testing.T) {
	var all transfers
	now := time.Now()
	for i := range 1000 {
		r := request{tag: string(rune(i)), block: block{more: true, exp: 6}, payload: make([]byte, 1024)}
		_, a := all.take(&r, 0, 4096, now)
		require.Equal(t, codes.Continue, a.code)
		require.LessOrEqual(t, len(all), maxTransfers)
	}
	r := request{tag: "late", block: block{more: true}, payload: make([]byte, 16)}
	_, _ = all.take(&r, 0, 4096, now.Add(lifetime+1))
	assert.Len(t, all, 1)
}
