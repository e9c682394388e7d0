package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/coap"
	"github.com/fieldseal/fieldseal/adapters/opcua"
	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/configs"
	"github.com/fieldseal/fieldseal/policy"
)

// pumpPlan is that of a pump which encrypts itself, with what a case changes.
func pumpPlan(t *testing.T, change func(*configs.Config)) *plan {
	t.Helper()
	c := &configs.Config{
		Gateway: "gw-1",
		Policy: policy.Policy{
			Name: "plant", Revision: 1, Default: "internal",
			Levels: []policy.Level{
				{Name: "internal", To: []string{"historian"}, Connection: point.Encrypted, Pad: true, HideNames: true},
				{Name: "secret", Send: policy.SendWithheld},
			},
			Passthrough: policy.Passthrough{Accept: []string{"cose"}},
			Raise:       []policy.Raise{{Points: patternsOf(t, "*/recipe"), Level: "secret"}},
		},
		Machines: []configs.Machine{
			{
				Name: "pump-4", CoAP: &configs.CoAP{
					Endpoint: coap.Spec{Listen: "0.0.0.0:5684"},
					Machine:  coap.Machine{Device: coap.Device{Identity: "pump-4", Credential: "pump-4"}, Points: []coap.Point{{Name: "v"}}},
				},
				Points: []configs.Point{{Point: policy.Point{Name: "v", Passthrough: "cose", ReadableBy: []string{"historian"}}}},
			},
			{Name: "mixer-1", OPCUA: &configs.OPCUA{Endpoint: opcua.Spec{Endpoint: "opc.tcp://a:4840", Policy: "Aes256_Sha256_RsaPss", Mode: "SignAndEncrypt", User: opcua.User{Anonymous: true}}}},
		},
	}
	change(c)
	return newPlan(c, "", true, time.Now(), func(string) bool { return true })
}

func patternsOf(t *testing.T, all ...string) (out []policy.Pattern) {
	t.Helper()
	for _, s := range all {
		p, err := policy.ParsePattern(s)
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

// Each thing that lets somebody else in, one at a time, and back again.
func TestComparePlans(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, file, "one")
	level := func(change func(*policy.Level)) func(*configs.Config) {
		return func(c *configs.Config) { change(&c.Policy.Levels[0]) }
	}
	pump := func(change func(*configs.CoAP)) func(*configs.Config) {
		return func(c *configs.Config) { change(c.Machines[0].CoAP) }
	}
	mixer := func(change func(*configs.OPCUA)) func(*configs.Config) {
		return func(c *configs.Config) { change(c.Machines[1].OPCUA) }
	}
	for _, c := range []struct {
		name   string
		change func(*configs.Config)
		kind   string
		looser bool
		back   bool // what the way back is
	}{
		{"another key of the device", pump(func(c *configs.CoAP) { c.Device.Credential = "other" }), changePlace, true, true},
		{"another device", pump(func(c *configs.CoAP) { c.Device.Identity = "pump-5" }), changePlace, true, true},
		{"devices of an authority", pump(func(c *configs.CoAP) { c.Trust = file }), changePlace, true, true},
		{"a certificate of the gateway", pump(func(c *configs.CoAP) { c.Certificate = "coap" }), changePlace, false, false},
		{"more silence", pump(func(c *configs.CoAP) { c.Silence = time.Hour }), changeOther, false, false},
		{"another server", mixer(func(o *configs.OPCUA) { o.Endpoint.ServerSHA256[0] = 1 }), changePlace, true, true},
		{"another security policy", mixer(func(o *configs.OPCUA) { o.Endpoint.Policy = "Basic256Sha256" }), changePlace, true, true},
		{"less security", mixer(func(o *configs.OPCUA) { o.Endpoint.Mode = "Sign" }), changeProtection, true, false},
		{"another user", mixer(func(o *configs.OPCUA) { o.Endpoint.User, o.Credential = opcua.User{Name: "a"}, "a" }), changePlace, false, false},
		{"sizes", level(func(l *policy.Level) { l.Pad = false }), changeRule, true, false},
		{"names", level(func(l *policy.Level) { l.HideNames = false }), changeRule, true, false},
		{"readers", level(func(l *policy.Level) { l.To = append(l.To, "oem") }), changeRule, true, false},
		{"connection", level(func(l *policy.Level) { l.Connection = point.AnyConnection }), changeRule, true, false},
		{"raise", func(c *configs.Config) { c.Policy.Raise = nil }, changeRule, true, false},
		{"events", func(c *configs.Config) { c.Policy.Events = []string{"oem"} }, changeRule, true, false},
		{"the gateway's name", func(c *configs.Config) { c.Gateway = "gw-2" }, changeGateway, true, true},
		{"tags", func(c *configs.Config) { c.Machines[1].Tags = map[string]string{"line": "4"} }, changeOther, false, false},
		{"sealed again", func(c *configs.Config) { c.Machines[0].Points[0].Wrap = true }, changeStricter, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, next := pumpPlan(t, func(*configs.Config) {}), pumpPlan(t, c.change)
			for _, way := range []struct {
				changes planChanges
				looser  bool
			}{{comparePlans(before, next), c.looser}, {comparePlans(next, before), c.back}} {
				require.NotEmpty(t, way.changes.Changes)
				assert.Equal(t, way.looser, way.changes.Looser > 0, "%v", way.changes)
			}
			kinds := map[string]bool{}
			for _, x := range comparePlans(before, next).Changes {
				kinds[x.Kind] = true
			}
			assert.Contains(t, kinds, c.kind)
			assert.Empty(t, comparePlans(next, pumpPlan(t, c.change)).Changes)
		})
	}

	// The content of a file counts, wherever it is.
	trusts := pump(func(c *configs.CoAP) { c.Trust = file })
	before := pumpPlan(t, trusts)
	writeFile(t, file, "other")
	assert.Equal(t, 1, comparePlans(before, pumpPlan(t, trusts)).Looser)
}
