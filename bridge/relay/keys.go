package relay

import (
	"cmp"
	"log/slog"
	"slices"

	"github.com/fieldseal/fieldseal/bridge/envelope"
)

// maxKeyFrames bounds the memory for key frames, in bytes of their bodies.
const maxKeyFrames = 8 << 20

// keyFrames are those in force where the relay is in the queue: the newest that
// it has passed, for each stream. What comes before in the queue is stored
// upstream, so an older epoch has nothing to come.
type keyFrames struct {
	logger *slog.Logger
	of     map[envelope.Stream]*keyFrame
	bytes  int
	order  uint64
	on     connection // all of them were sent on it, unless dirty
	dirty  bool
}

type keyFrame struct {
	message envelope.Message
	order   uint64
	on      connection // the last that it was sent on
}

// connection is one connection of one uplink.
type connection struct {
	link   *link
	number uint64
}

func (l *link) connection() connection { return connection{l, l.Uplink.Connections()} }

func newKeyFrames(logger *slog.Logger) keyFrames {
	return keyFrames{logger: logger, of: make(map[envelope.Stream]*keyFrame)}
}

// note remembers a key frame that the relay passes, if it is newer than what is
// known of its stream.
func (k *keyFrames) note(m *envelope.Message) *keyFrame {
	old := k.of[m.Address.Stream]
	if old != nil && old.message.Sequence >= m.Sequence {
		return old
	}
	k.drop(old)
	for k.bytes+len(m.Body) > maxKeyFrames && len(k.of) > 0 {
		k.drop(k.oldest())
	}
	k.order++
	frame := &keyFrame{message: *m, order: k.order}
	frame.message.Body = slices.Clone(m.Body) // the queue's, until the next Next
	k.of[m.Address.Stream] = frame
	k.bytes += len(m.Body)
	k.dirty = true
	return frame
}

func (k *keyFrames) drop(f *keyFrame) {
	if f != nil {
		delete(k.of, f.message.Address.Stream)
		k.bytes -= len(f.message.Body)
	}
}

func (k *keyFrames) oldest() *keyFrame {
	var oldest *keyFrame
	for _, f := range k.of {
		if oldest == nil || f.order < oldest.order {
			oldest = f
		}
	}
	k.logger.Warn("too many key frames to remember; one is not sent again", "stream", oldest.message.Address.Stream)
	return oldest
}

// stored notes the key frames among messages that l has just stored.
func (k *keyFrames) stored(batch []envelope.Message, l *link) {
	for i := range batch {
		if batch[i].Address.Kind != envelope.KeyFrame {
			continue
		}
		if f := k.note(&batch[i]); f.message.ID == batch[i].ID {
			f.on = l.connection()
		}
	}
}

// forget drops one that was refused.
func (k *keyFrames) forget(m *envelope.Message) {
	if f := k.of[m.Address.Stream]; f != nil && f.message.ID == m.ID {
		k.drop(f)
	}
}

// due gives those that were not sent on the connection of l, in the order in
// which the relay passed them.
func (k *keyFrames) due(l *link) []envelope.Message {
	on := l.connection()
	if on == k.on && !k.dirty {
		return nil
	}
	var frames []*keyFrame
	for _, f := range k.of {
		if f.on != on {
			frames = append(frames, f)
		}
	}
	if len(frames) == 0 {
		k.on, k.dirty = on, false
		return nil
	}
	slices.SortFunc(frames, func(a, b *keyFrame) int { return cmp.Compare(a.order, b.order) })
	due := make([]envelope.Message, len(frames))
	for i, f := range frames {
		due[i] = f.message
	}
	return due
}
