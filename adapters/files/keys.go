package files

import (
	"bytes"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// maxKeyFrames bounds the memory for key frames, in bytes.
const maxKeyFrames = 8 << 20

// keyFrames are those in force: the last that was sent of each stream.
type keyFrames struct {
	of    map[envelope.Stream]keyFrame
	bytes int
	marks uint64
}

type keyFrame struct {
	item []byte // as it is written, with its checksum
	mark uint64 // counts
}

func newKeyFrames() keyFrames { return keyFrames{of: map[envelope.Stream]keyFrame{}} }

// note remembers a key frame. Where there are too many, the oldest are forgotten:
// their streams have one in the segment that they came in only.
func (k *keyFrames) note(m *envelope.Message, item []byte) {
	stream := m.Address.Stream
	old, known := k.of[stream]
	if known && bytes.Equal(old.item, item) {
		return
	}
	k.bytes += len(item) - len(old.item)
	k.marks++
	k.of[stream] = keyFrame{bytes.Clone(item), k.marks}
	for k.bytes > maxKeyFrames {
		oldest := stream
		for s, f := range k.of {
			if f.mark < k.of[oldest].mark {
				oldest = s
			}
		}
		k.bytes -= len(k.of[oldest].item)
		delete(k.of, oldest)
	}
}
