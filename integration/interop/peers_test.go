//go:build interop

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/simonvetter/modbus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

// TestMain ends with the list of peers that ran. In a run of all tests each
// wanted peer has to be among them.
func TestMain(m *testing.M) {
	if opcua.IsWorker(os.Args) {
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	}
	flag.Parse()
	code := m.Run()
	removePrograms()
	line, err := summary()
	fmt.Println(line)
	if whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""; whole && err != nil {
		fmt.Println(err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// TestPeers shows that each peer is what the other tests take it for.
func TestPeers(t *testing.T) {
	t.Run("libmodbus", testLibmodbus)
	t.Run("nats-server", testNATS)
}

func testLibmodbus(t *testing.T) {
	const canary = "canary-recipe-4711"
	m := StartLibmodbus(t, LibmodbusOptions{Units: []byte{1, 7}, Canary: canary, Texts: [3]string{"second", "third", "fourth"}})
	c := dialModbus(t, m.Addr)

	require.NoError(t, c.SetUnitId(1))
	for want := uint32(1); want <= 3; want++ {
		got, err := c.ReadUint32(0, modbus.HOLDING_REGISTER)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	text, err := c.ReadBytes(20, 32, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	assert.Equal(t, canary, string(bytes.TrimRight(text, "\x00")))
	for i, want := range m.Texts {
		text, err := c.ReadBytes(uint16(40+20*i), 32, modbus.HOLDING_REGISTER)
		require.NoError(t, err)
		assert.Equal(t, want, string(bytes.TrimRight(text, "\x00")))
	}
	state, err := c.ReadRegister(5, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	assert.LessOrEqual(t, state, uint16(3))
	_, err = c.ReadRegister(100, modbus.HOLDING_REGISTER)
	require.ErrorIs(t, err, modbus.ErrIllegalDataAddress)
	coils, err := c.ReadCoils(0, 2)
	require.NoError(t, err)
	assert.NotEqual(t, coils[0], coils[1])
	_, err = c.ReadDiscreteInput(0)
	require.NoError(t, err)
	before, err := c.ReadUint32(2, modbus.INPUT_REGISTER)
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		now, err := c.ReadUint32(2, modbus.INPUT_REGISTER)
		return err == nil && now > before
	}, 5*time.Second, 2*time.Millisecond, "the clock at input/2 stands still")
	require.NoError(t, c.SetEncoding(modbus.BIG_ENDIAN, modbus.LOW_WORD_FIRST))
	force, err := c.ReadFloat32(2, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	assert.InDelta(t, 180, force, 20)
	require.NoError(t, c.SetEncoding(modbus.BIG_ENDIAN, modbus.HIGH_WORD_FIRST))

	require.NoError(t, c.SetUnitId(7))
	_, err = c.ReadRegisters(0, 6, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	require.NoError(t, c.SetUnitId(9))
	_, err = c.ReadRegister(0, modbus.HOLDING_REGISTER)
	require.ErrorIs(t, err, modbus.ErrGWTargetFailedToRespond)
	assert.Empty(t, m.Refused())
	require.NoError(t, c.SetUnitId(1))
	require.ErrorIs(t, c.WriteRegister(5, 1), modbus.ErrIllegalFunction)
	assert.Equal(t, []byte{6}, m.Refused())

	assert.Equal(t, []uint32{1, 2, 3}, m.Truth(1))
	assert.Equal(t, []uint32{1}, m.Truth(7))

	addr := m.Addr
	m.Kill()
	m.Start()
	assert.Equal(t, addr, m.Addr)
	got, err := dialModbus(t, m.Addr).ReadUint32(0, modbus.HOLDING_REGISTER)
	require.NoError(t, err)
	assert.Equal(t, uint32(4), got, "a counter goes on where it was")
	m.Stop()
	assert.NoError(t, m.p.err, "a server that is told to end does so in order")
}

func dialModbus(t *testing.T, addr string) *modbus.ModbusClient {
	t.Helper()
	c, err := modbus.NewClient(&modbus.ClientConfiguration{URL: "tcp://" + addr, Timeout: 5 * time.Second})
	require.NoError(t, err)
	require.NoError(t, c.Open())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func testNATS(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := StartNATS(t, t.TempDir(), NewCerts(t, t.TempDir()))
	n.CreateStream("PLANT", "plant.>")

	anonymous := n.Certs.ClientTLS("nobody")
	anonymous.Certificates = nil
	_, err := nats.Connect(n.URL, nats.Secure(anonymous))
	require.Error(t, err, "a client without a certificate has to be turned away")
	stranger := NewCerts(t, t.TempDir()).ClientTLS("gateway")
	stranger.RootCAs = n.Certs.ClientTLS("gateway").RootCAs
	_, err = nats.Connect(n.URL, nats.Secure(stranger))
	require.Error(t, err, "a client of another authority has to be turned away")

	nc := n.Connect("gateway")
	state, err := nc.TLSConnectionState()
	require.NoError(t, err)
	assert.Equal(t, uint16(tls.VersionTLS13), state.Version)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	const payload = "these bytes are on the broker's disk"
	_, err = js.Publish(ctx, "plant.gw.press-3.internal", []byte(payload))
	require.NoError(t, err)
	assert.True(t, onDisk(t, n.StreamDir, payload), "a scan of the broker's disk has to find what was published")

	url := n.URL
	n.Kill()
	n.Start()
	assert.Equal(t, url, n.URL)
	js, err = jetstream.New(n.Connect("reader"))
	require.NoError(t, err)
	stream, err := js.Stream(ctx, "PLANT")
	require.NoError(t, err)
	msg, err := stream.GetMsg(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, payload, string(msg.Data), "what was acknowledged outlives kill -9")
}

// onDisk tells whether a file below dir holds the text.
func onDisk(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, []byte(text))
		return err
	}))
	return found
}
