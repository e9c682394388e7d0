//go:build interop

package interop

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"testing"
	"time"

	gopcua "github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

const mixerNamespace = "http://vendor.example/mixer/v2"

// opcuaCounter is the point that moves every 500 ms, slower than it is sampled.
const opcuaCounter = 0

// opcuaPoint describes a point of the server.
func opcuaPoint(t testing.TB, id string, typ opcua.Type) opcua.Point {
	t.Helper()
	n, err := opcua.ParseNode(id)
	require.NoError(t, err)
	return opcua.Point{Name: id, Node: n, Type: typ, Period: 250 * time.Millisecond}
}

func opcuaMachine(t testing.TB, more ...opcua.Point) *opcua.Machine {
	return &opcua.Machine{
		Name: "mixer-4", Namespace: mixerNamespace,
		Points: append([]opcua.Point{opcuaPoint(t, "s=Line1.Counter", opcua.Uint32)}, more...),
	}
}

// TestOPCUAValues: every type arrives exactly, under every policy and mode, with
// a user and a password, and however few nodes the server allows in one call.
// What is wrong with some points is told, and the others flow.
func TestOPCUAValues(t *testing.T) {
	server := startNodeOPCUA(t, func(*nodeOPCUAOptions) {})
	pool := opcuaPool(t)
	wants := []struct {
		id     string
		typ    opcua.Type
		value  point.Value
		q      point.Quality
		status string
	}{
		{"s=Line1.Recipe.Name", opcua.String, point.OfText([]byte("CANARY-RECIPE-41")), 0, ""},
		{"i=7013", opcua.Int32, point.OfInt(-7), 0, ""},
		{"s=Line1.Mixer.Running", opcua.Bool, point.OfBool(true), 0, ""},
		{`s="DB_Drv"."Drv"[1]`, opcua.Float32, point.OfFloat(1.5), 0, ""},
		{"s=Line1.Mixer.Speed", opcua.Float64, point.OfFloat(-0.125), 0, ""},
		{"s=SByte", opcua.Int8, point.OfInt(-128), 0, ""},
		{"s=Byte", opcua.Uint8, point.OfUint(255), 0, ""},
		{"s=Int16", opcua.Int16, point.OfInt(-32768), 0, ""},
		{"s=UInt16", opcua.Uint16, point.OfUint(65535), 0, ""},
		{"s=Int64", opcua.Int64, point.OfInt(-2), 0, ""},
		{"s=UInt64", opcua.Uint64, point.OfUint(math.MaxUint64), 0, ""},
		{"s=Time", opcua.DateTime, point.OfTime(time.Date(2024, 2, 29, 12, 34, 56, 789e6, time.UTC).UnixNano()), 0, ""},
		{"g=09087e75-8e5e-499b-954f-f2a9603db28a", opcua.Uint8, point.OfUint(1), 0, ""},
		{"b=M/RbKBsRVkePCePcx24oRA==", opcua.Uint8, point.OfUint(2), 0, ""},
		{"s=Blob", opcua.Bytes, point.Value{}, point.BadEncodingLimitsExceeded, "node s=Blob gives more than max_bytes: 2999"},
		{"s=Array", opcua.Int32, point.Value{}, point.BadTypeMismatch, "node s=Array gives an array, and the mapping says int32"},
		{"s=Int16", opcua.Int32, point.Value{}, point.BadTypeMismatch, "node s=Int16 gives int16, and the mapping says int32"},
		{"s=Broken", opcua.Int32, point.Value{}, point.BadSensorFailure, ""},
		{"s=Missing", opcua.Int32, point.Value{}, 0x80340000, "the server has no node s=Missing (BadNodeIDUnknown)"},
		{"s=Hidden", opcua.Int32, point.Value{}, 0x803A0000, "the server does not let us read node s=Hidden (BadNotReadable)"},
		{"s=Slow", opcua.Int32, point.OfInt(5), 0, ""},
	}
	for _, c := range []struct {
		policy, mode string
		grade        point.Security
	}{
		{"Aes256_Sha256_RsaPss", "SignAndEncrypt", point.Encrypted},
		{"Basic256Sha256", "SignAndEncrypt", point.Encrypted},
		{"Aes128_Sha256_RsaOaep", "SignAndEncrypt", point.Encrypted},
		{"Basic256Sha256", "Sign", point.Authenticated},
	} {
		t.Run(c.policy+" "+c.mode, func(t *testing.T) {
			m := opcuaMachine(t)
			for i, w := range wants {
				p := opcuaPoint(t, w.id, w.typ)
				p.Name = fmt.Sprint(i)
				if w.typ == opcua.Bytes {
					p.MaxBytes = 2999
				}
				m.Points = append(m.Points, p)
			}
			source, sink := readOPCUA(t, pool, server.spec(c.policy, c.mode), m)
			sink.Until(t, "a sample of each point", func() bool {
				for i := range m.Points {
					if len(sink.Of(uint32(i), 0)) == 0 {
						return false
					}
				}
				return sink.Good(opcuaCounter, 0) >= 8
			})
			sink.Lock()
			defer sink.Unlock()
			assert.Equal(t, c.grade, sink.Last().Security)
			assert.Equal(t, c.policy+" "+c.mode, sink.Last().Mechanism)
			for i, w := range wants {
				got := sink.Of(uint32(i+1), 0)[0]
				assert.Equal(t, w.q, got.Quality, w.id)
				assert.True(t, got.Value.Equal(w.value), "%s: another value", w.id)
				assert.Equal(t, w.status, sink.Metas[uint32(i+1)].Status, w.id)
			}
			counts := sink.Of(opcuaCounter, 0)
			for i := 1; i < len(counts); i++ {
				assert.Equal(t, counts[i-1].Value.Uint()+1, counts[i].Value.Uint(), "each once, none lost")
				assert.Greater(t, counts[i].Time, counts[i-1].Time)
			}
			stats := source.Stats().Machines[0]
			assert.Zero(t, stats.Dropped)
			require.Len(t, stats.Revised, 1, "the server looks at s=Slow every two seconds")
			assert.Equal(t, opcua.Revision{Point: uint32(len(wants)), Sampling: 2 * time.Second, Publishing: 250 * time.Millisecond}, stats.Revised[0])
		})
	}
}

