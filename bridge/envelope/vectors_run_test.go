package envelope

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// replay gives what stands in a file to a Reader, and compares.
func replay(t *testing.T, file []byte) {
	var f vectorFile
	require.NoError(t, json.Unmarshal(file, &f))
	want := f.Expect
	refused, delivers := make([]*string, len(f.Messages)), make([][]uint64, len(f.Messages))
	for i := range f.Messages {
		refused[i], delivers[i] = f.Messages[i].Refused, f.Messages[i].Delivers
	}
	f.Expect = run(t, &f)
	// By way of JSON, where a number is a number.
	a, err := json.MarshalIndent(want, "", " ")
	require.NoError(t, err)
	b, err := json.MarshalIndent(f.Expect, "", " ")
	require.NoError(t, err)
	assert.Equal(t, string(a), string(b))
	for i := range f.Messages {
		assert.Equal(t, refused[i], f.Messages[i].Refused, "message %d", i+1)
		assert.Equal(t, delivers[i], f.Messages[i].Delivers, "message %d", i+1)
	}
}

// run reads a file's messages, notes what came of each, and gives the account.
func run(t *testing.T, f *vectorFile) (x vectorExpect) {
	o := ReaderOptions{Now: f.Reader.Now, Trimmed: f.Reader.Trimmed, Clock: func() time.Time { return unixNano(t, f.Reader.Clock) }}
	if f.Trust != nil {
		o.Trust = &Trust{Gateways: map[string]GatewayKeys{}}
		for _, g := range f.Trust.Gateways {
			for _, k := range g.Keys {
				key := GatewayKey{Public: ed25519.PublicKey(unhex(t, k.Public))}
				assert.Equal(t, k.Kid, SigningKeyID(key.Public).String())
				if k.Until != nil {
					key.Until = unixNano(t, *k.Until)
				}
				o.Trust.Gateways[g.Name] = append(o.Trust.Gateways[g.Name], key)
			}
		}
	}
	for _, i := range f.Identities {
		id, err := ParseIdentity([]byte(i.File))
		require.NoError(t, err)
		o.Identities = append(o.Identities, id)
	}
	r := NewReader(o)
	x.Deliveries, x.Streams, x.Gateways = []vectorDelivery{}, []vectorStream{}, []vectorGatewayVerdict{}
	var refusals []*Refusal
	for i := range f.Messages {
		j := &f.Messages[i]
		m := message(t, j)
		out, err := r.Read(&m)
		j.Delivers, j.Refused = []uint64{}, nil
		for k := range out {
			j.Delivers = append(j.Delivers, out[k].Sequence)
			x.Deliveries = append(x.Deliveries, jsonDelivery(&out[k]))
		}
		if err != nil {
			class := string(refusal(err).Class)
			j.Refused = &class
			refusals = append(refusals, refusal(err))
		}
	}
	for _, s := range r.Report() {
		x.Streams = append(x.Streams, jsonStream(&s))
	}
	for _, g := range r.Gateways() {
		if g.Statement.Sequence > 0 { // most vectors have none
			x.Gateways = append(x.Gateways, jsonGateway(&g))
		}
	}
	x.Verdicts = verdicts(r, refusals)
	return x
}

// verdicts gives in words what a reader has to say, each once.
func verdicts(r *Reader, refusals []*Refusal) []string {
	words := map[string]bool{}
	for _, x := range refusals {
		words[string(x.Class)] = true
	}
	for _, s := range r.Report() {
		for _, forgery := range s.Forgeries {
			words[string(forgery.Class)] = true
		}
		for word, there := range map[string]bool{
			"gap": len(s.Gaps) > 0, "withheld": len(s.Withheld) > 0, "loss": len(s.Losses) > 0, "pending": s.Pending > 0,
			"no-key-frame": s.NoKeyFrame > 0, "unopened": s.Unopened > 0, "duplicate": s.Duplicates > 0, "trimmed": s.Trimmed > 0,
		} {
			if there {
				words[word] = true
			}
		}
	}
	for _, g := range r.Gateways() {
		if g.Silent && g.Statement.Sequence > 0 {
			words["silent"] = true
		}
	}
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(words))))
}

