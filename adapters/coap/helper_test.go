package coap

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/impair/authority"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = sinktest.Patience

// recorder keeps what a machine gives, and fails its test where that is against the
// contract of Sink.
type recorder struct {
	*sinktest.Recorder
	t    testing.TB
	full atomic.Bool // Take blocks
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{Recorder: sinktest.New(), t: t}
	r.Gate = func(ctx context.Context) error {
		if !r.full.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	t.Cleanup(func() {
		r.Lock()
		defer r.Unlock()
		assert.Empty(t, r.Breaches)
		for _, l := range r.Links {
			assert.Equal(t, l.State == point.LinkUp, l.Err == "", "%+v", l)
		}
	})
	return r
}

func (r *recorder) until(what string, holds func() bool) {
	r.t.Helper()
	r.Until(r.t, what, holds)
}

func (r *recorder) link() (l point.Link) {
	r.Look(func() { l = r.Last() })
	return l
}

func (r *recorder) up() bool { return len(r.Links) > 0 && r.Last().State == point.LinkUp }

const theKey = "0123456789abcdef" // 16 bytes

// site is a source that runs, with an authority for its devices.
type site struct {
	*Source
	t         testing.TB
	authority *authority.Authority
	address   string
	sinks     map[string]*recorder
	stop      func()
}

// sensor gives a machine with two points that has a device with a key.
func sensor(name string) *Machine {
	return &Machine{
		Name: name, Device: Device{Identity: name, Credential: name},
		Points: []Point{
			{Name: "vibration", Path: "/vibration", Passthrough: "cose"},
			{Name: "long", Path: "/a/long", Passthrough: "cose", MaxBytes: point.MaxValueSize},
		},
	}
}

// newSite starts a source with these machines on a free port. change may alter it
// before.
func newSite(t testing.TB, change func(*site), machines ...*Machine) *site {
	t.Helper()
	s := &site{t: t, sinks: map[string]*recorder{}}
	var err error
	s.authority, err = authority.New("plant")
	require.NoError(t, err)
	own, err := s.authority.Issue("gateway", authority.Hub)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.Certificate)
	s.Source, err = New(Spec{Listen: "127.0.0.1:0", Certificate: &own, Authorities: pool}, Options{
		Key: func(string) (Secret, error) { return theKey, nil },
	})
	require.NoError(t, err)
	s.opened = make(chan string, 8)
	if change != nil {
		change(s)
	}
	for _, m := range machines {
		s.attach(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			assert.NoError(t, err)
		case <-time.After(2 * time.Second):
			assert.Fail(t, "Run does not return")
		}
		for _, r := range s.sinks {
			r.Close()
		}
	})
	t.Cleanup(s.stop)
	s.address = s.listens()
	return s
}

// listens waits for the next address that is listened at.
func (s *site) listens() string {
	s.t.Helper()
	select {
	case a := <-s.opened:
		return a
	case <-time.After(patience):
		require.FailNow(s.t, "nothing listens")
		return ""
	}
}

func (s *site) attach(m *Machine) *recorder {
	s.t.Helper()
	r := newRecorder(s.t)
	s.sinks[m.Name] = r
	require.NoError(s.t, s.Attach(point.Machine{Name: m.Name, Spec: m}, r))
	return r
}

func (s *site) issue(name string, change func(*x509.Certificate)) tls.Certificate {
	s.t.Helper()
	c, err := s.authority.Issue(name, change)
	require.NoError(s.t, err)
	return c
}

// stats gives the figures of one machine.
func (s *site) stats(machine string) MachineStats {
	all := s.Stats().Machines
	k := slices.IndexFunc(all, func(m MachineStats) bool { return m.Machine == machine })
	require.GreaterOrEqual(s.t, k, 0)
	return all[k]
}

// device is a peer that sends what bytes it likes.
type device struct {
	*dtls.Conn
	t      testing.TB
	socket net.PacketConn
	id     uint16
}

func byKey(identity string, key Secret) []dtls.ClientOption {
	return []dtls.ClientOption{
		dtls.WithPSK(func([]byte) ([]byte, error) { return []byte(key), nil }),
		dtls.WithPSKIdentityHint([]byte(identity)), dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8),
	}
}

func byCertificate(c tls.Certificate) []dtls.ClientOption {
	return []dtls.ClientOption{
		dtls.WithCertificates(c), dtls.WithInsecureSkipVerify(true), // whom it connects to is not what is tested
		dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
	}
}

// dial makes a session over a socket of its own.
func (s *site) dial(options ...dtls.ClientOption) (*device, error) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = socket.Close() })
	return s.dialOver(socket, options...)
}

