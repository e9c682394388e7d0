package opcua_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	field "github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// repeater stands between a client and a server. It can neither read nor sign
// anything, and sends the first part of a message again in the place of the third.
type repeater struct {
	endpoint string
	mu       sync.Mutex
	done     int // how often
	longest  int // message, in chunks
}

func startRepeater(t *testing.T, plant *sim.OPCUA) *repeater {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &repeater{endpoint: "opc.tcp://" + l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", plant.Endpoint()[len("opc.tcp://"):])
			if err != nil {
				_ = c.Close()
				continue
			}
			wait.Go(func() {
				// The server offers what it is asked for under its own name, which is as
				// long. Nothing of that is encrypted.
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					if _, failed := s.Write(bytes.ReplaceAll(b[:n], []byte(r.endpoint), []byte(plant.Endpoint()))); err != nil || failed != nil {
						break
					}
				}
				_, _ = s.Close(), c.Close()
			})
			wait.Go(func() {
				r.pass(c, s)
				_, _ = s.Close(), c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		plant.DropConnections()
		wait.Wait()
	})
	return r
}

func (r *repeater) pass(to io.Writer, from io.Reader) {
	var first []byte
	for n := 0; ; {
		var head [8]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.LittleEndian.Uint32(head[4:]))
		copy(b, head[:])
		if _, err := io.ReadFull(from, b[8:]); err != nil {
			return
		}
		n++
		r.mu.Lock()
		r.longest = max(r.longest, n)
		if string(b[:4]) == "MSGC" {
			switch n {
			case 1:
				first = bytes.Clone(b)
			case 3:
				b = first
				r.done++
			}
		} else {
			n = 0
		}
		r.mu.Unlock()
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

// long is a value of four chunks and more, each part of which is another one.
func long() []byte {
	var b []byte
	for i := range 10 {
		b = append(b, bytes.Repeat([]byte{byte('a' + i)}, 30_000)...)
	}
	return b
}

// TestLibraryTakesRepeatedChunk shows what the size of requests, and the gate,
// are for: gopcua v0.9.0 puts a message together of chunks in whatever order they
// come. Somebody on the way, without any key, changes a signed value. Once this
// test fails the library is mended.
func TestLibraryTakesRepeatedChunk(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	value := long()
	plant.Override("mixer-1", "TorqueLog", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(value)}
	})
	between := startRepeater(t, plant)
	ctx, cancel := context.WithTimeout(t.Context(), 2*sinktest.Patience)
	defer cancel()
	offers, err := opcua.GetEndpoints(ctx, plant.Endpoint())
	require.NoError(t, err)
	offer, err := opcua.SelectEndpoint(offers, "Basic256Sha256", ua.MessageSecurityModeSignAndEncrypt)
	require.NoError(t, err)
	c, err := opcua.NewClient(between.endpoint, opcua.SecurityFromEndpoint(offer, ua.UserTokenTypeAnonymous),
		opcua.Certificate(client.Certificate), opcua.PrivateKey(client.Key), opcua.AutoReconnect(false))
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	defer c.Close(context.Background())
	space, err := c.FindNamespace(ctx, sim.OPCUANamespace)
	require.NoError(t, err)
	got, err := c.Read(ctx, &ua.ReadRequest{NodesToRead: []*ua.ReadValueID{{NodeID: ua.NewStringNodeID(space, "mixer-1.TorqueLog")}}})
	require.NoError(t, err)
	require.Equal(t, ua.StatusOK, got.Results[0].Status)
	b, _ := got.Results[0].Value.Value().([]byte)
	assert.Len(t, b, len(value))
	assert.False(t, bytes.Equal(value, b), "the value is another one")
}

// TestRepeatedChunk: the same does not get past the gate.
func TestRepeatedChunk(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	value := long()
	plant.Override("mixer-1", "TorqueLog", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(value)}
	})
	between := startRepeater(t, plant)
	spec := specOf(plant)
	spec.Endpoint = between.endpoint
	_, r := read(t, newPool(t), spec, mixer(t, "mixer-1"))
	const why = "somebody between us and the server, or the server itself, sent a part of a message twice"
	r.Until(t, why, func() bool { return r.Last().Err == why })
	r.Lock()
	defer r.Unlock()
	assert.Zero(t, r.Good(torqueLog, 0))
}

// TestOneChunk: what is asked for is such that each answer is one chunk, however
// many points there are.
func TestOneChunk(t *testing.T) {
	const load = 3000
	plant := startPlant(t, sim.OPCUAOptions{Load: load})
	between := startRepeater(t, plant)
	spec := specOf(plant)
	spec.Endpoint = between.endpoint
	m := loaded(t, load)
	for i := range 40 { // some of which are longer
		m.Points = append(m.Points, field.Point{Name: "log" + itoa(i), Node: node(t, "s=mixer-1.TorqueLog"), Type: field.Bytes, Period: time.Second})
	}
	plant.Override("mixer-1", "TorqueLog", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(make([]byte, 4096))}
	})
	_, r := read(t, newPool(t), spec, m)
	r.Until(t, "two values of each", func() bool { return len(r.Samples) >= 2*load && r.Good(load, 0) >= 1 })
	between.mu.Lock()
	defer between.mu.Unlock()
	assert.Equal(t, 1, between.longest)
}
