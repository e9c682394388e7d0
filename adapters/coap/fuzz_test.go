package coap

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

func seeds(f *testing.F) [][]byte {
	return [][]byte{
		encode2(f, codes.POST, "/vibration", "x"), encode2(f, codes.GET, "/.well-known/core", ""),
		encode2(f, codes.POST, "/a/long", "0123456789abcdef", option(message.Block1, 8), option(message.ContentFormat, 16)),
		{0x40, 0, 1, 2},
		{0x40, 2, 1, 2, 0xb1, 0xff},
		{0x40, 2, 1, 2, 0xe0, 0xff, 0xff},
		{0x48, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0xbd, 1, 1},
	}
}

func encode2(f *testing.F, method codes.Code, path, payload string, options ...message.Option) []byte {
	f.Helper()
	return encode(f, 0, 7, method, path, []byte(payload), options...)
}

// FuzzHandle gives a session what bytes a device may send: whatever they are,
// nothing panics, an answer is a message to this one, and what is taken fits a
// point.
func FuzzHandle(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		m := newMachine("m", sensor("m"), theKey, &sized{t}, time.Now)
		m.adopt(t.Context(), notYet)
		s := &session{machine: m, now: time.Now}
		for _, b := range [][]byte{one, two, one} {
			out := s.handle(t.Context(), b)
			if out == nil {
				continue
			}
			require.GreaterOrEqual(t, len(b), 4)
			require.LessOrEqual(t, len(out), maxAnswer)
			a := decode(t, out)
			if a.Type == message.Acknowledgement {
				require.Equal(t, []byte{byte(a.MessageID >> 8), byte(a.MessageID)}, b[2:4])
				require.Contains(t, string(b), string(a.Token))
			}
		}
		for _, o := range s.transfers {
			require.LessOrEqual(t, len(o.have), 64<<10)
		}
	})
}

// FuzzParse compares what is read of a request with what the library makes of it.
func FuzzParse(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, bad, is := parse(b)
		if is != asking || bad.code != 0 {
			return
		}
		again := decode(t, b)
		require.Equal(t, again.MessageID, int32(r.id))
		require.Equal(t, string(again.Payload), string(r.payload))
		var path strings.Builder
		for _, o := range again.Options {
			if o.ID == message.URIPath {
				path.WriteString("/" + string(o.Value))
			}
		}
		require.Equal(t, path.String(), r.path)
	})
}

// FuzzRoute gives the listener datagrams: whatever they are, an address has one
// session and one handshake at most, and what is known is bounded.
func FuzzRoute(f *testing.F) {
	f.Add([]byte{22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint8(0))
	f.Add([]byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0}, uint8(1))
	for _, b := range forged() {
		f.Add(b, uint8(2))
	}
	f.Fuzz(func(t *testing.T, b []byte, state uint8) {
		m := newMux(nil, limits{halfOpen: 2, handshakes: 2, perHost: 2, hellos: 100}, &totals{}, nil)
		from := netip.MustParseAddrPort("10.0.0.1:5684")
		if state&1 != 0 {
			m.open(from)
			m.settle(m.pending[from])
			m.sessions[from].confirmed.Store(state&2 != 0)
		}
		for range 3 {
			p, _, begins := m.route(b, from)
			if begins {
				require.True(t, record.IsClientHello(b))
			}
			if p != nil && p.settled && p.confirmed.Load() {
				require.True(t, record.Fits(b, false, record.Nothing))
			}
			_, _, _ = m.route(b, netip.MustParseAddrPort("10.0.0.2:5684"))
		}
		require.LessOrEqual(t, len(m.pending)+len(m.sessions), 3)
		require.Empty(t, m.byID)
	})
}

func TestPaths(t *testing.T) {
	assert.Empty(t, wrongPath("/a"))
	assert.Empty(t, wrongPath("/A-z/0.9/_~"))
}
