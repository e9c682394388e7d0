package bridge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/approve"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// The test program is also a gateway that can be killed, and a simulator whose
// CPU time is not the gateway's.
const (
	gatewayProcess   = "FIELDSEAL_TEST_GATEWAY"
	simulatorProcess = "FIELDSEAL_TEST_SIMULATORS"
)

func TestMain(m *testing.M) {
	switch {
	case opcua.IsWorker(os.Args):
		os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout))
	case os.Getenv(gatewayProcess) != "":
		runChild(os.Getenv(gatewayProcess))
	case os.Getenv(simulatorProcess) != "":
		runSimulators(os.Getenv(simulatorProcess))
	default:
		goleak.VerifyTestMain(m)
	}
}

func runChild(dir string) {
	g, err := open(dir, func(*Options) {})
	if err == nil {
		fmt.Println("running")
		go answer(g)
		err = g.Run(context.Background(), nil)
	}
	fmt.Println("ended:", err)
}

// usage is what a gateway process has used and done.
type usage struct {
	CPU   time.Duration
	RSS   int64
	Taken uint64
	Bytes uint64 // in the outbox, or delivered
	Waits uint64 // messages not delivered
}

// answer gives the usage at each line of the input.
func answer(g *Gateway) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		s := g.Status()
		u := usage{CPU: cpuTime(), RSS: rss(), Bytes: s.Outbox.Bytes + s.Uplinks[0].Bytes, Waits: s.Outbox.Messages}
		for _, m := range s.Machines {
			u.Taken += m.Samples.Taken - m.Samples.Bad
		}
		b, _ := json.Marshal(u)
		fmt.Println(string(b))
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// rss is the memory that this process has now, in bytes.
func rss() (n int64) {
	b, _ := os.ReadFile("/proc/self/statm")
	_, _ = fmt.Sscan(string(b), new(int64), &n)
	return n * int64(os.Getpagesize())
}

// child starts a gateway in a process of its own, which kill ends as a power cut
// does, but for what the kernel has.
func (p *plant) child() (kill func()) { p.t.Helper(); kill, _ = p.childToAsk(); return kill }

func (p *plant) childToAsk() (kill func(), ask func() usage) {
	p.t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), gatewayProcess+"="+p.dir)
	in, err := c.StdinPipe()
	require.NoError(p.t, err)
	out, err := c.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, c.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(p.t, err)
	require.Equal(p.t, "running\n", line)
	kill = func() {
		require.NoError(p.t, c.Process.Kill())
		require.Error(p.t, c.Wait())
	}
	ask = func() (u usage) {
		_, err := in.Write([]byte("\n"))
		require.NoError(p.t, err)
		line, err := lines.ReadString('\n')
		require.NoError(p.t, err)
		require.NoError(p.t, json.Unmarshal([]byte(line), &u))
		return u
	}
	return kill, ask
}

const (
	testGateway = "gw-test"
	testStream  = "PLANT"
	testPrefix  = "plant.test"
)

// plant is simulated machines, a broker and a folder with all that a gateway
// and a recipient need.
type plant struct {
	t        testing.TB
	dir      string
	sim      *sim.Modbus
	nats     *natstest.Server
	identity *envelope.Identity
	anna     *approve.Approver
	files    map[string]string
	change   func(*Options)
}

// newPlant starts one. edit may change the files before they are written.
func newPlant(t testing.TB, o natstest.Options, edit func(p *plant)) *plant {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir(), change: func(*Options) {}}
	var err error
	p.sim, err = sim.StartModbus(sim.ModbusOptions{})
	require.NoError(t, err)
	t.Cleanup(p.sim.Stop)
	p.nats = natstest.Start(t, o)
	require.NoError(t, p.nats.AddStream(testStream, nil, testPrefix+".>"))
	p.identity, err = envelope.NewIdentity(envelope.MLKEM768X25519, "process-engineering")
	require.NoError(t, err)
	p.describe()
	if edit != nil {
		edit(p)
	}
	for name, text := range p.files {
		require.NoError(t, os.MkdirAll(filepath.Dir(p.path(name)), 0o700))
		require.NoError(t, os.WriteFile(p.path(name), []byte(text), 0o600))
	}
	p.anna, err = approve.New("anna")
	require.NoError(t, err)
	require.NoError(t, approve.Pin(p.path("state"), 1, p.anna))
	require.NoError(t, p.anna.Sign(p.path("gateway.yaml")))
	return p
}

