package envelope_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// A gateway seals two samples for one recipient; the recipient reads them.
func Example() {
	// The recipient makes an identity and hands out its public half.
	identity, err := envelope.NewIdentity(envelope.MLKEM768X25519, "press office")
	if err != nil {
		log.Fatal(err)
	}
	recipient, err := envelope.ParseRecipient(identity.Recipient().Marshal())
	if err != nil {
		log.Fatal(err)
	}

	// The gateway: key frame, data frame, checkpoint.
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	signer := envelope.Signer{Gateway: "hall-2", Key: private}
	head := envelope.Head{Stream: envelope.Stream{Gateway: "hall-2", Machine: "press-3", Level: "restricted"}}
	epoch := envelope.Epoch{Start: 1, Number: 1} // and a random Instance
	now := time.Date(2026, 7, 1, 6, 0, 0, 0, time.UTC)

	var sent []envelope.Message
	send := func(kind envelope.Kind, contentType string, body []byte, err error) {
		if err != nil {
			log.Fatal(err)
		}
		m := envelope.Message{
			Address: envelope.Address{Stream: head.Stream, Kind: kind}, Epoch: epoch, Sequence: head.Sequence + 1,
			ContentType: contentType, Time: now.UnixNano(), Body: body,
		}
		if err := head.Note(&m); err != nil {
			log.Fatal(err)
		}
		sent = append(sent, m)
	}
	sealer, err := envelope.NewSealer(envelope.EpochConfig{
		Stream: head.Stream, Epoch: epoch, Recipients: []envelope.Recipient{recipient}, Signer: signer, Pad: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	body, err := sealer.KeyFrame(head.Sequence + 1)
	send(envelope.KeyFrame, envelope.TypeSigned, body, err)
	body, err = sealer.Seal(nil, head.Sequence+1, "press-3/", []envelope.Sample{
		{Name: "ram-force", Time: now.UnixNano(), Value: envelope.OfFloat(182.4)},
		{Name: "strokes", Time: now.UnixNano(), Value: envelope.OfUint(90122)},
	})
	send(envelope.Data, envelope.TypeSealed, body, err)
	body, err = envelope.SignCheckpoint(signer, &head, false, now)
	send(envelope.Checkpoint, envelope.TypeSigned, body, err)

	// The recipient, who believes the gateway by its key.
	reader := envelope.NewReader(envelope.ReaderOptions{
		Trust:      &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{"hall-2": {{Public: public}}}},
		Identities: []*envelope.Identity{identity},
	})
	for i := range sent {
		deliveries, err := reader.Read(&sent[i])
		if err != nil {
			log.Fatal(err)
		}
		for _, d := range deliveries {
			for _, s := range d.Samples {
				value, _ := json.Marshal(s.Value)
				fmt.Printf("%s %s%s %s\n", d.Proof, d.Base, s.Name, value)
			}
		}
	}
	fmt.Println("gaps:", len(reader.Report()[0].Gaps))

	// Output:
	// signed press-3/ram-force 182.4
	// signed press-3/strokes 90122
	// gaps: 0
}

// shelf keeps a reader's state in memory; a program would use a file, written
// beside the old one and renamed.
type shelf struct{ state []byte }

func (s *shelf) Load() ([]byte, error) { return s.state, nil }

func (s *shelf) Save(state []byte) error {
	s.state = append([]byte{}, state...)
	return nil
}

// A reader that is started again takes nothing twice.
func ExampleResumeReader() {
	m := envelope.Message{
		Address:  envelope.Address{Stream: envelope.Stream{Gateway: "hall-2", Machine: "press-3", Level: "public"}, Kind: envelope.Data},
		Epoch:    envelope.Epoch{Start: 1, Number: 1},
		Sequence: 1, ContentType: envelope.TypeClear,
		Body: envelope.AppendClear(nil, "press-3/", []envelope.Sample{{Name: "running", Value: envelope.OfBool(true)}}),
	}
	s := &shelf{}
	for range 2 {
		r, err := envelope.ResumeReader(envelope.ReaderOptions{}, s) // give a trust file in earnest
		if err != nil {
			log.Fatal(err)
		}
		from := r.Resume() // where the source is to be read from
		r.Mark(from + 1)
		deliveries, err := r.Read(&m)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(from, len(deliveries))
		if err := r.Save(); err != nil { // after what was delivered is stored
			log.Fatal(err)
		}
	}
	// Output:
	// 0 1
	// 1 0
}

// A statement tells a receiver what he should have.
func ExampleSignStatement() {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 6, 0, 0, 0, time.UTC)
	m, err := envelope.SignStatement(envelope.Signer{Gateway: "hall-2", Key: private}, envelope.GatewayState{
		Gateway: "hall-2", Start: 1, Sequence: 1, Time: now, Clock: envelope.ClockSynchronised, Interval: 10 * time.Second,
		Heads: []envelope.StreamHead{{Machine: "press-3", Level: "restricted", Epoch: envelope.Epoch{Start: 1, Number: 1}, Sequence: 90}},
	})
	if err != nil {
		log.Fatal(err)
	}
	r := envelope.NewReader(envelope.ReaderOptions{
		Trust: &envelope.Trust{Gateways: map[string]envelope.GatewayKeys{"hall-2": {{Public: public}}}},
		Clock: func() time.Time { return now.Add(time.Minute) },
	})
	if _, err := r.Read(&m); err != nil {
		log.Fatal(err)
	}
	fmt.Println("withheld:", r.Report()[0].Withheld)
	fmt.Println("silent:", r.Gateways()[0].Silent)
	// Output:
	// withheld: [{1 90}]
	// silent: true
}
