package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fieldseal/fieldseal/adapters/modbus"
)

// tree lays files over a good configuration and loads it.
func tree(t testing.TB, files map[string]string) (*Config, []Problem, string) {
	t.Helper()
	dir := overlay(t, "testdata/good")
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasPrefix(content, "+") {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			content = string(b) + content[1:]
		}
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	c, problems := Load(filepath.Join(dir, "gateway.yaml"), at("2026-11-22"))
	return c, problems, dir
}

const hotrunner = `fieldseal: template/v1
template: hotrunner
version: 2
modbus: {order: CDAB, reads: {max_registers: 100}}
poll: {normal: 10s}
points:
  - {name: "zone-{z:02}", each: {z: 1..3}, at: "holding/{200+z-1}", type: int16, sensitivity: internal}
  - {name: limit, at: holding/300, type: float32, sensitivity: secret}
`

const aLine = "+lines: {moxa-3: {connect: \"rtu-tcp://Moxa.example:4001\", baud: 9600, parity: none}}\n"

func TestMachinesOnALine(t *testing.T) {
	c, problems, dir := tree(t, map[string]string{
		"gateway.yaml":             aLine,
		"templates/hotrunner.yaml": hotrunner,
		"machines/hot.yaml": `fieldseal: machines/v1
template: hotrunner@2
for_each: {n: 1..4, except: [3]}
machine: "hotrunner-{n:02}"
about: "zone heater {n}"
modbus: {line: moxa-3, unit_id: "{n+10}", reads: {pause: 20ms}}
override:
  hotrunner-02: {zone-01: {at: holding/210, sensitivity: secret}}
`,
	})
	require.Empty(t, texts(dir, problems))
	var hot []Machine
	for _, m := range c.Machines {
		if strings.HasPrefix(m.Name, "hot") {
			hot = append(hot, m)
		}
	}
	require.Len(t, hot, 3)
	spec := modbus.Spec{URL: "rtu-tcp://moxa.example:4001", Baud: 9600, Parity: modbus.NoParity}
	for i, name := range []string{"hotrunner-01", "hotrunner-02", "hotrunner-04"} {
		m := hot[i]
		assert.Equal(t, name, m.Name)
		assert.Equal(t, "zone heater "+name[len(name)-1:], m.About)
		assert.Equal(t, spec, m.Modbus.Endpoint, "the timeout is the adapter's")
		assert.Equal(t, modbus.Reads{MaxRegisters: 100, Pause: 20 * time.Millisecond}, m.Modbus.Reads)
		assert.Equal(t, 10*time.Second, m.Modbus.Points[0].Period)
		require.Len(t, m.Points, 4)
		assert.Equal(t, "zone-03", m.Points[2].Name)
		assert.Equal(t, "holding/202", m.Points[2].Address)
		assert.Equal(t, "hotrunner.yaml:7 ("+name+")", m.Points[2].Where)
	}
	assert.Equal(t, []uint8{11, 12, 14}, []uint8{hot[0].Modbus.UnitID, hot[1].Modbus.UnitID, hot[2].Modbus.UnitID})
	assert.Equal(t, "holding/200", hot[0].Points[0].Address)
	assert.Equal(t, "holding/210", hot[1].Points[0].Address)
	assert.Equal(t, "secret", hot[1].Points[0].Label)
	assert.Equal(t, "hot.yaml:8 (hotrunner-02)", hot[1].Points[0].Where)
}

// A table gives texts too, and its separator is a comma or a semicolon.
func TestRows(t *testing.T) {
	for _, comma := range []string{",", ";"} {
		c, problems, dir := tree(t, map[string]string{
			"templates/hotrunner.yaml": hotrunner,
			"machines/hall.csv":        strings.ReplaceAll("\ufeffn;host;unit\nnorth;10.0.0.1;1\r\nsouth;10.0.0.2;7\n", ";", comma),
			"machines/hot.yaml": `fieldseal: machines/v1
template: hotrunner@2
rows: hall.csv
machine: "hot-{n}"
modbus: {connect: "tcp://{host}:502", unit_id: "{unit}"}
`,
		})
		require.Empty(t, texts(dir, problems))
		require.Equal(t, []string{"hot-north", "hot-south", "press-3", "pump"}, names(c))
		assert.Equal(t, "tcp://10.0.0.2:502", c.Machines[1].Modbus.Endpoint.URL)
		assert.Equal(t, uint8(7), c.Machines[1].Modbus.UnitID)
	}
}

