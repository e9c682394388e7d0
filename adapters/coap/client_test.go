package coap

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOtherClient has go-coap's own client post, also more than fits a datagram.
func TestOtherClient(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	client, err := coapdtls.Dial(s.address, coapdtls.NewDTLSClientOptions(append(byKey("keyed", theKey), dtls.WithLoggerFactory(quiet()))...))
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	long := strings.Repeat("ciphertext ", 1000)
	for path, payload := range map[string]string{"/vibration": "short", "/a/long": long} {
		answer, err := client.Post(t.Context(), path, message.AppCoseEncrypt0, bytes.NewReader([]byte(payload)))
		require.NoError(t, err)
		assert.Equal(t, codes.Changed, answer.Code(), path)
	}
	assert.Equal(t, []string{"short"}, s.sinks["keyed"].Payloads(0))
	assert.Equal(t, []string{long}, s.sinks["keyed"].Payloads(1))
	answer, err := client.Get(t.Context(), "/vibration")
	require.NoError(t, err)
	assert.Equal(t, codes.MethodNotAllowed, answer.Code())
	require.NoError(t, client.Ping(t.Context()))
}

// resend posts as a device does that waits for its answer: again until there is one. The answer to the first may
// go to the address that the device had before: the library follows a new one after it hands over what came from
// there.
func (d *device) resend(path, payload string) codes.Code {
	d.t.Helper()
	d.id++
	b := encode(d.t, message.Confirmable, d.id, codes.POST, path, []byte(payload))
	for begin := time.Now(); time.Since(begin) < patience; {
		_, err := d.Write(b)
		require.NoError(d.t, err)
		require.NoError(d.t, d.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
		buf := make([]byte, maxDatagram)
		n, err := d.Read(buf)
		if err != nil {
			continue
		}
		if m := decode(d.t, buf[:n]); m.MessageID == int32(d.id) { // not a late answer to the one before
			return m.Code
		}
	}
	return codes.Empty
}

// nat forwards datagrams, from another port whenever it is told to.
type nat struct {
	inside  *net.UDPConn
	gateway netip.AddrPort
	wg      sync.WaitGroup

	mu      sync.Mutex
	outside *net.UDPConn
	device  netip.AddrPort
}

func newNAT(t *testing.T, gateway string) *nat {
	t.Helper()
	inside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	n := &nat{inside: inside, gateway: netip.MustParseAddrPort(gateway)}
	n.forget(t)
	n.wg.Go(func() {
		b := make([]byte, maxDatagram)
		for {
			k, from, err := inside.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.device = from
			_, _ = n.outside.WriteToUDPAddrPort(b[:k], n.gateway)
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = inside.Close()
		_ = n.outside.Close()
		n.wg.Wait()
	})
	return n
}

// forget gives the device another port.
func (n *nat) forget(t *testing.T) {
	t.Helper()
	outside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.outside != nil {
		_ = n.outside.Close()
	}
	n.outside = outside
	n.wg.Go(func() {
		b := make([]byte, maxDatagram)
		for {
			k, _, err := outside.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			_, _ = n.inside.WriteToUDPAddrPort(b[:k], n.device)
			n.mu.Unlock()
		}
	})
}

// TestDeviceBehindNAT shows that a session with a connection id goes on when the
// device's address changes, and that a device without one makes another session.
func TestDeviceBehindNAT(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	r := s.sinks["keyed"]
	n := newNAT(t, s.address)
	s.address = n.inside.LocalAddr().String()
	d := s.connect(append(byKey("keyed", theKey), dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))...)
	for range 5 {
		require.Equal(t, codes.Changed, d.resend("/vibration", "x"))
		n.forget(t)
	}
	stats := s.stats("keyed")
	stats.Repeats = 0 // as many as answers were lost
	assert.Equal(t, MachineStats{Machine: "keyed", Sessions: 1, Joined: 1, Samples: 5}, stats)

	old := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, old.post("/vibration", "x"))
	n.forget(t)
	_, err := old.Write(encode(t, 0, 5000, codes.POST, "/vibration", []byte("into nothing")))
	require.NoError(t, err)
	again := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, again.post("/vibration", "x"))
	assert.Len(t, r.Payloads(0), 7)
}
