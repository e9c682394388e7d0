package dtls

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// The bytes that docs/dtls-uplink.md shows.
func TestFrames(t *testing.T) {
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"hello", "83 70 6669656c647365616c2064746c732031 64 67772d31 07", appendHello(nil, Hello{"gw-1", 7})},
		{
			"welcome", "85 70 6669656c647365616c2064746c732031 65 706c616e74 65 504c414e54 19 0100 1a 00400000",
			appendWord(nil, word{welcome: Welcome{"plant", "PLANT", 256, 4 << 20}}),
		},
		{"stored", "82 01 18 2a", appendWord(nil, word{kind: wordStored, number: 42})},
		{"refused", "83 02 07 63 627567", appendWord(nil, word{kind: wordRefused, number: 7, text: "bug"})},
		{"fault", "83 03 61 61 61 62", appendWord(nil, word{kind: wordFault, text: "a", instead: "b"})},
		{"busy", "82 04 64 66756c6c", appendWord(nil, word{kind: wordBusy, text: "full"})},
	} {
		require.Equal(t, strings.ReplaceAll(c.want, " ", ""), hex.EncodeToString(c.got), c.name)
	}
	m := message(1, 3)
	b := appendFrame(nil, 500, &m)
	require.Equal(t, "821901f4", hex.EncodeToString(b[:4]))
	require.Equal(t, envelope.AppendMessage(nil, &m), b[4:])
	number, back, err := parseFrame(b)
	require.NoError(t, err)
	require.EqualValues(t, 500, number)
	require.Equal(t, m, back)
}

// The largest message fits.
func TestLargestFrame(t *testing.T) {
	name := strings.Repeat("n", envelope.MaxName)
	m := envelope.Message{
		Address:     envelope.Address{Stream: envelope.Stream{Gateway: name, Machine: name, Level: name}, Kind: envelope.Passthrough, Point: name},
		Epoch:       envelope.Epoch{Start: math.MaxUint64, Number: math.MaxUint32},
		Sequence:    math.MaxUint64,
		ContentType: name,
		Time:        math.MinInt64,
		Body:        make([]byte, envelope.MaxBody),
	}
	b := appendFrame(nil, math.MaxUint64, &m)
	require.LessOrEqual(t, len(b), MaxFrame)
	_, back, err := parseFrame(b)
	require.NoError(t, err)
	require.Equal(t, m, back)
}

func TestRefusedFrames(t *testing.T) {
	for _, c := range []struct {
		name, hex string
	}{
		{"empty", ""},
		{"no array", "01"},
		{"a longer head than needed", "82 18 01 01"},
		{"a longer array head", "98 02 01 05"},
		{"indefinite", "9f 01 05 ff"},
		{"text cut off", "82 04 64 6675"},
		{"no UTF-8", "82 04 61 ff"},
		{"behind the end", "82 01 05 00"},
		{"too few", "81 01"},
		{"too many", "83 01 05 05"},
		{"kind 0", "82 00 05"},
		{"no number", "82 01 61 61"},
		{"other version", "85 61 78 61 61 61 61 01 01"},
		{"no window", "85 70 6669656c647365616c2064746c732031 61 61 61 61 00 01"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		require.NoError(t, err)
		_, err = parseWord(b)
		require.Error(t, err, c.name)
		_, err = parseHello(b)
		require.Error(t, err, c.name)
	}
	_, err := parseHello(appendHello(nil, Hello{"gw", 0}))
	require.ErrorIs(t, err, errFrame)
	w, err := parseWord([]byte{0x83, 0x18, 0x63, 0xf6, 0xf6})
	require.NoError(t, err, "a word of a later version is for the caller to ignore")
	require.EqualValues(t, 99, w.kind)
	require.Len(t, clip(strings.Repeat("ä", 600)), maxText)
	require.True(t, utf8.ValidString(clip("a"+strings.Repeat("ä", 600)+"\xff")))
	_, _, err = parseFrame([]byte{0x82, 0x05, 0xf6})
	var u *Unreadable
	require.ErrorAs(t, err, &u)
}

func FuzzFrame(f *testing.F) {
	m := message(1, 3)
	f.Add(appendFrame(nil, 5, &m))
	f.Add([]byte{0x82, 0x05, 0xf6})
	f.Fuzz(func(t *testing.T, b []byte) {
		number, m, err := parseFrame(b)
		if err == nil && !bytes.Equal(b, appendFrame(nil, number, &m)) {
			t.Fatal("it parses, and is written in another way")
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(appendHello(nil, Hello{"gw-1", 7}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err == nil && !bytes.Equal(b, appendHello(nil, h)) {
			t.Fatal("it parses, and is written in another way")
		}
	})
}

func FuzzWord(f *testing.F) {
	f.Add(appendWord(nil, word{welcome: Welcome{"plant", "PLANT", 256, 4 << 20}}))
	f.Add(appendWord(nil, word{kind: wordRefused, number: 7, text: "bug"}))
	f.Add(appendWord(nil, word{kind: wordFault, text: "a", instead: "b"}))
	f.Add([]byte{0x82, 0x18, 0x63, 0xf6})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := parseWord(b)
		if err == nil && w.kind <= wordBusy && !bytes.Equal(b, appendWord(nil, w)) {
			t.Fatal("it parses, and is written in another way")
		}
	})
}

// FuzzDatagram: what decides where a datagram belongs.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 9, 9, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, isID := record.IDOf(b)
		if record.IsClientHello(b) && (isID || record.IsServerHello(b)) {
			t.Fatal("two things at once")
		}
	})
}
