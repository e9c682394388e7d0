package envelope

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// MaxDigests is how many messages one checkpoint covers at most.
const MaxDigests = 4096

// Head is where a stream's numbering and its chain of checkpoints stand. It is
// plain data: the outbox rebuilds it after a crash from the last head it wrote
// and the messages behind it, by Note.
//
// The zero Head with a Stream is that of a stream that has no message yet.
type Head struct {
	Stream             Stream
	Epoch              Epoch
	Sequence           uint64     // of the last message
	Checkpoint         [32]byte   // SHA-256 of the last checkpoint's body; zero before the first
	CheckpointSequence uint64     // of the last checkpoint; 0 before the first
	Digests            [][16]byte // of messages CheckpointSequence+1 … Sequence
	Closed             bool       // the last message is the closing checkpoint of Epoch
}

// Note accounts for one accepted message, which is Sequence+1 of the same
// stream. A new epoch may begin only in an empty stream and after a closing
// checkpoint. After an error the head is as it was.
func (h *Head) Note(m *Message) error {
	if err := m.check(); err != nil {
		return err
	}
	fresh := h.Sequence == 0 || h.Closed
	switch {
	case m.Address.Kind == Statement:
		return fmt.Errorf("statement noted in %v: it belongs to no stream", h.Stream)
	case m.Address.Stream != h.Stream:
		return fmt.Errorf("message of stream %v noted in %v", m.Address.Stream, h.Stream)
	case m.Sequence != h.Sequence+1:
		return fmt.Errorf("message %d of %v follows %d", m.Sequence, h.Stream, h.Sequence)
	case !fresh && m.Epoch != h.Epoch:
		return fmt.Errorf("message %d of %v begins epoch %v before %v is closed", m.Sequence, h.Stream, m.Epoch, h.Epoch)
	case h.Closed && m.Epoch == h.Epoch:
		return fmt.Errorf("message %d of %v follows the closing checkpoint of its epoch", m.Sequence, h.Stream)
	}
	if m.Address.Kind == Checkpoint {
		return h.noteCheckpoint(m)
	}
	if len(h.Digests) >= MaxDigests {
		return fmt.Errorf("%d messages of %v without a checkpoint", len(h.Digests), h.Stream)
	}
	h.Digests = append(h.Digests, m.Digest())
	h.Sequence, h.Epoch, h.Closed = m.Sequence, m.Epoch, false
	return nil
}

// noteCheckpoint accounts for a checkpoint that continues this head.
func (h *Head) noteCheckpoint(m *Message) error {
	s, err := parseSign1(m.Body)
	if err != nil {
		return fmt.Errorf("cannot note checkpoint %d of %v: %w", m.Sequence, h.Stream, err)
	}
	c, err := parseCheckpoint(&s)
	if err != nil {
		return fmt.Errorf("cannot note checkpoint %d of %v: %w", m.Sequence, h.Stream, err)
	}
	if err := c.belongs(m); err != nil {
		return err
	}
	if c.first != h.CheckpointSequence+1 || c.previous != h.Checkpoint || !sameDigests(c.digests, h.Digests) {
		return fmt.Errorf("checkpoint %d of %v does not continue message %d", m.Sequence, h.Stream, h.Sequence)
	}
	h.Checkpoint = sha256.Sum256(m.Body)
	h.CheckpointSequence, h.Sequence = m.Sequence, m.Sequence
	h.Digests = h.Digests[:0]
	h.Epoch, h.Closed = m.Epoch, c.closing
	return nil
}

func sameDigests(flat []byte, digests [][16]byte) bool {
	if len(flat) != 16*len(digests) {
		return false
	}
	for i := range digests {
		if string(flat[16*i:16*i+16]) != string(digests[i][:]) {
			return false
		}
	}
	return true
}

// Clone gives a head that shares no memory with h. A plain copy shares the
// digests, and Note on either would spoil the other.
func (h *Head) Clone() Head {
	c := *h
	c.Digests = slices.Clone(h.Digests)
	return c
}

// Append appends the head as a CBOR array, for the outbox.
func (h *Head) Append(dst []byte) []byte {
	dst = appendHead(dst, cborArray, 11)
	dst = appendStream(dst, &h.Stream)
	dst = appendEpoch(dst, &h.Epoch)
	dst = appendUint(dst, h.Sequence)
	dst = appendBytes(dst, h.Checkpoint[:])
	dst = appendUint(dst, h.CheckpointSequence)
	dst = appendHead(dst, cborBytes, uint64(16*len(h.Digests)))
	for i := range h.Digests {
		dst = append(dst, h.Digests[i][:]...)
	}
	return appendBool(dst, h.Closed)
}

// ParseHead reads what Append wrote, and nothing else.
func ParseHead(b []byte) (Head, error) {
	var h Head
	c := cursor{b: b}
	c.array(11)
	h.Stream = c.stream()
	h.Epoch = c.epoch()
	h.Sequence = c.uint()
	c.fixed(h.Checkpoint[:])
	h.CheckpointSequence = c.uint()
	digests := c.bytes()
	h.Closed = c.bool()
	if err := c.end(); err != nil {
		return Head{}, fmt.Errorf("cannot read head: %w", err)
	}
	n := uint64(len(digests) / 16)
	switch {
	case len(digests)%16 != 0 || n > MaxDigests:
		return Head{}, errors.New("cannot read head: digests of the wrong size")
	case h.CheckpointSequence > h.Sequence || h.Sequence-h.CheckpointSequence != n:
		return Head{}, errors.New("cannot read head: digests do not fill the numbers since the checkpoint")
	case h.Closed && n != 0:
		return Head{}, errors.New("cannot read head: closed, and messages follow")
	}
	for ; len(digests) > 0; digests = digests[16:] {
		h.Digests = append(h.Digests, [16]byte(digests))
	}
	return h, nil
}
