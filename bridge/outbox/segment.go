package outbox

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	formatVersion = 1
	magicHeader   = "FSOUTBOX"
	magicBatch    = "FSBT"

	headerSize    = 256
	headerCovered = 224 // what the header's MAC covers
	batchHead     = 64
	batchCovered  = 48 // what a batch header's MAC covers
	alignment     = 64

	minRecord    = 2         // bytes of the shortest record
	preambleSize = 256 << 10 // plaintext bytes of a preamble batch, about
)

type batchKind uint8

const (
	kindData batchKind = iota
	kindPreamble
	kindPreambleEnd
)

var errDamaged = errors.New("does not authenticate")

// header is a segment's first 256 bytes.
type header struct {
	salt     [saltSize]byte
	id       uint64
	prevID   uint64 // of the segment before; 0 for the first ever
	first    uint64 // position of the segment's first record
	prevLast uint64 // the last position accepted before; first-1 but after a crash
	freed    uint64 // freed when the segment was begun
	bytes    uint64 // payload bytes accepted before, ever
	time     int64  // Unix ns, of the first batch
}

func (h *header) encode(key *segmentKey) []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magicHeader...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, h.salt[:]...)
	for _, v := range []uint64{h.id, h.prevID, h.first, h.prevLast, h.freed, h.bytes, uint64(h.time)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = b[:headerCovered]
	return append(b, key.sum256(0, b)...)
}

// parseHeader gives errDamaged for what the key did not write, ErrVersion for what a later version wrote.
func parseHeader(master, b []byte) (header, *segmentKey, error) {
	if len(b) < headerSize || string(b[:8]) != magicHeader {
		return header{}, nil, errDamaged
	}
	var h header
	copy(h.salt[:], b[16:])
	fields := []*uint64{&h.id, &h.prevID, &h.first, &h.prevLast, &h.freed, &h.bytes}
	for i, p := range fields {
		*p = binary.BigEndian.Uint64(b[48+8*i:])
	}
	h.time = int64(binary.BigEndian.Uint64(b[48+8*len(fields):]))
	key, err := newSegmentKey(master, &h.salt, h.id)
	if err != nil {
		return header{}, nil, err
	}
	if !hmac.Equal(key.sum256(0, b[:headerCovered]), b[headerCovered:headerSize]) {
		return header{}, nil, errDamaged
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return header{}, nil, fmt.Errorf("%w: version %d, this program knows version %d", ErrVersion, v, formatVersion)
	}
	if h.id == 0 || h.prevID >= h.id || h.first == 0 || h.prevLast >= h.first {
		return header{}, nil, errDamaged
	}
	return h, key, nil
}

// batch is the header of one commit, or of a part of a preamble.
type batch struct {
	kind   batchKind
	length uint32 // of the plaintext
	count  uint32
	first  uint64 // 0 in a preamble
	time   int64
	freed  uint64 // everything up to here was freed or given up when this was accepted
}

func (b *batch) last() uint64 { return b.first + uint64(b.count) - 1 }

// size is what a batch takes in the file.
func batchSize(plain int64) int64 {
	return (batchHead + plain + tagSize + alignment - 1) / alignment * alignment
}

func (b *batch) size() int64 { return batchSize(int64(b.length)) }

// plainSize is what records take in a batch before encryption.
func plainSize(recs []Record) int64 {
	var n int64
	for i := range recs {
		n += 1 + int64(uvarintSize(uint64(len(recs[i].Data)))) + int64(len(recs[i].Data))
	}
	return n
}

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// appendBatch appends a sealed batch for offset off to buf, which it may use up to its capacity.
func appendBatch(buf []byte, key *segmentKey, off int64, b batch, recs []Record) []byte {
	b.length, b.count = uint32(plainSize(recs)), uint32(len(recs))
	start := len(buf)
	if need := start + int(b.size()); cap(buf) < need {
		buf = append(make([]byte, 0, need), buf...)
	}
	buf = append(buf, magicBatch...)
	buf = binary.BigEndian.AppendUint32(buf, b.length)
	buf = binary.BigEndian.AppendUint32(buf, b.count)
	buf = append(buf, byte(b.kind), 0, 0, 0)
	for _, v := range []uint64{b.first, uint64(b.time), b.freed, 0} {
		buf = binary.BigEndian.AppendUint64(buf, v)
	}
	buf = append(buf, key.sum256(off, buf[start:])[:tagSize]...)
	for i := range recs {
		buf = binary.AppendUvarint(buf, uint64(len(recs[i].Data)))
		buf = append(buf, recs[i].Tag)
		buf = append(buf, recs[i].Data...)
	}
	covered, body := buf[start:start+batchCovered], buf[start+batchHead:]
	buf = buf[:start+batchHead+len(key.seal(off, covered, body))]
	pad := buf[len(buf) : start+int(b.size())]
	clear(pad)
	return buf[:start+int(b.size())]
}

// parseBatch checks a batch's header, which stands at off.
func parseBatch(key *segmentKey, off int64, head []byte) (batch, bool) {
	if len(head) < batchHead || string(head[:4]) != magicBatch {
		return batch{}, false
	}
	b := batch{
		length: binary.BigEndian.Uint32(head[4:]),
		count:  binary.BigEndian.Uint32(head[8:]),
		kind:   batchKind(head[12]),
		first:  binary.BigEndian.Uint64(head[16:]),
		time:   int64(binary.BigEndian.Uint64(head[24:])),
		freed:  binary.BigEndian.Uint64(head[32:]),
	}
	if !hmac.Equal(key.sum256(off, head[:batchCovered])[:tagSize], head[batchCovered:batchHead]) {
		return batch{}, false
	}
	ok := b.kind <= kindPreambleEnd && uint64(b.count)*minRecord <= uint64(b.length)
	if b.kind == kindData {
		ok = ok && b.count > 0 && b.first > 0 && b.first+uint64(b.count) > b.first
	}
	return b, ok
}

// parseRecord takes the first record off a batch's plaintext. Data points into it.
func parseRecord(plain []byte) (Record, []byte, error) {
	n, w := binary.Uvarint(plain)
	if w <= 0 || n >= uint64(len(plain)-w) {
		return Record{}, nil, errDamaged
	}
	body := plain[w:]
	end := 1 + int(n)
	return Record{Tag: body[0], Data: body[1:end:end]}, body[end:], nil
}

// checkRecords tells whether a plaintext is what its header says.
func checkRecords(b batch, plain []byte) bool {
	var err error
	for range b.count {
		if _, plain, err = parseRecord(plain); err != nil {
			return false
		}
	}
	return len(plain) == 0
}
