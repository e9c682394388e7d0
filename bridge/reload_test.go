package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/envelope"
	"github.com/fieldseal/fieldseal/bridge/status"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/integration/natstest"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/policy/approval"
)

// reload reads the plant's files again.
func (p *plant) reload(r *running) error {
	p.t.Helper()
	approvals, err := approval.Open(p.path("state"))
	require.NoError(p.t, err)
	config, problems := configs.Load(p.path("gateway.yaml"), configs.Options{Approvals: approvals})
	return r.Reload(config, problems)
}

// three puts three machines behind one endpoint into the plant.
func three(p *plant) {
	var err error
	p.sim, err = sim.StartModbus(sim.ModbusOptions{Machines: 3})
	require.NoError(p.t, err)
	p.t.Cleanup(p.sim.Stop)
	for _, name := range p.sim.Names() {
		p.files["machines/"+name+".yaml"] = p.sim.YAML(name)
	}
}

// more waits until each machine has given so many samples more.
func (r *running) more(n uint64) {
	r.t.Helper()
	before := make(map[string]uint64)
	for _, m := range r.Status().Machines {
		before[m.Name] = m.Samples.Taken
	}
	r.until("samples of each machine", func(s status.Gateway) bool {
		return !slices.ContainsFunc(s.Machines, func(m status.Machine) bool { return m.Samples.Taken < before[m.Name]+n })
	})
}

// whole checks that each value of a machine's counter that was given out
// arrived, once and in order, but for the last one.
func (p *plant) whole(got *received, machine, point string) {
	p.t.Helper()
	var gave []uint64
	for _, n := range p.sim.Served(machine, point) {
		gave = append(gave, uint64(n))
	}
	numbers := got.numbers(machine + "/" + point)
	require.GreaterOrEqual(p.t, len(numbers), len(gave)-1, machine)
	require.Equal(p.t, gave[:len(numbers)], numbers, machine)
}

// TestReloadOfDecisions holds that a policy that is signed while the gateway runs
// takes effect between two commits: no poll is missed, nothing read before leaves
// as was decided later, and who is no recipient any more cannot open what comes.
func TestReloadOfDecisions(t *testing.T) {
	t.Parallel()
	historian, err := envelope.NewIdentity(envelope.X25519, "historian")
	require.NoError(t, err)
	p := newPlant(t, natstest.Options{}, func(p *plant) {
		public := historian.Recipient().Marshal()
		sum := sha256.Sum256(public)
		p.files["historian.pub"] = string(public)
		p.files["trust.yaml"] += fmt.Sprintf("  historian: {keys: [{file: historian.pub, sha256: %q}]}\n", hex.EncodeToString(sum[:]))
		p.files["policy.yaml"] = strings.Replace(p.files["policy.yaml"], "internal, send: sealed, to: [process-engineering]", "internal, send: sealed, to: [process-engineering, historian]", 1)
	})
	r := p.start()
	r.more(30)
	require.NoError(t, p.reload(r))
	assert.Empty(t, p.events("reloaded"), "nothing has changed")

	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.edit("policy.yaml", "to: [process-engineering, historian]", "to: [process-engineering]")
	p.edit("policy.yaml", `"*/nameplate"`, `"*/nameplate", "*/counter"`)
	p.edit("policy.yaml", `"*/state", `, "")
	p.edit("machines/press-1.yaml", "{name: counter, at: holding/130, type: uint32, poll: fast, sensitivity: restricted}", "{name: counter, at: holding/130, type: uint32, poll: fast, sensitivity: public}")
	require.ErrorIs(t, p.reload(r), ErrRefused, "nobody signed it")
	assert.Len(t, p.events("reload-refused"), 1)
	r.more(10)
	before := time.Now()
	p.sign(p.anna)
	require.NoError(t, p.reload(r))
	after := time.Now()
	r.more(30)
	s := r.Status()
	assert.Equal(t, 2, s.Policy.Revision)
	assert.Empty(t, s.Reload.Refused)
	assert.Zero(t, s.Machines[0].Field.Reconnects)
	require.Len(t, p.events("reloaded"), 1)
	text := p.events("reloaded")[0].Text
	assert.Contains(t, text, "policy revision 1 becomes 2")
	assert.Contains(t, text, "level internal: readable by process-engineering, was by process-engineering, historian")
	assert.Contains(t, text, "counter clear (public), was sealed (restricted)")
	assert.Contains(t, text, "state sealed (restricted), was clear (public)")
	r.stop()

	got := p.read()
	got.lossless(t)
	slices.SortFunc(got.samples["press-1/counter"], func(a, b envelope.Sample) int { return int(a.Time - b.Time) }) // of two streams
	p.whole(got, "press-1", "counter")
	p.whole(got, "press-1", "public-counter")
	for _, d := range got.deliveries {
		for _, s := range d.Samples {
			at := time.Unix(0, s.Time)
			switch s.Name {
			case "counter":
				assert.True(t, d.Sealed && at.Before(after) || !d.Sealed && at.After(before), "%v %s", d.Sealed, at)
			case "state":
				assert.True(t, !d.Sealed && at.Before(after) || d.Sealed && at.After(before), "%v %s", d.Sealed, at)
			}
		}
	}
	opened, all := p.openedBy(historian)
	assert.NotZero(t, opened)
	assert.Less(t, opened, all, "the next epoch is not for who was taken out")
}