// TestOPCUARefusals: each reason why there is no connection has its own words.
func TestOPCUARefusals(t *testing.T) {
	server := startNodeOPCUA(t, func(*nodeOPCUAOptions) {})
	none := startNodeOPCUA(t, func(o *nodeOPCUAOptions) { o.Policies, o.Modes, o.Anonymous = []string{"None"}, []string{"None"}, true })
	stranger := sim.NewOPCUAIdentity("stranger", 2048)
	pool := opcuaPool(t)
	for _, c := range []struct {
		name   string
		server *nodeOPCUA
		change func(*opcua.Spec, *opcua.Machine)
		why    string
	}{
		{
			"wrong password", server, func(s *opcua.Spec, _ *opcua.Machine) { s.User.Password = "wrong" },
			"the server refuses the user operator or his password (BadUserAccessDenied)",
		},
		{
			"nobody anonymous", server, func(s *opcua.Spec, _ *opcua.Machine) { s.User = opcua.User{Anonymous: true} },
			`the server lets nobody in anonymously; write user: {name: …, password: "credential:…"}`,
		},
		{
			"another certificate", server, func(s *opcua.Spec, _ *opcua.Machine) { s.ServerSHA256 = stranger.Fingerprint() },
			fmt.Sprintf("the server's certificate is sha256:%x, and the pinned one is sha256:%x; "+
				"if the server has a new certificate, compare the fingerprint with the one it shows and change server_certificate",
				server.own.Fingerprint(), stranger.Fingerprint()),
		},
		{
			"not trusted", server, func(s *opcua.Spec, _ *opcua.Machine) {
				s.Certificate, s.Key = stranger.Certificate, opcua.Secret(stranger.PKCS8())
			},
			fmt.Sprintf("the server ended the handshake and does not say why: most often it does not trust our certificate sha256:%x; have it trusted there",
				sha256.Sum256(stranger.Certificate)),
		},
		{
			"no security", none, func(*opcua.Spec, *opcua.Machine) {},
			"the server offers connections without security only (None); switch on Basic256Sha256 SignAndEncrypt there",
		},
		{
			"missing namespace", server, func(_ *opcua.Spec, m *opcua.Machine) { m.Namespace = "http://vendor.example/mixer/v1" },
			"the server has no namespace http://vendor.example/mixer/v1; it has http://opcfoundation.org/UA/, " + server.own.URI + ", " + mixerNamespace,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, m := c.server.spec("Basic256Sha256", "SignAndEncrypt"), opcuaMachine(t)
			c.change(&spec, m)
			_, sink := readOPCUA(t, pool, spec, m)
			sink.Until(t, c.name, func() bool { return sink.Last().Err != "" })
			sink.Lock()
			defer sink.Unlock()
			assert.Equal(t, c.why, sink.Last().Err)
			assert.Equal(t, point.LinkDown, sink.Last().State)
		})
	}
}

