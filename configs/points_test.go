package configs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/bridge/point"
	"github.com/fieldseal/fieldseal/policy"
	"github.com/fieldseal/fieldseal/policy/approval"
	"github.com/fieldseal/fieldseal/policy/ciphertext"
)

const deviceKey = "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// What a machine's file says of its points beside how they are read, with a
// template's, an override's and a table's part in it.
func TestTagsValuesAndCounters(t *testing.T) {
	dir := overlay(t, filepath.Join("testdata/good"))
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("templates/oven.yaml", `fieldseal: template/v1
template: oven
version: 1
tags: {site: augsburg, line: ovens}
points:
  - {name: "state-{n}", each: {n: 1..2}, at: "holding/{n}", type: int16, values: {0: stopped, -1: fault}}
  - {name: strokes, at: holding/10, type: uint32, counter: {resets: false}}
  - {name: energy, at: holding/12, type: float32, scale: 2, counter: {resets: true}}
  - {name: mode, at: holding/14, type: uint64, values: {9223372036854775807: greatest}}
`)
	write("machines/a.yaml", `fieldseal: machine/v1
machine: oven-1
template: oven@1
tags: {line: hall-1, asset: "7"}
modbus: {connect: "tcp://10.1.0.1", unit_id: 1}
override:
  state-2: {values: {0: "off", 1: "on"}}
`)
	write("machines/b.yaml", `fieldseal: machines/v1
template: oven@1
for_each: {n: 2..3}
machine: "oven-{n}"
tags: {asset: "OV-{n:04}", room: "{n}"}
modbus: {connect: "tcp://10.1.0.{n}", unit_id: 1}
`)
	c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	require.NotNil(t, c)
	for _, p := range problems {
		require.True(t, p.Stops, p)
	}
	require.Equal(t, []string{"oven-1", "oven-2", "oven-3", "press-3", "pump"}, names(c))
	assert.Equal(t, map[string]string{"site": "augsburg", "line": "hall-1", "asset": "7"}, c.Machines[0].Tags)
	assert.Equal(t, map[string]string{"site": "augsburg", "line": "ovens", "asset": "OV-0003", "room": "3"}, c.Machines[2].Tags)
	assert.Nil(t, c.Machines[3].Tags)

	points := c.Machines[0].Points
	assert.Equal(t, map[int64]string{0: "stopped", -1: "fault"}, points[0].Values)
	assert.Equal(t, map[int64]string{0: "off", 1: "on"}, points[1].Values)
	assert.Equal(t, map[int64]string{0: "stopped", -1: "fault"}, c.Machines[1].Points[1].Values)
	assert.Equal(t, &Counter{}, points[2].Counter)
	assert.Equal(t, &Counter{Resets: true}, points[3].Counter)
	assert.Nil(t, points[4].Counter)
	assert.Equal(t, map[int64]string{1<<63 - 1: "greatest"}, points[4].Values)
}