func (s *site) dialOver(socket net.PacketConn, options ...dtls.ClientOption) (*device, error) {
	to, err := net.ResolveUDPAddr("udp", s.address)
	require.NoError(s.t, err)
	conn, err := dtls.ClientWithOptions(socket, to, append(options,
		dtls.WithLoggerFactory(quiet()), dtls.WithFlightInterval(200*time.Millisecond))...)
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &device{Conn: conn, t: s.t, socket: socket, id: 100}, nil
}

// connect makes a session that has to come about.
func (s *site) connect(options ...dtls.ClientOption) *device {
	s.t.Helper()
	d, err := s.dial(options...)
	require.NoError(s.t, err)
	return d
}

// say sends bytes and gives the answer.
func (d *device) say(b []byte) (m message.Message) {
	d.t.Helper()
	_, err := d.Write(b)
	require.NoError(d.t, err)
	return d.hear()
}

func (d *device) hear() (m message.Message) {
	d.t.Helper()
	buf := make([]byte, maxDatagram)
	require.NoError(d.t, d.SetReadDeadline(time.Now().Add(patience)))
	n, err := d.Read(buf)
	require.NoError(d.t, err)
	return decode(d.t, buf[:n])
}

func decode(t testing.TB, b []byte) (m message.Message) {
	t.Helper()
	m.Options = make(message.Options, 0, maxOptions)
	_, err := coder.DefaultCoder.Decode(b, &m)
	require.NoError(t, err)
	return m
}

// ask asks for something and gives the answer, which is to this request.
func (d *device) ask(method codes.Code, path string, payload []byte, options ...message.Option) message.Message {
	d.t.Helper()
	d.id++
	m := d.say(encode(d.t, message.Confirmable, d.id, method, path, payload, options...))
	assert.Equal(d.t, message.Acknowledgement, m.Type)
	assert.Equal(d.t, int32(d.id), m.MessageID)
	assert.Equal(d.t, message.Token("tok"), m.Token)
	return m
}

func (d *device) post(path, payload string) codes.Code {
	d.t.Helper()
	return d.ask(codes.POST, path, []byte(payload)).Code
}

func encode(t testing.TB, kind message.Type, id uint16, method codes.Code, path string, payload []byte, options ...message.Option) []byte {
	t.Helper()
	m := message.Message{Type: kind, MessageID: int32(id), Code: method, Token: message.Token("tok"), Payload: payload}
	if path != "" {
		var err error
		m.Options = make(message.Options, 0, 16)
		m.Options, _, err = m.Options.SetPath(make([]byte, 512), path)
		require.NoError(t, err)
	}
	for _, o := range options {
		m.Options = m.Options.Add(o)
	}
	buf := make([]byte, 4096)
	n, err := coder.DefaultCoder.Encode(m, buf)
	require.NoError(t, err)
	return buf[:n]
}

// option makes an option with a number.
func option(id message.OptionID, v uint32) message.Option {
	b := make([]byte, 4)
	n, _ := message.EncodeUint32(b, v)
	return message.Option{ID: id, Value: b[:n]}
}

func number(t testing.TB, m message.Message, id message.OptionID) uint32 {
	t.Helper()
	v, err := m.Options.GetUint32(id)
	require.NoError(t, err, "no %v", id)
	return v
}

// pinned gives a machine whose device has that certificate.
func pinned(name string, c tls.Certificate) *Machine {
	m := sensor(name)
	m.Device = Device{CertificateSHA256: sha256.Sum256(c.Certificate[0])}
	return m
}

// cipher gives bytes that look like ciphertext, always other ones.
func cipher(n int) string { return fmt.Sprintf("ciphertext number %d", n) }

// newSiteAt starts a source at an address, with one machine, and waits for
// nothing.
func newSiteAt(t testing.TB, address string, r *recorder) *site {
	t.Helper()
	s := &site{t: t, sinks: map[string]*recorder{"keyed": r}}
	var err error
	s.Source, err = New(Spec{Listen: address}, Options{Key: func(string) (Secret, error) { return theKey, nil }})
	require.NoError(t, err)
	s.opened = make(chan string, 8)
	m := sensor("keyed")
	require.NoError(t, s.Attach(point.Machine{Name: m.Name, Spec: m}, r))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s
}

// sized is a Sink that looks at sizes alone.
type sized struct{ t testing.TB }

func (s *sized) Take(_ context.Context, samples []point.Sample) error {
	for _, one := range samples {
		most := []int{defaultMaxBytes, point.MaxValueSize}[one.Point]
		require.NotEmpty(s.t, one.Value.Data())
		require.LessOrEqual(s.t, len(one.Value.Data()), most)
	}
	return nil
}

func (*sized) Link(point.Link) {}

func (*sized) Describe(uint32, point.Meta) {}
