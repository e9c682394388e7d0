package bridge

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/outbox"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/bridge/stream"
	"github.com/fieldseal/fieldseal/integration/natstest"
)

// fill takes n samples in commits of their own, without a relay.
func fill(t *testing.T, g *Gateway, from, n uint64) {
	t.Helper()
	f := &fake{size: 4000}
	f.use(g).sink.Link(up())
	for i := range n {
		require.NoError(t, g.sinks[0].Take(t.Context(), f.one(from+i)))
		require.NoError(t, g.committer.commit(t.Context(), g.committer.build))
	}
}

// Whatever is damaged in the outbox: the gateway starts, all else arrives, and
// signed loss records explain every gap.
func TestDamage(t *testing.T) {
	flip := func(t *testing.T, path string, at float64) {
		t.Helper()
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		end := bytes.LastIndexFunc(b, func(r rune) bool { return r != 0 })
		k := int(at * float64(end))
		for i := range 300 {
			b[k+i] ^= 0x55
		}
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	for name, c := range map[string]struct {
		crash  bool
		damage func(t *testing.T, segments []string)
	}{
		"in the oldest segment":                       {false, func(t *testing.T, s []string) { flip(t, s[0], 0.5) }},
		"in a middle one":                             {false, func(t *testing.T, s []string) { flip(t, s[1], 0.3); flip(t, s[1], 0.7) }},
		"a middle one is gone":                        {false, func(t *testing.T, s []string) { require.NoError(t, os.Remove(s[1])) }},
		"a middle one's header":                       {false, func(t *testing.T, s []string) { flip(t, s[1], 0) }},
		"in the newest one":                           {false, func(t *testing.T, s []string) { flip(t, s[len(s)-1], 0.5) }},
		"in the newest one's preamble, after a crash": {true, func(t *testing.T, s []string) { flip(t, s[len(s)-1], 0.002) }},
		"in the newest one, after a crash":            {true, func(t *testing.T, s []string) { flip(t, s[len(s)-1], 0.5) }},
		"at the very end":                             {false, func(t *testing.T, s []string) { flip(t, s[len(s)-1], 0.995) }},
		"the newest one is gone":                      {false, func(t *testing.T, s []string) { require.NoError(t, os.Remove(s[len(s)-1])) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, natstest.Options{}, nil)
			small(p, true)
			g := p.open()
			fill(t, g, 1, 300)
			if !c.crash {
				require.NoError(t, g.committer.finish())
			}
			require.NoError(t, g.Close())
			segments, err := filepath.Glob(p.path("state", "outbox", "*.seg"))
			require.NoError(t, err)
			require.Greater(t, len(segments), 2)
			c.damage(t, segments)

			g = p.open()
			f := (&fake{most: 20, every: time.Millisecond}).use(g)
			r := p.run(g)
			r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && f.n.Load() == 20 })
			r.stop()
			got := p.read()
			got.complete(t)
			numbers := got.numbers("press-1/counter")
			old := numbers[:len(numbers)-20]
			assert.Equal(t, uniq(old), old)
			assert.NotEmpty(t, old)
			if lost := got.lossesOf("outbox damaged"); len(old) < 300 {
				assert.GreaterOrEqual(t, lost, uint64(300-len(old)))
				assert.NotEmpty(t, p.events("outbox-damaged"))
			}
			for _, s := range got.report { // what lost its checkpoint counts as lost
				assert.LessOrEqual(t, s.Pending, int(got.lossesOf("outbox damaged")))
			}
			// And nothing is found anew.
			g = p.open()
			assert.Empty(t, g.committer.extra)
			require.NoError(t, g.Close())
		})
	}
}