// TestOPCUAReconnect: after a reset, and after the server restarted under the
// subscription, data flows again.
func TestOPCUAReconnect(t *testing.T) {
	relay := startRelay(t)
	server := startNodeOPCUA(t, func(o *nodeOPCUAOptions) {
		o.Advertised = []string{"opc.tcp://" + relay.listener.Addr().String()}
	})
	relay.lead(server.endpoint)
	spec := server.spec("Basic256Sha256", "SignAndEncrypt")
	spec.Endpoint = "opc.tcp://" + relay.listener.Addr().String()
	source, sink := readOPCUA(t, opcuaPool(t), spec, opcuaMachine(t, opcuaPoint(t, "i=7013", opcua.Int32)))
	sink.Until(t, "samples", func() bool { return sink.Good(opcuaCounter, 0) >= 3 })
	for name, cut := range map[string]func(){"reset": relay.reset, "restart": func() { server.tell("restart") }} {
		before, mark := source.Stats().Connections, sink.Mark()
		cut()
		sink.Until(t, name, func() bool {
			return source.Stats().Connections > before && sink.Last().State == point.LinkUp && sink.Good(1, mark) >= 1 && sink.Good(opcuaCounter, mark) >= 5
		})
	}
	assert.Zero(t, source.Stats().Deaths)
}

// TestOPCUALibraryReconnect shows why the source does not leave reconnecting to
// the library: after a reset gopcua v0.9.0 calls itself connected, and its
// subscription is dead. Once this test fails the library is mended.
func TestOPCUALibraryReconnect(t *testing.T) {
	relay := startRelay(t)
	server := startNodeOPCUA(t, func(o *nodeOPCUAOptions) {
		o.Advertised = []string{"opc.tcp://" + relay.listener.Addr().String()}
	})
	relay.lead(server.endpoint)
	url := "opc.tcp://" + relay.listener.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), opcuaPatience)
	defer cancel()
	offers, err := gopcua.GetEndpoints(ctx, url)
	require.NoError(t, err)
	offer, err := gopcua.SelectEndpoint(offers, "Basic256Sha256", ua.MessageSecurityModeSignAndEncrypt)
	require.NoError(t, err)
	states := make(chan gopcua.ConnState, 100)
	c, err := gopcua.NewClient(url, gopcua.SecurityFromEndpoint(offer, ua.UserTokenTypeUserName), gopcua.AuthUsername("operator", "correct horse"),
		gopcua.Certificate(server.client.Certificate), gopcua.PrivateKey(server.client.Key),
		gopcua.AutoReconnect(true), gopcua.ReconnectInterval(100*time.Millisecond), gopcua.StateChangedCh(states))
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	defer func() { _ = c.Close(context.Background()) }()
	came := make(chan *gopcua.PublishNotificationData, 100)
	sub, err := c.Subscribe(ctx, &gopcua.SubscriptionParameters{Interval: 250 * time.Millisecond}, came)
	require.NoError(t, err)
	index, err := c.FindNamespace(ctx, mixerNamespace)
	require.NoError(t, err)
	_, err = sub.Monitor(ctx, ua.TimestampsToReturnBoth,
		gopcua.NewMonitoredItemCreateRequestWithDefaults(ua.NewStringNodeID(index, "Line1.Counter"), ua.AttributeIDValue, 1))
	require.NoError(t, err)
	for range 3 {
		select {
		case n := <-came:
			require.NoError(t, n.Error)
		case <-ctx.Done():
			require.FailNow(t, "no notification")
		}
	}
	for len(states) > 0 {
		<-states
	}
	relay.reset()
	for connected := false; !connected; {
		select {
		case s := <-states:
			connected = s == gopcua.Connected
		case <-ctx.Done():
			require.FailNow(t, "the library did not reconnect at all")
		}
	}
	for len(came) > 0 {
		<-came
	}
	select {
	case n := <-came:
		assert.Fail(t, "the library is mended: a notification came", "%v %T", n.Error, n.Value)
	case <-time.After(5 * time.Second): // in which twenty values were due
	}
	assert.Equal(t, gopcua.Connected, c.State())
}