func (p *plant) path(name ...string) string {
	return filepath.Join(append([]string{p.dir}, name...)...)
}

// describe makes keys, and writes the files down.
func (p *plant) describe() {
	t := p.t
	require.NoError(t, os.MkdirAll(p.path("state"), 0o700))
	credential, _, err := keystore.MakeCredential(p.path("state"), "keystore")
	require.NoError(t, err)
	keys, err := keystore.Create(p.path("state"), testGateway, credential, time.Now())
	require.NoError(t, err)
	key, err := keys.Signer(keystore.Uplink)
	require.NoError(t, err)
	chain, err := p.nats.CA.Certify(testGateway, key.Public(), natstest.Usual)
	require.NoError(t, err)
	require.NoError(t, keys.Import(keystore.Uplink, chain))
	signing, err := keys.PublicSigning()
	require.NoError(t, err)
	public := p.identity.Recipient().Marshal()
	sum := sha256.Sum256(public)
	p.files = map[string]string{
		"gateway.yaml":          fmt.Sprintf(gatewayYAML, testGateway, p.nats.URL(), testStream, testPrefix),
		"policy.yaml":           fmt.Sprintf(policyYAML, time.Now().AddDate(0, 0, 20).Format(time.DateOnly)),
		"trust.yaml":            fmt.Sprintf(trustYAML, testGateway, signing, time.Now().Year()+1, hex.EncodeToString(sum[:])),
		"reader.pub":            string(public),
		"hub-ca.pem":            string(p.nats.CA.PEM()),
		"machines/press-1.yaml": p.sim.YAML("press-1"),
	}
}

const policyYAML = `fieldseal: policy/v1
policy: test
revision: 1
levels:
  - {name: public, send: clear, connection: any}
  - {name: internal, send: sealed, to: [process-engineering], connection: any}
  - {name: restricted, send: sealed, to: [process-engineering], connection: encrypted, pad: true}
default: restricted
released:
  - {points: ["*/state", "*/public-counter", "*/nameplate"], why: "Andon board"}
passthrough: {accept: [cose], if_readable: seal}
exceptions:
  - {allow: connection-not-encrypted, points: ["*/*"], why: "simulated", until: %s}
`

const gatewayYAML = `fieldseal: gateway/v1
gateway: %s
policy: policy.yaml
trust: trust.yaml
machines: machines/*.yaml
state: state
keystore: {unlock: "credential:keystore"}
uplinks:
  - name: plant-nats
    nats: {servers: [%q], stream: %s, prefix: %s, certificate: keystore:uplink, trust: hub-ca.pem}
outbox: {max_size: 64MiB, max_age: 7d, when_full: drop-oldest}
`

const trustYAML = `fieldseal: trust/v1
revision: 1
gateways:
  %s: {signing_key: %q, until: %d-12-31}
recipients:
  process-engineering: {keys: [{file: reader.pub, sha256: %q}]}
`

// open builds the gateway of a folder.
func open(dir string, change func(*Options)) (*Gateway, error) {
	approvals, err := approval.Open(filepath.Join(dir, "state"))
	if err != nil {
		return nil, err
	}
	config, problems := configs.Load(filepath.Join(dir, "gateway.yaml"), configs.Options{Approvals: approvals})
	if config == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	credential, _, err := keystore.Credential(config.State, "keystore")
	if err != nil {
		return nil, err
	}
	keys, err := keystore.Open(config.State, credential)
	if err != nil {
		return nil, err
	}
	o := Options{Config: config, Problems: problems, Keys: keys, Logger: slog.New(slog.DiscardHandler), Synchronised: func() (bool, error) { return true, nil }}
	if os.Getenv("FIELDSEAL_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	change(&o)
	return New(o)
}

func (p *plant) open() *Gateway {
	p.t.Helper()
	g, err := open(p.dir, p.change)
	require.NoError(p.t, err)
	return g
}

// running is a gateway in this process.
type running struct {
	*Gateway
	t     testing.TB
	end   context.CancelFunc
	hurry chan struct{}
	ended chan error
}

func (p *plant) run(g *Gateway) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Gateway: g, t: p.t, end: cancel, hurry: make(chan struct{}), ended: make(chan error, 1)}
	go func() { r.ended <- g.Run(ctx, r.hurry) }()
	p.t.Cleanup(cancel)
	return r
}

