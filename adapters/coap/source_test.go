package coap

import (
	"net"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
)

func TestSamplesOfEveryKindOfDevice(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	pin, named := s.issue("anything", nil), s.issue("pump-4", authority.Names("pump-4.plant"))
	s.attach(pinned("pinned", pin))
	m := sensor("named")
	m.Device = Device{CertificateName: "pump-4.plant"}
	s.attach(m)

	before := time.Now()
	for name, options := range map[string][]dtls.ClientOption{
		"keyed": byKey("keyed", theKey), "pinned": byCertificate(pin), "named": byCertificate(named),
	} {
		r := s.sinks[name]
		assert.Equal(t, "the device has not connected", r.link().Err)
		d := s.connect(options...)
		r.until("up", r.up)
		l := r.link()
		assert.Equal(t, point.Encrypted, l.Security)
		assert.Equal(t, d.LocalAddr().String(), l.Peer)
		assert.Contains(t, l.Mechanism, "DTLS 1.2 TLS_")
		assert.Equal(t, codes.Changed, d.post("/vibration", name))
		assert.Equal(t, codes.Changed, d.ask(codes.PUT, "/a/long", []byte("put")).Code)
		assert.Equal(t, []string{name}, r.Payloads(0))
		assert.Equal(t, []string{"put"}, r.Payloads(1))
		r.Look(func() {
			at := time.Unix(0, r.Samples[0].Time)
			assert.WithinRange(t, at, before, time.Now())
		})
	}
	assert.Equal(t, MachineStats{Machine: "keyed", Sessions: 1, Joined: 1, Samples: 2}, s.stats("keyed"))
}

// TestSuites shows which suites a device may come with: each that encrypts and
// authenticates in one, and no other.
func TestSuites(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	pin := s.issue("anything", nil)
	s.attach(pinned("pinned", pin))
	for _, suite := range append(keySuites(), dtls.TLS_PSK_WITH_AES_256_CCM_8) {
		_, err := s.dial(append(byKey("keyed", theKey), dtls.WithCipherSuites(suite))...)
		assert.Equal(t, suite == dtls.TLS_PSK_WITH_AES_256_CCM_8, err != nil, "%v: %v", suite, err)
	}
	for _, suite := range append(certificateSuites(), dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA) {
		_, err := s.dial(append(byCertificate(pin), dtls.WithCipherSuites(suite))...)
		assert.Equal(t, suite == dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, err != nil, "%v: %v", suite, err)
	}
	_, err := s.dial(append(byKey("keyed", theKey), dtls.WithExtendedMasterSecret(dtls.DisableExtendedMasterSecret))...)
	require.Error(t, err)
}

func TestUnknownDevicesAreNotLetIn(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	m := sensor("named")
	m.Device = Device{CertificateName: "pump-4.plant"}
	s.attach(m)
	pin := s.issue("pinned", nil)
	s.attach(pinned("pinned", pin))
	other, err := authority.New("plant")
	require.NoError(t, err)
	foreign, err := other.Issue("pump-4", authority.Names("pump-4.plant"))
	require.NoError(t, err)
	stolen := pin
	stolen.PrivateKey = foreign.PrivateKey

	short := dtls.WithFlightInterval(50 * time.Millisecond)
	for what, options := range map[string][]dtls.ClientOption{
		"identity":          byKey("nobody", theKey),
		"another's name":    byCertificate(s.issue("pump-5", authority.Names("pump-5.plant"))),
		"the name in a URI": byCertificate(s.issue("pump-4.plant", authority.Names("urn:pump-4.plant"))),
		"authority":         byCertificate(foreign),
		"expired":           byCertificate(s.issue("pump-4.plant", authority.Expired)),
		"for servers":       byCertificate(s.issue("pump-4.plant", authority.Hub)),
		"another's key":     byCertificate(stolen),
		"none":              byCertificate(pin)[1:],
	} {
		_, err := s.dial(append(options, short)...)
		assert.Error(t, err, what)
	}
	for _, r := range s.sinks {
		assert.Equal(t, point.LinkDown, r.link().State)
	}
	assert.Eventually(t, func() bool { return s.Stats().Rejected >= 8 }, patience, time.Millisecond)
}

// TestDownWhenSilent shows that a device that says nothing is not there, and that
// each of its points says so.
func TestDownWhenSilent(t *testing.T) {
	m := sensor("keyed")
	m.Silence = time.Second
	s := newSite(t, nil, m)
	r := s.sinks["keyed"]
	d := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, d.post("/vibration", cipher(1)))
	r.until("down", func() bool { return len(r.Links) == 3 && !r.up() && len(r.Samples) == 3 })
	assert.Equal(t, "the device is silent", r.link().Err)
	r.Look(func() {
		for _, bad := range r.Samples[1:] {
			assert.Equal(t, point.BadNoCommunication, bad.Quality)
		}
	})
	// It comes back, also from where it was.
	again, err := s.dialOver(rebind(t, d), byKey("keyed", theKey)...)
	require.NoError(t, err)
	assert.Equal(t, codes.Changed, again.post("/vibration", cipher(2)))
}

