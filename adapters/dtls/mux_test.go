package dtls

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

func rec(kind, epoch byte, body ...byte) []byte {
	return append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, byte(len(body))}, body...)
}

func withID(epoch byte, body ...byte) []byte {
	b := append([]byte{record.CID, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1}, make([]byte, record.IDSize)...)
	return append(append(b, 0, byte(len(body))), body...)
}

// What passes in clear, before a connection stands and then, with and without an
// id.
func TestWants(t *testing.T) {
	both := func(a, b []byte) []byte { return append(bytes.Clone(a), b...) }
	handshake, data := rec(record.Handshake, 0, 1), rec(record.Data, 0, 1)
	// Two records to whoever gave no id; one to whoever expects an id in it.
	differs := append([]byte{record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 9, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, byte(len(data))}, data...)
	for _, c := range []struct {
		name                 string
		b                    []byte
		early, earlyID       bool
		standing, standingID bool
	}{
		{"handshake", handshake, true, true, false, false},
		{"a flight", both(both(handshake, rec(record.Change, 0, 1)), rec(record.Handshake, 1, 1)), true, true, false, false},
		{"a flight with an id", both(both(handshake, rec(record.Change, 0, 1)), withID(1, 1)), false, true, false, false},
		{"alert", rec(record.Alert, 0, 2, 40), true, true, false, false},
		{"data", data, false, false, false, false},
		{"data behind a handshake", both(handshake, data), false, false, false, false},
		{"unknown", rec(99, 0, 1), false, false, false, false},
		{"encrypted", rec(record.Data, 1, 1), true, true, true, true},
		{"encrypted with an id", withID(1, 1), false, true, false, true},
		{"an id in clear", withID(0, 1), false, false, false, false},
		{"data behind an id", both(withID(1, 1), data), false, false, false, false},
		{"what differs", differs, false, true, false, true},
		{"cut off", handshake[:13], false, false, false, false},
		{"nothing", nil, false, false, false, false},
	} {
		require.Equal(t, c.early, (&path{}).wants(c.b), c.name)
		require.Equal(t, c.earlyID, (&path{hasID: true}).wants(c.b), c.name)
		require.Equal(t, c.standing, (&path{settled: true}).wants(c.b), c.name)
		require.Equal(t, c.standingID, (&path{settled: true, hasID: true}).wants(c.b), c.name)
	}
}

// Pieces of a message that never ends, behind a hello and without a cookie.
func TestOneHandshakeIsBounded(t *testing.T) {
	limits, err := ListenLimits{}.check()
	require.NoError(t, err)
	m := newMux(nil, limits, nil)
	from := netip.MustParseAddrPort("10.0.0.1:5684")
	hello := rec(record.Handshake, 0, record.HelloClient, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	p, _, fresh := m.route(hello, from)
	require.True(t, fresh)
	piece := append([]byte{record.Handshake, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0xe8}, make([]byte, 1000)...)
	taken := len(hello)
	for range 1000 {
		if to, _, _ := m.route(piece, from); to == p {
			taken += len(piece)
		}
	}
	require.LessOrEqual(t, taken, maxHandshake)
	require.Greater(t, taken, maxHandshake-len(piece))
	m.settle(p) // what a connection takes has no end
	for range 1000 {
		to, _, _ := m.route(rec(record.Data, 1, 1), from)
		require.Same(t, p, to)
	}
}

// A socket that fails for good ends the listener, which says why.
func TestBrokenSocket(t *testing.T) {
	s := newSink(t, nil)
	require.NoError(t, s.mux.socket.SetReadDeadline(time.Unix(1, 0)))
	_, err := s.Accept(t.Context())
	require.ErrorContains(t, err, "cannot read from the socket")
	require.NotErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, s.Close(), "cannot read from the socket")
}

// A handshake that fails is counted each time, and in the log once a second.
func TestLogIsNotFlooded(t *testing.T) {
	var s said
	now := time.Now()
	lines := 0
	for i := range 1000 {
		if _, ok := s.may(now.Add(time.Duration(i) * time.Millisecond)); ok {
			lines++
		}
	}
	require.Equal(t, saidMost, lines)
	kept, ok := s.may(now.Add(saidIn))
	require.True(t, ok)
	require.EqualValues(t, 1000-saidMost, kept)
}
