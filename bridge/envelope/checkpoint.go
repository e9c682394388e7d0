package envelope

import (
	"errors"
	"fmt"
	"time"
)

// SignCheckpoint gives the body of the checkpoint that follows the head: a
// COSE_Sign1 over [gateway, machine, level, start, instance, number, sequence,
// first, previous, closing, time, digests]. Its own sequence is h.Sequence+1 and
// it covers the h.Digests from first = h.CheckpointSequence+1 on; previous is
// the SHA-256 of the body of the checkpoint before. Nothing but itself signs a
// checkpoint, so its message has to have exactly the time now, the content type
// [TypeSigned] and no point.
//
// A closing checkpoint is the last message of its epoch: from then on, only what
// checkpoints list counts in it.
func SignCheckpoint(sg Signer, h *Head, closing bool, now time.Time) ([]byte, error) {
	switch {
	case sg.Gateway != h.Stream.Gateway:
		return nil, fmt.Errorf("cannot sign a checkpoint of %v as gateway %q", h.Stream, sg.Gateway)
	case h.Closed:
		return nil, fmt.Errorf("cannot sign a checkpoint of %v: epoch %v is closed", h.Stream, h.Epoch)
	case uint64(len(h.Digests)) != h.Sequence-h.CheckpointSequence || len(h.Digests) > MaxDigests:
		return nil, fmt.Errorf("cannot sign a checkpoint of %v: the head has not every digest", h.Stream)
	}
	p := checkpoint{
		stream: h.Stream, epoch: h.Epoch, sequence: h.Sequence + 1, first: h.CheckpointSequence + 1, previous: h.Checkpoint,
		closing: closing, time: now.UnixNano(), digests: make([]byte, 0, 16*len(h.Digests)),
	}
	for i := range h.Digests {
		p.digests = append(p.digests, h.Digests[i][:]...)
	}
	payload := p.append(make([]byte, 0, 256+len(p.digests)))
	return appendSign1(make([]byte, 0, len(payload)+192), sg, typCheckpoint, payload)
}

// checkpoint is the payload of one, as it was read.
type checkpoint struct {
	stream   Stream
	epoch    Epoch
	sequence uint64
	first    uint64
	previous [32]byte
	closing  bool
	time     int64
	digests  []byte // 16 bytes each, from first on, up to sequence-1
}

func (p *checkpoint) append(b []byte) []byte {
	b = appendStream(appendHead(b, cborArray, 12), &p.stream)
	b = appendEpoch(b, &p.epoch)
	b = appendUint(b, p.sequence)
	b = appendUint(b, p.first)
	b = appendBytes(b, p.previous[:])
	b = appendBool(b, p.closing)
	b = appendInt(b, p.time)
	return appendBytes(b, p.digests)
}

func parseCheckpoint(s *sign1) (p checkpoint, err error) {
	if s.typ != typCheckpoint {
		return p, errors.New("not a checkpoint of version 1")
	}
	c := cursor{b: s.payload}
	c.array(12)
	p.stream = c.stream()
	p.epoch = c.epoch()
	p.sequence = c.uint()
	p.first = c.uint()
	c.fixed(p.previous[:])
	p.closing = c.bool()
	p.time = c.int()
	p.digests = c.bytes()
	if err := c.end(); err != nil {
		return p, fmt.Errorf("cannot read checkpoint: %w", err)
	}
	n := uint64(len(p.digests) / 16)
	if len(p.digests)%16 != 0 || n > MaxDigests || p.first == 0 || p.sequence < p.first || p.sequence-p.first != n {
		return p, errors.New("cannot read checkpoint: digests do not fill its range")
	}
	return p, nil
}

// belongs tells whether the message around the checkpoint says what the
// checkpoint says of itself.
func (p *checkpoint) belongs(m *Message) error {
	if p.stream != m.Address.Stream || p.epoch != m.Epoch || p.sequence != m.Sequence || p.time != m.Time ||
		m.ContentType != TypeSigned {
		return fmt.Errorf("checkpoint %d of %v is in a message that says otherwise", p.sequence, p.stream)
	}
	return nil
}

// Loss is a gateway's signed word that the messages First … Last of one epoch
// are gone and will not come.
type Loss struct {
	Stream Stream
	Epoch  Epoch // of the messages that are gone
	First  uint64
	Last   uint64
	Reason string // for people: "outbox full", "quarantined: …"
	Time   time.Time
}

// SignLoss gives the body of a loss record: a COSE_Sign1 over [gateway, machine,
// level, start, instance, number, first, last, reason, time]. The message that
// carries it takes a number of its stream like any other.
func SignLoss(sg Signer, l Loss) ([]byte, error) {
	switch {
	case sg.Gateway != l.Stream.Gateway:
		return nil, fmt.Errorf("cannot sign a loss of %v as gateway %q", l.Stream, sg.Gateway)
	case l.First == 0 || l.Last < l.First:
		return nil, fmt.Errorf("cannot sign a loss of %v: %d to %d is no range", l.Stream, l.First, l.Last)
	}
	l.Reason = clip(l.Reason, MaxName)
	return appendSign1(nil, sg, typLoss, l.append(nil))
}

func (l *Loss) append(b []byte) []byte {
	b = appendStream(appendHead(b, cborArray, 10), &l.Stream)
	b = appendEpoch(b, &l.Epoch)
	b = appendUint(b, l.First)
	b = appendUint(b, l.Last)
	b = appendText(b, l.Reason)
	return appendInt(b, l.Time.UnixNano())
}

func parseLoss(s *sign1) (l Loss, err error) {
	if s.typ != typLoss {
		return l, errors.New("not a loss record of version 1")
	}
	c := cursor{b: s.payload}
	c.array(10)
	l.Stream = c.stream()
	l.Epoch = c.epoch()
	l.First = c.uint()
	l.Last = c.uint()
	l.Reason = c.name()
	l.Time = time.Unix(0, c.int()).UTC()
	if err := c.end(); err != nil {
		return l, fmt.Errorf("cannot read loss record: %w", err)
	}
	if l.First == 0 || l.Last < l.First {
		return l, errors.New("cannot read loss record: no range")
	}
	return l, nil
}