// openedBy counts the messages of level internal that an identity opens.
func (p *plant) openedBy(id *envelope.Identity) (opened, all int) {
	was := p.identity
	p.identity = id
	defer func() { p.identity = was }()
	for _, d := range p.read().deliveries {
		if d.Kind != envelope.Data || d.Stream.Level != "internal" {
			continue
		}
		all++
		if !d.Unopened {
			opened++
		}
	}
	return opened, all
}

// TestReloadOfOneMachine holds that a machine whose mapping changes, one that
// comes and one that goes interrupt no other behind the same endpoint.
func TestReloadOfOneMachine(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, three)
	r := p.start()
	r.more(20)
	p.edit("machines/press-2.yaml", "name: energy, at: reg/3204, type: int64", "name: energy, at: reg/3204, type: int64, poll: fast")
	require.NoError(t, os.Rename(p.path("machines/press-3.yaml"), p.path("press-3.away")))
	require.NoError(t, p.reload(r))
	assert.Len(t, r.Status().Machines, 2)
	r.more(20)
	require.NoError(t, os.Rename(p.path("press-3.away"), p.path("machines/press-3.yaml")))
	require.NoError(t, p.reload(r))
	r.more(20)
	s := r.Status()
	require.Len(t, s.Machines, 3)
	for _, m := range s.Machines {
		assert.Zero(t, m.Field.Reconnects, m.Name)
	}
	require.Len(t, p.events("reloaded"), 2)
	assert.Equal(t, "machine press-2: read otherwise; machine press-3: gone", p.events("reloaded")[0].Text)
	assert.Contains(t, p.events("reloaded")[1].Text, "machine press-3: new")
	r.stop()
	got := p.read()
	got.lossless(t)
	p.whole(got, "press-1", "counter")
	assert.NotEmpty(t, got.numbers("press-3/counter"))
}

// TestReloadMovesAMachine holds that a machine that is to be reached elsewhere
// is, and that its old connection ends.
func TestReloadMovesAMachine(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, three)
	other, err := sim.StartModbus(sim.ModbusOptions{Machines: 3})
	require.NoError(t, err)
	t.Cleanup(other.Stop)
	r := p.start()
	r.more(20)
	for _, name := range p.sim.Names() {
		p.edit("machines/"+name+".yaml", p.sim.URL(), other.URL())
	}
	p.edit("policy.yaml", "revision: 1", "revision: 2")
	p.sign(p.anna) // what was released at one address was not at another
	require.NoError(t, p.reload(r))
	r.more(20)
	assert.Len(t, r.endpoints, 1)
	asked := len(p.sim.Served("press-1", "counter"))
	r.more(20)
	assert.Len(t, p.sim.Served("press-1", "counter"), asked, "the old device is left alone")
	r.stop()
	p.read().lossless(t)
	assert.NotEmpty(t, other.Served("press-1", "counter"))
}