// Damage in a segment that overflow gives up is told as well.
func TestDamageInWhatIsGivenUp(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	small(p, false)
	g := p.open()
	fill(t, g, 1, 150)
	require.NoError(t, g.committer.finish())
	require.NoError(t, g.Close())
	segments, err := filepath.Glob(p.path("state", "outbox", "*.seg"))
	require.NoError(t, err)
	b, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(segments[0], b, 0o600))

	p.nats.Stop()
	g = p.open()
	fill(t, g, 1000, 500)
	require.NotEmpty(t, p.events("outbox-overflow"))
	require.NoError(t, g.committer.finish())
	require.NoError(t, g.Close())
	require.NoError(t, p.nats.Restart())
	g = p.open()
	(&fake{most: 1}).use(g)
	r := p.run(g)
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Uplinks[0].Messages > 0 })
	r.stop()
	got := p.read()
	got.complete(t)
	assert.NotZero(t, got.lossesOf("overflow"))
	assert.NotZero(t, got.lossesOf("outbox damaged"))
}

// What an outbox refused comes first when it accepts again, and what was taken
// meanwhile is not lost for it.
func TestCommitAfterOneThatWasRefused(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	f := (&fake{}).use(g)
	f.sink.Link(up())
	c := g.committer
	require.NoError(t, f.sink.Take(t.Context(), f.one(1)))
	_, err := c.build(c.now())
	require.NoError(t, err)
	require.NoError(t, f.sink.Take(t.Context(), f.one(2)))
	require.NoError(t, c.finish())
	require.NoError(t, g.Close())
	assert.Empty(t, p.events("seal-failed"))
	r := p.start()
	r.until("delivery", func(s status.Gateway) bool { return s.Uplinks[0].Messages > 3 })
	r.stop()
	assert.Subset(t, p.read().numbers("press-1/counter"), []uint64{1, 2})
}

// One Take may be larger than a segment of the outbox.
func TestLargeCommit(t *testing.T) {
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	f := (&fake{size: 20_000}).use(g)
	f.sink.Link(up())
	var samples []point.Sample
	for i := range point.MaxSamples / 2 {
		samples = append(samples, f.one(uint64(i+1))...)
	}
	require.NoError(t, f.sink.Take(t.Context(), samples))
	require.NoError(t, g.committer.commit(t.Context(), g.committer.build))
	assert.Empty(t, g.committer.intake.why())
	assert.Greater(t, g.log.Stats().Bytes, uint64(8<<20))
	require.NoError(t, g.committer.finish())
	require.NoError(t, g.Close())
	r := p.start()
	r.until("delivery", func(s status.Gateway) bool { return s.Outbox.Messages == 0 && s.Uplinks[0].Messages > 20 })
	r.stop()
	got := p.read()
	got.lossless(t)
	assert.Len(t, got.samples["press-1/program-name"][:500], 500)
}

func TestMergeLost(t *testing.T) {
	run := func(machine string, first, last uint64) stream.Lost {
		l := stream.Lost{First: first, Last: last}
		l.Stream.Machine = machine
		return l
	}
	assert.Equal(t, []stream.Lost{run("a", 1, 9), run("a", 11, 12), run("b", 3, 4)},
		mergeLost([]stream.Lost{run("b", 3, 4), run("a", 11, 12), run("a", 4, 9), run("a", 1, 3), run("a", 2, 5)}))
}

func TestSegmentSize(t *testing.T) {
	for _, c := range [][2]int64{{16 << 20, 2 << 20}, {64 << 20, 4 << 20}, {1 << 40, 4 << 20}, {2 << 20, 512 << 10}, {1 << 20, 256 << 10}} {
		assert.Equal(t, c[1], segmentSize(c[0]))
		log, err := outbox.Open(outbox.Options{Dir: t.TempDir(), Key: make([]byte, 32), MaxSize: c[0], SegmentSize: c[1]})
		require.NoError(t, err)
		require.NoError(t, log.Close())
	}
}

// Two that look at the same damage at once, without holding each other up, do
// not both tell of it.
func TestDamageIsToldOnce(t *testing.T) {
	var d damage
	r := []outbox.Lost{{First: 3, Last: 4}}
	assert.True(t, d.note(r, 0))
	assert.False(t, d.note(r, 0))
	assert.True(t, d.note(nil, 1))
	assert.Equal(t, r, d.known)
}
