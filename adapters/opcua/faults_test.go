package opcua_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/integration/sim"
	"github.com/fieldseal/fieldseal/integration/sinktest"
)

// TestRefusals: what is not as the mapping says is not connected to.
func TestRefusals(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	for _, c := range []struct {
		name   string
		change func(*opcua.Spec)
		why    string
	}{
		{"another certificate", func(s *opcua.Spec) { s.ServerSHA256 = [32]byte{1, 2, 3} }, fmt.Sprintf(
			"the server's certificate is sha256:%x, and the pinned one is sha256:%x; if the server has a new certificate, compare the fingerprint with the one it shows and change server_certificate",
			plant.Server().Fingerprint(), [32]byte{1, 2, 3})},
		{
			"not offered", func(s *opcua.Spec) { s.Policy = "Aes128_Sha256_RsaOaep" },
			"the server does not offer Aes128_Sha256_RsaOaep SignAndEncrypt; it offers Basic256Sha256 SignAndEncrypt, Basic256Sha256 Sign, Aes256_Sha256_RsaPss SignAndEncrypt, Aes256_Sha256_RsaPss Sign",
		},
		{"nobody there", func(s *opcua.Spec) { s.Endpoint = "opc.tcp://127.0.0.1:1" }, "cannot connect: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := specOf(plant)
			c.change(&spec)
			_, r := read(t, newPool(t), spec, mixer(t, "mixer-1"))
			r.Until(t, c.why, func() bool { return r.Last().Err == c.why })
			r.Lock()
			defer r.Unlock()
			assert.Equal(t, point.LinkDown, r.Last().State)
		})
	}
}

// TestSign: a connection that is signed only is graded so.
func TestSign(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	spec := specOf(plant)
	spec.Policy, spec.Mode = "Basic256Sha256", "Sign"
	_, r := read(t, newPool(t), spec, mixer(t, "mixer-1"))
	r.Until(t, "samples", func() bool { return r.Good(counter, 0) >= 2 })
	r.Lock()
	defer r.Unlock()
	assert.Equal(t, point.Authenticated, r.Last().Security)
	assert.Equal(t, "Basic256Sha256 Sign", r.Last().Mechanism)
}

