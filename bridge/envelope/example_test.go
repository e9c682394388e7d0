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
