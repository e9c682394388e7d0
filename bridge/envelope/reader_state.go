package envelope

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Store keeps what a Reader has to remember from one run to the next: which
// numbers it has delivered, what is signed and did not come, and the key frames
// of the epochs that go on. There is no secret and no sample in it.
type Store interface {
	// Load gives what Save was last called with; nil where it never was.
	Load() ([]byte, error)
	// Save keeps the state in place of the one before, all of it or nothing. At
	// return it is durable.
	Save(state []byte) error
}

// ResumeReader makes a reader that goes on where the one was whose state the
// store holds: it refuses what was replayed, and counts no gap where the other
// counted none. A store that holds nothing gives a reader that has seen nothing.
// Trust and identities are those of o: what the trust file no longer lists is no
// longer believed. The error is that of the store, or of a state that is none.
func ResumeReader(o ReaderOptions, s Store) (*Reader, error) {
	r := NewReader(o)
	r.store = s
	b, err := s.Load()
	if err != nil {
		return nil, fmt.Errorf("cannot load the state of the reader: %w", err)
	}
	if b == nil {
		return r, nil
	}
	if err := r.restore(b); err != nil {
		return nil, fmt.Errorf("cannot read the state of the reader: %w", err)
	}
	return r, nil
}

// Save has the store keep where this reader is. A program calls it when it has
// made durable what the reader delivered: after a crash in between, these
// deliveries come again; a program that calls it before loses them instead.
func (r *Reader) Save() error {
	if r.store == nil {
		return errors.New("cannot save the state of the reader: it has no store; see ResumeReader")
	}
	if err := r.store.Save(r.appendState(nil)); err != nil {
		return fmt.Errorf("cannot save the state of the reader: %w", err)
	}
	return nil
}

// Mark tells where in its source the messages stand that are read from now on:
// a number that does not fall, such as a broker's sequence. Resume needs it.
func (r *Reader) Mark(position uint64) { r.position = max(r.position, position) }

// Resume is the position from which the source has to be read after
// [ResumeReader]: that of the oldest message that waits to be delivered, else the
// newest mark. What is read again is put aside as a repeat.
func (r *Reader) Resume() uint64 {
	at := r.position
	for i := range r.queue {
		for _, c := range r.queue[i].all {
			if !c.gone && !c.silent && !c.delivered {
				at = min(at, c.position)
				break
			}
		}
	}
	return at
}

const stateVersion = "fieldseal reader 2"

// appendState appends the account as CBOR: [version, position, gateways,
// streams], everything in order, so that one account has one form.
func (r *Reader) appendState(b []byte) []byte {
	b = appendText(append(b, cborArray|4), stateVersion)
	b = appendUint(b, r.Resume())
	b = appendHead(b, cborArray, uint64(len(r.gateway)))
	for _, name := range slices.Sorted(maps.Keys(r.gateway)) {
		g := r.gateway[name]
		b = appendBytes(append(b, cborArray|4), g.newest.appendPayload(nil))
		b = appendBytes(b, g.digest[:])
		b = appendInt(b, g.heard.UnixNano())
		b = appendUint(b, uint64(g.proof))
	}
	b = appendHead(b, cborArray, uint64(len(r.streams)))
	for _, id := range slices.SortedFunc(maps.Keys(r.streams), Stream.compare) {
		b = r.appendStream(b, r.streams[id])
	}
	return b
}

const (
	streamItems = 28
	epochItems  = 14
	lossItems   = 7
)

func (r *Reader) appendStream(b []byte, s *streamState) []byte {
	b = appendStream(appendHead(b, cborArray, streamItems), &s.stream)
	b = appendInt(b, s.heard.UnixNano())
	for _, n := range []uint64{s.oldest, s.through, s.missed, s.forged, s.duplicates, s.unopened, s.givenUp} {
		b = appendUint(b, n)
	}
	b = appendEpoch(b, &s.pruned)
	b = appendRanges(appendRanges(appendRanges(b, s.signed), s.done), s.lost)
	b = appendLinks(appendLinks(b, s.ends), s.wanted)
	b = appendUint(appendUint(appendUint(b, s.stated.start), s.stated.count), s.stated.sequence)
	b = appendUint(appendUint(b, s.stated.epoch.Start), uint64(s.stated.epoch.Number))
	b = appendInt(b, s.stated.time)
	b = appendHead(b, cborArray, uint64(len(s.losses)))
	for i := range s.losses {
		l := &s.losses[i]
		b = appendEpoch(append(b, cborArray|lossItems), &l.Epoch)
		b = appendUint(appendUint(b, l.First), l.Last)
		b = appendInt(appendText(b, l.Reason), l.Time.UnixNano())
	}
	entries := make([]Entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, *e)
	}
	known, err := AppendCatalogue(nil, "", entries)
	if err != nil { // what was read from a catalogue can be written to one
		known = nil
	}
	b = appendBytes(b, known)
	b = appendHead(b, cborArray, uint64(len(s.epochs)))
	for _, e := range slices.SortedFunc(maps.Keys(s.epochs), Epoch.compare) {
		b = r.appendEpoch(b, s.epochs[e])
	}
	return b
}

// appendEpoch appends what is known of an epoch. The messages of it that were
// delivered, or deliver nothing, and wait for their checkpoint are part of it;
// the others are read again.
func (r *Reader) appendEpoch(b []byte, e *epochState) []byte {
	b = appendEpoch(append(b, cborArray|epochItems), &e.id)
	b = appendText(b, string(e.refused))
	b = appendBool(b, e.released)
	b = appendUint(appendUint(appendUint(b, e.low), e.high), e.closed)
	b = appendBytes(b, e.keyFrame[:])
	var frame []byte
	if e.frame != nil {
		frame = AppendMessage(nil, e.frame)
	}
	b = appendBytes(b, frame)
	b = appendRanges(appendRanges(b, e.signed), e.done)
	var here []*candidate
	for _, n := range slices.Sorted(maps.Keys(e.waiting)) {
		for _, c := range e.waiting[n] {
			if c.silent || c.delivered {
				here = append(here, c)
			}
		}
	}
	b = appendHead(b, cborArray, uint64(len(here)))
	for _, c := range here {
		b = appendUint(append(b, cborArray|4), c.delivery.Sequence)
		b = appendInt(b, c.delivery.Time)
		b = appendBytes(b, c.digest[:])
		b = appendBool(b, c.silent)
	}
	owed := r.debts(e, math.MaxUint64)
	b = appendHead(b, cborArray, uint64(2*len(owed)))
	for _, at := range owed {
		d := r.owed[at]
		b = appendBytes(appendUint(b, at.n), d[:])
	}
	return b
}

func appendRanges(b []byte, r ranges) []byte {
	b = appendHead(b, cborArray, uint64(2*len(r)))
	for _, x := range r {
		b = appendUint(appendUint(b, x.First), x.Last)
	}
	return b
}

func appendLinks(b []byte, links map[uint64][32]byte) []byte {
	b = appendHead(b, cborArray, uint64(2*len(links)))
	for _, n := range slices.Sorted(maps.Keys(links)) {
		hash := links[n]
		b = appendBytes(appendUint(b, n), hash[:])
	}
	return b
}