// TestReloadRefused holds that a reload is all or nothing.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(p *plant)
		says   string
	}{
		"a machine's file is wrong": {func(p *plant) { p.edit("machines/press-1.yaml", "type: float32", "type: float31") }, "float31"},
		"the gateway file is wrong": {func(p *plant) { p.edit("gateway.yaml", "machines:", "machine:") }, "machine"},
		"another name":              {func(p *plant) { p.edit("gateway.yaml", "gateway: "+testGateway, "gateway: other") }, "other"},
		"another state folder":      {func(p *plant) { p.edit("gateway.yaml", "state: state", "state: state2") }, "the state folder cannot change"},
		"metrics":                   {func(p *plant) { p.edit("gateway.yaml", "outbox:", "metrics: {listen: \"127.0.0.1:9464\"}\noutbox:") }, "where metrics are served cannot change"},
		"an outbox of four segments, which is no mistake": {func(p *plant) { p.edit("gateway.yaml", "64MiB", "16MiB") }, ""},
		"an uplink without authority":                     {func(p *plant) { require.NoError(p.t, os.WriteFile(p.path("hub-ca.pem"), nil, 0o600)) }, "hub-ca.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, natstest.Options{}, nil)
			r := p.start()
			r.more(10)
			before := r.Status()
			c.change(p)
			err := p.reload(r)
			if c.says == "" {
				require.NoError(t, err)
				r.stop()
				return
			}
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, c.says)
			r.more(10)
			s := r.Status()
			assert.NotEmpty(t, s.Reload.Refused)
			assert.Equal(t, before.Policy, s.Policy)
			assert.Len(t, s.Machines, 1)
			r.stop()
			got := p.read()
			got.lossless(t)
			p.whole(got, "press-1", "counter")
		})
	}
}

// TestReloadOfUplinks holds that another uplink goes on where the one before
// ended: nothing is lost, and nothing comes twice.
func TestReloadOfUplinks(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	r := p.start()
	for i := range 3 {
		r.more(20)
		p.edit("gateway.yaml", "name: plant-nats", fmt.Sprintf("name: plant-nats-%d", i))
		if i > 0 {
			p.edit("gateway.yaml", fmt.Sprintf("plant-nats-%d-%d", i, i-1), fmt.Sprintf("plant-nats-%d", i))
		}
		require.NoError(t, p.reload(r))
		r.until("the new uplink", func(s status.Gateway) bool {
			return s.Uplinks[0].Name == fmt.Sprintf("plant-nats-%d", i) && s.Uplinks[0].Messages > 0
		})
	}
	p.edit("gateway.yaml", "max_age: 7d", "max_age: 2d")
	p.edit("gateway.yaml", "64MiB", "128MiB")
	require.NoError(t, p.reload(r))
	r.more(20)
	assert.EqualValues(t, 128<<20, r.Status().Outbox.MaxSize)
	r.stop()
	got := p.read()
	got.lossless(t)
	p.whole(got, "press-1", "counter")
}

// TestReloadAtTheEnd holds that a gateway can end while its configuration is read
// again.
func TestReloadAtTheEnd(t *testing.T) {
	t.Parallel()
	p := newPlant(t, natstest.Options{}, nil)
	g := p.open()
	require.ErrorIs(t, g.Reload(g.config, nil), ErrRefused, "it does not run yet")
	r := p.run(g)
	r.more(10)
	p.edit("machines/press-1.yaml", "unit: kN", "unit: N")
	done := make(chan error, 1)
	go func() { done <- p.reload(r) }()
	r.stop()
	if err := <-done; err != nil {
		require.ErrorIs(t, err, ErrRefused)
	}
	require.ErrorIs(t, p.reload(r), ErrRefused)
	_, err := os.Stat(filepath.Join(p.path("state"), "events.jsonl"))
	require.NoError(t, err)
}
