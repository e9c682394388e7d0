package stream

import (
	"math"
	"time"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

const costDigests = 64 // of an accepted head, as a rule: it is signed at the next commit

// Cost tells how many bytes a stream may take in each segment of an outbox
// besides its data: its head, key frame, checkpoint and a loss record. keyFrames
// remembers the sizes of key frames between calls, by who reads them.
func (c *Config) Cost(machine, level string, keyFrames map[string]int) (int, error) {
	id := envelope.Stream{Gateway: c.Gateway, Machine: machine, Level: level}
	epoch := envelope.Epoch{Start: math.MaxUint64, Number: math.MaxUint32}
	head := envelope.Head{
		Stream: id, Epoch: epoch, Sequence: math.MaxUint64, CheckpointSequence: math.MaxUint64 - costDigests,
		Digests: make([][16]byte, costDigests),
	}
	size := 2*len(head.Append(nil)) + 1024 // head and checkpoint; signatures, loss record, and what frames these
	readers := c.Readers(machine, level)
	if len(readers) == 0 {
		return size, nil
	}
	var key []byte
	for _, r := range readers {
		key = append(key, r.Marshal()...)
	}
	frame, known := keyFrames[string(key)]
	if !known {
		sealer, err := envelope.NewSealer(envelope.EpochConfig{Stream: id, Epoch: epoch, Recipients: readers, Signer: c.Signer})
		if err != nil {
			return 0, err
		}
		m := envelope.Message{
			Address: envelope.Address{Stream: id, Kind: envelope.KeyFrame}, Epoch: epoch, Sequence: math.MaxUint64,
			Time: time.Now().UnixNano(), ContentType: envelope.TypeSigned,
		}
		if m.Body, err = sealer.KeyFrame(m.Sequence); err != nil {
			return 0, err
		}
		frame = len(envelope.AppendMessage(nil, &m)) + 256 // for longer names
		keyFrames[string(key)] = frame
	}
	return size + 2*frame, nil // in the preamble, and where its epoch begins or is carried on
}
