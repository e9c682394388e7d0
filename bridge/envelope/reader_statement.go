package envelope

import (
	"cmp"
	"slices"
	"time"
)

// gatewayState is what a gateway last said of itself.
type gatewayState struct {
	newest GatewayState // its heads are kept with their streams
	digest [16]byte
	heard  time.Time
	proof  Proof
}

// statedHead is what the newest statement over a stream says of it.
type statedHead struct {
	start    uint64 // of the gateway, and
	count    uint64 // which statement of it
	epoch    Epoch  // of the stream, without its instance
	sequence uint64 // the stream's last message; 0: nothing was stated
	time     int64
}

// maxGateways bounds the gateways that a reader keeps account of without trust.
const maxGateways = 1 << 10

// readStatement takes a gateway's word of where its streams stand. Statements
// may come late, twice or not at all; of two over one stream, the one that was
// made later must not have the lower head. One start has one instance, whoever
// names it; the content of the newest statement is kept, and that of no other.
func (r *Reader) readStatement(m *Message) error {
	sign, err := parseSign1(m.Body)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	s, err := parseStatement(&sign)
	if err != nil {
		return refuse(Malformed, m, "%v", err)
	}
	if err := r.options.Trust.verify(m, &sign, s.Time); err != nil {
		return err
	}
	if err := s.belongs(m); err != nil {
		return refuse(Tampered, m, "%v", err)
	}
	g := r.gateway[s.Gateway]
	digest := m.Digest()
	switch {
	case g == nil && r.options.Trust == nil && len(r.gateway) >= maxGateways:
		return refuse(GivenUp, m, "%d gateways are more than a reader keeps account of", len(r.gateway))
	case g == nil:
		g = &gatewayState{}
	case g.newest.Start == s.Start && g.newest.Sequence == s.Sequence && g.digest != digest:
		return refuse(Clone, m, "the gateway signed two statements under this number")
	}
	if err := r.oneInstance(m, &s); err != nil {
		return err
	}
	for i := range s.Heads {
		h := &s.Heads[i]
		if state := r.streams[Stream{s.Gateway, h.Machine, h.Level}]; state != nil {
			if class := state.stated.contradicts(&s, h); class != "" {
				return refuse(class, m, "the head of %s/%s is at %d, another statement says %d", h.Machine, h.Level, h.Sequence, state.stated.sequence)
			}
		}
	}
	r.gateway[s.Gateway] = g
	r.note(g, s, digest)
	return nil
}

// oneInstance refuses a statement that gives a start counter another instance
// than it has, in itself or elsewhere.
func (r *Reader) oneInstance(m *Message, s *GatewayState) error {
	starts := map[uint64][8]byte{}
	for i := -1; i < len(s.Heads); i++ {
		e := Epoch{Start: s.Start, Instance: s.Instance}
		if i >= 0 {
			e = s.Heads[i].Epoch
		}
		other, known := r.starts[s.Gateway][e.Start]
		if !known {
			other, known = starts[e.Start]
		}
		if known && other != e.Instance {
			return refuse(Clone, m, "start counter %d has two instances, %x and %x", e.Start, other, e.Instance)
		}
		starts[e.Start] = e.Instance
	}
	return nil
}

// before tells whether statement count of a start was made before s.
func before(start, count uint64, s *GatewayState) bool {
	return start < s.Start || start == s.Start && count < s.Sequence
}

// contradicts tells how the head in s cannot be true beside what was stated. A
// head is lower by its epoch or by its number.
func (t *statedHead) contradicts(s *GatewayState, h *StreamHead) Class {
	lower := h.Epoch.before(t.epoch) || h.Sequence < t.sequence
	higher := t.epoch.before(h.Epoch) || h.Sequence > t.sequence
	switch {
	case t.sequence == 0:
	case t.start == s.Start && t.count == s.Sequence:
		if lower || higher {
			return Clone
		}
	case before(t.start, t.count, s) && lower, !before(t.start, t.count, s) && higher:
		return Rollback
	}
	return ""
}

// note takes in what s says: of each stream that it is the newest over, and of
// the gateway where it is the newest of all.
func (r *Reader) note(g *gatewayState, s GatewayState, digest [16]byte) {
	r.began(s.Gateway, s.Start, s.Instance)
	for i := range s.Heads {
		h := &s.Heads[i]
		r.began(s.Gateway, h.Epoch.Start, h.Epoch.Instance)
		id := Stream{s.Gateway, h.Machine, h.Level}
		state := r.streams[id]
		if share := r.shareOf(s.Gateway); state == nil && r.options.Trust != nil {
			if r.full(share) {
				r.lapsed++
				continue
			}
			state = newStream(id, share)
			r.streams[id] = state
			r.tallyStream(state)
		}
		if state != nil && before(state.stated.start, state.stated.count, &s) {
			state.stated = statedHead{s.Start, s.Sequence, Epoch{Start: h.Epoch.Start, Number: h.Epoch.Number}, h.Sequence, s.Time.UnixNano()}
		}
	}
	if g.newest.Sequence > 0 && !before(g.newest.Start, g.newest.Sequence, &s) {
		return
	}
	s.Heads = nil
	g.newest, g.digest, g.heard, g.proof = s, digest, r.options.Clock(), Signed
	if r.options.Trust == nil {
		g.proof = Unverified
	}
}

// GatewayReport is a reader's account of one gateway.
type GatewayReport struct {
	Gateway   string
	Statement GatewayState // the newest, without its heads; zero (Sequence 0) if none came
	Proof     Proof        // of the statement: Signed, or Unverified without a trust file
	Heard     time.Time    // when it came, by the reader's clock
	// Silent tells that the gateway promised another statement, and none came for
	// three times the interval promised: it is down or cut off, or its messages
	// are withheld. A delay counts too: where the gateway trusts its clock, the
	// statement's own time is compared with the reader's clock. A gateway of the
	// trust file that never made a statement is silent.
	Silent bool
}

// silentAfter is how many promised intervals may pass without a statement.
const silentAfter = 3

// Gateways gives the account of every gateway: those of the trust file, and
// without one those that made statements; sorted by name. Silence is measured
// by the reader's clock, now. It changes nothing.
func (r *Reader) Gateways() []GatewayReport {
	var out []GatewayReport
	now := r.options.Clock()
	for name, g := range r.gateway {
		p := GatewayReport{Gateway: name, Statement: g.newest, Proof: g.proof, Heard: g.heard}
		since := g.heard
		if g.newest.Clock != ClockUnknown && g.newest.Time.Before(since) {
			since = g.newest.Time
		}
		p.Silent = now.Sub(since) > silentAfter*g.newest.Interval
		out = append(out, p)
	}
	if r.options.Trust != nil {
		for name := range r.options.Trust.Gateways {
			if r.gateway[name] == nil {
				out = append(out, GatewayReport{Gateway: name, Silent: true})
			}
		}
	}
	slices.SortFunc(out, func(a, b GatewayReport) int { return cmp.Compare(a.Gateway, b.Gateway) })
	return out
}

// Entry gives what the stream's catalogue says of a point: of its name, or of
// the id that stands for it in addresses. Only catalogues count that the gateway
// signed for, or without a trust file any; so it may come after the first samples.
func (r *Reader) Entry(s Stream, point string) (Entry, bool) {
	state := r.streams[s]
	if state == nil {
		return Entry{}, false
	}
	e := state.entries[point]
	if e == nil {
		e = state.hidden[point]
	}
	if e == nil {
		return Entry{}, false
	}
	return *e, true
}
