//go:build interop

package interop

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secondLife is where the counter of a server begins that was killed.
const secondLife = 1_000_000

// mixers is a plant with two OPC UA servers beside its presses.
type mixers struct {
	*plant
	first, second *nodeOPCUA // mixer-1 and mixer-2; each offers one policy
	none          *nodeOPCUA // offers no security
	password      string
	plates        []string
	log           []byte // what both encrypt themselves
	reader        *process
}

// newMixers starts everything but the gateway, which is described
// with two machines as they should be, and with others of which each has one
// thing wrong.
func newMixers(t *testing.T) *mixers {
	t.Helper()
	m := &mixers{plant: startPlant(t, 1, 7), password: canary(), plates: []string{canary(), canary()}, log: sealedLog(t)}
	m.more = []string{canary(), canary()}
	m.first = startMixers(t, "Basic256Sha256", m.password, m.more[0], m.plates[0], m.log)
	m.second = startMixers(t, "Aes256_Sha256_RsaPss", m.password, m.more[1], m.plates[1], m.log)
	m.none = startNodeOPCUA(t, func(o *nodeOPCUAOptions) { o.Policies, o.Modes, o.Anonymous = []string{"None"}, []string{"None"}, true })

	otherName := strings.NewReplacer("127.0.0.1", "localhost")
	files := map[string]string{}
	for _, one := range []mixer{
		{"mixer-1", m.first.endpoint, "Basic256Sha256", "mixers", mixerNamespace, m.first.own.Fingerprint()},
		{"mixer-2", m.second.endpoint, "Aes256_Sha256_RsaPss", "mixers", mixerNamespace, m.second.own.Fingerprint()},
		{"wrong-password", otherName.Replace(m.first.endpoint), "Basic256Sha256", "wrong", mixerNamespace, m.first.own.Fingerprint()},
		{"wrong-pin", otherName.Replace(m.second.endpoint), "Aes256_Sha256_RsaPss", "mixers", mixerNamespace, m.first.own.Fingerprint()},
		{"wrong-namespace", m.second.endpoint, "Aes256_Sha256_RsaPss", "mixers", "http://vendor.example/mixer/v1", m.second.own.Fingerprint()},
		{"no-security", m.none.endpoint, "Basic256Sha256", "mixers", mixerNamespace, m.none.own.Fingerprint()},
	} {
		files[one.name] = one.yaml()
	}
	m.site = newSite(t, siteOptions{
		dir: m.dir + "/gateway", broker: m.broker, units: m.units, poll: "250ms",
		machines: files, credentials: map[string]string{"mixers": m.password, "wrong": "not the one"},
	})
	m.site.trustedBy(m.first, m.second)
	return m
}

// TestBothProtocols has one gateway read other people's OPC UA servers and
// Modbus units at once, while somebody listens to every wire.
func TestBothProtocols(t *testing.T) {
	m := newMixers(t)
	s := m.site
	upstream := captureWire(t, "nats", portOf(m.broker.URL))
	opcuaWire := captureWire(t, "opcua", portOf(m.first.endpoint), portOf(m.second.endpoint), portOf(m.none.endpoint))
	modbusWire := captureWire(t, "modbus", portOf(m.server.Addr))
	s.start()
	pid := s.pid()
	m.follow(t)

	m.flows(t, 0)
	m.refusals(t)
	shown := must(t, "status", "--json", "-c", s.path("gateway.yaml")) + must(t, "status", "-c", s.path("gateway.yaml"))

	// One server dies under its subscription; everybody else flows on, and it is
	// found again by the same process.
	m.second.kill(secondLife)
	until(t, time.Minute, "the dead server in the status", func() bool { g := s.status(); return g.machine("mixer-2").State == "down" })
	mark := m.seen(t, "mixer-1")
	m.enough(t, len(m.server.Truth(1))+10)
	until(t, time.Minute, "more of the other one", func() bool { return m.seen(t, "mixer-1") >= mark+3 })
	m.second.start()
	m.flows(t, secondLife)
	assert.Equal(t, pid, s.pid(), "the gateway is another process")
	g := s.status()
	assert.Equal(t, uint64(1), g.Start)

	last := m.rest(t)
	s.drained(20 * time.Second)
	s.stop()
	m.reader.stop(syscall.SIGTERM)

	o := s.open()
	complete(t, o)
	presses := everyCounter(t, o, m.units)
	assert.Empty(t, m.server.Refused(), "the gateway asked for more than to read")
	steady := everyCount(t, o, "mixer-1", 0, last["mixer-1"])
	second := everyCount(t, o, "mixer-2", secondLife, last["mixer-2"])
	first := everyCount(t, o, "mixer-2", 0, 0)
	m.values(t, o)

	texts := map[string]string{"the log": s.log(), "the status": shown}
	m.sealed(t, texts)
	m.kept(t, texts)
	m.wires(t, upstream.stop(), opcuaWire.stop(), modbusWire.stop())
	t.Logf("%d samples opened; counter values: %d of 2 units behind libmodbus, %d of one node-opcua server, %d and %d of another before and after its death",
		len(o.samples), presses, steady, first, second)
}