// A wrong template leaves out the machines that use it, and no other.
func TestWrongTemplate(t *testing.T) {
	c, problems, _ := tree(t, map[string]string{
		"templates/hotrunner.yaml": strings.Replace(hotrunner, "float32", "real", 1),
		"machines/oven.yaml":       "fieldseal: machine/v1\nmachine: oven\ntemplate: hotrunner@2\nmodbus: {connect: \"tcp://10.0.0.1\", unit_id: 1}\n",
	})
	require.Equal(t, []string{"press-3", "pump"}, names(c))
	require.Len(t, problems, 2)
	assert.True(t, problems[0].LeavesOut())
	assert.Equal(t, "oven", problems[0].Machine)
	assert.False(t, problems[1].LeavesOut())
}

// One machine of many is left out by its own override; the others start.
func TestWrongOverride(t *testing.T) {
	c, problems, _ := tree(t, map[string]string{
		"templates/hotrunner.yaml": hotrunner,
		"machines/hot.yaml": `fieldseal: machines/v1
template: hotrunner@2
for_each: {n: 1..3}
machine: "hot-{n}"
modbus: {connect: "tcp://10.0.0.1", unit_id: "{n}"}
override: {hot-2: {limit: {sensitivity: public}}}
`,
	})
	require.Equal(t, []string{"hot-1", "hot-3", "press-3", "pump"}, names(c))
	require.Len(t, problems, 1)
	assert.Equal(t, "hot-2", problems[0].Machine)
	assert.True(t, problems[0].LeavesOut())
}

// A line that is asked too much is a problem, and its machines start.
func TestBusyLine(t *testing.T) {
	c, problems := Load(filepath.Join(overlay(t, "testdata/mistakes/tree-line-busy"), "gateway.yaml"), at("2026-11-22"))
	require.Len(t, problems, 1)
	assert.False(t, problems[0].Fatal || problems[0].Note || problems[0].Stops || problems[0].LeavesOut())
	require.NotNil(t, c)
	assert.Equal(t, []string{"oven", "oven-2", "press-3", "pump"}, names(c))
}

func TestFilesUplink(t *testing.T) {
	b, err := os.ReadFile("testdata/good/gateway.yaml")
	require.NoError(t, err)
	head, rest, _ := strings.Cut(string(b), "uplinks:")
	_, rest, _ = strings.Cut(rest, "hub-ca.pem\n")
	c, problems, dir := tree(t, map[string]string{"gateway.yaml": head + "uplinks:\n  - {name: folder, files: {folder: out}}\n" + rest})
	require.Empty(t, texts(dir, problems))
	assert.Equal(t, []Uplink{{Name: "folder", Files: &Files{Folder: filepath.Join(dir, "out")}}}, c.Uplinks)
}

func TestExpressions(t *testing.T) {
	v := variables{"z": "8", "host": "plc-1"}
	for in, want := range map[string]string{
		"zone": "zone", "{z}": "8", "{z:03}": "008", "{199+z}": "207", "{ z - 1 }": "7", "a-{z}-{host}": "a-8-plc-1",
		"{z+1:02}": "09", "{1-z}": "-7", "{z+z}": "16",
	} {
		got, _, err := v.evaluate(in)
		require.Nil(t, err, in)
		assert.Equal(t, want, got, in)
	}
	for _, in := range []string{"{", "}", "{{z}}", "{}", "{z*2}", "{z:2}", "{z:0}", "{z:00}", "{z:099}", "{+z}", "{z+}", "{host+1}", "{y}", "{99999999999}", "{1-z:02}"} {
		_, _, err := v.evaluate(in)
		assert.NotNil(t, err, in)
	}
}
