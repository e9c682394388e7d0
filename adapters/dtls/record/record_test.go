package record_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/dtls/record"
)

func rec(kind, epoch byte) []byte {
	return []byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 1, 7}
}

// TestFits: what is not encrypted, or of a type that nobody knows, goes nowhere,
// in whichever epoch it claims to be.
func TestFits(t *testing.T) {
	for name, c := range map[string]struct {
		b                    []byte
		hasID                bool
		nothing, last, flies bool
	}{
		"nothing at all":               {nil, true, false, false, false},
		"data":                         {rec(record.Data, 1), false, true, true, true},
		"data in clear":                {rec(record.Data, 0), false, false, false, false},
		"an unknown type":              {rec(99, 0), false, false, false, false},
		"an unknown type of epoch 1":   {rec(99, 1), false, false, false, false},
		"a type past 31 of epoch 1":    {rec(32+record.Data, 1), false, false, false, false},
		"a handshake":                  {rec(record.Handshake, 0), false, false, true, true},
		"an alert in clear":            {rec(record.Alert, 0), false, false, false, true},
		"a change of cipher":           {rec(record.Change, 0), false, false, true, true},
		"clear behind encrypted":       {append(rec(record.Data, 1), rec(record.Data, 0)...), false, false, false, false},
		"an id that nobody gave":       {append([]byte{record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7), false, false, false, false},
		"an id":                        {append([]byte{record.CID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7), true, true, true, true},
		"half a record":                {rec(record.Data, 1)[:13], false, false, false, false},
		"another protocol's datagrams": {[]byte("M-SEARCH * HTTP/1.1\r\n"), false, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.nothing, record.Fits(c.b, c.hasID, record.Nothing))
			require.Equal(t, c.last, record.Fits(c.b, c.hasID, record.LastFlight))
			require.Equal(t, c.flies, record.Fits(c.b, c.hasID, record.AnyFlight))
		})
	}
}