// follow lets a reader follow the stream from its start.
func (m *mixers) follow(t *testing.T) {
	t.Helper()
	s := m.site
	cmd := exec.Command(program(t), s.openArgs(s.identity(engineering), "--trust", s.path("trust.yaml"), "--stream", streamName, "--prefix", prefix)...)
	cmd.Env = environment()
	m.reader = start(t, "open", cmd)
}

// counts gives the values of a mixer's counter that the reader has.
func (m *mixers) counts(t *testing.T, machine string) []uint32 {
	t.Helper()
	printed := slices.DeleteFunc(m.reader.log.last(everyLine), func(line string) bool {
		return !strings.Contains(line, `"machine":"`+machine+`","point":"counter"`) || !strings.HasSuffix(line, "}") // half a line
	})
	return result{stdout: strings.Join(printed, "\n")}.parse(t).counters(t, machine)
}

func (m *mixers) seen(t *testing.T, machine string) int { t.Helper(); return len(m.counts(t, machine)) }

// flows waits until values of all machines arrive, and of the second server's
// those from that number on.
func (m *mixers) flows(t *testing.T, from uint32) {
	t.Helper()
	m.enough(t, 10)
	until(t, time.Minute, "values of both mixers", func() bool {
		second := slices.DeleteFunc(m.counts(t, "mixer-2"), func(n uint32) bool { return n <= from })
		return m.seen(t, "mixer-1") >= 5 && len(second) >= 5
	})
}

// rest brings all machines to rest, and waits until the reader has what their
// counters counted to. It gives that.
func (m *mixers) rest(t *testing.T) map[string]uint32 {
	t.Helper()
	last := map[string]uint32{}
	for name, server := range map[string]*nodeOPCUA{"mixer-1": m.first, "mixer-2": m.second} {
		n, err := strconv.ParseUint(server.tell("still"), 10, 32)
		require.NoError(t, err)
		last[name] = uint32(n)
		until(t, time.Minute, "the last value of "+name, func() bool { return slices.Contains(m.counts(t, name), uint32(n)) })
	}
	m.server.Stop()
	return last
}

// everyCount shows that the reader has each number of a counter's life that
// began after from, once and in order, up to the last one; 0 is any.
func everyCount(t *testing.T, o *opened, machine string, from, last uint32) int {
	t.Helper()
	got := slices.DeleteFunc(o.counters(t, machine), func(n uint32) bool { return n <= from || from == 0 && n > secondLife })
	require.NotEmpty(t, got)
	for i := 1; i < len(got); i++ {
		require.Equal(t, got[i-1]+1, got[i], "%s: each once, none lost", machine)
	}
	if last != 0 {
		assert.Equal(t, last, got[len(got)-1], machine)
	}
	return len(got)
}

// refusals shows that each machine that is described wrongly says what is wrong,
// and that the others are up.
func (m *mixers) refusals(t *testing.T) {
	t.Helper()
	g := m.site.status()
	for machine, mechanism := range map[string]string{
		"mixer-1": "Basic256Sha256 SignAndEncrypt", "mixer-2": "Aes256_Sha256_RsaPss SignAndEncrypt", "press-1": "", "press-7": "",
	} {
		one := g.machine(machine)
		assert.Equal(t, "up", one.State, "%s: %s", machine, one.Error)
		if mechanism == "" {
			continue
		}
		assert.Equal(t, mechanism, one.Mechanism)
		assert.Equal(t, "encrypted", one.Security)
		assert.Equal(t, map[string]int{"clear": 1, "sealed": 8, "passthrough": 1}, one.Points)
		require.Len(t, one.Unread, 1)
		assert.Equal(t, "missing", one.Unread[0].Point)
		assert.Equal(t, "the server has no node s=Missing (BadNodeIDUnknown)", one.Unread[0].Status)
	}
	text := must(t, "status", "-c", m.site.path("gateway.yaml"))
	for machine, why := range map[string]string{
		"wrong-password": "the server refuses the user operator or his password (BadUserAccessDenied)",
		"wrong-pin": fmt.Sprintf("the server's certificate is sha256:%x, and the pinned one is sha256:%x",
			m.second.own.Fingerprint(), m.first.own.Fingerprint()),
		"wrong-namespace": "the server has no namespace http://vendor.example/mixer/v1; it has ",
		"no-security":     "the server offers connections without security only (None); switch on Basic256Sha256 SignAndEncrypt there",
	} {
		one := g.machine(machine)
		assert.Equal(t, "down", one.State, machine)
		assert.Contains(t, one.Error, why, machine)
		assert.Zero(t, one.Samples.Taken-one.Samples.Bad, machine)
		assert.Regexp(t, regexp.QuoteMeta(machine)+" is down.*"+regexp.QuoteMeta(why), text)
	}
}

