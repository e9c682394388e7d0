package ciphertext

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// What the history finds.
var (
	errLikeBefore = errors.New("it resembles the payloads before it: its plaintext shows")
	errCameBack   = errors.New("an earlier payload came back, which encryption never gives")
	errSameTag    = errors.New("its authentication tag is that of the payload before")
)

// past holds the bodies of the last payloads that were judged, in memory only.
type past struct {
	ring [history]bygone
	n    int // of them in use
	next int
	// The ones of each bit at each position, over all bodies kept, and the
	// bodies of short payloads one behind the other.
	ones   [historyBytes]uint64
	pooled [pooledBytes]byte
}

// bygone is one of them.
type bygone struct {
	digest [16]byte // of the whole payload
	tag    [8]byte  // the first bytes of its tag
	body   [historyBytes]byte
	size   int
	// Of the positions of body, those that hold the byte of one of the w
	// payloads before it, and how many are compared; both summed up over w.
	repeats, compared [history]int
}

// at gives the payload of so many payloads ago; 0 is the newest.
func (h *past) at(ago int) *bygone { return &h.ring[(h.next-1-ago+2*history)%history] }

// holds tells whether a payload is among those kept.
func (h *past) holds(digest [16]byte) bool {
	for ago := range h.n {
		if h.at(ago).digest == digest {
			return true
		}
	}
	return false
}

// add judges a payload against those before it and keeps it.
//
// In any number of payloads that are encrypted anew, each position holds
// independent random bytes. How many of them repeat one that stood at their
// position before is therefore bounded as in [excess]. Nothing else is assumed,
// so that a fixed pad, a keystream used twice and a constant field all show.
func (h *past) add(digest [16]byte, p *parts) error {
	b := &h.ring[h.next]
	for i, c := range b.body[:b.size] {
		h.ones[i] -= spread[c]
	}
	h.next = (h.next + 1) % history
	b.digest, b.size = digest, copy(b.body[:], p.body)
	clear(b.body[b.size:])
	for i, c := range b.body[:b.size] {
		h.ones[i] += spread[c]
	}
	var err error
	var tag [8]byte
	if len(p.tag) >= len(tag) {
		tag = [8]byte(p.tag)
		if h.n > 0 && h.at(1).tag == tag {
			err = errSameTag
		}
	}
	b.tag = tag
	b.repeats, b.compared = [history]int{}, [history]int{}
	h.compare(b)
	h.n = min(h.n+1, history)
	if h.odd() || h.oddBits() || h.oddTogether() {
		err = errLikeBefore
	}
	return err
}

// compare counts for each w the positions at which b repeats one of the w
// payloads before it.
func (h *past) compare(b *bygone) {
	var same [historyBytes / 8]uint64 // a bit in each byte that was seen before
	words := (b.size + 7) / 8
	compared := 0
	for w := 1; w <= min(h.n, history-1); w++ {
		old := h.at(w)
		size := min(b.size, old.size)
		compared += size
		n := 0
		for i := range words {
			if valid := size - 8*i; valid > 0 {
				x := equalBytes(load(b.body[8*i:]) ^ load(old.body[8*i:]))
				if valid < 8 {
					x &= 1<<(8*valid) - 1
				}
				same[i] |= x
			}
			n += bits.OnesCount64(same[i])
		}
		b.repeats[w], b.compared[w] = n, compared
	}
}

// equalBytes gives the top bit of each byte of x that is 0.
func equalBytes(x uint64) uint64 {
	const low = 0x7f7f7f7f7f7f7f7f
	return ^((x&low + low) | x | low)
}

// odd looks at the last 2, 3, 4, 6, 8, 12 and 16 payloads.
func (h *past) odd() bool {
	for _, w := range [...]int{2, 3, 4, 6, 8, 12, 16} {
		if w > h.n {
			break
		}
		repeats, compared := 0, 0
		for ago := range w - 1 {
			b := h.at(ago)
			repeats += b.repeats[w-1-ago]
			compared += b.compared[w-1-ago]
		}
		if excess(repeats, float64(compared)/256) > historyBits {
			return true
		}
	}
	return false
}

// oddBits counts the bits that were the same in the whole history, which under a
// fixed pad shows too. A bit of random bytes is so with probability 2^-15.
func (h *past) oddBits() bool {
	if h.n < history {
		return false
	}
	size := historyBytes
	for i := range h.ring {
		size = min(size, h.ring[i].size)
	}
	const all = history * 0x0101010101010101
	n := 0
	for _, ones := range h.ones[:size] {
		n += bits.OnesCount64(equalBytes(ones) | equalBytes(ones^all))
	}
	return n > constantBits
}

// oddTogether runs the statistics of one payload on all bodies kept, one behind
// the other: what is too little to be seen in a short one adds up.
func (h *past) oddTogether() bool {
	size := h.at(0).size
	if size >= pooledBytes/4 || size < 2 {
		return false
	}
	all := h.pooled[:0]
	for ago := range h.n {
		if b := h.at(ago); b.size == size && len(all)+size <= pooledBytes {
			all = append(all, b.body[:size]...)
		}
	}
	return len(all) > size && isUneven(all, pooledBits)
}

// nonces remembers the last IVs with their keys.
type nonces struct {
	ring  [rememberedIVs]uint64
	n     int
	kid   uint64 // of the highest partial IV
	above uint64 // that IV, and one
}

var (
	errIVRepeated  = errors.New("its IV came before with another ciphertext: the device used a nonce twice, or was read while it wrote")
	errIVBackwards = errors.New("its Partial IV went backwards under one key: the device will use nonces twice")
)

// add tells whether the IV was used before under the key.
func (s *nonces) add(p *parts) error {
	if len(p.iv) == 0 || !p.oneKey {
		return nil
	}
	kid := fingerprint(p.kid)
	var name [8]byte
	binary.BigEndian.PutUint64(name[:], kid)
	id := fingerprint(name[:], p.iv)
	for _, x := range s.ring[:min(s.n, rememberedIVs)] {
		if x == id {
			return errIVRepeated
		}
	}
	s.ring[s.n%rememberedIVs] = id
	s.n++
	if !p.partial {
		return nil
	}
	var counter uint64
	for _, c := range p.iv {
		counter = counter<<8 | uint64(c)
	}
	before, known := s.above, s.above > 0 && s.kid == kid
	s.kid, s.above = kid, max(counter+1, counter)
	if known && counter+1 < before {
		return errIVBackwards
	}
	return nil
}
