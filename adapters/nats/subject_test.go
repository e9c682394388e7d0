package nats

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

func TestSubject(t *testing.T) {
	stream := envelope.Stream{Gateway: "gw-1", Machine: "press-3", Level: "restricted"}
	for _, c := range []struct {
		address envelope.Address
		want    string
	}{
		{envelope.Address{Stream: stream, Kind: envelope.Data}, "plant.a.gw-1.press-3.restricted"},
		{envelope.Address{Stream: stream, Kind: envelope.Passthrough, Point: "recipe"}, "plant.a.gw-1.press-3.restricted.recipe"},
		{envelope.Address{Stream: stream, Kind: envelope.KeyFrame}, "plant.a.gw-1._keys.press-3.restricted"},
		{envelope.Address{Stream: stream, Kind: envelope.Checkpoint}, "plant.a.gw-1._checkpoints.press-3.restricted"},
		{envelope.Address{Stream: stream, Kind: envelope.LossRecord}, "plant.a.gw-1._losses.press-3.restricted"},
		{envelope.Address{Stream: envelope.Stream{Gateway: "gw-1"}, Kind: envelope.Statement}, "plant.a.gw-1._statement"},
		{envelope.Address{Stream: stream, Kind: envelope.Event}, "plant.a.gw-1._events"},
	} {
		t.Run(c.address.Kind.String(), func(t *testing.T) {
			require.Equal(t, c.want, Subject("plant.a", c.address))
			m := message(3, 5)
			m.Address = c.address
			got, err := Parse("plant.a", c.want, Header(&m), m.Body)
			require.NoError(t, err)
			require.Equal(t, m, got)
		})
	}
	require.Empty(t, Subject("plant.a", envelope.Address{Stream: stream, Kind: 99}))
}

// What a gateway makes, signed kinds among it, comes back from its subject and
// headers as it was.
func TestSubjectOfWhatIsSent(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	sg := envelope.Signer{Gateway: "gw-1", Key: key}
	at := time.Unix(0, 1_785_000_000_000_000_007)
	own := envelope.Stream{Gateway: "gw-1", Machine: "_gateway", Level: "_events"}
	statement, err := envelope.SignStatement(sg, envelope.GatewayState{
		Gateway: "gw-1", Start: 18, Instance: [8]byte{0xfe, 7: 1}, Sequence: 1, Time: at, Interval: time.Second,
		Heads: []envelope.StreamHead{{Machine: "press-3", Level: "restricted", Epoch: envelope.Epoch{Start: 18, Instance: [8]byte{0xfe, 7: 1}, Number: 1}, Sequence: 4}},
	})
	require.NoError(t, err)
	head := envelope.Head{Stream: own}
	body := envelope.AppendClear(nil, "_gateway/", nil)
	event := envelope.Message{
		Address: envelope.Address{Stream: own, Kind: envelope.Data}, Epoch: envelope.Epoch{Start: 1, Number: 1}, Sequence: 1,
		ContentType: envelope.TypeClear, Time: at.UnixNano(), Body: body,
	}
	require.NoError(t, head.Note(&event))
	signed, err := envelope.SignCheckpoint(sg, &head, false, at)
	require.NoError(t, err)
	checkpoint := event
	checkpoint.Address.Kind, checkpoint.Sequence, checkpoint.ContentType, checkpoint.Body = envelope.Checkpoint, 2, envelope.TypeSigned, signed
	for want, m := range map[string]envelope.Message{
		"plant.gw-1._statement":                    statement,
		"plant.gw-1._gateway._events":              event,
		"plant.gw-1._checkpoints._gateway._events": checkpoint,
	} {
		subject := Subject("plant", m.Address)
		require.Equal(t, want, subject)
		require.NoError(t, check(&m))
		got, err := Parse("plant", subject, Header(&m), m.Body)
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
}

func TestParseRefuses(t *testing.T) {
	const good = "plant.a.gw-1.press-3.restricted"
	for _, c := range []struct {
		name, subject string
		change        func(nats.Header)
		want          string
	}{
		{"other prefix", "plant.b.gw-1.press-3.restricted", nil, `not under the prefix "plant.a"`},
		{"short", "plant.a.gw-1", nil, "too short"},
		{"no level", "plant.a.gw-1.press-3", nil, "2 parts"},
		{"long", good + ".p.q", nil, "5 parts"},
		{"unknown word", "plant.a.gw-1._other", nil, "2 parts"},
		{"unknown word of a stream", "plant.a.gw-1._other.press-3", nil, `machine "_other"`},
		{"events of a machine", "plant.a.gw-1.press-3._events", nil, `level "_events"`},
		{"own stream of another level", "plant.a.gw-1._gateway.restricted", nil, `machine "_gateway"`},
		{"empty machine", "plant.a.gw-1..restricted", nil, "no name"},
		{"wildcard", "plant.a.*.press-3.restricted", nil, "'*'"},
		{"long name", "plant.a.gw-1." + strings.Repeat("m", 257) + ".restricted", nil, "257 characters"},
		{"kind", good, func(h nats.Header) { h[headerKind] = []string{"event"} }, "one of data messages"},
		{"machine", good, func(h nats.Header) { h[headerMachine] = []string{"press-4"} }, `"press-3" as in the subject`},
		{"level", good, func(h nats.Header) { h[headerLevel] = []string{"public"} }, `"restricted" as in the subject`},
		{"no machine", good, func(h nats.Header) { delete(h, headerMachine) }, "0 times"},
		{"twice", good, func(h nats.Header) { h[headerSequence] = []string{"1", "1"} }, "2 times"},
		{"id", good, func(h nats.Header) { h[headerID] = []string{"abcd"} }, "32 lower-case"},
		{"id of another gateway", good, func(h nats.Header) { h[headerID][0] = "gw-2" + h[headerID][0][len("gw-1"):] }, "the gateway's name"},
		{"id in capitals", good, func(h nats.Header) { h[headerID][0] = "gw-1/" + strings.ToUpper(h[headerID][0][len("gw-1/"):]) }, "32 lower-case"},
		{"sequence", good, func(h nats.Header) { h[headerSequence] = []string{"03"} }, "decimal"},
		{"time", good, func(h nats.Header) { h[headerTime] = []string{"+3"} }, "decimal"},
		{"epoch", good, func(h nats.Header) { h[headerEpoch] = []string{"7-01-1"} }, "start-instance-number"},
		{"content type", good, func(h nats.Header) { h[headerContentType] = []string{""} }, "content type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := message(3, 5)
			h := Header(&m)
			if c.change != nil {
				c.change(h)
			}
			_, err := Parse("plant.a", c.subject, h, m.Body)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, c.subject)
		})
	}
	m := message(3, envelope.MaxBody+1)
	_, err := Parse("plant.a", good, Header(&m), m.Body)
	require.ErrorContains(t, err, "122881 bytes")
}