func (p *plant) start() *running { p.t.Helper(); return p.run(p.open()) }

// stop ends it, and gives how long that took.
func (r *running) stop() time.Duration {
	r.t.Helper()
	started := time.Now()
	r.end()
	require.NoError(r.t, r.wait())
	return time.Since(started)
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(20 * time.Second):
		require.Fail(r.t, "the gateway does not end")
		return nil
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			require.Fail(t, "waited in vain", what)
		case <-tick.C:
		}
	}
}

func (r *running) until(what string, ok func(status.Gateway) bool) {
	r.t.Helper()
	eventually(r.t, what, func() bool { return ok(r.Status()) })
}

// received is what a recipient has, who reads the broker's stream from its
// beginning.
type received struct {
	samples    map[string][]envelope.Sample // machine/point, in order
	deliveries []envelope.Delivery
	report     []envelope.StreamReport
	gateways   []envelope.GatewayReport
	refused    []error
}

// read reads the broker's stream as it is now.
func (p *plant) read() *received {
	p.t.Helper()
	trust, problems := configs.LoadTrust(p.path("trust.yaml"))
	require.NotNil(p.t, trust, problems)
	tls, err := p.nats.Client("recipient")
	require.NoError(p.t, err)
	g := trust.Gateways[testGateway]
	r := envelope.NewReader(envelope.ReaderOptions{
		Trust:      &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{testGateway: {{Public: g.SigningKey, Until: g.Until}}}},
		Identities: []*envelope.Identity{p.identity},
	})
	out := &received{samples: make(map[string][]envelope.Sample)}
	err = nats.Consume(context.Background(), nats.ConsumeConfig{
		Servers: []string{p.nats.URL()}, Stream: testStream, Prefix: testPrefix, TLS: tls, FromStart: true, UntilEnd: true,
		Foreign: func(err error) { out.refused = append(out.refused, err) },
	}, func(m envelope.Message) error {
		deliveries, err := r.Read(&m)
		if err != nil {
			out.refused = append(out.refused, err)
		}
		for _, d := range deliveries {
			out.deliveries = append(out.deliveries, d)
			for _, s := range d.Samples {
				key := d.Stream.Machine + "/" + s.Name
				out.samples[key] = append(out.samples[key], s)
			}
		}
		return nil
	})
	require.NoError(p.t, err)
	out.report, out.gateways = r.Report(), r.Gateways()
	return out
}

// complete checks that everything came once and is signed, and that what did
// not come is explained.
func (r *received) complete(t testing.TB) {
	t.Helper()
	require.Empty(t, r.refused)
	for _, s := range r.report {
		require.Empty(t, s.Gaps, "%s", s.Stream)
		require.Zero(t, s.Forged, "%v", s.Forgeries)
		require.Zero(t, s.NoKeyFrame)
		for _, e := range s.Epochs {
			require.Empty(t, e.Refused)
		}
	}
	for _, d := range r.deliveries {
		require.Equal(t, envelope.Signed, d.Proof)
	}
}

// lossless checks that nothing is explained either.
func (r *received) lossless(t testing.TB) {
	t.Helper()
	r.complete(t)
	for _, s := range r.report {
		require.Empty(t, s.Losses, "%s", s.Stream)
		require.Zero(t, s.Pending)
		require.Equal(t, s.Highest, s.SignedThrough)
	}
}

// numbers gives the good values of a counting point.
func (r *received) numbers(point string) (out []uint64) {
	for _, s := range r.samples[point] {
		if s.Quality == 0 {
			out = append(out, s.Value.Uint())
		}
	}
	return out
}

func uniq(n []uint64) []uint64 {
	n = slices.Clone(n)
	slices.Sort(n)
	return slices.Compact(n)
}

