package opcua_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
)

// TestRead: every point arrives with its own type, the device's time and the
// connection's security.
func TestRead(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	m := mixer(t, "mixer-1")
	_, r := read(t, newPool(t), specOf(plant), m)
	r.Until(t, "a value of each point", func() bool {
		for i := range m.Points {
			if r.Good(uint32(i), 0) == 0 {
				return false
			}
		}
		return r.Good(counter, 0) >= 5
	})
	r.Lock()
	defer r.Unlock()
	l := r.Links[0]
	assert.Equal(t, point.LinkUp, l.State)
	assert.Equal(t, point.Encrypted, l.Security)
	assert.Equal(t, "Aes256_Sha256_RsaPss SignAndEncrypt", l.Mechanism)
	assert.Equal(t, "u-force", r.Metas[force].Unit)
	assert.Empty(t, r.Metas[force].Status)
	for i, kind := range map[uint32]point.Kind{
		counter: point.Uint, force: point.Float, state: point.Uint, program: point.Text, pump: point.Bool,
		energy: point.Int, temperature: point.Float, torqueLog: point.Bytes,
	} {
		s := r.Of(i, 0)[0]
		assert.Equal(t, kind, s.Value.Kind(), m.Points[i].Name)
		assert.WithinDuration(t, time.Now(), time.Unix(0, s.Time), time.Minute)
	}
	assert.Equal(t, string(plant.Canaries()[0]), string(r.Of(program, 0)[0].Value.Data()))
	assert.Equal(t, plant.Payloads("mixer-1")[0], r.Of(torqueLog, 0)[0].Value.Data())
	var got []uint32
	for _, s := range r.Of(counter, 0) {
		got = append(got, uint32(s.Value.Uint()))
	}
	assert.Equal(t, plant.Served("mixer-1", sim.Counter)[:len(got)], got, "each once, none lost")
}

// TestRenewal: the keys of the channel are renewed while it is used, and values
// go on arriving. The simulator is a process of its own, because the library's
// server is not safe while it renews.
func TestRenewal(t *testing.T) {
	const load = 10
	spec := startSimulator(t, load)
	pool := newPool(t)
	pool.Renew(4 * time.Second)
	s, r := read(t, pool, spec, loaded(t, load))
	r.Until(t, "samples over two lives of the keys", func() bool { return r.Good(0, 0) >= 9 })
	assert.Equal(t, uint64(1), s.Stats().Connections)
	assert.Zero(t, s.Stats().Deaths)
}

// TestSignalsOfTheGroup: what stops the gateway's process group reaches the
// worker too, and is not for it.
func TestSignalsOfTheGroup(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	s, r := read(t, newPool(t), specOf(plant), mixer(t, "mixer-1"))
	r.Until(t, "a value", func() bool { return r.Good(counter, 0) > 0 })
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		require.NoError(t, syscall.Kill(s.Worker(), sig))
	}
	mark := r.Mark()
	r.Until(t, "more values", func() bool { return r.Good(counter, mark) > 2 })
	assert.Zero(t, s.Stats().Deaths)
}