// TestBadPoints: what is wrong with one point concerns that point, which is
// tried again, and the others flow.
func TestBadPoints(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	extra := func(name, id string, typ opcua.Type, size int) opcua.Point {
		return opcua.Point{Name: name, Node: node(t, id), Type: typ, MaxBytes: size, Period: 100 * time.Millisecond}
	}
	m := mixer(t, "mixer-1",
		extra("absent", `s="DB"."Missing"[1]`, opcua.Int16, 0),
		extra("wider", "s=mixer-1.Counter", opcua.Uint64, 0),
		extra("short", "s=mixer-1.ProgramName", opcua.String, 5),
		extra("array", "s=mixer-1.Temperature", opcua.Float64, 0),
		opcua.Point{Name: "elsewhere", Namespace: "urn:not:there", Node: node(t, "i=7013"), Type: opcua.Int32, Period: time.Second},
	)
	plant.Override("mixer-1", "Temperature", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant([]float64{1, 2})}
	})
	plant.Override("mixer-1", "Energy", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueStatusCode | ua.DataValueServerTimestamp, Status: ua.StatusBadSensorFailure, ServerTimestamp: time.Unix(1700000000, 0)}
	})
	plant.Override("mixer-1", "PumpOn", func() *ua.DataValue {
		return &ua.DataValue{EncodingMask: ua.DataValueStatusCode | ua.DataValueValue, Status: ua.StatusUncertainLastUsableValue, Value: ua.MustVariant(true)}
	})
	s, r := read(t, newPool(t), specOf(plant), m)
	absent := uint32(len(m.Points) - 5)
	wider, short, array, elsewhere := absent+1, absent+2, absent+3, absent+4
	r.Until(t, "good ones, and the bad ones", func() bool {
		return r.Good(counter, 0) >= 2 && r.Metas[elsewhere].Status != "" && r.Metas[absent].Status != "" && r.Metas[array].Status != "" &&
			r.Metas[short].Status != "" && r.Metas[wider].Status != "" && !slices.ContainsFunc(
			[]uint32{absent, wider, short, array, elsewhere, energy, pump}, func(i uint32) bool { return len(r.Of(i, 0)) == 0 })
	})
	r.Look(func() {
		for index, want := range map[uint32]struct {
			q      point.Quality
			status string
		}{
			absent:    {0x80340000, `the server has no node s="DB"."Missing"[1] (BadNodeIDUnknown)`},
			wider:     {point.BadTypeMismatch, "node s=mixer-1.Counter gives uint32, and the mapping says uint64"},
			short:     {point.BadEncodingLimitsExceeded, "node s=mixer-1.ProgramName gives more than max_bytes: 5"},
			array:     {point.BadTypeMismatch, "node s=mixer-1.Temperature gives an array, and the mapping says float64"},
			elsewhere: {point.BadConfigurationError, "the server has no namespace urn:not:there; it has http://opcfoundation.org/UA/, " + sim.OPCUANamespace},
			energy:    {point.BadSensorFailure, ""},
		} {
			assert.Equal(t, want.status, r.Metas[index].Status)
			assert.Equal(t, want.q, r.Of(index, 0)[0].Quality, m.Points[index].Name)
			assert.Equal(t, point.None, r.Of(index, 0)[0].Value.Kind())
		}
		assert.Equal(t, int64(1700000000e9), r.Of(energy, 0)[0].Time, "the server's time where the device gives none")
		uncertain := r.Of(pump, 0)[0]
		assert.Equal(t, point.Quality(ua.StatusUncertainLastUsableValue), uncertain.Quality)
		assert.True(t, uncertain.Value.Bool(), "an uncertain value is one")
	})
	assert.Equal(t, uint64(6), s.Stats().Machines[0].Refused, "the array is two points")

	plant.Override("mixer-1", "Temperature", nil)
	r.Until(t, "the mended point", func() bool { return r.Good(array, 0) > 0 && r.Metas[array].Status == "" })
	r.Until(t, "another try at the absent one", func() bool { return len(r.Of(absent, 0)) >= 2 })
	assert.Zero(t, plant.Writes())
}

// TestMissingNamespace: a machine none of whose nodes can be there is down, and
// another one of the same endpoint is not.
func TestMissingNamespace(t *testing.T) {
	plant := startPlant(t, sim.OPCUAOptions{})
	s, err := newPool(t).Source(specOf(plant))
	require.NoError(t, err)
	lost, good := sinktest.New(), sinktest.New()
	m := mixer(t, "mixer-1")
	m.Namespace = "http://vendor.example/old"
	require.NoError(t, s.Attach(point.Machine{Name: "lost", Spec: m}, lost))
	require.NoError(t, s.Attach(point.Machine{Name: "good", Spec: mixer(t, "mixer-1")}, good))
	run(t, s, lost, good)
	good.Until(t, "samples", func() bool { return good.Good(counter, 0) > 0 })
	lost.Until(t, "the reason", func() bool {
		return lost.Last().Err == "the server has no namespace http://vendor.example/old; it has http://opcfoundation.org/UA/, "+sim.OPCUANamespace
	})
	assert.Equal(t, point.LinkDown, lost.Last().State)
}

// TestSecretsInTexts: nobody who prints a spec prints a key or a password.
func TestSecretsInTexts(t *testing.T) {
	spec := opcua.Spec{Key: "private", User: opcua.User{Name: "fieldseal", Password: "hunter2hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb, spec)
		assert.NotContains(t, text, "hunter2", verb)
		assert.NotContains(t, text, "private", verb)
		assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", "hunter2"), verb)
	}
}