// raw gives every byte that the broker has.
func (p *plant) raw() []byte {
	p.t.Helper()
	var out bytes.Buffer
	require.NoError(p.t, p.nats.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, testStream)
		if err != nil {
			return err
		}
		for n := uint64(1); n <= s.CachedInfo().State.LastSeq; n++ {
			m, err := s.GetMsg(ctx, n)
			if err != nil {
				return err
			}
			fmt.Fprintln(&out, m.Subject, m.Header)
			out.Write(m.Data)
		}
		return nil
	}))
	return out.Bytes()
}

// events reads the event log.
func (p *plant) events(name string) (out []eventLine) {
	p.t.Helper()
	b, err := os.ReadFile(p.path("state", "events.jsonl"))
	require.NoError(p.t, err)
	for line := range strings.Lines(string(b)) {
		var e eventLine
		require.NoError(p.t, json.Unmarshal([]byte(line), &e))
		if e.Event == name || name == "" {
			out = append(out, e)
		}
	}
	return out
}

// fake is a source that gives counted samples of the first machine's counter,
// and a large text, as fast as they are taken.
type fake struct {
	sink  point.Sink
	size  int           // of the text
	every time.Duration // 0: as fast as may be
	most  uint64        // ends there; 0: never
	n     atomic.Uint64 // taken
	ran   atomic.Int32
	panic func(run int32) bool
}

// Points of the simulator's machine.
const (
	pointCounter = 7
	pointText    = 8
)

func (f *fake) Run(ctx context.Context) error {
	if run := f.ran.Add(1); f.panic != nil && f.panic(run) {
		panic("force 182.4 kN")
	}
	f.sink.Link(up())
	for ctx.Err() == nil && (f.most == 0 || f.n.Load() < f.most) && f.take(ctx) {
	}
	<-ctx.Done()
	return nil
}

func (f *fake) take(ctx context.Context) bool {
	n := f.n.Load() + 1
	if f.sink.Take(ctx, f.one(n)) != nil {
		return false
	}
	f.n.Store(n)
	if f.every > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(f.every):
		}
	}
	return true
}

func (f *fake) one(n uint64) []point.Sample {
	now := time.Now().UnixNano()
	samples := []point.Sample{{Point: pointCounter, Time: now, Value: point.OfUint(n)}}
	if f.size > 0 {
		samples = append(samples, point.Sample{Point: pointText, Time: now, Value: point.OfText(bytes.Repeat([]byte{'a'}, f.size))})
	}
	return samples
}

func up() point.Link { return point.Link{State: point.LinkUp, Since: time.Now()} }

// always is an endpoint with one source, that is made again as itself.
func always(name string, s Source) *endpoint {
	return &endpoint{name: name, source: s, again: func() (Source, error) { return s, nil }}
}

// use puts the fake in place of the real sources.
func (f *fake) use(g *Gateway) *fake {
	f.sink = g.sinks[0]
	e := always("fake", f)
	e.attached = []attached{{&configs.Machine{Name: g.sinks[0].machine}, g.sinks[0]}}
	g.endpoints = []*endpoint{e}
	return f
}

// runSimulators is the simulator process: as many endpoints, each with a machine
// of so many registers' load.
func runSimulators(arg string) {
	var n, load int
	if _, err := fmt.Sscan(arg, &n, &load); err != nil {
		fmt.Println(err)
		return
	}
	for i := range n {
		s, err := sim.StartModbus(sim.ModbusOptions{Name: fmt.Sprintf("load-%d", i+1), Load: load})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.URL())
	}
	_, _ = io.ReadAll(os.Stdin) // until the benchmark ends
}

// simulators starts that process and gives the URLs.
func simulators(t testing.TB, n, load int) (urls []string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", simulatorProcess, n, load))
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { require.NoError(t, errors.Join(in.Close(), c.Wait())) })
	lines := bufio.NewScanner(out)
	for range n {
		require.True(t, lines.Scan())
		require.True(t, strings.HasPrefix(lines.Text(), "tcp://"), lines.Text())
		urls = append(urls, lines.Text())
	}
	return urls
}
