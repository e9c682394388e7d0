package ciphertext_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

// With -corpus=1000000 the tests of this file give the tables of
// docs/ciphertext.md.
var corpusSize = flag.Int("corpus", 1000, "payloads of each kind and size in TestCorpus")

// wrapped gives a COSE_Encrypt0 with a body that is not encrypted: the structure
// is right, so that only the statistics judge.
func wrapped(r *rand.Rand, body []byte) []byte {
	b := []byte{0xd0, 0x83, 0x43, 0xa1, 0x01, 0x03, 0xa1, 0x05, 0x4c}
	b = append(b, randomBytes(r, 12)()...)
	switch n := len(body) + 16; {
	case n < 24:
		b = append(b, 0x40|byte(n))
	case n < 256:
		b = append(b, 0x58, byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0x59), uint16(n))
	}
	return append(append(b, body...), randomBytes(r, 16)()...)
}

// alone gives the share of a model's payloads that pass when each is judged
// alone.
func alone(r *rand.Rand, m model, size, n int) float64 {
	passed := 0
	const each = 50 // payloads of one source
	for range n / each {
		next := m.make(r, size)
		for range each {
			if ciphertext.Judge(ciphertext.COSE, wrapped(r, next())) == nil {
				passed++
			}
		}
	}
	return float64(passed) / float64(n/each*each)
}

// exposure makes a source trusted by 32 random payloads, lets it switch to a
// model, and gives how many of the model's payloads pass, of 48, and with which
// the first was refused.
func exposure(r *rand.Rand, format string, m model, size int, restart bool) (passed, first int) {
	g, _ := ciphertext.NewGuard(ciphertext.Config{Format: format})
	form := func(b []byte) []byte { return b }
	if format == ciphertext.COSE {
		form = func(b []byte) []byte { return wrapped(r, b) }
	}
	good := randomBytes(r, size)
	for range 32 {
		g.Judge(form(good()), time.Time{})
	}
	if restart {
		s := g.State()
		g, _ = ciphertext.NewGuard(ciphertext.Config{Format: format})
		g.Restore(s)
	}
	next := m.make(r, size)
	first = 99
	for i := range 48 {
		v := g.Judge(form(next()), time.Time{})
		switch {
		case v.Pass && !v.Repeat:
			passed++
		case !v.Pass && !v.Probation:
			first = min(first, i+1)
		}
	}
	return passed, first
}

func seeded(t testing.TB, n uint64) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(n, 20261123))
}

func corpusSizes() []int { return []int{16, 32, 64, 256} }

// TestCorpus prints what passes, alone and with history.
func TestCorpus(t *testing.T) {
	accepted(t, randomBytes, 1)
	refused(t, firstCorpus(), 1)
}

// accepted measures what is refused of that which should pass.
func accepted(t *testing.T, random func(*rand.Rand, int) source, seed uint64) {
	n := *corpusSize
	r := seeded(t, seed)
	text := "random, refused alone:"
	for _, size := range corpusSizes() {
		refused := 1 - alone(r, model{make: random}, size, n)
		text += fmt.Sprintf("  %d B %.1e", size, refused)
		require.LessOrEqual(t, refused, 1e-4+6/float64(n), "%d B", size)
	}
	t.Log(text)
	t.Log(history(t, r, random, (n+3)/4))
}

// refused measures what passes of that which should not.
func refused(t *testing.T, models []model, seed uint64) {
	n := min(*corpusSize, 100_000)
	r := seeded(t, seed)
	sizes, switched, trials, restarts := corpusSizes(), []int{32, 64, 256}, n/12_000, []bool{false, true}
	inside := []int{4, 16, 32, 64}
	if trials == 0 { // the ordinary run
		sizes, switched, trials, restarts, inside = sizes[2:], switched[:2], 1, restarts[:1], inside[2:3]
	}
	t.Logf("plaintext | passed alone, %% at %v B | opaque: worst payloads out, and first refusal, %v B, restarted %v | COSE %v B", sizes, switched, restarts, inside)
	for _, m := range models {
		line := fmt.Sprintf("%-32s |", m.name)
		for _, size := range sizes {
			share := alone(r, m, size, n/20)
			line += fmt.Sprintf(" %7.3f", 100*share)
			if size >= 64 && m.when != soon && m.when != never {
				require.LessOrEqual(t, share, map[bool]float64{size == 64 && m.when == mostly: .05}[true], "%s, %d B", m.name, size)
			}
		}
		line += " |"
		for _, restart := range restarts {
			for _, size := range switched {
				line += " " + worst(t, r, ciphertext.Opaque, m, size, restart, trials)
			}
			line += " |"
		}
		for _, size := range inside {
			line += " " + worst(t, r, ciphertext.COSE, m, size, false, trials)
		}
		t.Log(line)
	}
}

// worst gives the most payloads that got out before the source was stopped, and
// the latest first refusal.
func worst(t *testing.T, r *rand.Rand, format string, m model, size int, restart bool, trials int) string {
	passed, first := 0, 0
	for range trials {
		p, f := exposure(r, format, m, size, restart)
		passed, first = max(passed, p), max(first, f)
	}
	if m.when != never && size >= 16 {
		require.LessOrEqual(t, first, 16, "%s, %s, %d B", m.name, format, size)
		require.Less(t, passed, 16, "%s, %s, %d B", m.name, format, size)
	}
	return fmt.Sprintf("%2d/%-2d", passed, first)
}

// history gives the share of random payloads that a trusted guard refuses.
func history(t *testing.T, r *rand.Rand, random func(*rand.Rand, int) source, n int) string {
	text := "random, refused with history (opaque):"
	for _, size := range []int{32, 64, 256} {
		g, err := ciphertext.NewGuard(ciphertext.Config{Format: ciphertext.Opaque})
		require.NoError(t, err)
		next := random(r, size)
		refused, alarms := 0, 0
		for range n {
			v := g.Judge(next(), time.Time{})
			if v.Reason != "" && !v.Probation {
				refused++
			}
			for _, e := range v.Events {
				if e.Name == ciphertext.EventAlarm {
					alarms++
				}
			}
		}
		text += fmt.Sprintf("  %d B %.1e (alarms %d)", size, float64(refused)/float64(n), alarms)
		require.LessOrEqual(t, float64(refused)/float64(n), 1e-4+6/float64(n))
	}
	return text
}
