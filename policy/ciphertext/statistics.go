package ciphertext

import (
	"errors"
	"math"
	"math/bits"
	"unicode/utf8"
)

// What the statistics of one payload find.
var (
	errText     = errors.New("what stands where the ciphertext should be is readable text")
	errTextRun  = errors.New("readable text stands inside what should be ciphertext")
	errMagic    = errors.New("what stands where the ciphertext should be begins like a file of a known kind")
	errWhole    = errors.New("what stands where the ciphertext should be is a well-formed message (CBOR, BSON or deflate)")
	errUnevenly = errors.New("its bytes are too uneven for ciphertext")
	errBlocks   = errors.New("blocks repeat inside the ciphertext")
)

// judgeBody runs the tests that need one payload only. soft tells of a finding
// that is too weak to refuse a single payload and counts towards repeated
// failure.
func judgeBody(b []byte) (soft bool, err error) {
	switch {
	case utf8.Valid(b) && len(b) >= leastText:
		return false, errText
	case hasTextRun(b):
		return false, errTextRun
	case hasMagic(b):
		return false, errMagic
	case repeatsBlock(b):
		return false, errBlocks
	case isUneven(b, limitBits):
		return false, errUnevenly
	case isWholeMessage(b):
		if len(b) >= leastWhole {
			return false, errWhole
		}
		soft = true
	case len(b) >= leastPrint && len(b) < leastText && isPrintable(b):
		soft = true
	}
	return soft, nil
}

func printable(c byte) bool { return c >= 0x20 && c < 0x7f }

func isPrintable(b []byte) bool {
	for _, c := range b {
		if !printable(c) {
			return false
		}
	}
	return true
}

// hasTextRun looks at every 22nd byte only, as long as that is not printable.
func hasTextRun(b []byte) bool {
	for at := textRun - 1; at < len(b); {
		first := at
		for first > at-textRun && printable(b[first]) {
			first--
		}
		if first == at-textRun {
			return true
		}
		at = first + textRun
	}
	return false
}

// repeatsBlock tells whether two aligned blocks of 8 bytes are equal, which
// random bytes never show (2^-64 for each pair): a fixed pattern, or a block
// cipher that gives equal plaintext blocks equal ciphertext (ECB).
func repeatsBlock(b []byte) bool {
	const most = 128 // blocks compared with each other
	var seen [most]uint64
	for i := range min(len(b)/8, most) {
		v := load(b[8*i:])
		for _, w := range seen[:i] {
			if v == w {
				return true
			}
		}
		seen[i] = v
	}
	return false
}

// spread gives each byte's bits, one in each byte of a word: sums of such words
// count the ones of each bit position.
var spread = mustSpread()

func mustSpread() (t [256]uint64) {
	for b := range t {
		for bit := range 8 {
			t[b] |= uint64(b>>bit&1) << (8 * bit)
		}
	}
	return t
}

// imbalances has imbalance for up to 64 samples, as [samples][ones].
var imbalances = mustImbalances()

func mustImbalances() (t [window + 1][2 * window]float64) {
	for n := range t {
		for ones := range n + 1 {
			t[n][ones] = divergence(ones, n)
		}
	}
	return t
}

func divergence(ones, n int) float64 {
	return float64(n)*math.Ln2 + xLogX(ones) + xLogX(n-ones) - xLogX(n)
}

func xLogX(x int) float64 {
	if x == 0 {
		return 0
	}
	return float64(x) * math.Log(float64(x))
}

// tally sums up what the windows of one payload show. Columns are told apart by
// their position modulo 8; those of strides 4, 2 and 1 are unions of them.
type tally struct {
	ones [64]int // of bit i%8 in column i/8
	n    [8]int  // bytes in each column

	repeats  [15]int     // bytes that stood in their column before, window by window
	expected [15]float64 // at most so many of random bytes
	worst    float64     // bits of the oddest window
	tests    int
}

// isUneven judges the distribution of b's bytes and bits, as they stand and as
// differences of 16-bit neighbours, which shows smooth signals.
func isUneven(b []byte, limit int) bool {
	if isSkewed(b, limit+1) { // the two share the limit
		return true
	}
	var t tally
	var d [window]byte
	for at := 2; at < len(b); at += window {
		n := min(window, len(b)-at)
		for i := range n {
			d[i] = b[at+i] - b[at+i-2]
		}
		t.add(d[:n])
	}
	return t.odd(limit + 1)
}

