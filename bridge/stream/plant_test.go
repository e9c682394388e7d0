package stream

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
)

const (
	gateway       = "hall-2"
	stateInterval = 10 * time.Second
)

var identities = sync.OnceValue(func() (ids [2]*envelope.Identity) {
	for i := range ids {
		id, err := envelope.NewIdentity(envelope.X25519, fmt.Sprint("reader-", i))
		if err != nil {
			panic(err)
		}
		ids[i] = id
	}
	return ids
})

func signer() envelope.Signer {
	seed := sha256.Sum256([]byte(gateway))
	return envelope.Signer{Gateway: gateway, Key: ed25519.NewKeyFromSeed(seed[:])}
}

func trust() *envelope.Trust {
	return &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{gateway: {{Public: signer().Key.Public().(ed25519.PublicKey)}}}}
}

func level(name string, send policy.Send) Level {
	l := Level{Name: name, Send: send}
	if send != policy.SendClear {
		l.Readers = []Reader{{Key: identities()[0].Recipient()}}
	}
	return l
}

// plant is a gateway without its outbox: what was accepted is in a list.
type plant struct {
	t        require.TestingT
	config   Config
	set      *Set
	machines []*Machine
	now      time.Time
	accepted []envelope.Message
}

func newPlant(t require.TestingT, machines ...*Machine) *plant {
	p := &plant{
		t: t, machines: machines, now: time.Unix(1_785_000_000, 0),
		config: Config{
			Gateway: gateway, Signer: signer(), IDKey: make([]byte, 32),
			Levels: []Level{level("public", policy.SendClear), level("restricted", policy.SendSealed)},
		},
	}
	p.start(Heads{})
	return p
}

// start makes a set as a new process does.
func (p *plant) start(heads Heads) {
	p.config.Start++
	p.config.Instance = [8]byte{byte(p.config.Start), byte(p.config.Start >> 8), 7}
	p.set = NewSet(p.config, heads)
}

// recover rebuilds the heads from what was accepted: from a preamble that was
// written when from messages were accepted.
func (p *plant) recover(from int) Heads {
	var before, heads Heads
	for i := range p.accepted[:from] {
		require.NoError(p.t, before.Message(&p.accepted[i], false))
	}
	for _, h := range before.of {
		require.NoError(p.t, heads.State(h.Append(nil)))
	}
	for i := range p.accepted {
		require.NoError(p.t, heads.Message(&p.accepted[i], false))
	}
	require.Empty(p.t, heads.Lost())
	return heads
}

// build is what a committer does before its outbox.
func (p *plant) build() {
	p.now = p.now.Add(250 * time.Millisecond)
	var pending []Pending
	for _, m := range p.machines {
		pending = m.Drain(pending)
	}
	for {
		left, err := p.set.Build(pending, p.now)
		require.NoError(p.t, err)
		if !left {
			return
		}
		p.accept()
	}
}

func (p *plant) accept() []envelope.Message {
	from := len(p.accepted)
	for _, m := range p.set.Built() {
		m.Body = slices.Clone(m.Body)
		p.accepted = append(p.accepted, m)
	}
	require.NoError(p.t, p.set.Accept())
	return p.accepted[from:]
}

func (p *plant) commit() []envelope.Message {
	from := len(p.accepted)
	p.build()
	p.accept()
	return p.accepted[from:]
}

func (p *plant) close() {
	require.NoError(p.t, p.set.Close(p.now))
	p.accept()
}

// machine has one point of each level given.
func machine(name string, treatments map[string]policy.Treatment) *Machine {
	var points []Point
	var decisions []policy.Decision
	var clear []bool
	var levels []string
	for l := range treatments {
		levels = append(levels, l)
	}
	slices.Sort(levels)
	for _, l := range levels {
		points = append(points, Point{Name: l + "-point", Unit: "kN", Passthrough: "cose", ContentType: "application/cose"})
		decisions = append(decisions, policy.Decision{Treatment: treatments[l], Level: l})
		clear = append(clear, l == "public")
	}
	m := NewMachine(name, points)
	m.Decide(decisions, clear)
	return m
}

func sealedMachine() *Machine {
	return machine("press-3", map[string]policy.Treatment{"restricted": policy.Sealed})
}

func (p *plant) sample(i uint32, v point.Value) point.Sample {
	return point.Sample{Point: i, Time: p.now.UnixNano(), Value: v}
}

// read gives everything accepted to a reader, and checks that nothing is
// missing, refused or twice.
func (p *plant) read() (*envelope.Reader, []envelope.Delivery) {
	r := envelope.NewReader(envelope.ReaderOptions{Trust: trust(), Identities: identities2()})
	var out []envelope.Delivery
	for i := range p.accepted {
		d, err := r.Read(&p.accepted[i])
		require.NoError(p.t, err)
		out = append(out, d...)
	}
	return r, out
}

func identities2() []*envelope.Identity { ids := identities(); return ids[:] }

func kinds(messages []envelope.Message) (out []envelope.Kind) {
	for i := range messages {
		out = append(out, messages[i].Address.Kind)
	}
	return out
}

// payloadOf makes what a device that encrypts gives.
func payloadOf(t require.TestingT, n byte) []byte {
	header, err := cbor.Marshal(map[int]int{1: 3})
	require.NoError(t, err)
	body, noise := make([]byte, 80), rand.New(rand.NewPCG(uint64(n), 1)) // as ciphertext looks
	for i := range body {
		body[i] = byte(noise.Uint32())
	}
	b, err := cbor.Marshal(cbor.Tag{Number: 16, Content: []any{header, map[int][]byte{5: make([]byte, 12)}, body}})
	require.NoError(t, err)
	return b
}
