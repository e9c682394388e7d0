package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// alone gives the test a memory of approvers of its own.
func alone(t testing.TB) {
	t.(interface{ Setenv(key, value string) }).Setenv("XDG_CONFIG_HOME", t.TempDir())
}

// What the catalogue says stands in the lines: unit, text, real name; the
// catalogue itself is no line.
func TestOpenCatalogue(t *testing.T) {
	alone(t)
	s := newSite(t)
	f := s.feed("press-1", "restricted", "engineering")
	id := strings.Repeat("0af1", 8)
	f.catalogue(
		envelope.Entry{Name: "mode", Unit: "1", Texts: map[int64]string{2: "two <automatic>"}, Tags: map[string]string{"room": "7"}},
		envelope.Entry{Name: "recipe", ID: id},
	)
	f.sealed(envelope.Sample{Name: "mode", Time: s.now.UnixNano(), Value: envelope.OfInt(2)})
	f.sealed(envelope.Sample{Name: "mode", Unit: "V", Time: s.now.UnixNano(), Value: envelope.OfInt(9)})
	f.put(envelope.Passthrough, id, "application/cose", []byte{1, 2})
	s.checkpoints()
	a := s.open("engineering", "--tags", "--stats", s.folder())
	require.Zero(t, a.code, a.stderr)
	require.Empty(t, a.stderr)
	got := a.printed(t)
	require.Len(t, got, 3)
	assert.Equal(t, printedLine{"press-1", "mode", "restricted", []byte("2"), "1", "two <automatic>", "signed", nil, map[string]string{"room": "7"}, 3}, got[0])
	assert.Equal(t, "V", got[1].Unit, "a unit in the record goes before it")
	assert.Empty(t, got[1].Text)
	assert.Equal(t, "recipe", got[2].Point)
	assert.Equal(t, []byte{1, 2}, got[2].Payload)
	st := a.stats(t)
	assert.EqualValues(t, 3, st.Samples)
	assert.True(t, st.InOrder)
	assert.Equal(t, "synchronised", st.Gateways[0].Clock)
	assert.EqualValues(t, 6, st.Streams[0].Stated)
}

func TestOpenCSV(t *testing.T) {
	alone(t)
	s := newSite(t)
	f := s.feed("press-1", "restricted", "engineering")
	at := s.now.UnixNano()
	text := func(name, v string) envelope.Sample {
		return envelope.Sample{Name: name, Time: at, Value: envelope.OfText([]byte(v))}
	}
	f.sealed(
		text("a", "=cmd|' /C calc'!A0"), text("b", "say \"x\", then\r\ny\n"), text("c", "17"), text("d", ""),
		envelope.Sample{Name: "e", Time: at, Unit: "m,s", Value: envelope.OfFloat(-0.25)},
		envelope.Sample{Name: "f", Time: at, Quality: 0x80340000},
		envelope.Sample{Name: "g", Time: at, Value: envelope.OfBytes([]byte{0xff})},
		envelope.Sample{Name: "h", Time: at, Value: envelope.OfBool(true)},
	)
	f.put(envelope.Passthrough, "recipe", "application/cose", []byte{1, 2})
	s.checkpoints()
	a := s.open("engineering", "--format", "csv", s.folder())
	require.Zero(t, a.code, a.stderr)
	require.True(t, strings.HasPrefix(a.stdout, csvHeader))
	require.Contains(t, a.stdout, `,c,restricted,"17",`, "text is in quotes")
	require.Contains(t, a.stdout, `,e,restricted,-0.25,"m,s",`)
	require.Contains(t, a.stdout, `,d,restricted,"",`)
	require.Contains(t, a.stdout, `,f,restricted,,,,0x80340000,`)
	require.Contains(t, a.stdout, "then\r\ny\n", "what a device said is not changed")
	rows, err := csv.NewReader(strings.NewReader(a.stdout)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 10)
	require.Equal(t, "=cmd|' /C calc'!A0", rows[1][5])
	require.Equal(t, []string{"AQI=", "application/cose", "false", "3", "signed"}, rows[9][9:])
	a = s.open("engineering", "--format", "xml", s.folder())
	require.Equal(t, 2, a.code)
}