func TestDownWhenTheDeviceLeaves(t *testing.T) {
	m := sensor("keyed")
	m.Silence = 2 * time.Second
	s := newSite(t, nil, m)
	r := s.sinks["keyed"]
	first := s.connect(byKey("keyed", theKey)...)
	r.until("the first", func() bool { return len(r.Links) == 2 })
	second := s.connect(byKey("keyed", theKey)...)
	r.until("both", func() bool { return len(r.Links) == 3 })
	require.NoError(t, second.Close())
	r.until("the first one again", func() bool { return len(r.Links) == 4 })
	assert.Equal(t, first.LocalAddr().String(), r.link().Peer)
	require.NoError(t, first.Close())
	r.until("down", func() bool { return !r.up() })
	assert.Equal(t, "the device ended the session", r.link().Err)
	// It may go and come as it likes, as long as it comes.
	third := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, third.post("/vibration", "x"))
	require.NoError(t, third.Close())
	r.until("bad samples", func() bool { return len(r.Samples) == 3 })
	r.Look(func() {
		assert.Equal(t, point.Good, r.Samples[0].Quality)
		assert.Equal(t, point.BadNoCommunication, r.Samples[1].Quality)
		assert.GreaterOrEqual(t, r.Samples[1].Time-r.Samples[0].Time, m.Silence.Nanoseconds())
	})
}

// TestFewSessions shows that a device with ever new sessions keeps the newest
// ones.
func TestFewSessions(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	r := s.sinks["keyed"]
	var all []*device
	for range 5 {
		d := s.connect(byKey("keyed", theKey)...)
		require.Equal(t, codes.Changed, d.post("/vibration", "here"))
		all = append(all, d)
	}
	assert.Equal(t, maxSessions, s.stats("keyed").Sessions)
	for _, d := range all[:3] {
		_, err := d.Read(make([]byte, 100))
		assert.Error(t, err, "a session that had to go goes on")
	}
	assert.Equal(t, codes.Changed, all[3].post("/vibration", "still here"))
	r.Look(func() { assert.True(t, r.up()) })
}

// TestBackFromTheSamePort is about a device that was switched off: it knows
// nothing of its session, and uses the port that it always uses.
func TestBackFromTheSamePort(t *testing.T) {
	for name, more := range map[string][]dtls.ClientOption{
		"": nil, "connection id": {dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator())},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil, sensor("keyed"))
			first := s.connect(append(byKey("keyed", theKey), more...)...)
			require.Equal(t, codes.Changed, first.post("/vibration", "one"))
			// The old session lives, as far as the gateway knows: nothing of its end is sent.
			socket := rebind(t, first)
			again, err := s.dialOver(socket, append(byKey("keyed", theKey), more...)...)
			require.NoError(t, err)
			require.Equal(t, codes.Changed, again.post("/vibration", "two"))
			assert.Equal(t, []string{"one", "two"}, s.sinks["keyed"].Payloads(0))
		})
	}
}

// rebind closes a device's socket, and opens one with the same port.
func rebind(t *testing.T, d *device) net.PacketConn {
	t.Helper()
	at := d.socket.LocalAddr().String()
	_ = d.socket.Close()
	socket, err := net.ListenPacket("udp4", at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func TestMachinesComeAndGo(t *testing.T) {
	s := newSite(t, nil, sensor("one"), sensor("two"))
	one, two := s.connect(byKey("one", theKey)...), s.connect(byKey("two", theKey)...)
	require.Equal(t, codes.Changed, one.post("/vibration", "one"))
	require.NoError(t, s.Detach("one"))
	s.sinks["one"].Close()
	_, err := one.Read(make([]byte, 100))
	require.Error(t, err, "the session of a machine that is gone goes on")
	_, err = s.dial(byKey("one", theKey)...)
	require.Error(t, err)
	require.Equal(t, codes.Changed, two.post("/vibration", "two"))
	require.Error(t, s.Detach("one"))

	delete(s.sinks, "one")
	r := s.attach(sensor("one"))
	again := s.connect(byKey("one", theKey)...)
	require.Equal(t, codes.Changed, again.post("/vibration", "again"))
	assert.Equal(t, []string{"again"}, r.Payloads(0))
	assert.Error(t, s.Attach(point.Machine{Name: "three", Spec: sensor("one")}, r), "the device of another machine")
	assert.Error(t, s.Attach(point.Machine{Name: "one", Spec: sensor("one")}, r))
	assert.Error(t, s.Attach(point.Machine{Name: "x", Spec: 7}, r))
}

// TestPortInUse shows that a port that is somebody else's is a link that is down,
// and tried again.
func TestPortInUse(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	r := newRecorder(t)
	s := newSiteAt(t, taken.LocalAddr().String(), r)
	r.until("why", func() bool { return len(r.Links) == 2 })
	assert.Equal(t, "cannot listen at "+taken.LocalAddr().String()+": address already in use", r.link().Err)
	require.NoError(t, taken.Close())
	s.address = s.listens()
	assert.Equal(t, "the device has not connected", r.link().Err)
	d := s.connect(byKey("keyed", theKey)...)
	assert.Equal(t, codes.Changed, d.post("/vibration", "here"))
	assert.Error(t, s.Run(t.Context()), "a source runs once")
}

// TestFullOutbox shows that a device is told when nothing more can be taken, and
// that what it sends then is not taken.
func TestFullOutbox(t *testing.T) {
	s := newSite(t, nil, sensor("keyed"))
	r := s.sinks["keyed"]
	d := s.connect(byKey("keyed", theKey)...)
	require.Equal(t, codes.Changed, d.post("/vibration", "before"))
	r.full.Store(true)
	m := d.ask(codes.POST, "/vibration", []byte("too much"))
	assert.Equal(t, codes.ServiceUnavailable, m.Code)
	assert.Equal(t, uint32(fullAge), number(t, m, 14))
	r.full.Store(false)
	require.Equal(t, codes.Changed, d.post("/vibration", "after"))
	assert.Equal(t, []string{"before", "after"}, r.Payloads(0))
	assert.Equal(t, uint64(1), s.stats("keyed").Full)

	// A source ends, and a machine goes, while the outbox is full.
	r.full.Store(true)
	_, err := d.Write(encode(t, 0, 9000, codes.POST, "/vibration", []byte("never")))
	require.NoError(t, err)
	r.until("the sink is busy", func() bool { return true })
	s.stop()
}
