package sim_test

import (
	"context"
	"testing"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/integration/sim"
)

// libraryClient is the client of others.
func libraryClient(t *testing.T, plant *sim.OPCUA) *opcua.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	offers, err := opcua.GetEndpoints(ctx, plant.Endpoint())
	require.NoError(t, err)
	offer, err := opcua.SelectEndpoint(offers, "Basic256Sha256", ua.MessageSecurityModeSignAndEncrypt)
	require.NoError(t, err)
	own := sim.NewOPCUAIdentity("library", 2048)
	c, err := opcua.NewClient(plant.Endpoint(), opcua.SecurityFromEndpoint(offer, ua.UserTokenTypeAnonymous),
		opcua.Certificate(own.Certificate), opcua.PrivateKey(own.Key), opcua.AutoReconnect(false))
	require.NoError(t, err)
	require.NoError(t, c.Connect(ctx))
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// TestOPCUATruth: what the simulator says it gave out is what a client has, to
// the value, however fast nodes move.
func TestOPCUATruth(t *testing.T) {
	plant, err := sim.StartOPCUA(sim.OPCUAOptions{CounterEvery: -1, PayloadEvery: -1})
	require.NoError(t, err)
	defer plant.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := libraryClient(t, plant)
	space, err := c.FindNamespace(ctx, sim.OPCUANamespace)
	require.NoError(t, err)
	counter, force := ua.NewStringNodeID(space, "mixer-1.Counter"), ua.NewStringNodeID(space, "mixer-1.Force")
	assert.Zero(t, plant.Given("mixer-1", sim.Counter))
	read, err := c.Read(ctx, &ua.ReadRequest{NodesToRead: []*ua.ReadValueID{{NodeID: counter}}, TimestampsToReturn: ua.TimestampsToReturnBoth})
	require.NoError(t, err)
	assert.EqualValues(t, 1, read.Results[0].Value.Value())
	assert.EqualValues(t, 1, plant.Given("mixer-1", sim.Counter))

	came := make(chan *opcua.PublishNotificationData, 100)
	sub, err := c.Subscribe(ctx, &opcua.SubscriptionParameters{Interval: time.Second}, came)
	require.NoError(t, err)
	created, err := sub.Monitor(ctx, ua.TimestampsToReturnBoth,
		opcua.NewMonitoredItemCreateRequestWithDefaults(counter, ua.AttributeIDValue, 1),
		opcua.NewMonitoredItemCreateRequestWithDefaults(force, ua.AttributeIDValue, 2),
		opcua.NewMonitoredItemCreateRequestWithDefaults(ua.NewStringNodeID(space, "mixer-1.Missing"), ua.AttributeIDValue, 3))
	require.NoError(t, err)
	assert.Equal(t, ua.StatusBadNodeIDUnknown, created.Results[2].StatusCode)

	var counts []uint32
	forces := uint64(0)
	take := func() bool {
		select {
		case n := <-came:
			require.NoError(t, n.Error)
			for _, item := range n.Value.(*ua.DataChangeNotification).MonitoredItems {
				if item.ClientHandle == 1 {
					counts = append(counts, item.Value.Value.Value().(uint32))
				} else {
					forces++
				}
			}
			return true
		case <-ctx.Done():
			return false
		}
	}
	for forces < 8 && take() { // 4 a second, so several in each message
	}
	plant.Count("mixer-1")
	for len(counts) < 2 && take() {
	}
	require.NoError(t, plant.Still(ctx))
	for forces < plant.Given("mixer-1", "force") && take() {
	}
	assert.Equal(t, []uint32{1, 2}, counts)
	assert.Equal(t, counts, plant.Served("mixer-1", sim.Counter))
	assert.EqualValues(t, 2, plant.Given("mixer-1", sim.Counter), "the first was read already")
	assert.Equal(t, forces, plant.Given("mixer-1", "force"))
	assert.Zero(t, plant.Given("mixer-1", "temperature"), "nobody asked")

	assert.Zero(t, plant.Writes())
	_, err = c.Write(ctx, &ua.WriteRequest{NodesToWrite: []*ua.WriteValue{{
		NodeID: counter, AttributeID: ua.AttributeIDValue, Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(uint32(7))},
	}}})
	require.ErrorIs(t, err, ua.StatusBadNotWritable)
	assert.Equal(t, 1, plant.Writes())
}
