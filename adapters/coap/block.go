package coap

import (
	"slices"
	"time"

	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// maxTransfers is how many block-wise transfers one session has under way; the
// oldest goes for a new one.
const maxTransfers = 4

// transfer is a payload that comes in blocks.
type transfer struct {
	point  uint32
	tag    string
	format int
	at     time.Time // of the last block
	have   []byte
}

// transfers are those of one session.
type transfers []*transfer

// take adds a block. whole is the payload once the last one is there; else the
// answer says what comes next or what is wrong.
func (t *transfers) take(r *request, point uint32, most int, now time.Time) (whole []byte, a answer) {
	*t = slices.DeleteFunc(*t, func(o *transfer) bool { return now.Sub(o.at) > lifetime })
	k := slices.IndexFunc(*t, func(o *transfer) bool { return o.point == point && o.tag == r.tag })
	end := func(a answer) ([]byte, answer) {
		if k >= 0 {
			*t = slices.Delete(*t, k, k+1)
		}
		return nil, a
	}
	size := r.block.size()
	switch {
	case r.block.more && len(r.payload) != size, len(r.payload) == 0, len(r.payload) > size:
		return end(answer{code: codes.BadRequest, why: "the block has not the size that it says"})
	case r.block.number == 0:
		if k < 0 {
			if len(*t) == maxTransfers {
				*t = slices.Delete(*t, 0, 1)
			}
			k = len(*t)
			*t = append(*t, nil)
		}
		(*t)[k] = &transfer{point: point, tag: r.tag, format: r.format}
	case k < 0:
		return nil, answer{code: codes.RequestEntityIncomplete, why: "the blocks before are not here; begin again"}
	}
	o := (*t)[k]
	// A device may go on with smaller blocks: what counts is where a block begins.
	switch at := int64(r.block.number) * int64(size); {
	case at != int64(len(o.have)):
		return end(answer{code: codes.RequestEntityIncomplete, why: "a block is missing; begin again"})
	case o.format != r.format:
		return end(answer{code: codes.RequestEntityIncomplete, why: "the blocks are not of one content format; begin again"})
	case len(o.have)+len(r.payload) > most:
		return end(tooLarge(most))
	}
	o.at = now
	o.have = append(o.have, r.payload...)
	if r.block.more {
		return nil, answer{code: codes.Continue, block: r.block, blocked: true}
	}
	*t = slices.Delete(*t, k, k+1)
	return o.have, answer{}
}

func tooLarge(most int) answer {
	return answer{code: codes.RequestEntityTooLarge, size: uint32(most), why: "the payload is longer than the point's max_bytes"}
}