// values compares what was read of the mixers with what nodeopcua/server.js
// gives.
func (m *mixers) values(t *testing.T, o *opened) {
	t.Helper()
	for i, machine := range []string{"mixer-1", "mixer-2"} {
		same(t, o, machine, "recipe", m.more[i])
		same(t, o, machine, "nameplate", m.plates[i])
		same(t, o, machine, "recipe-step", int32(-7))
		same(t, o, machine, "running", true)
		same(t, o, machine, "motor-speed", -0.125)
		same(t, o, machine, "drive-speed", 1.5)
		same(t, o, machine, "batch", uint64(1<<64-1))
		assert.Empty(t, values[int32](t, o, machine, "missing"))
		payloads := 0
		for _, s := range o.samples {
			if s.Machine == machine && s.Point == "sealed-log" && s.Quality == "" {
				assert.True(t, bytes.Equal(m.log, s.Payload), "what the machine encrypted came changed")
				payloads++
			}
		}
		assert.Positive(t, payloads)
	}
}

// same shows that every value of a point is that one.
func same[T comparable](t *testing.T, o *opened, machine, point string, want T) {
	t.Helper()
	got := values[T](t, o, machine, point)
	assert.NotEmpty(t, got, "%s/%s", machine, point)
	for _, v := range got {
		assert.Equal(t, want, v, "%s/%s", machine, point)
	}
}

// kept shows that the password is where its owner put it and nowhere else, and
// that the broker has what is public of the mixers.
func (m *mixers) kept(t *testing.T, texts map[string]string) {
	t.Helper()
	messages := all(t, m.broker, streamName)
	found, _ := filesWith(t, m.site.path("state"), m.password)
	assert.Equal(t, []string{m.site.path("state", "credentials", "mixers")}, found)
	found, _ = filesWith(t, m.broker.StreamDir, m.password)
	assert.Empty(t, found)
	for where, text := range texts {
		assert.False(t, sees([]byte(text), m.password), "the password is in %s", where)
	}
	for _, plate := range m.plates {
		assert.True(t, slices.ContainsFunc(messages, func(one stored) bool { return sees(one.raw, plate) }), "what is public of a mixer is not in the stream")
	}
}

// wires shows what somebody sees who listens. Behind Modbus it is everything,
// which is why such points need an exception; before an OPC UA server and before
// the broker it is nothing, not even what is public.
func (m *mixers) wires(t *testing.T, upstream, opcua, modbus []byte) {
	t.Helper()
	for _, text := range append([]string{m.secret, m.plate, m.unlabelled, m.unreleased, m.password}, append(m.plates, m.more...)...) {
		assert.False(t, sees(upstream, text), "a text of a machine on the way to the broker")
		assert.False(t, sees(opcua, text), "a text of a machine, or the password, on the way from an OPC UA server")
	}
	for _, text := range []string{m.secret, m.plate, m.unlabelled, m.unreleased} {
		assert.True(t, sees(modbus, text), "the capture does not have what Modbus shows")
	}
	// The other captures have their wires too: what comes before encryption is there.
	assert.True(t, sees(upstream, "tls_required"), "the capture does not have the broker's greeting")
	for _, policy := range []string{"SecurityPolicy#Basic256Sha256", "SecurityPolicy#Aes256_Sha256_RsaPss"} {
		assert.True(t, sees(opcua, policy), "the capture does not have the opening of channels")
	}
	assert.Greater(t, len(upstream), 50_000)
	assert.Greater(t, len(opcua), 50_000)
	t.Logf("seen on the wire: %s to the broker, %s from OPC UA servers, %s from Modbus units", sizeOf(upstream), sizeOf(opcua), sizeOf(modbus))
}