func TestParseEpoch(t *testing.T) {
	e := envelope.Epoch{Start: 18, Instance: [8]byte{0xfe, 7: 1}, Number: 4}
	got, err := ParseEpoch(e.String())
	require.NoError(t, err)
	require.Equal(t, e, got)
	for _, bad := range []string{
		"", "1", "1-2-3", "1-0000000000000000", "1-0000000000000000-", "01-0000000000000000-1",
		"1-000000000000000A-1", "1-0000000000000000-4294967296", "1-0000000000000000-1-", "-0000000000000000-1",
	} {
		_, err := ParseEpoch(bad)
		require.Error(t, err, bad)
	}
}

// What Parse accepts is what Subject and Header make of it.
func FuzzParse(f *testing.F) {
	m := message(3, 5)
	h := Header(&m)
	f.Add("plant", "plant.gw-1.press-3.restricted", "data", "press-3", "restricted", h[headerEpoch][0], "3", "4", envelope.TypeSealed, h[headerID][0])
	f.Add("plant", "plant.gw-1.press-3.restricted.recipe", "passthrough", "press-3", "restricted", h[headerEpoch][0], "3", "-4", "a/b", h[headerID][0])
	f.Add("a.b", "a.b.gw._keys.m.l", "key-frame", "m", "l", h[headerEpoch][0], "1", "0", "a/b", h[headerID][0])
	f.Add("a.b", "a.b.gw._events", "event", "", "", h[headerEpoch][0], "0", "0", "a/b", h[headerID][0])
	f.Add("a.b", "a.b.gw._statement", "statement", "", "", h[headerEpoch][0], "0", "0", "a/b", h[headerID][0])
	f.Fuzz(func(t *testing.T, prefix, subject, kind, machine, level, epoch, sequence, time, contentType, id string) {
		h := nats.Header{
			headerKind: {kind}, headerEpoch: {epoch}, headerSequence: {sequence}, headerTime: {time},
			headerContentType: {contentType}, headerID: {id},
		}
		if machine != "" {
			h[headerMachine] = []string{machine}
		}
		if level != "" {
			h[headerLevel] = []string{level}
		}
		m, err := Parse(prefix, subject, h, []byte("body"))
		if err != nil {
			require.ErrorContains(t, err, "subject ")
			return
		}
		require.Equal(t, subject, Subject(prefix, m.Address))
		require.Equal(t, h, Header(&m))
	})
}
