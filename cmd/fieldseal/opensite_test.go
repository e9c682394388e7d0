package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/files"
	"github.com/fieldseal/fieldseal/adapters/nats"
	"github.com/fieldseal/fieldseal/bridge/envelope"
	approver "github.com/fieldseal/fieldseal/integration/approve"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// site is a plant whose gateway does what a test wants, also what a gateway never
// would. Its configuration is that of testdata/plant, signed by anna.
type site struct {
	testing.TB
	dir     string
	signer  envelope.Signer
	people  map[string]*envelope.Identity
	anna    *approver.Approver
	now     time.Time
	feeds   map[string]*feed // by machine/level
	order   []*feed
	sent    []envelope.Message
	stated  uint64
	policy  [32]byte // digest of what its statements name
	counter uint64
}

// feed is one stream.
type feed struct {
	s      *site
	head   envelope.Head
	epoch  envelope.Epoch
	sealer *envelope.Sealer
}

var siteInstance = [8]byte{1, 2, 3}

func newSite(t testing.TB, edits ...string) *site {
	s := &site{TB: t, dir: t.TempDir(), people: map[string]*envelope.Identity{}, now: time.Now().Add(-10 * time.Second).Truncate(time.Millisecond), feeds: map[string]*feed{}}
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	s.signer = envelope.Signer{Gateway: "gw-1", Key: key}
	require.NoError(t, os.CopyFS(s.dir, os.DirFS("testdata/plant")))
	vars := map[string]string{
		"SIM": "tcp://127.0.0.1:502", "NATS": "tls://127.0.0.1:4222", "WORK": s.dir,
		"SIGNING": "ed25519:" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	for _, name := range []string{"historian", "engineering"} {
		id, err := envelope.NewIdentity(envelope.X25519, name)
		require.NoError(t, err)
		s.people[name] = id
		public := id.Recipient().Marshal()
		s.write(name+".pub", public)
		s.write(name+".identity", id.Marshal())
		sum := sha256.Sum256(public)
		vars[strings.ToUpper(name)] = hex.EncodeToString(sum[:])
	}
	for i := 0; i < len(edits); i += 3 {
		s.edit(edits[i], edits[i+1], edits[i+2])
	}
	for _, name := range []string{"gateway.yaml", "trust.yaml", "machines/press-1.yaml", "machines/press-2.yaml"} {
		s.write(name, []byte(os.Expand(s.read(name), func(v string) string { return vars[v] })))
	}
	ca, err := natstest.NewCA("plant")
	require.NoError(t, err)
	s.write("hub-ca.pem", ca.PEM())
	s.anna, err = approver.New("anna")
	require.NoError(t, err)
	set, err := approver.Set(1, s.anna)
	require.NoError(t, err)
	s.write("approvers", []byte(set.Text()))
	s.sign()
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) read(name string) string {
	b, err := os.ReadFile(s.path(name))
	require.NoError(s, err)
	return string(b)
}

func (s *site) write(name string, b []byte) {
	require.NoError(s, os.WriteFile(s.path(name), b, 0o600))
}

func (s *site) edit(name, old, with string) {
	require.Equal(s, 1, strings.Count(s.read(name), old), old)
	s.write(name, []byte(strings.Replace(s.read(name), old, with, 1)))
}

// sign has anna sign, and the gateway name the policy.
func (s *site) sign() {
	_ = os.Remove(s.path("policy.yaml.sig"))
	_ = os.Remove(s.path("trust.yaml.sig"))
	require.NoError(s, s.anna.Sign(s.path("gateway.yaml")))
	s.policy = sha256.Sum256([]byte(s.read("policy.yaml")))
}

// feed gives a stream, with an epoch sealed for some people, or for nobody.
func (s *site) feed(machine, level string, to ...string) *feed {
	f := s.feeds[machine+"/"+level]
	if f == nil {
		f = &feed{s: s, head: envelope.Head{Stream: envelope.Stream{Gateway: "gw-1", Machine: machine, Level: level}}}
		s.feeds[machine+"/"+level] = f
		s.order = append(s.order, f)
	}
	s.counter++
	f.epoch, f.sealer = envelope.Epoch{Start: 1, Instance: siteInstance, Number: f.epoch.Number + 1}, nil
	if len(to) == 0 {
		return f
	}
	var keys []envelope.Recipient
	for _, name := range to {
		keys = append(keys, s.people[name].Recipient())
	}
	sealer, err := envelope.NewSealer(envelope.EpochConfig{Stream: f.head.Stream, Epoch: f.epoch, Recipients: keys, Signer: s.signer, Time: s.now})
	require.NoError(s, err)
	f.sealer = sealer
	body, err := sealer.KeyFrame(f.head.Sequence + 1)
	require.NoError(s, err)
	f.put(envelope.KeyFrame, "", envelope.TypeSigned, body)
	return f
}

// unannounced begins an epoch whose key frame is not sent.
func (f *feed) unannounced(to ...string) {
	f.epoch.Number++
	var keys []envelope.Recipient
	for _, name := range to {
		keys = append(keys, f.s.people[name].Recipient())
	}
	sealer, err := envelope.NewSealer(envelope.EpochConfig{Stream: f.head.Stream, Epoch: f.epoch, Recipients: keys, Signer: f.s.signer, Time: f.s.now})
	require.NoError(f.s, err)
	_, err = sealer.KeyFrame(f.head.Sequence)
	require.NoError(f.s, err)
	f.sealer = sealer
}

func (f *feed) put(kind envelope.Kind, point, content string, body []byte) {
	f.s.counter++
	m := envelope.Message{
		Address: envelope.Address{Stream: f.head.Stream, Kind: kind, Point: point}, Epoch: f.epoch, Sequence: f.head.Sequence + 1,
		ContentType: content, Time: f.s.now.UnixNano(), Body: body,
	}
	sum := m.Digest()
	m.ID = sum
	require.NoError(f.s, f.head.Note(&m))
	f.s.sent = append(f.s.sent, m)
	f.s.now = f.s.now.Add(time.Millisecond)
}

// sample makes one whose value is the number of its message.
func (f *feed) sample(name string) envelope.Sample {
	return envelope.Sample{Name: name, Time: f.s.now.UnixNano(), Value: envelope.OfUint(f.head.Sequence + 1)}
}

func (f *feed) base() string { return f.head.Stream.Machine + "/" }

func (f *feed) sealed(samples ...envelope.Sample) {
	body, err := f.sealer.Seal(nil, f.head.Sequence+1, f.base(), samples)
	require.NoError(f.s, err)
	f.put(envelope.Data, "", envelope.TypeSealed, body)
}

func (f *feed) catalogue(entries ...envelope.Entry) {
	body, err := f.sealer.SealCatalogue(nil, f.head.Sequence+1, f.base(), entries)
	require.NoError(f.s, err)
	f.put(envelope.Data, "", envelope.TypeSealed, body)
}

func (f *feed) clear(samples ...envelope.Sample) {
	f.put(envelope.Data, "", envelope.TypeClear, envelope.AppendClear(nil, f.base(), samples))
}

func (f *feed) checkpoint(closing bool) {
	body, err := envelope.SignCheckpoint(f.s.signer, &f.head, closing, f.s.now)
	require.NoError(f.s, err)
	f.put(envelope.Checkpoint, "", envelope.TypeSigned, body)
}

func (f *feed) lose(first, last uint64, reason string) {
	body, err := envelope.SignLoss(f.s.signer, envelope.Loss{Stream: f.head.Stream, Epoch: f.epoch, First: first, Last: last, Reason: reason, Time: f.s.now})
	require.NoError(f.s, err)
	f.put(envelope.LossRecord, "", envelope.TypeSigned, body)
}

// checkpoints signs all streams, and states where they are.
func (s *site) checkpoints() {
	for _, f := range s.order {
		if f.head.Sequence > f.head.CheckpointSequence {
			f.checkpoint(false)
		}
	}
	s.state(nil)
}

func (s *site) state(change func(*envelope.GatewayState)) {
	s.stated++
	g := envelope.GatewayState{
		Gateway: "gw-1", Start: 1, Instance: siteInstance, Sequence: s.stated, Time: s.now, Clock: envelope.ClockSynchronised,
		Interval: time.Minute, Policy: s.policy,
	}
	for _, f := range s.order {
		g.Heads = append(g.Heads, envelope.StreamHead{Machine: f.head.Stream.Machine, Level: f.head.Stream.Level, Epoch: f.head.Epoch, Sequence: f.head.Sequence})
	}
	if change != nil {
		change(&g)
	}
	m, err := envelope.SignStatement(s.signer, g)
	require.NoError(s, err)
	m.ID = m.Digest()
	s.sent = append(s.sent, m)
	s.now = s.now.Add(time.Millisecond)
}

// usual is what a gateway sends while all is well.
func (s *site) usual() {
	public, internal, restricted := s.feed("press-1", "public"), s.feed("press-1", "internal", "historian", "engineering"), s.feed("press-1", "restricted", "engineering")
	for range 5 {
		public.clear(public.sample("state"), public.sample("nameplate"))
		internal.sealed(internal.sample("temperature"))
		restricted.sealed(restricted.sample("force"), restricted.sample("program-name"))
	}
	s.checkpoints()
}

// folder writes what was sent, but for some, as a files uplink does.
func (s *site) folder(but ...int) string {
	dir := filepath.Join(s.TempDir(), "out")
	u, err := files.New(files.Config{Folder: dir, Gateway: "gw-1"})
	require.NoError(s, err)
	skip := map[int]bool{}
	for _, i := range but {
		skip[i] = true
	}
	var batch []envelope.Message
	for i, m := range s.sent {
		if !skip[i] {
			batch = append(batch, m)
		}
	}
	for len(batch) > 0 {
		n, err := u.Send(context.Background(), batch[:min(len(batch), 100)])
		require.NoError(s, err)
		batch = batch[n:]
	}
	require.NoError(s, u.Close())
	return dir
}

// broker starts a server with the stream, and gives the flags to read it.
func (s *site) broker() (*natstest.Server, []string) {
	server := natstest.Start(s, natstest.Options{})
	require.NoError(s, server.AddStream("PLANT", nil, "plant.test.>"))
	certificate, err := server.CA.Issue("reader", natstest.Usual)
	require.NoError(s, err)
	c, k, err := natstest.PEM(certificate)
	require.NoError(s, err)
	s.write("reader.pem", c)
	s.write("reader.key", k)
	s.write("ca.pem", server.CA.PEM())
	return server, []string{
		"--nats", server.URL(), "--stream", "PLANT", "--prefix", "plant.test", "--ca", s.path("ca.pem"), "--cert", s.path("reader.pem"), "--key", s.path("reader.key"),
	}
}

// publish sends what was sent since the last call.
func (s *site) publish(server *natstest.Server) {
	client, err := server.Client("gw-1")
	require.NoError(s, err)
	u, err := nats.New(nats.Config{Servers: []string{server.URL()}, Stream: "PLANT", Prefix: "plant.test", Gateway: "gw-1", TLS: client})
	require.NoError(s, err)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for len(s.sent) > 0 {
		n, err := u.Send(ctx, s.sent)
		require.NoError(s, err)
		s.sent = s.sent[n:]
	}
	require.NoError(s, u.Close())
}

// answer is what a command printed.
type answer struct {
	code           int
	stdout, stderr string
}

// open runs fieldseal open with the trust file, as somebody; nobody audits.
func (s *site) open(who string, args ...string) answer {
	return openWith(context.Background(), s.args(who, args...))
}

func (s *site) args(who string, args ...string) []string {
	all := []string{"open", "--trust", s.path("trust.yaml"), "--approvers", s.path("approvers")}
	if who != "" {
		all = append(all, "-i", s.path(who+".identity"))
	}
	return append(all, args...)
}

func openWith(ctx context.Context, args []string) answer {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return answer{code, stdout.String(), stderr.String()}
}

// printed gives the lines as stream and point, with their values.
func (a *answer) printed(t testing.TB) (out []printedLine) {
	for line := range strings.Lines(a.stdout) {
		if strings.HasPrefix(line, `{"streams":`) {
			continue
		}
		var l printedLine
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		out = append(out, l)
	}
	return out
}

type printedLine struct {
	Machine, Point, Level string
	Value                 json.RawMessage
	Unit, Text, Proof     string
	Payload               []byte
	Tags                  map[string]string
	Sequence              uint64
}

func (a *answer) stats(t testing.TB) (s statistics) {
	_, last, _ := strings.Cut("\n"+a.stdout, "\n{\"streams\":")
	require.NoError(t, json.Unmarshal([]byte(`{"streams":`+last), &s), a.stdout)
	return s
}