func message(t *testing.T, j *vectorMessage) Message {
	m := Message{
		Address: Address{Stream: Stream{j.Gateway, j.Machine, j.Level}, Point: j.Point}, Sequence: j.Sequence,
		ContentType: j.ContentType, Time: unixNano(t, j.Time).UnixNano(), Epoch: Epoch{Start: j.Epoch.Start, Number: j.Epoch.Number},
	}
	for k := Data; k <= Event+1; k++ {
		if k.String() == j.Kind {
			m.Address.Kind = k
		}
	}
	copy(m.Epoch.Instance[:], unhex(t, j.Epoch.Instance))
	copy(m.ID[:], unhex(t, j.ID))
	body, err := base64.StdEncoding.DecodeString(j.Body)
	require.NoError(t, err)
	m.Body = body
	return m
}

func jsonDelivery(d *Delivery) vectorDelivery {
	j := vectorDelivery{
		Machine: d.Stream.Machine, Level: d.Stream.Level, Epoch: jsonEpoch(d.Epoch), Sequence: d.Sequence, Kind: d.Kind.String(),
		Point: d.Point, ContentType: d.ContentType, Time: ns(d.Time), Proof: d.Proof.String(), Sealed: d.Sealed, Unopened: d.Unopened, Base: d.Base,
		Samples: []vectorSample{}, Catalogue: []vectorEntry{},
	}
	for _, s := range d.Samples {
		j.Samples = append(j.Samples, vectorSample{s.Name, s.Unit, ns(s.Time), s.Quality, s.Value.Kind().String(), jsonValue(s.Value)})
	}
	for _, e := range d.Catalogue {
		entry := vectorEntry(e)
		if entry.Texts == nil {
			entry.Texts = map[int64]string{}
		}
		if entry.Tags == nil {
			entry.Tags = map[string]string{}
		}
		j.Catalogue = append(j.Catalogue, entry)
	}
	if d.Kind != Data {
		payload := base64.StdEncoding.EncodeToString(d.Payload)
		j.Payload = &payload
	}
	return j
}

func pairs(in []Range) [][2]uint64 {
	out := [][2]uint64{}
	for _, r := range in {
		out = append(out, [2]uint64{r.First, r.Last})
	}
	return out
}

func jsonStream(s *StreamReport) vectorStream {
	j := vectorStream{
		Machine: s.Stream.Machine, Level: s.Stream.Level, Highest: s.Highest, SignedThrough: s.SignedThrough, Trimmed: s.Trimmed,
		Gaps: pairs(s.Gaps), Withheld: pairs(s.Withheld), Stated: s.Stated, Losses: []vectorLoss{}, Forgeries: []vectorForgery{},
		Pending: s.Pending, NoKeyFrame: s.NoKeyFrame, Unopened: s.Unopened, Duplicates: s.Duplicates,
	}
	for _, l := range s.Losses {
		j.Losses = append(j.Losses, vectorLoss{jsonEpoch(l.Epoch), l.First, l.Last, l.Reason, ns(l.Time.UnixNano())})
	}
	for _, f := range s.Forgeries {
		j.Forgeries = append(j.Forgeries, vectorForgery{f.Sequence, string(f.Class)})
	}
	return j
}

func jsonGateway(g *GatewayReport) vectorGatewayVerdict {
	s := &g.Statement
	return vectorGatewayVerdict{
		Gateway: g.Gateway, Statement: s.Sequence, Time: ns(s.Time.UnixNano()), Clock: s.Clock.String(),
		Policy: hex.EncodeToString(s.Policy[:]), AuditSize: s.AuditSize, AuditHead: hex.EncodeToString(s.AuditHead[:]),
		Interval: s.Interval.Milliseconds(), Proof: g.Proof.String(), Silent: g.Silent,
	}
}