// All formats, and what a guard has to know of each.
func TestPassthroughKeys(t *testing.T) {
	dir := overlay(t, "testdata/good")
	policyFile := filepath.Join(dir, "policy.yaml")
	b, err := os.ReadFile(policyFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(policyFile, bytes.Replace(b, []byte("[cose, jwe, opaque]"), []byte("[cose, jwe, cms, age, opaque]"), 1), 0o644))
	text := `fieldseal: machine/v1
machine: drives
modbus: {connect: "tcp://10.1.0.1", unit_id: 1}
points:
  - {name: signed, at: holding/0, type: bytes, bytes: 64, passthrough: cose, readable_by: [engineering], device_key: "` + deviceKey + `", key_ids: [k1, 0x00ff, "17"]}
  - {name: token, at: holding/100, type: bytes, bytes: 64, passthrough: jwe, readable_by: [engineering], key_ids: [k1], wrap: true}
  - name: file
    at: holding/200
    type: bytes
    bytes: 64
    passthrough: age
    readable_by: [engineering]
    wrap: false
  - {name: mail, at: holding/300, type: bytes, bytes: 64, passthrough: cms, readable_by: [engineering]}
  - {name: raw, at: holding/400, type: bytes, bytes: 64, passthrough: opaque, readable_by: [engineering]}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "machines/a.yaml"), []byte(text), 0o644))
	c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	require.Empty(t, problems)
	key, err := ciphertext.ParseKey(deviceKey)
	require.NoError(t, err)
	points := c.Machines[0].Points
	assert.Equal(t, ciphertext.Config{Format: "cose", DeviceKey: key, KeyIDs: [][]byte{[]byte("k1"), {0, 0xff}, []byte("17")}}, points[0].Guard)
	assert.Equal(t, ciphertext.Config{Format: "jwe", KeyIDs: [][]byte{[]byte("k1")}}, points[1].Guard)
	for i, format := range []string{"cose", "jwe", "age", "cms", "opaque"} {
		assert.Equal(t, format, points[i].Passthrough)
		assert.Equal(t, ciphertext.ContentType(format), points[i].ContentType)
		assert.Equal(t, format == "jwe", points[i].Wrap)
		_, err := ciphertext.NewGuard(points[i].Guard)
		assert.NoError(t, err)
	}
	said := c.said[0].Points[0]
	assert.Equal(t, deviceKey, said.DeviceKey)
	assert.Equal(t, []string{"0x6b31", "0x00ff", "0x3137"}, said.KeyIDs)

	// One that the policy does not accept is sealed like any other, and said so.
	require.NoError(t, os.WriteFile(policyFile, bytes.Replace(b, []byte("[cose, jwe, opaque]"), []byte("[cose]"), 1), 0o644))
	c, problems = Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	require.NotNil(t, c)
	assert.Contains(t, strings.Join(texts(dir, problems), "\n"), "level 'restricted' asks for a connection that is encrypted, this one is any: token, file, mail and raw stop")
}

// A wrapped point is held against the level like any passthrough, and one that a
// clear level cannot seal stops, alone.
func TestWrapAtAClearLevel(t *testing.T) {
	c, problems := Load(filepath.Join(overlay(t, "testdata/mistakes/tree-wrap-clear"), "gateway.yaml"), at("2026-11-22"))
	require.NotNil(t, c)
	require.Len(t, problems, 1)
	require.True(t, problems[0].Stops)
	require.Equal(t, []string{"press-3", "pump"}, names(c), "the rest of the machine goes on")
}

func TestHiddenNamesAndEvents(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.edit("policy.yaml", "pad: true}", "pad: true, hide: [names]}", "default: ", "events: {to: [engineering]}\ndefault: ")
	o.sign("policy trust", o.secrets[0])
	c, problems := o.start()
	require.Empty(t, problems)
	for i, l := range c.Policy.Levels {
		assert.Equal(t, i == 2, l.HideNames, l.Name)
	}
	assert.Equal(t, []string{"engineering"}, c.Policy.Events)
	note, err := os.ReadFile(o.path("policy.yaml.sig"))
	require.NoError(t, err)
	assert.Contains(t, string(note), "to=engineering pad=yes hide=names\n")
	assert.Contains(t, string(note), "\nevents to=engineering\n")
}

// What counts as ciphertext is signed: each part of it that is not as it was
// signed leaves the point sealed like any other, until it is.
func TestWhatCountsAsCiphertextIsSigned(t *testing.T) {
	const log = "    changes_with: holding/499\n"
	for what, edit := range map[string][]string{
		"format":       {"passthrough: cose", "passthrough: opaque", "device_key: \"" + deviceKey + "\"\n    key_ids: [k1]\n    ", ""},
		"device key":   {"AAECAwQF", "BBECAwQF"},
		"no key":       {"device_key: \"" + deviceKey + "\"\n    ", ""},
		"other key id": {"key_ids: [k1]", "key_ids: [k2]"},
		"more key ids": {"key_ids: [k1]", "key_ids: [k1, k2]"},
		"any key id":   {"key_ids: [k1]\n    ", ""},
		"no wrap":      {"wrap: true", "wrap: false"},
		"readers":      {"readable_by: [engineering]", "readable_by: [engineering, historian]"},
	} {
		t.Run(what, func(t *testing.T) {
			o := newOffice(t, 1, "anna")
			o.edit("machines/press-3.yaml", log, log+"    sensitivity: internal\n    device_key: \""+deviceKey+"\"\n    key_ids: [k1]\n    wrap: true\n")
			o.sign("policy trust", o.secrets[0])
			decide := func(c *Config) policy.Decision {
				m := c.Machines[0]
				last := len(m.Points) - 1
				require.Equal(t, "torque-log", m.Points[last].Name)
				return c.Policy.Compile(m.Name, []policy.Point{m.Points[last].Point}, point.AnyConnection, time.Time{}).Decisions[0]
			}
			c, problems := o.start()
			require.Empty(t, problems)
			signed := decide(c)
			require.Equal(t, policy.Passed, signed.Treatment)
			require.True(t, signed.Wrap)

			o.edit("machines/press-3.yaml", edit...)
			c, problems = o.start()
			assert.Contains(t, strings.Join(problems, "\n"), "torque-log does not leave as this file says, but like points that nobody labelled")
			d := decide(c)
			require.NotEqual(t, policy.Passed, d.Treatment)
			require.Equal(t, "restricted", d.Level, "the gateway would seal it for readers to whom nobody signed it")
			require.False(t, d.Wrap)

			o.edit("policy.yaml", "revision: 17", "revision: 18")
			o.sign("policy", o.secrets[0])
			c, problems = o.start()
			require.NotContains(t, strings.Join(problems, "\n"), "does not leave as this file says")
			d = decide(c)
			require.Equal(t, policy.Passed, d.Treatment)
			require.Equal(t, what != "no wrap", d.Wrap)
		})
	}
}

// A note of the version before this one is read and accepted as it is.
func TestNoteOfTheVersionBefore(t *testing.T) {
	o := newOffice(t, 1, "anna")
	o.sign("policy trust", o.secrets[0])
	note, err := os.ReadFile(o.path("policy.yaml.sig"))
	require.NoError(t, err)
	for _, later := range []string{"hide=", "\nevents ", "device-key=", "key-ids=", "wrap="} {
		require.NotContains(t, string(note), later, "nothing of a new key where none is used")
	}
	a, err := approval.ParseUnverified(note)
	require.NoError(t, err)
	require.Equal(t, a.Text(), string(note[:bytes.Index(note, []byte("\n\n"))+1]))
	_, problems := o.start()
	require.Empty(t, problems)
}
