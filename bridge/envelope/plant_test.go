package envelope

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// plant is a gateway with one stream, as the committer runs it.
type plant struct {
	t      require.TestingT
	signer Signer
	head   Head
	sealer *Sealer
	to     []Recipient
	bare   bool // no padding
	stated uint64
	now    int64
	all    []Message
	extra  []Message // statements
}

func key(seed string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(s[:])
}

func newPlant(t require.TestingT, to ...Recipient) *plant {
	return &plant{
		t: t, signer: Signer{Gateway: "hall-2", Key: key("hall-2")}, to: to, now: 1_785_000_000_000_000_000,
		head: Head{Stream: Stream{"hall-2", "press-3", "restricted"}},
	}
}

func (p *plant) trust() *Trust {
	return &Trust{Gateways: map[string]GatewayKeys{"hall-2": {{Public: p.signer.Key.Public().(ed25519.PublicKey)}}}}
}

func (p *plant) put(kind Kind, point, contentType string, body []byte) *Message {
	return p.putIn(p.head.Epoch, kind, point, contentType, body)
}

func (p *plant) putIn(e Epoch, kind Kind, point, contentType string, body []byte) *Message {
	m := Message{
		Address: Address{Stream: p.head.Stream, Kind: kind, Point: point}, Epoch: e, Sequence: p.head.Sequence + 1,
		ContentType: contentType, Time: p.now, Body: body,
	}
	require.NoError(p.t, p.head.Note(&m))
	p.all = append(p.all, m)
	p.now += 250_000_000
	return &p.all[len(p.all)-1]
}

// base is the base name of what the stream says.
func (p *plant) base() string { return p.head.Stream.Machine + "/" }

// begin begins an epoch, sealed if there are recipients.
func (p *plant) begin(e Epoch) {
	p.sealer = nil
	if len(p.to) == 0 {
		p.putIn(e, Data, "", TypeClear, AppendClear(nil, p.base(), p.samples(1)))
		return
	}
	s, err := NewSealer(EpochConfig{Stream: p.head.Stream, Epoch: e, Recipients: p.to, Signer: p.signer, Pad: !p.bare, Time: time.Unix(0, p.now)})
	require.NoError(p.t, err)
	body, err := s.KeyFrame(p.head.Sequence + 1)
	require.NoError(p.t, err)
	p.sealer = s
	p.putIn(e, KeyFrame, "", TypeSigned, body)
}

// samples gives n samples whose values say which message they are of.
func (p *plant) samples(n int) []Sample {
	out := make([]Sample, n)
	for i := range out {
		out[i] = Sample{Name: fmt.Sprintf("point-%d", i), Time: p.now, Value: OfUint(1<<63 + (p.head.Sequence+1)<<8 + uint64(i))}
	}
	return out
}

func (p *plant) data(n int) {
	if p.sealer == nil {
		p.put(Data, "", TypeClear, AppendClear(nil, p.base(), p.samples(n)))
		return
	}
	body, err := p.sealer.Seal(nil, p.head.Sequence+1, p.base(), p.samples(n))
	require.NoError(p.t, err)
	p.put(Data, "", TypeSealed, body)
}

func (p *plant) clear(n int) { p.put(Data, "", TypeClear, AppendClear(nil, p.base(), p.samples(n))) }

func (p *plant) checkpoint(closing bool) {
	body, err := SignCheckpoint(p.signer, &p.head, closing, time.Unix(0, p.now))
	require.NoError(p.t, err)
	p.put(Checkpoint, "", TypeSigned, body)
}

func (p *plant) lose(first, last uint64) {
	body, err := SignLoss(p.signer, Loss{Stream: p.head.Stream, Epoch: p.head.Epoch, First: first, Last: last, Reason: "outbox full", Time: time.Unix(0, p.now)})
	require.NoError(p.t, err)
	p.put(LossRecord, "", TypeSigned, body)
}

// state is what the plant says of itself, in its next statement.
func (p *plant) state() GatewayState {
	p.stated++
	return GatewayState{
		Gateway: p.head.Stream.Gateway, Start: p.head.Epoch.Start, Instance: p.head.Epoch.Instance, Sequence: p.stated, Time: time.Unix(0, p.now),
		Clock: ClockSynchronised, Interval: 10 * time.Second, Policy: sha256.Sum256([]byte("policy 17")),
		AuditSize: 3, AuditHead: sha256.Sum256([]byte("audit")),
		Heads: []StreamHead{{p.head.Stream.Machine, p.head.Stream.Level, p.head.Epoch, p.head.Sequence}},
	}
}

// statement adds one to what is sent.
func (p *plant) statement(change func(*GatewayState)) *Message {
	s := p.state()
	if change != nil {
		change(&s)
	}
	m, err := SignStatement(p.signer, s)
	require.NoError(p.t, err)
	p.extra = append(p.extra, m)
	return &p.extra[len(p.extra)-1]
}

func epoch(start uint64, number uint32) Epoch {
	return Epoch{Start: start, Instance: [8]byte{byte(start), 7}, Number: number}
}

// right tells whether a delivery is exactly what the plant sent.
func (p *plant) right(d *Delivery) error {
	if d.Sequence == 0 || d.Sequence > uint64(len(p.all)) {
		return fmt.Errorf("delivery of message %d, never sent", d.Sequence)
	}
	m := &p.all[d.Sequence-1]
	if d.Epoch != m.Epoch || d.Time != m.Time || d.Kind != m.Address.Kind || d.Stream != m.Address.Stream || d.Point != m.Address.Point {
		return fmt.Errorf("delivery of message %d is not what was sent", d.Sequence)
	}
	if d.Kind == Passthrough {
		if string(d.Payload) != string(m.Body) {
			return fmt.Errorf("payload of message %d was changed", d.Sequence)
		}
		return nil
	}
	if !d.Unopened && len(d.Samples) == 0 {
		return fmt.Errorf("delivery of message %d has no samples", d.Sequence)
	}
	for i, s := range d.Samples {
		want := Sample{Name: fmt.Sprintf("point-%d", i), Time: m.Time, Value: OfUint(1<<63 + d.Sequence<<8 + uint64(i))}
		if d.Base != p.base() || s.Name != want.Name || s.Time != want.Time || !s.Value.Equal(want.Value) || s.Quality != 0 {
			return fmt.Errorf("sample %d of message %d has a wrong value", i, d.Sequence)
		}
	}
	return nil
}

func identity(t testing.TB, alg Algorithm) *Identity {
	i, err := NewIdentity(alg, "press office")
	require.NoError(t, err)
	return i
}

// refusal gives the refusal that a Reader answered with; an empty one where it
// was something else.
func refusal(err error) *Refusal {
	r := &Refusal{}
	errors.As(err, &r)
	return r
}

// readAll reads messages and gives deliveries and refusals.
func readAll(r *Reader, messages []Message) (out []Delivery, refusals []*Refusal) {
	for i := range messages {
		d, err := r.Read(&messages[i])
		out = append(out, d...)
		if err != nil {
			refusals = append(refusals, refusal(err))
		}
	}
	return out, refusals
}

func sequences(d []Delivery) (out []uint64) {
	for i := range d {
		out = append(out, d[i].Sequence)
	}
	return out
}
