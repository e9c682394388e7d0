package envelope

import (
	"bytes"
	"time"
)

// DefaultPending is how much waits for signatures and key frames by default.
const DefaultPending = 64 << 20

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
	// Clock tells when a stream was last heard of. Default time.Now.
	Clock func() time.Time
	// MaxPending is how many bytes wait, about, for signatures and key frames.
	// Beyond it the oldest are given up, and reported. Default DefaultPending.
	MaxPending int
}

// Reader turns messages back into samples: it opens, verifies, puts aside what
// came twice, and accounts for what did not come. Messages may come in any
// order and any number of times. It is not for concurrent use.
type Reader struct {
	options ReaderOptions
	streams map[Stream]*streamState
	queue   []*candidate // what waits, oldest first, with what no longer does
	pending int          // bytes of what waits
	live    int          // number of what waits
	plain   []byte       // reused
}

// maxStreams bounds the streams that a reader keeps account of: without trust,
// anybody can make one up.
const maxStreams = 1 << 16

// NewReader makes a reader that has seen nothing yet.
func NewReader(o ReaderOptions) *Reader {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultPending
	}
	return &Reader{options: o, streams: make(map[Stream]*streamState)}
}

// Read takes one message and gives what can be delivered now: nothing, the
// message, or several that waited for it. The error is a [*Refusal] of this
// message and may come together with deliveries. A message that came before is
// no error and gives nothing. Read keeps nothing of m's memory.
func (r *Reader) Read(m *Message) ([]Delivery, error) {
	if err := m.check(); err != nil {
		switch {
		case len(m.Body) > MaxBody:
			return nil, refuse(Oversize, m, "%v", err)
		case m.Address.Kind > Event:
			return nil, refuse(Unsupported, m, "%v", err)
		}
		return nil, refuse(Malformed, m, "%v", err)
	}
	if t := r.options.Trust; t != nil && len(t.Gateways[m.Address.Stream.Gateway]) == 0 {
		return nil, refuse(UnknownGateway, m, "the trust file has no gateway %q", m.Address.Stream.Gateway)
	}
	switch m.Address.Kind {
	case KeyFrame:
		return r.readKeyFrame(m)
	case Checkpoint:
		return r.readCheckpoint(m)
	case LossRecord:
		return r.readLoss(m)
	case Data:
		return r.readData(m)
	default:
		return r.accept(m, &candidate{delivery: Delivery{Payload: bytes.Clone(m.Body)}})
	}
}

// readData takes samples, sealed or clear.
func (r *Reader) readData(m *Message) ([]Delivery, error) {
	switch m.ContentType {
	case TypeClear:
		base, samples, err := decodeClear(m.Body)
		if err != nil {
			return nil, refuse(Malformed, m, "%v", err)
		}
		return r.accept(m, &candidate{delivery: Delivery{Base: base, Samples: samples}})
	case TypeSealed:
		f, err := parseFrame(m.Body)
		switch {
		case err != nil:
			return nil, refuse(Malformed, m, "cannot read data frame: %v", err)
		case f.sequence != m.Sequence:
			return nil, refuse(Tampered, m, "the frame inside is number %d", f.sequence)
		}
		return r.accept(m, &candidate{delivery: Delivery{Sealed: true}, frame: f})
	default:
		return nil, refuse(Unsupported, m, "samples of content type %q", clip(m.ContentType, 64))
	}
}

// Flush gives what still waits for a signature, as Pending, and does not give it
// again. What also waits for its key frame, and numbers that two different
// messages claim, are not given: Report tells of them.
func (r *Reader) Flush() []Delivery {
	var out []Delivery
	for _, c := range r.queue {
		if c.gone || c.delivered || c.silent || c.sealed() || len(c.epoch.waiting[c.delivery.Sequence]) > 1 {
			continue
		}
		out = append(out, c.deliver(r.proof()))
	}
	return out
}

// proof is what a delivery has that no signature covers yet.
func (r *Reader) proof() Proof {
	if r.options.Trust == nil {
		return Unverified
	}
	return Pending
}
