package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uplinksIs loads the good configuration with another list of uplinks, which
// begins on line 11.
func uplinksIs(t *testing.T, list string) (*Config, []string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/good")))
	text, err := os.ReadFile(filepath.Join(dir, "gateway.yaml"))
	require.NoError(t, err)
	before, rest, _ := strings.Cut(string(text), "uplinks:\n")
	_, after, _ := strings.Cut(rest, "outbox:")
	text = []byte(before + "uplinks:\n" + list + "\noutbox:" + after)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway.yaml"), text, 0o644))
	c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	if c != nil {
		for i := range c.Uplinks {
			trust := trustOf(c.Uplinks[i])
			*trust = strings.TrimPrefix(*trust, dir+"/")
		}
	}
	return c, texts(dir, problems)
}

func trustOf(u Uplink) *string {
	switch {
	case u.NATS != nil:
		return &u.NATS.Trust
	case u.DTLS != nil:
		return &u.DTLS.Trust
	}
	return new(string)
}

const (
	plantNATS = `  - {name: plant-nats, nats: {servers: ["tls://hub-a.example"], stream: PLANT, prefix: plant.augsburg, certificate: keystore:uplink, trust: trust/hub-ca.pem}}`
	radio     = `  - {name: radio, dtls: {server: "relay.example:5684", certificate: keystore:uplink, trust: trust/hub-ca.pem`
)

func TestUplinks(t *testing.T) {
	toNATS := Uplink{Name: "plant-nats", NATS: &NATS{
		Servers: []string{"tls://hub-a.example"}, Stream: "PLANT", Prefix: "plant.augsburg", Certificate: "uplink", Trust: "trust/hub-ca.pem",
	}}
	toHub := func(stream, prefix string, window int, servers ...string) Uplink {
		return Uplink{Name: "radio", DTLS: &DTLS{
			Servers: servers, Stream: stream, Prefix: prefix, Certificate: "uplink", Trust: "trust/hub-ca.pem", MinWindow: window,
		}}
	}
	for name, c := range map[string]struct {
		list string
		want []Uplink
	}{
		"a hub alone":                {radio + "}}", []Uplink{toHub("", "", 0, "relay.example:5684")}},
		"what its welcome must say":  {radio + ", stream: RADIO, prefix: p, min_window: 64KiB}}", []Uplink{toHub("RADIO", "p", 64<<10, "relay.example:5684")}},
		"several hubs":               {strings.Replace(radio, `server: "relay.example:5684"`, `servers: ["a.example:5684", "[::1]:5684"]`, 1) + "}}", []Uplink{toHub("", "", 0, "a.example:5684", "[::1]:5684")}},
		"NATS, and a hub for it":     {plantNATS + "\n" + radio + "}}", []Uplink{toNATS, toHub("PLANT", "plant.augsburg", 0, "relay.example:5684")}},
		"a hub, and NATS beside it":  {radio + "}}\n" + plantNATS, []Uplink{toHub("PLANT", "plant.augsburg", 0, "relay.example:5684"), toNATS}},
		"NATS, and a hub that agree": {plantNATS + "\n" + radio + ", stream: PLANT}}", []Uplink{toNATS, toHub("PLANT", "plant.augsburg", 0, "relay.example:5684")}},
		"files alone":                {"  - {name: folder, files: {folder: /out}}", []Uplink{{Name: "folder", Files: &Files{Folder: "/out"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			config, problems := uplinksIs(t, c.list)
			require.Empty(t, problems)
			assert.Equal(t, c.want, config.Uplinks)
		})
	}
}

func TestUplinkMistakes(t *testing.T) {
	with := func(server string) string {
		return strings.Replace(radio, `server: "relay.example:5684"`, server, 1) + "}}"
	}
	for name, c := range map[string]struct {
		list string
		want []string
	}{
		"files beside NATS": {plantNATS + "\n  - {name: folder, files: {folder: /out}}", []string{
			`gateway.yaml:12:27: 'files' is beside other uplinks, and messages would be in two places: it is never what another one fails over to; write it as the only uplink, or remove it`,
		}},
		"files in front": {"  - {name: folder, files: {folder: /out}}\n" + radio + "}}", []string{
			`gateway.yaml:11:27: 'files' is beside other uplinks, and messages would be in two places: it is never what another one fails over to; write it as the only uplink, or remove it`,
		}},
		"another stream": {plantNATS + "\n" + strings.NewReplacer("plant-nats", "second", "PLANT", "OTHER").Replace(plantNATS), []string{
			`gateway.yaml:12:69: the stream is 'OTHER' here and 'PLANT' on line 11; write the same: all uplinks lead to one place`,
		}},
		"another prefix behind a hub": {plantNATS + "\n" + radio + ", prefix: plant.ulm}}", []string{
			`gateway.yaml:12:119: the prefix is 'plant.ulm' here and 'plant.augsburg' on line 11; write the same: all uplinks lead to one place`,
		}},
		"one name twice": {radio + "}}\n" + radio + "}}", []string{
			`gateway.yaml:12:12: the name 'radio' is on line 11 already; write another`,
		}},
		"two in one": {radio + "}, nats: {}}", []string{
			`gateway.yaml:11:25: 'nats' and 'dtls' are in one uplink; write one of them, and the other one under a name of its own`,
		}},
		"no server": {strings.Replace(radio, `server: "relay.example:5684", `, "", 1) + "}}", []string{
			`gateway.yaml:11:25: 'server' is missing in 'dtls'; write server: relay.example:5684, or servers: with a list`,
		}},
		"server and servers": {with(`server: "a:1", servers: ["b:1"]`), []string{
			`gateway.yaml:11:50: 'server' and 'servers' are there both; write one of them`,
		}},
		"a URL":             {with(`server: "dtls://relay.example:5684"`), []string{`gateway.yaml:11:34: 'server' is a URL; write HOST:PORT, such as relay.example:5684`}},
		"no port":           {with(`server: relay.example`), []string{`gateway.yaml:11:34: 'server' has no port; write relay.example:5684`}},
		"port out of range": {with(`server: "relay.example:70000"`), []string{`gateway.yaml:11:34: 'server' is no host with a port; write HOST:PORT, such as relay.example:5684`}},
		"twice":             {with(`servers: ["a:1", "a:1"]`), []string{`gateway.yaml:11:43: the server is in the list already; write it once`}},
		"no secret":         {strings.Replace(radio, "keystore:uplink", "hunter2", 1) + "}}", []string{`gateway.yaml:11:69: 'certificate' is no reference to a keystore; write keystore:NAME; secrets are never in these files`}},
		"window too small":  {radio + ", min_window: 1KiB}}", []string{`gateway.yaml:11:123: 'min_window' is out of range; write 4KiB to 4096KiB, such as 128KiB`}},
		"window no size":    {radio + ", min_window: 128}}", []string{`gateway.yaml:11:123: 'min_window' is no size: the units are KiB, MiB and GiB; write min_window: 128KiB`}},
		"unknown key":       {radio + ", mtu: 1200}}", []string{`gateway.yaml:11:111: unknown key 'mtu'; write server, servers, stream, prefix, certificate, trust or min_window`}},
	} {
		t.Run(name, func(t *testing.T) {
			config, problems := uplinksIs(t, c.list)
			assert.Equal(t, c.want, problems)
			assert.Nil(t, config)
		})
	}
}
