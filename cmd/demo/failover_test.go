package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/impair"
)

// manyMachines is a load: 60 machines.
const manyMachines = 40

// paths are what stands between the gateway and what it delivers to.
type paths struct {
	t    *testing.T
	nats *impair.TCP
	hub  *impair.Proxy
	p    *plant
}

var (
	natsAddress = regexp.MustCompile(`tls://([0-9.:]+)`)
	hubAddress  = regexp.MustCompile(`server: "([0-9.:]+)"`)
)

// edit puts the gateway's uplinks behind the proxies, and the hub first where it
// is preferred.
func (x *paths) edit(hubFirst bool) func(name, text string) string {
	return func(name, text string) string {
		if name != "gateway.yaml" {
			return text
		}
		var err error
		x.nats, err = impair.ListenTCP(natsAddress.FindStringSubmatch(text)[1])
		require.NoError(x.t, err)
		x.t.Cleanup(func() { require.NoError(x.t, x.nats.Close()) })
		x.hub, err = impair.Listen(impair.Config{Target: hubAddress.FindStringSubmatch(text)[1]})
		require.NoError(x.t, err)
		x.t.Cleanup(func() { require.NoError(x.t, x.hub.Close()) })
		text = natsAddress.ReplaceAllString(text, "tls://"+x.nats.Addr())
		text = hubAddress.ReplaceAllString(text, `server: "`+x.hub.Addr()+`"`)
		if hubFirst {
			before, list, _ := strings.Cut(text, "uplinks:\n")
			list, after, _ := strings.Cut(list, "\noutbox:")
			i := strings.Index(list, "  - name: radio")
			text = before + "uplinks:\n" + list[i:] + list[:i] + "\noutbox:" + after
		}
		return text
	}
}

// until waits for words in a file of the plant.
func (x *paths) until(words, file string) {
	assert.Eventually(x.t, func() bool {
		b, _ := os.ReadFile(x.p.path(file))
		return bytes.Contains(b, []byte(words))
	}, time.Minute, 20*time.Millisecond, "%s in %s", words, file)
}

// more waits until so many more messages are in the stream.
func (x *paths) more(n uint64) {
	last := x.stored()
	assert.Eventually(x.t, func() bool { return x.stored() >= last+n }, time.Minute, 20*time.Millisecond, "%d more messages", n)
}

func (x *paths) stored() (n uint64) {
	assert.NoError(x.t, x.p.nats.JetStream(func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, streamName)
		if err == nil {
			n = s.CachedInfo().State.LastSeq
		}
		return err
	}))
	return n
}

// A gateway under load loses the uplink that it prefers. The other one goes on,
// and the recipient has each sample once and signed. What is in the stream is
// there once too, and in order.
func TestFailover(t *testing.T) {
	for name, c := range map[string]struct {
		hubFirst bool
		does     func(x *paths)
		want     string // event
	}{
		"NATS is cut":  {false, func(x *paths) { x.nats.Cut() }, "radio delivers instead of plant-nats"},
		"a black hole": {true, func(x *paths) { x.hub.BlackHole(true) }, "plant-nats delivers instead of radio"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, done := context.WithCancel(t.Context())
			defer done()
			x := &paths{t: t}
			var raw []string
			r, err := show(ctx, flags{machines: manyMachines, uplink: overBoth}, io.Discard, hooks{
				edit: x.edit(c.hubFirst),
				started: func(p *plant) {
					x.p = p
					go func() {
						defer done()
						x.more(300) // of several commits
						c.does(x)
						x.until(c.want, "state/events.jsonl")
						x.more(200)
					}()
				},
				ended: func(p *plant, _ *configs.Config) { raw = numbersOf(t, p) },
			})
			require.NoError(t, err)
			require.Empty(t, r.wrong())
			assert.Zero(t, r.Lost)
			assert.Zero(t, r.Duplicates)
			assert.Equal(t, r.Samples, r.GatewaySigned)
			assert.Empty(t, raw, "of the stream itself")
			t.Logf("%d samples in %d messages", r.Samples, r.messages)
		})
	}
}

// numbersOf tells what is in the stream twice, or not in the order of its numbers.
// Key frames are sent again on each connection, and have their old numbers.
func numbersOf(t *testing.T, p *plant) (wrong []string) {
	t.Helper()
	last := make(map[envelope.Stream]uint64)
	r, err := newReader(p, true, hooks{message: func(m *envelope.Message) bool {
		if m.Address.Kind == envelope.KeyFrame || m.Sequence == 0 {
			return false
		}
		if m.Sequence <= last[m.Address.Stream] {
			wrong = append(wrong, fmt.Sprintf("%v: %d after %d", m.Address.Stream, m.Sequence, last[m.Address.Stream]))
		}
		last[m.Address.Stream] = m.Sequence
		return false
	}})
	require.NoError(t, err)
	require.NoError(t, r.read(context.Background(), p, true))
	require.NotEmpty(t, last)
	return wrong
}
