package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plantOf writes the files of a plant: presses over Modbus, two units to an
// address, and every tenth machine a mixer over OPC UA. All is signed and accepted.
func plantOf(t testing.TB, machines, points int) *office {
	t.Helper()
	o := newOffice(t, 1, "anna")
	for _, old := range []string{"press-3", "pump"} {
		require.NoError(t, os.Remove(o.path("machines/"+old+".yaml")))
	}
	labels := []string{"", ", sensitivity: internal", ", sensitivity: public", ", sensitivity: restricted"}
	for m := range machines {
		var b strings.Builder
		name := fmt.Sprintf("press-%d", m)
		fmt.Fprintf(&b, "fieldseal: machine/v1\nmachine: %s\nabout: press %d\ntags: {site: augsburg, line: \"%d\"}\n", name, m, m/10)
		if m%10 == 9 {
			b.WriteString(`opcua:
  endpoint: "opc.tcp://10.1.` + itoa(m/100) + "." + itoa(m%100) + `"
  security: {policy: Aes256_Sha256_RsaPss, mode: SignAndEncrypt}
  server_certificate: "sha256:` + strings.Repeat("ab", 32) + `"
  certificate: keystore:opcua-client
  user: anonymous
  namespace: urn:mixer
points:
`)
		} else {
			fmt.Fprintf(&b, "modbus: {connect: \"tcp://10.0.%d.%d\", unit_id: %d}\npoints:\n", m/100, m%100/2, 1+m%2)
		}
		for i := range points {
			label := labels[i%len(labels)]
			at := fmt.Sprintf("at: holding/%d", 2*i)
			if m%10 == 9 {
				at = fmt.Sprintf("node: s=Line.Point%d", i)
			}
			fmt.Fprintf(&b, "  - {name: point-%d, %s, type: float32, unit: kN, report: {deadband: 0.5, at_least_every: 1m}%s}\n", i, at, label)
		}
		require.NoError(t, os.WriteFile(o.path(filepath.Join("machines", name+".yaml")), []byte(b.String()), 0o600))
	}
	o.edit("policy.yaml", "  - {points: [press-3/state], why: \"Andon board\"}", "  - {points: [\"press-*/point-2\", \"press-*/point-6\"], why: \"Andon board\"}",
		"*/program*", "*/point-1?", `points: ["press-3/*"]`, `points: ["press-*/*"]`)
	o.sign("policy trust", o.secrets[0])
	o.start()
	return o
}

// 10,000 points in 200 files, signed: what 'fieldseal check' and a start read.
func BenchmarkLoad(b *testing.B) {
	o := plantOf(b, 200, 50)
	options := at("2026-11-22")
	options.Draft, options.Approvals = false, o.store
	b.ReportAllocs()
	for b.Loop() {
		c, problems := Load(o.path("gateway.yaml"), options)
		if c == nil || len(c.Machines) != 200 {
			b.Fatal(problems)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
}

// The same as a test: all of it is there, as it was signed.
func TestPlantOfTenThousandPoints(t *testing.T) {
	o := plantOf(t, 200, 50)
	c, problems := o.load()
	require.NotNil(t, c, problems)
	require.Len(t, c.Machines, 200)
	points := 0
	for i := range c.Machines {
		points += len(c.Machines[i].Points)
	}
	require.Equal(t, 10_000, points)
	require.Empty(t, c.Unapproved)
	require.NotEmpty(t, c.Table().Entries)
	for _, p := range problems {
		require.Contains(t, p, "note: ")
	}
}