// isSkewed judges the distribution of b's bytes and bits.
func isSkewed(b []byte, limit int) bool {
	var t tally
	for at := 0; at < len(b); at += window {
		t.add(b[at:min(at+window, len(b))])
	}
	return t.odd(limit)
}

// add takes a window of at most 64 bytes.
func (t *tally) add(w []byte) {
	var seen [8][4]uint64
	var ones [8]uint64
	for i, c := range w {
		seen[i&7][c>>6] |= 1 << (c & 63)
		ones[i&7] += spread[c]
	}
	var n [8]int
	for c := range n {
		n[c] = (len(w) + 7 - c) / 8
		t.n[c] += n[c]
		for bit := range 8 {
			t.ones[8*c+bit] += int(ones[c] >> (8 * bit) & 0xff)
		}
	}
	at := 0
	for stride := 8; stride > 0; stride /= 2 {
		all, allExpected := 0, 0.0
		sum := 0.0 // of the oddities of all bit positions
		for c := range stride {
			k := n[c] - bits.OnesCount64(seen[c][0]) - bits.OnesCount64(seen[c][1]) - bits.OnesCount64(seen[c][2]) - bits.OnesCount64(seen[c][3])
			e := float64(n[c]*(n[c]-1)) / 512
			t.note(excess(k, e))
			t.repeats[at] += k
			t.expected[at] += e
			at++
			all += k
			allExpected += e
			if stride <= 4 && n[c] > 0 {
				sum += planes(ones[c], n[c])
			}
		}
		t.note(excess(all, allExpected))
		if stride <= 4 {
			t.note(joint(sum, 8*stride))
		}
		for c := range stride / 2 { // fold: two columns become one of half the stride
			o := c + stride/2
			for i := range seen[c] {
				seen[c][i] |= seen[o][i]
			}
			ones[c] += ones[o]
			n[c] += n[o]
		}
	}
}

// planes sums the oddity, in nats, of the 8 bit positions of a column of n
// bytes, whose ones are counted in the bytes of a word.
func planes(ones uint64, n int) (sum float64) {
	of := &imbalances[n]
	for range 8 {
		sum += of[ones&0x7f] // at most 64
		ones >>= 8
	}
	return sum
}

func (t *tally) note(bits float64) {
	t.tests++
	t.worst = max(t.worst, bits)
}

// odd runs the tests on all windows together, and tells whether any test is
// odder than the limit allows for so many tests.
func (t *tally) odd(limit int) bool {
	at := 0
	for stride := 8; stride > 0; stride /= 2 {
		all, allExpected, sum := 0, 0.0, 0.0
		for c := range stride {
			t.note(excess(t.repeats[at], t.expected[at]))
			all += t.repeats[at]
			allExpected += t.expected[at]
			at++
			highest := 0.0
			for _, ones := range t.ones[8*c : 8*c+8] {
				x := imbalance(ones, t.n[c])
				sum += x
				highest = max(highest, x)
			}
			t.note(highest/math.Ln2 - 1)
			t.tests += 7
		}
		t.note(excess(all, allExpected))
		t.note(joint(sum, 8*stride))
		for c := range stride / 2 {
			o := c + stride/2
			for bit := range 8 {
				t.ones[8*c+bit] += t.ones[8*o+bit]
			}
			t.n[c] += t.n[o]
		}
	}
	return t.worst > float64(limit)+math.Log2(float64(t.tests))
}

// excess gives the bits of oddity of k repeated bytes where at most e are
// expected. Each byte drawn repeats one of m before it with probability at most
// m/256, whatever those are, so Chernoff's bound for a sum of such trials holds:
// P(K ≥ k) ≤ exp(k - e - k·ln(k/e)).
func excess(k int, e float64) float64 {
	x := float64(k)
	if x <= 2*e || k < 2 {
		return 0
	}
	return (x*math.Log(x/e) - x + e) / math.Ln2
}

// imbalance gives n times the divergence of the share of ones from a half, in
// nats: Chernoff's bound for one bit position is 2·exp(-imbalance).
func imbalance(ones, n int) float64 {
	if n <= window {
		return imbalances[n][ones]
	}
	return divergence(ones, n)
}

// joint gives the bits of oddity of a sum of imbalances over n bit positions.
// For every number of samples E[exp(0.7·imbalance)] is at most exp(0.694), so
// P(sum ≥ x) ≤ exp(0.694·n - 0.7·x).
func joint(sum float64, n int) float64 {
	return (0.7*sum - 0.694*float64(n)) / math.Ln2
}