func TestOpenFlags(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	dir := s.folder()
	for _, c := range []struct {
		who, want string
		args      []string
	}{
		{"engineering", "--now and --wait-signed at once", []string{"--now", "--wait-signed"}},
		{"engineering", "--policy is for an audit", []string{"--policy", s.path("policy.yaml")}},
		{"", "--now prints what nobody signed for yet", []string{"--now"}},
		{"", "--now prints what nobody signed for yet", []string{"--wait-signed=false", "--policy", s.path("policy.yaml")}},
		{"engineering", "--prefix is for --nats", []string{"--prefix", "plant"}},
		{"engineering", "--stream is for --nats", []string{"--stream", "PLANT"}},
		{"engineering", "--cert is for --nats", []string{"--cert", "x.pem"}},
		{"engineering", "--clear is for an audit", []string{"--clear"}},
		{"engineering", "--json is for the summary", []string{"--json"}},
		{"engineering", "--tags is for JSON", []string{"--tags", "--format", "csv"}},
	} {
		a := s.open(c.who, append(c.args, dir)...)
		assert.Equal(t, 2, a.code, c.want)
		assert.Contains(t, a.stderr, c.want)
		assert.Empty(t, a.stdout)
	}
	a := s.open("engineering", "--wait-signed", dir)
	require.Zero(t, a.code, a.stderr)
	require.Len(t, a.printed(t), 25)
	b := s.open("engineering", "--now", dir)
	require.Zero(t, b.code, b.stderr)
	require.Len(t, b.printed(t), 25)
	require.Contains(t, b.stdout, `"proof":"pending"`)
	require.NotContains(t, a.stdout, `"proof":"pending"`)
	c := openWith(t.Context(), append([]string{"open", "--policy", "x"}, dir))
	require.Equal(t, 2, c.code)
	require.Contains(t, c.stderr, "--policy needs the trust file")
}

// What is missing, gone, or cut off is told, and only what nobody signed for is
// not in order.
func TestOpenAccount(t *testing.T) {
	alone(t)
	s := newSite(t)
	f := s.feed("press-1", "restricted", "engineering")
	for range 6 {
		f.sealed(f.sample("force"))
	}
	f.lose(3, 3, "outbox full")
	s.checkpoints()
	whole := len(s.sent)
	a := s.open("engineering", "--stats", s.folder(2))
	require.Zero(t, a.code, a.stderr)
	require.Contains(t, a.stderr, "fieldseal: gw-1/press-1/restricted: messages 3 are gone: outbox full (")
	require.Equal(t, "outbox full", a.stats(t).Streams[0].Losses[0].Reason)

	a = s.open("engineering", "--stats", s.folder(3))
	require.Equal(t, 1, a.code)
	require.Contains(t, a.stderr, "messages 4 are missing, and nobody says why")
	require.Equal(t, []string{"4"}, a.stats(t).Streams[0].Gaps)
	require.False(t, a.stats(t).InOrder)

	// The tail: the statement names numbers that did not come.
	f.sealed(f.sample("force"))
	s.checkpoints()
	a = s.open("engineering", "--stats", s.folder(whole, whole+1))
	require.Equal(t, 1, a.code)
	require.Regexp(t, `messages 10-11 were sent by .*, as the gateway's statement says, and did not come`, a.stderr)
	require.Equal(t, []string{"10-11"}, a.stats(t).Streams[0].Withheld)
	require.Len(t, a.printed(t), 6)
}

// A state goes on, refuses what it is not of, and damage is told.
func TestOpenState(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	state := s.path("my.state")
	a := s.open("engineering", "--state", state, s.folder())
	require.Zero(t, a.code, a.stderr)
	require.Len(t, a.printed(t), 25)
	info, err := os.Stat(state)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	f := s.feeds["press-1/restricted"]
	f.sealed(f.sample("force"))
	f.sealed(f.sample("force"))
	s.checkpoints()
	gap := s.folder(len(s.sent) - 4)
	a = s.open("engineering", "--state", state, gap)
	require.Equal(t, 1, a.code, a.stderr)
	require.Len(t, a.printed(t), 1, "only what is new")
	require.Contains(t, a.stderr, "are missing")
	a = s.open("engineering", "--state", state, gap)
	require.Zero(t, a.code, "what was told is not told again: %s", a.stderr)
	require.Contains(t, a.stderr, "1 thing not in order, told by an earlier run, is still so")
	require.Empty(t, a.stdout)
	a = s.open("engineering", "--state", state, s.folder())
	require.Zero(t, a.code, a.stderr)
	require.Empty(t, a.stderr, "it came after all")
	require.Len(t, a.printed(t), 1)

	// Of something else.
	_, flags := s.broker()
	a = s.open("engineering", append(flags, "--end", "--state", state)...)
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "my.state is the state of something else: it was made from files, and this is nats; name another file")
	a = s.open("", "--state", state, gap)
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "an audit and who opens go on apart")
	a = openWith(t.Context(), []string{"open", "-i", s.path("engineering.identity"), "--state", state, gap})
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "it was made with a verified trust file")
	other := newSite(t)
	other.usual()
	a = other.open("engineering", "--state", state, other.folder())
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "other approvers vouched")

	// What was sealed for the other one was passed over.
	a = s.open("historian", "--state", state, gap)
	require.Equal(t, 2, a.code)
	require.Contains(t, a.stderr, "made without an identity that is given now")

	// Two at once.
	o := &openOptions{state: state, identities: []string{"x"}}
	k, err := o.openState(nil, nil)
	require.Nil(t, k)
	require.ErrorContains(t, err, "verified trust file")
	free := &openOptions{state: s.dir, identities: []string{"x"}}
	k, err = free.openState(nil, nil)
	require.NoError(t, err)
	_, err = free.openState(nil, nil)
	require.ErrorContains(t, err, "another fieldseal open goes on from "+s.path(stateName))
	k.close()

	// Damaged.
	b, err := os.ReadFile(state)
	require.NoError(t, err)
	for _, bad := range [][]byte{{}, b[:len(b)-1], bytes.Replace(b, []byte("files"), []byte("filet"), 1), []byte("nothing")} {
		require.NoError(t, os.WriteFile(state, bad, 0o600))
		a = s.open("engineering", "--state", state, gap)
		require.Equal(t, 2, a.code)
		require.Contains(t, a.stderr, "is damaged, or no state of fieldseal open")
		require.Empty(t, a.stdout)
	}
}

