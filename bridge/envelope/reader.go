package envelope

import (
	"bytes"
	"time"
)

// What a Reader holds at most by default, in bytes, about.
const (
	DefaultPending = 16 << 20 // messages that wait for signatures and key frames
	DefaultAccount = 8 << 20  // what it knows of streams and epochs
)

// ReaderOptions says what a Reader believes, what it can open and when it
// delivers. The zero value believes nobody, opens nothing, and delivers at once.
type ReaderOptions struct {
	// Trust is whom to believe. Without it every delivery is Unverified, comes
	// at once, and signatures are not looked at.
	Trust *Trust
	// Identities open sealed epochs. Without any, signatures, gaps and losses
	// are still told, and sealed messages are delivered Unopened.
	Identities []*Identity
	// Now delivers before the signature is there, marked Pending. Report then
	// says how far everything is signed. Otherwise a delivery waits for its
	// checkpoint and is Signed.
	Now bool
	// Reuse saves memory: what Read and Flush give is valid until the next call of
	// one of them.
	Reuse bool
	// Trimmed says that the source keeps the newest messages only. What is older
	// than the first samples or payload of a stream that came is then no gap;
	// [StreamReport].Trimmed tells of it. A source that hides the beginning of a
	// stream looks the same.
	Trimmed bool
	// Clock tells when a stream was last heard of. Default time.Now.
	Clock func() time.Time
	// MaxPending is how many bytes wait, about, for signatures and key frames.
	// Beyond it the oldest are given up, and reported: first those that anybody
	// may have made, then those that a recipient of their epoch made. Default
	// DefaultPending: some 500,000 sealed points.
	MaxPending int
	// MaxAccount is how many bytes the account of streams and epochs takes,
	// about. Beyond it old epochs are let go, and messages that would need more
	// are refused as GivenUp, of the gateways that take more than their share.
	// Default DefaultAccount: some 1,000 streams, of which the names of points
	// take most.
	MaxAccount int
}

// Reader turns messages back into samples: it opens, verifies, puts aside what
// came twice, and accounts for what did not come. Messages may come in any
// order and any number of times. It is not for concurrent use.
type Reader struct {
	options ReaderOptions
	streams map[Stream]*streamState
	gateway map[string]*gatewayState
	starts  map[string]map[uint64][8]byte // instance of each start counter, by gateway

	queue    [2]queue // what waits: what anybody may have made, and what a recipient made
	pending  int      // bytes of what waits
	live     int      // number of what waits
	arrivals uint64   // of what waits and waited
	position uint64   // where the source is: see Mark

	owed   map[slot][16]byte // signed digests of messages that did not come yet
	recent map[slot][16]byte // digests of the newest that are settled, to tell a forgery from a repeat
	ring   []slot            // of recent, the oldest at next
	next   int
	shares map[string]*share
	books  int    // bytes of streams and epochs
	listed int    // losses and forgeries that are listed
	lapsed uint64 // given up

	store   Store
	plain   []byte    // reused
	scratch candidate // reused
	arena   arena
	check   arena // of what is only looked at
}

// NewReader makes a reader that has seen nothing yet. [ResumeReader] makes one
// that goes on where another was.
func NewReader(o ReaderOptions) *Reader {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultPending
	}
	if o.MaxAccount <= 0 {
		o.MaxAccount = DefaultAccount
	}
	return &Reader{
		options: o, streams: make(map[Stream]*streamState), gateway: make(map[string]*gatewayState),
		starts: make(map[string]map[uint64][8]byte),
		arena:  arena{reuse: o.Reuse},
		check:  arena{reuse: true},
		owed:   make(map[slot][16]byte), recent: make(map[slot][16]byte), shares: make(map[string]*share),
	}
}

// Read takes one message and gives what can be delivered now: nothing, the
// message, or several that waited for it. The error is a [*Refusal] of this
// message and may come together with deliveries. A message that came before is
// no error and gives nothing. Read keeps nothing of m's memory.
func (r *Reader) Read(m *Message) ([]Delivery, error) {
	r.arena.reset()
	err := r.read(m)
	return r.arena.out, err
}

func (r *Reader) read(m *Message) error {
	if err := m.check(); err != nil {
		switch {
		case len(m.Body) > MaxBody:
			return refuse(Oversize, m, "%v", err)
		case m.Address.Kind > Event:
			return refuse(Unsupported, m, "%v", err)
		}
		return refuse(Malformed, m, "%v", err)
	}
	if t := r.options.Trust; t != nil && len(t.Gateways[m.Address.Stream.Gateway]) == 0 {
		return refuse(UnknownGateway, m, "the trust file has no gateway %q", m.Address.Stream.Gateway)
	}
	switch m.Address.Kind {
	case KeyFrame:
		return r.readKeyFrame(m)
	case Checkpoint:
		return r.readCheckpoint(m)
	case LossRecord:
		return r.readLoss(m)
	case Statement:
		return r.readStatement(m)
	case Data:
		return r.readData(m)
	default:
		return r.accept(m, candidate{delivery: Delivery{Payload: bytes.Clone(m.Body)}})
	}
}

// readData takes samples or a catalogue, sealed or clear.
func (r *Reader) readData(m *Message) error {
	switch m.ContentType {
	case TypeClear:
		base, samples, err := decodeClear(m.Body)
		if err != nil {
			return refuse(Malformed, m, "%v", err)
		}
		if len(samples) > 0 && !ofMachine(base, m.Address.Stream.Machine) {
			return refuse(Malformed, m, "the base name of another machine")
		}
		return r.accept(m, candidate{delivery: Delivery{Base: base, Samples: samples}})
	case TypeCatalogue:
		base, entries, err := decodeCatalogue(m.Body)
		if err != nil {
			return refuse(Malformed, m, "%v", err)
		}
		if !ofMachine(base, m.Address.Stream.Machine) {
			return refuse(Malformed, m, "the base name of another machine")
		}
		return r.accept(m, candidate{delivery: Delivery{Base: base, Catalogue: entries}})
	case TypeSealed:
		f, err := parseFrame(m.Body)
		switch {
		case err != nil:
			return refuse(Malformed, m, "cannot read data frame: %v", err)
		case f.sequence != m.Sequence:
			return refuse(Tampered, m, "the frame inside is number %d", f.sequence)
		}
		return r.accept(m, candidate{delivery: Delivery{Sealed: true}, frame: f})
	default:
		return refuse(Unsupported, m, "samples of content type %q", clip(m.ContentType, 64))
	}
}

// proof is what a delivery has that no signature covers yet.
func (r *Reader) proof() Proof {
	if r.options.Trust == nil {
		return Unverified
	}
	return Pending
}