// What somebody else made, and a gateway that went back or runs twice, is told with
// its class.
func TestOpenForged(t *testing.T) {
	alone(t)
	s := newSite(t)
	f := s.feed("press-1", "public")
	f.clear(f.sample("state"))
	forged := s.sent[0]
	forged.Body = envelope.AppendClear(nil, "press-1/", []envelope.Sample{{Name: "state", Time: 1, Value: envelope.OfUint(99)}})
	s.sent = append([]envelope.Message{forged}, s.sent...)
	s.checkpoints()
	s.state(func(g *envelope.GatewayState) { g.Heads[0].Sequence = 1 })
	s.state(func(g *envelope.GatewayState) { g.Instance = [8]byte{9}; g.Heads = nil })
	a := s.open("engineering", "--stats", s.folder())
	require.Equal(t, 1, a.code)
	require.Equal(t, 1, strings.Count(a.stderr, "message 1: forged: another message has this number"), a.stderr)
	require.Contains(t, a.stderr, "refused: rollback: statement 2 of gw-1: the head of press-1/public is at 1, another statement says 2")
	require.Contains(t, a.stderr, "refused: clone: statement 3 of gw-1: start counter 1 has two instances")
	require.Len(t, a.printed(t), 1)
	require.NotContains(t, a.stdout, `"value":99`)
	st := a.stats(t)
	require.Len(t, st.Refused, 2)
	require.EqualValues(t, 1, st.Streams[0].Forged)
}

// closed is an output that nobody reads any more.
type closed struct{ left int }

func (w *closed) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// What could not be printed is not remembered as printed.
func TestOpenCannotPrint(t *testing.T) {
	alone(t)
	s := newSite(t)
	s.usual()
	dir, state := s.folder(), s.path("my.state")
	var stderr bytes.Buffer
	code := run(t.Context(), s.args("engineering", "--state", state, dir), strings.NewReader(""), &closed{left: 1000}, &stderr)
	require.NotZero(t, code)
	require.Contains(t, stderr.String(), io.ErrClosedPipe.Error())
	require.NoFileExists(t, state)
	a := s.open("engineering", "--state", state, dir)
	require.Len(t, a.printed(t), 25)
}

// Signatures that a broker keeps back, or messages that somebody else adds, do
// not pass as in order.
func TestWithheldSignaturesAreNotInOrder(t *testing.T) {
	alone(t)
	for _, c := range []struct {
		name    string
		age     time.Duration
		inOrder bool
	}{
		{"just sent", 3 * time.Second, true},
		{"should be signed by now", 2 * time.Minute, false},
		{"from the future", -2 * time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.state(nil)
			s.now = time.Now().Add(-c.age)
			f := s.feed("press-1", "public")
			f.clear(f.sample("state"))
			a := s.open("engineering", s.folder())
			require.Empty(t, a.stdout, "nothing is printed before it is signed")
			require.Equal(t, c.inOrder, a.code == 0, a.stderr)
			require.Contains(t, a.stderr, "1 message waits for the gateway's signature")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	alone(b)
	s := newSite(b)
	f := s.feed("press-1", "restricted", "engineering")
	const messages, each = 20_000, 10
	for i := range messages {
		var samples []envelope.Sample
		for _, name := range []string{"force", "speed", "torque", "temperature", "pressure", "level", "state", "count", "mode", "current"}[:each] {
			samples = append(samples, envelope.Sample{Name: name, Time: s.now.UnixNano(), Unit: "kN", Value: envelope.OfFloat(float64(i) / 16)})
		}
		f.sealed(samples...)
		if i%100 == 99 {
			f.checkpoint(false)
		}
	}
	s.state(nil)
	dir := s.folder()
	b.ResetTimer()
	for range b.N {
		out, err := os.Create(s.path("out.json"))
		require.NoError(b, err)
		var stderr bytes.Buffer
		code := run(context.Background(), s.args("engineering", dir), strings.NewReader(""), out, &stderr)
		require.Zero(b, code, stderr.String())
		require.NoError(b, out.Close())
	}
	b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(messages*each*b.N)/b.Elapsed().Seconds(), "samples/s")
}
